package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
)

// A Duration is a time.Duration that is a text in JSON, such as "150ms".
type Duration time.Duration

// MarshalText writes d as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads, except what is negative.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	if v < 0 {
		return fmt.Errorf("%s is negative", text)
	}
	*d = Duration(v)
	return nil
}

// A Fault is one thing that goes wrong. The first of a list that fits a
// request, and whose dice fall so, happens to it.
type Fault struct {
	// Kind says what happens:
	//
	//	401      the token of the request is invalid from now on; of the
	//	         token operation: the credentials are refused
	//	403      a scope or permission is missing
	//	429      with a Retry-After
	//	500, 503, 504  with an error in JSON
	//	502      with a body of HTML
	//	timeout  no answer until the caller gives up, or Hold has passed
	//	cut      the connection is closed without an answer
	//	slow     the right answer, its body spread over Hold
	//
	// and of Fluent, for single aliases of a request:
	//
	//	null     null without an error
	//	S0002E, or any other code of Fluent: null with that error
	Kind string `json:"kind"`
	// Operation is the only one it happens to; empty: all but "token". Of
	// commercetools: token, customers.get, .key, .query, .create, .update,
	// .delete, subscriptions.get, .query, .create, .update, .delete. Of
	// Fluent: token, query, mutation, and the names of the root fields.
	Operation string `json:"operation,omitempty"`
	// Match is a text that the request (its URL or its body; of a single
	// alias: its username) must hold. Empty: any.
	Match string `json:"match,omitempty"`
	// Probability that it happens, 0 to 1. Default: 1.
	Probability float64 `json:"probability,omitempty"`
	// Count is how often it happens at most; it is counted down and the fault
	// goes with it. Default: no limit.
	Count int `json:"count,omitempty"`
	// Apply has the request worked all the same: only its answer is lost.
	Apply bool `json:"apply,omitempty"`
	// Late has the request worked that long after its answer was lost (kinds
	// cut and timeout).
	Late Duration `json:"late,omitempty"`
	// RetryAfter is told with 429 and 503, in whole seconds. Default: 1s.
	RetryAfter Duration `json:"retryAfter,omitempty"`
	// Hold is how long a timeout or a slow body takes. Default: 30s and 3s.
	Hold Duration `json:"hold,omitempty"`
	// Whole has a code fail the whole request, without a path, nothing
	// applied.
	Whole bool `json:"whole,omitempty"`
}

// Common are the knobs that both stand-ins have. Their zero value is the
// faithful stand-in.
type Common struct {
	// Latency of every answer, half of it before the request is worked.
	Latency Duration `json:"latency,omitempty"`
	// Jitter is added to Latency, from 0 to this, evenly spread.
	Jitter Duration `json:"jitter,omitempty"`
	// Rate is the number of requests a second above which they get 429.
	// Default: no limit.
	Rate float64 `json:"rate,omitempty"`
	// Down closes every connection at once, for so long from now.
	Down Duration `json:"down,omitempty"`
	// Denied are scopes ("view_customers") or permissions ("CUSTOMER_UPDATE")
	// that were taken away.
	Denied []string `json:"denied,omitempty"`
	// Faults that happen to requests.
	Faults []Fault `json:"faults,omitempty"`
}

// CTKnobs are the knobs of the stand-in of commercetools.
type CTKnobs struct {
	Common
	// Lag is how old the state is that a query sees. A read by id is fresh.
	Lag Duration `json:"lag,omitempty"`
	// LagByID has the reads by id lag as well.
	LagByID bool `json:"lagById,omitempty"`
	// Duplicates is the probability that a notification comes twice, 0 to 1.
	Duplicates float64 `json:"duplicates,omitempty"`
	// Delay is how late a notification comes.
	Delay Duration `json:"delay,omitempty"`
	// Window spreads the notifications: each comes later by anything from 0
	// to this, in no order.
	Window Duration `json:"window,omitempty"`
	// Reverse has those of one Window come last first instead.
	Reverse bool `json:"reverse,omitempty"`
	// Plain never compresses an answer.
	Plain bool `json:"plain,omitempty"`
}

// FluentKnobs are the knobs of the stand-in of Fluent.
type FluentKnobs struct {
	Common
	// Undo has one failing alias undo the whole request.
	Undo bool `json:"undo,omitempty"`
	// CodeInText gives the code of an error in its message only.
	CodeInText bool `json:"codeInText,omitempty"`
}

var (
	fluentCode = regexp.MustCompile(`^[A-Z][0-9]{4}[A-Z]$`)
	httpKinds  = []string{"401", "403", "429", "500", "502", "503", "504", "timeout", "cut", "slow"}
)

func (f Fault) check(fluent bool) error {
	alias := f.ofAlias()
	switch {
	case !alias && !slices.Contains(httpKinds, f.Kind), alias && !fluent:
		return fmt.Errorf("no fault %q", f.Kind)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("fault %s: probability %v is not between 0 and 1", f.Kind, f.Probability)
	case f.Count < 0:
		return fmt.Errorf("fault %s: count %d is negative", f.Kind, f.Count)
	case f.Late > 0 && f.Kind != "cut" && f.Kind != "timeout":
		return fmt.Errorf("fault %s: only cut and timeout can be late", f.Kind)
	}
	return nil
}

// ofAlias tells whether the fault is one of single aliases of Fluent.
func (f Fault) ofAlias() bool { return f.Kind == "null" || fluentCode.MatchString(f.Kind) }

func (c Common) check(fluent bool) error {
	var errs []error
	if c.Rate < 0 {
		errs = append(errs, fmt.Errorf("rate %v is negative", c.Rate))
	}
	for _, f := range c.Faults {
		errs = append(errs, f.check(fluent))
	}
	return errors.Join(errs...)
}

func (k CTKnobs) check() error {
	if k.Duplicates < 0 || k.Duplicates > 1 {
		return fmt.Errorf("duplicates %v is not between 0 and 1", k.Duplicates)
	}
	return k.Common.check(false)
}

func (k FluentKnobs) check() error { return k.Common.check(true) }

// decodeStrict reads one JSON value into v, and refuses keys v does not have.
func decodeStrict(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

// decodeKnobs changes the knobs k, of which c are the common ones. A list that
// is named is replaced as a whole.
func decodeKnobs(body []byte, k any, c *Common) error {
	faults, denied := c.Faults, c.Denied
	c.Faults, c.Denied = nil, nil
	if err := decodeStrict(body, k); err != nil {
		return err
	}
	if c.Faults == nil {
		c.Faults = faults
	}
	if c.Denied == nil {
		c.Denied = denied
	}
	return nil
}

package fluent

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/api"
)

// A Kind says what an error means to the caller.
type Kind uint8

const (
	// Exists: a create met a customer of that username. Update it.
	Exists Kind = iota + 1
	// Missing: an update met no customer of that username. Create it.
	Missing
	// Refused: this input never will be accepted.
	Refused
	// TooBig: a request that cannot be made smaller is too large or complex.
	TooBig
	// Limited: too many requests; nothing was applied. RetryAfter says how
	// long to wait.
	Limited
	// Stopped: the set-up is wrong, credentials, a permission, an address;
	// nothing was applied, and nothing will be until someone mends it.
	Stopped
	// Failed: not applied, for a reason that may pass.
	Failed
	// Down: Fluent did not take the request; nothing was applied.
	Down
	// Unclear: no answer that means anything; a write may have been applied,
	// or may yet be. Reads have Down instead.
	Unclear
)

func (k Kind) String() string {
	switch k {
	case Exists:
		return "exists"
	case Missing:
		return "missing"
	case Refused:
		return "refused"
	case TooBig:
		return "too big"
	case Limited:
		return "limited"
	case Stopped:
		return "stopped"
	case Failed:
		return "failed"
	case Down:
		return "down"
	case Unclear:
		return "unclear"
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// halts tells whether a request that met k must not be followed by others.
func (k Kind) halts() bool {
	return k == Unclear || k == Down || k == Limited || k == Stopped
}

// An Error is why a read or one write failed. Promise 7: it holds what Fluent
// has names for, never a text that it wrote.
type Error struct {
	Operation  string        // "lookup", "write", "scan", "find" or "check"
	Kind       Kind          // what the caller is to do
	Status     int           // HTTP status; 0 where there was no answer
	Code       string        // of Fluent or of OAuth; empty for none
	Field      string        // of the customer, where the answer names just one
	RetryAfter time.Duration // what Fluent asked for; 0 for nothing
	Err        error         // the cause; may be nil
}

func (e *Error) Error() string {
	s := "fluent: " + e.Operation + ": " + e.Kind.String()
	var f *api.Fault
	if errors.As(e.Err, &f) {
		return s + ": " + f.Error() // says code and status
	}
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Status != 0 && e.Status != http.StatusOK {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// ErrNoRetailer says that the account has no retailer of this id, or none that
// its user sees.
var ErrNoRetailer = errors.New("no retailer of this id")

var (
	errUnusable = errors.New("unusable answer")
	errNull     = errors.New("null without an error")
	errNotSent  = errors.New("not sent after an earlier request failed")
	errTooBig   = errors.New("larger than a request may be")
)

// fromFault is the error of a request that has no answer.
func fromFault(operation string, err error) *Error {
	e := &Error{Operation: operation, Kind: Unclear, Err: err}
	var f *api.Fault
	if !errors.As(err, &f) {
		return e
	}
	e.Status, e.Code, e.RetryAfter = f.Status, f.Code, f.RetryAfter
	switch f.Reason {
	case api.Refused:
		e.Kind = Stopped
	case api.Limited:
		e.Kind = Limited
	case api.Unsent:
		e.Kind = Down
	}
	return e
}

var (
	fluentCode = regexp.MustCompile(`\b[CST][0-9]{4}[EW]\b`)
	plainCode  = regexp.MustCompile(`^[A-Z]{2,20}(_[A-Z]{1,20}){0,4}$`) // GraphQL servers' own
)

// readCode finds the code of an error: as such, or in its text.
func readCode(code, message string) string {
	if c := fluentCode.FindString(code); c != "" {
		return c
	}
	if c := fluentCode.FindString(message); c != "" {
		return c
	}
	if plainCode.MatchString(code) {
		return code
	}
	return ""
}

// kindOf says what an error means by its code, its words and the HTTP status
// around it.
func kindOf(status int, code, message string) Kind {
	words := strings.ToLower(message)
	exists := strings.Contains(words, "already exists") || strings.Contains(words, "duplicate")
	// A code C… is Fluent's word that it refused, whatever the status.
	switch {
	case code == "C0011E":
		return Limited
	case code == "C0120E":
		return Missing
	case code == "C0121E", code == "C0123E":
		return Exists
	case code == "C0001E":
		return TooBig
	case code == "C0020E":
		return Stopped
	case isInput(code):
		return Refused
	case exists && status < 500:
		return Exists
	case isFluent(code) && code[0] == 'C':
		return Refused
	case status < 300:
		return Failed
	}
	return kindOfStatus(status)
}

func isFluent(code string) bool { return fluentCode.MatchString(code) }

func isInput(code string) bool {
	switch code {
	case "C0100E", "C0101E", "C0102E", "C0103E", "C0140E", "C0141E", "C0160E":
		return true
	}
	return false
}

// kindOfStatus says what an answer that is no GraphQL means.
func kindOfStatus(status int) Kind {
	switch s := status; {
	case s == http.StatusRequestEntityTooLarge:
		return TooBig
	case s == http.StatusTooManyRequests:
		return Limited
	case s == http.StatusServiceUnavailable:
		return Down
	case s < 300, s == http.StatusRequestTimeout, s >= 500:
		return Unclear
	case s < 400, s == http.StatusUnauthorized, s == http.StatusForbidden,
		s == http.StatusNotFound, s == http.StatusMethodNotAllowed:
		return Stopped // the last three of these: something else answers there
	}
	return Failed // only Fluent's own code is a final no
}

var word = regexp.MustCompile(`[A-Za-z]+`)

// fieldOf finds the field that a text speaks of, if it is just one. The name is
// taken from the known ones, never from the text (promise 7).
func fieldOf(message string) string {
	found := ""
	for _, w := range word.FindAllString(message, -1) {
		_, known := Limits[w]
		if known = known || w == "promotionOptIn" || w == "retailer" || w == "attributes"; !known || w == found {
			continue
		}
		if found != "" {
			return ""
		}
		found = w
	}
	return found
}

// Package outside lets partners write handlers in any language: as a process
// that is kept alive and answers lines ([Exec]), or as a service that answers
// requests ([HTTP]).
//
// Both are asked with the same JSON object, a [Question], and answer with the
// same one, an [Answer], whose outcomes are those of ct2fluent.Handler. An
// answer that does not come, though the question was sent, is unclear: the
// handler may have done its work. The notification then comes again, with
// "again" set. docs/extending.md tells all of it to those who write one.
package outside

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/ct2fluent/ct2fluent"
)

// A Question is what a handler is asked: a line on its standard input, or the
// body of a request. Further keys may be added; a handler passes over what it
// does not know.
type Question struct {
	// Seq comes first. The answer has to repeat it, so that one line too many
	// can never be taken for the answer to another question.
	Seq      uint64          `json:"seq"`
	ID       string          `json:"id"`       // the same however often one change is delivered
	Project  string          `json:"project"`  // projectKey
	TypeID   string          `json:"typeId"`   // of the resource: "customer"
	Resource string          `json:"resource"` // id of the resource
	Name     string          `json:"name"`     // the message type, or the notificationType of a change
	Kind     string          `json:"kind"`     // notificationType: Message, ResourceCreated, …
	Version  int64           `json:"version"`  // of the resource after the change; 0: not told
	Received time.Time       `json:"received"`
	Attempts int             `json:"attempts"` // faults of its own so far
	Again    bool            `json:"again"`    // asked before, and the answer was lost: it may be done
	Force    bool            `json:"force"`    // to be worked also if it was before
	Bulk     bool            `json:"bulk"`     // of a bulk run, a replay
	Own      bool            `json:"own"`      // not sent by commercetools
	Body     json.RawMessage `json:"body"`     // the notification as commercetools sent it; null where there is none
}

// question makes that of a notification.
func question(n ct2fluent.Notification) Question {
	q := Question{
		Seq: n.Seq, ID: n.ID, Project: n.Ref.Project, TypeID: n.Ref.TypeID, Resource: n.Ref.ID, Name: n.Name, Kind: n.Kind,
		Version: n.Version, Received: n.Received.UTC(), Attempts: n.Attempts, Again: n.Again, Force: n.Force, Bulk: n.Bulk, Own: n.Own,
		Body: json.RawMessage("null"),
	}
	if json.Valid(n.Body) {
		q.Body = n.Body
	}
	return q
}

// line is a question on one line: JSON has no line ends outside of strings
// once it is compact.
func (q Question) line() ([]byte, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("write the question: %w", err)
	}
	return append(text, '\n'), nil
}

// An Answer is what became of a notification.
type Answer struct {
	Seq     *uint64 `json:"seq"`
	Outcome string  `json:"outcome"`
	Reason  string  `json:"reason"` // of skip and reject: a word of a small set
	After   float64 `json:"after"`  // of retry-after: seconds
	Why     string  `json:"why"`    // for people; no personal data
}

// The outcomes an Answer has.
const (
	written     = "written"     // done
	unchanged   = "unchanged"   // there was nothing to do
	skip        = "skip"        // no work here; needs a reason
	reject      = "reject"      // never will: a dead letter; has a reason or "rejected"
	retry       = "retry"       // a fault of the notification: tried again, and counted
	retryAfter  = "retry-after" // tried again after a time; not counted
	unavailable = "unavailable" // not its fault: its account is held; not counted
	unclear     = "unclear"     // a write was sent whose answer is lost: comes again
)

// Outcomes are all that an answer may have.
func Outcomes() []string {
	return []string{written, unchanged, skip, reject, retry, retryAfter, unavailable, unclear}
}

// A wrongAnswer is one that nobody can understand. It is a fault in the
// handler, which counts as an attempt.
type wrongAnswer struct{ text string }

func (e *wrongAnswer) Error() string { return "wrong answer: " + e.text }

func wrong(format string, args ...any) error { return &wrongAnswer{fmt.Sprintf(format, args...)} }

// parseAnswer reads an answer. Promise 7: its errors quote nothing of it.
func parseAnswer(text []byte) (Answer, error) {
	var a Answer
	if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '{' {
		return a, wrong("not a JSON object; answer with one, and print nothing else there")
	}
	if err := json.Unmarshal(text, &a); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return a, wrong("%q is %s; it is a %s", kind.Field, kind.Value, kind.Type)
		}
		return a, wrong("not JSON")
	}
	return a, nil
}

var reasonText = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// longestAfter bounds a retry-after.
const longestAfter = 24 * time.Hour

// verdict is the outcome as a handler of Go returns it.
func (a Answer) verdict() error {
	why := errors.New(clean(a.Why, a.Outcome))
	if a.Reason != "" && !reasonText.MatchString(a.Reason) {
		return wrong("reason is not a word of up to 40 small letters, digits, - and _")
	}
	if a.Reason != "" && a.Outcome != skip && a.Outcome != reject {
		return wrong("a reason is of skip and reject only; say why in \"why\"")
	}
	switch a.Outcome {
	case written:
		return nil
	case unchanged:
		return ct2fluent.Unchanged
	case skip:
		if a.Reason == "" {
			return wrong("skip needs a reason")
		}
		return ct2fluent.Skip(a.Reason)
	case reject:
		if a.Reason != "" {
			return ct2fluent.Reject(ct2fluent.WithReason(a.Reason, why))
		}
		return ct2fluent.Reject(why)
	case retry:
		return why
	case retryAfter:
		if !(a.After >= 0 && a.After <= longestAfter.Seconds()) {
			return wrong("after is 0 to %.0f seconds", longestAfter.Seconds())
		}
		return ct2fluent.RetryAfter(time.Duration(a.After*float64(time.Second)), why)
	case unavailable:
		return ct2fluent.Unavailable(why)
	case unclear:
		return ct2fluent.Unclear(why)
	case "":
		return wrong("no outcome; it is one of %s", strings.Join(Outcomes(), ", "))
	}
	return wrong("its outcome is none of %s", strings.Join(Outcomes(), ", "))
}

// longestWhy is how many bytes of a text from outside are passed on.
const longestWhy = 300

// clean is one line of a text from outside.
func clean(text, otherwise string) string {
	text = printable(text)
	if text == "" {
		return otherwise
	}
	return cut(text, longestWhy)
}

// cleanLine is a line of standard error for the log.
func cleanLine(text []byte) string { return cut(printable(string(text)), longestLine) }

func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " ")))
}

func cut(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

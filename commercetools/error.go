package commercetools

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent/api"
)

// A Kind says what an error means to the caller.
type Kind uint8

const (
	// NotFound: there is no such resource (any more).
	NotFound Kind = iota + 1
	// Refused: this request never will succeed.
	Refused
	// Stopped: the set-up is wrong, credentials, scope or address: nothing
	// will succeed until someone mends it.
	Stopped
	// Limited: too many requests; RetryAfter says how long to wait.
	Limited
	// Down: no answer, or none that means anything. A read may be tried again;
	// a change may have been made.
	Down
	// Conflict: the resource has another version than the change was for.
	// Read it again.
	Conflict
)

func (k Kind) String() string {
	switch k {
	case NotFound:
		return "not found"
	case Refused:
		return "refused"
	case Stopped:
		return "stopped"
	case Limited:
		return "limited"
	case Down:
		return "down"
	case Conflict:
		return "conflict"
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// ErrNotFound is what an [Error] of kind [NotFound] is.
var ErrNotFound = errors.New("not found")

// An Error is why a request failed. Promise 7: it holds what commercetools has
// names for, never a text that it wrote.
type Error struct {
	Operation  string        // what was asked for: "customer", "page", "subscription-update", …
	Kind       Kind          // what the caller is to do
	Status     int           // HTTP status; 0 where there was no answer
	Code       string        // of commercetools or OAuth; or of ours: "unreadable", "unordered", "too-long", "impossible-…"; empty for none
	Field      string        // of the customer, where its value is what cannot be read
	RetryAfter time.Duration // what commercetools asked for; 0 for nothing
	Err        error         // the cause; may be nil
}

func (e *Error) Error() string {
	s := "commercetools: " + e.Operation + ": " + e.Kind.String()
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

// Is tells that e is [ErrNotFound].
func (e *Error) Is(target error) bool { return target == ErrNotFound && e.Kind == NotFound }

// fromFault is the error of a request that has no answer.
func fromFault(operation string, err error) *Error {
	e := &Error{Operation: operation, Kind: Down, Err: err}
	var f *api.Fault
	if errors.As(err, &f) {
		e.Status, e.Code, e.RetryAfter = f.Status, f.Code, f.RetryAfter
		switch f.Reason {
		case api.Refused:
			e.Kind = Stopped
		case api.Limited:
			e.Kind = Limited
		}
	}
	return e
}

// ofOne are the operations that name one resource.
var ofOne = []string{"customer", "subscription", "subscription-update", "subscription-delete"}

// fromAnswer is the error of an answer that is none of 200.
func fromAnswer(operation string, a *api.Answer) *Error {
	code, spoken := codeOf(a)
	e := &Error{Operation: operation, Status: a.Status, Code: code, RetryAfter: a.RetryAfter}
	switch s := a.Status; {
	case s == http.StatusBadRequest && code == "QueryTimedOut", s == http.StatusRequestTimeout:
		e.Kind = Down
	case s == http.StatusTooManyRequests:
		e.Kind = Limited
	case s == http.StatusNotFound && spoken && slices.Contains(ofOne, operation):
		e.Kind = NotFound
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		e.Kind = Stopped
	case s >= 300 && s < 400, s == http.StatusNotFound, s == http.StatusMethodNotAllowed:
		// Something else than commercetools' customers answers there, or the
		// project is unknown. Were it taken for a customer that is gone, all
		// would be.
		e.Kind = Stopped
	case s == http.StatusConflict && code == "ConcurrentModification":
		e.Kind = Conflict
	case s >= 400 && s < 500:
		e.Kind = Refused
	default:
		e.Kind = Down
	}
	return e
}

// A code is a word, such as InvalidInput or insufficient_scope.
var codeWord = regexp.MustCompile(`^[A-Za-z]{2,40}(_[a-z]{1,20}){0,4}$`)

package ct2fluent

import (
	"errors"
	"fmt"
	"time"
)

// An Outcome is what became of a notification.
type Outcome uint8

const (
	// Written: Fluent answered that it has it.
	Written Outcome = iota
	// IsUnchanged: read and mapped; equal to what was written last.
	IsUnchanged
	// IsMerged: a newer notification of the same resource settled in its batch.
	IsMerged
	// Skipped: no work here; the reason says why.
	Skipped
	// Dead: never will, or tried too often; kept as a dead letter.
	Dead

	// Retry: a fault of the notification; tried again later, and counted.
	Retry
	// Later: to be tried again after a delay that was asked for; not counted.
	Later
	// Held: not this notification's fault; its account is held, nothing counted.
	Held
	// Doubtful: a write was sent and its answer is lost. It comes back as Again.
	Doubtful
)

var outcomeNames = [...]string{"written", "unchanged", "merged", "skipped", "dead", "retry", "later", "held", "unclear"}

func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", o)
}

// Settled tells whether the notification has ended (promise 2).
func (o Outcome) Settled() bool { return o <= Dead }

// Unchanged and Merged are outcomes a Handler returns as they are.
var (
	Unchanged error = &verdict{outcome: IsUnchanged, reason: "unchanged"}
	Merged    error = &verdict{outcome: IsMerged, reason: "merged"}
)

// Skip ends a notification: there is no work here. The reason is counted, so
// keep the number of different reasons small.
func Skip(reason string) error { return &verdict{outcome: Skipped, reason: reason} }

// Reject ends a notification as a dead letter: it never will succeed. The
// reason counted is that of [WithReason], or "rejected".
func Reject(err error) error { return &verdict{outcome: Dead, cause: err} }

// RetryAfter has the notification tried again, not before d has passed. It
// does not count as an attempt: a rate limit is nobody's fault.
func RetryAfter(d time.Duration, err error) error {
	return &verdict{outcome: Later, delay: d, cause: err}
}

// Unavailable says that this is not the notification's fault: a target down, a
// permission lost. Its account is held and no attempt is burnt.
func Unavailable(err error) error { return &verdict{outcome: Held, cause: err} }

// Unclear says that a write was sent and its outcome is not known. The
// notification comes back as Again once the write can no longer land.
func Unclear(err error) error { return &verdict{outcome: Doubtful, cause: err} }

// WithReason names the reason under which err is counted when it ends a
// notification: a word of a small set, such as "mapping" or "stale-read".
func WithReason(reason string, err error) error { return &reasoned{reason, err} }

type verdict struct {
	outcome Outcome
	reason  string
	delay   time.Duration
	cause   error
}

func (v *verdict) Error() string {
	switch {
	case v.cause != nil:
		return v.cause.Error()
	case v.outcome == Skipped:
		return "skipped: " + v.reason
	}
	return v.outcome.String()
}

func (v *verdict) Unwrap() error { return v.cause }

type reasoned struct {
	reason string
	err    error
}

func (r *reasoned) Error() string { return r.err.Error() }
func (r *reasoned) Unwrap() error { return r.err }

// OutcomeOf reads what a Handler returned for a notification: the outcome, the
// reason under which it is counted (empty for written, unchanged and merged,
// and where none was given), and the delay that was asked for.
func OutcomeOf(err error) (o Outcome, reason string, delay time.Duration) {
	if err == nil {
		return Written, "", 0
	}
	var r *reasoned
	if errors.As(err, &r) {
		reason = r.reason
	}
	var v *verdict
	if !errors.As(err, &v) {
		return Retry, reason, 0
	}
	switch v.outcome {
	case Skipped:
		reason = v.reason
	case Dead:
		if reason == "" {
			reason = "rejected"
		}
	}
	return v.outcome, reason, v.delay
}

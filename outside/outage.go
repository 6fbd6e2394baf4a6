package outside

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// An outage is whether a handler is down: of itself, and not because of a
// notification. What it was to work waits and counts no attempt, and the
// account goes on with what other handlers work (promise 6). It is safe for
// concurrent use.
type outage struct {
	name string
	log  *slog.Logger

	mu    sync.Mutex
	since time.Time // zero: it works
	why   string

	// Of a service, which has no process whose start can be put off.
	well  bool // it has worked since it last refused
	fails int
	until time.Time // it is not asked before
}

// down notes why nothing can be asked, and answers the notification: it comes
// again after wait. The log tells it once until the handler works.
func (o *outage) down(why error, wait time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.note(why, wait)
}

func (o *outage) note(why error, wait time.Duration) error {
	o.why = why.Error()
	if o.since.IsZero() {
		o.since = time.Now()
		o.log.Error("handler is down; what it is to work waits", "why", o.why)
	}
	return ct2fluent.RetryAfter(wait, fmt.Errorf("handler %s is down: %w; it is tried again in %v", o.name, why, wait.Round(100*time.Millisecond)))
}

// unasked is not nil while a service is not to be asked.
func (o *outage) unasked() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	wait := time.Until(o.until)
	if wait <= 0 {
		return nil
	}
	return ct2fluent.RetryAfter(wait, fmt.Errorf("handler %s is down: %s", o.name, o.why))
}

// refused notes that a service which was asked at began could not work, and
// puts off the next question. Those that were asked together count once.
func (o *outage) refused(began time.Time, why error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !began.Before(o.until) {
		o.fails++
		o.until = time.Now().Add(restartDelay(o.fails))
	}
	return o.note(why, max(time.Until(o.until), time.Millisecond))
}

// doubtful tells, of a refusal, whether the service worked until now: then the
// fault may be the notification's, and the company of its route has to decide.
// Of the next refusal it is not, unless the service has worked in between.
func (o *outage) doubtful() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	well := o.well
	o.well = false
	return well
}

// works notes that the handler has answered.
func (o *outage) works() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		o.log.Info("handler works again", "was down for", time.Since(o.since).Round(time.Millisecond).String())
	}
	o.since, o.why, o.fails, o.until, o.well = time.Time{}, "", 0, time.Time{}, true
}

// Down tells since when the handler is down and why; "" where it works, as far
// as is known.
func (o *outage) Down() (since time.Time, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since, o.why
}

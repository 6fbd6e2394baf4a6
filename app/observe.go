package app

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/api"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/inbox"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/queue"
	"github.com/ct2fluent/ct2fluent/store"
)

// An observer leads what the stations tell to the metrics.
type observer struct {
	metrics *control.Metrics
	// refused is why the last body could not be kept; nil: it was.
	refused atomic.Pointer[refusal]
}

type refusal struct {
	err error
	at  time.Time
}

// full is why bodies cannot be kept now. A refusal counts for a while only:
// who sends nothing because of it would never find out that there is room
// again.
func (o *observer) full() error {
	r := o.refused.Load()
	kept := r == nil || !errors.Is(r.err, ct2fluent.ErrFull) && !errors.Is(r.err, store.ErrUnreachable)
	if kept || time.Since(r.at) > refusalCounts {
		return nil
	}
	return r.err
}

const refusalCounts = 5 * time.Second

func newObserver(version string, c *Config) *observer {
	return &observer{metrics: control.NewMetrics(version, projects(c)...)}
}

func (o *observer) call(c api.Call) {
	o.metrics.Call(c.API, c.Operation, c.Status, c.Code, c.Took)
	if c.Repeat {
		o.metrics.Retry(c.API, c.Operation, c.Status)
	}
}

func (o *observer) received(r inbox.Received) {
	if r.Err != nil {
		o.refused.Store(&refusal{r.Err, time.Now()})
		o.metrics.Warn("put-failed")
		return
	}
	o.refused.Store(nil)
	o.metrics.Received(r.Source, r.Notifications)
}

func (o *observer) source(name string) func(string, int) {
	return func(event string, n int) { o.metrics.Source(name, event, n) }
}

func (o *observer) reached(name string) func(time.Time) {
	return func(upTo time.Time) { o.metrics.Reached(name, upTo) }
}

func (o *observer) handled(handler string, size int, took time.Duration) {
	o.metrics.Batch("handle", size)
	o.metrics.Stage("handle", took)
}

func (o *observer) queue() queue.Observe {
	return queue.Observe{
		Put: func(n int, took time.Duration) {
			o.metrics.Batch("put", n)
			o.metrics.Stage("put", took)
		},
		Batch: func(_ string, _ bool, n int, took time.Duration) {
			o.metrics.Batch("work", n)
			o.metrics.Stage("work", took)
		},
	}
}

func (o *observer) ledger() ledger.Observe {
	return ledger.Observe{
		Outcome: func(outcome ct2fluent.Outcome, reason string, n int) { o.metrics.Outcome(outcome.String(), reason, n) },
		Settle: func(n int, took time.Duration) {
			o.metrics.Batch("settle", n)
			o.metrics.Stage("settle", took)
		},
	}
}

func (o *observer) customer() customer.Observe {
	return customer.Observe{
		Stage: func(_, stage string, n int, took time.Duration) {
			o.metrics.Batch(stage, n)
			o.metrics.Stage(stage, took)
		},
		Collision: func(string) { o.metrics.Warn("username-taken") },
		Adopted:   func(string) { o.metrics.Warn("adopted") },
		Twin:      func(string) { o.metrics.Warn("twin-in-fluent") },
	}
}

package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/api"
)

// Work hands batches to h until ctx is done, by Options.Workers calls at once.
// Then it lets the batches at hand finish: for Options.StopTimeout, after
// which the context of the calls is cancelled. It returns nil once all calls
// have returned and what they settled is saved; the error is that of saving.
// One call of Work at a time.
func (q *Queue) Work(ctx context.Context, h ct2fluent.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(q.closing, stop)()

	// What is at hand outlives the signal, within a limit.
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		q.wakeAll()
		limit := time.AfterFunc(q.stopTimeout, cancel)
		context.AfterFunc(handling, func() { limit.Stop() })
	})()

	q.mu.Lock()
	if q.working || q.closing.Err() != nil {
		q.mu.Unlock()
		return errors.New("work: the queue is closed, or another call works it")
	}
	q.working = true
	q.workers.Add(1)
	q.mu.Unlock()

	var calls sync.WaitGroup
	for range q.schedule.Workers {
		calls.Go(func() {
			for b := q.next(ctx); b != nil; b = q.next(ctx) {
				q.handle(handling, h, b)
			}
		})
	}
	calls.Wait()

	saving, done := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
	defer done()
	err := q.save(saving, true, false)
	q.mu.Lock()
	q.working = false
	q.mu.Unlock()
	q.workers.Done()
	return err
}

func (q *Queue) wakeAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ready.Broadcast()
	q.covered.Broadcast()
}

// next waits for a batch; nil once ctx is done.
func (q *Queue) next(ctx context.Context) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil {
		now := time.Now()
		if q.shut != nil {
			q.ready.Wait() // the keeper wakes
			continue
		}
		b := q.schedule.next(now)
		if b == nil {
			if due := q.schedule.due(now); !due.IsZero() {
				q.alarm.Reset(due.Sub(now))
			}
			q.ready.Wait()
			continue
		}
		q.ready.Signal() // there may be more
		if !q.cover(ctx, b) {
			q.schedule.release(b, time.Now())
			return nil
		}
		if q.schedule.stopped(b) {
			q.schedule.release(b, time.Now())
			continue
		}
		return b
	}
	return nil
}

// handle has h work a batch and takes it back.
func (q *Queue) handle(ctx context.Context, h ct2fluent.Handler, b *batch) {
	begin := time.Now()
	errs := call(ctx, q.log, h, b)
	now := time.Now()

	q.mu.Lock()
	fresh := make([]bool, len(b.items))
	for i, it := range b.items {
		fresh[i] = !it.tried
	}
	since := b.account.since
	changed := q.schedule.done(b, errs, now)
	for i, it := range b.items {
		it.lane.back(it, fresh[i])
		if it.lane.reading {
			it.lane.kick()
		}
	}
	why := b.account.why
	q.mu.Unlock()

	q.observe.Batch(b.account.name, b.bulk, len(b.items), now.Sub(begin))
	switch changed {
	case nowHeld:
		q.log.Warn("project is held: its work waits until it can go on", "project", b.account.name, "why", why)
	case nowLifted:
		q.log.Info("project goes on", "project", b.account.name, "after", now.Sub(since))
	}
}

// isVerdict tells whether the handler has said what err means.
func isVerdict(err error) bool {
	o, _, _ := ct2fluent.OutcomeOf(err)
	return o != ct2fluent.Retry
}

// call calls h. Whatever h does, there is one answer for each notification.
func call(ctx context.Context, log *slog.Logger, h ct2fluent.Handler, b *batch) (errs []error) {
	all := func(err error) []error {
		errs := make([]error, len(b.items))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer func() {
		if p := recover(); p != nil {
			// What was panicked with may hold a body (promise 7).
			log.Error("handler panicked", "project", b.account.name, "notifications", len(b.items),
				"type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			errs = all(fmt.Errorf("handler panicked with a %T", p))
		}
	}()
	if b.bulk {
		ctx = api.Yield(ctx)
	}
	errs = h.Handle(ctx, b.notifications())
	if len(errs) != len(b.items) {
		err := fmt.Errorf("handler answered %d of %d notifications", len(errs), len(b.items))
		log.Error("handler is wrong", "project", b.account.name, "error", err)
		return all(err)
	}
	if ctx.Err() == nil {
		return errs
	}
	for i, err := range errs {
		// A stop is no fault of the notification. Whether it was written is not
		// known when its call was cut off.
		if errors.Is(err, context.Canceled) && !isVerdict(err) {
			errs[i] = ct2fluent.Unclear(err)
		}
	}
	return errs
}

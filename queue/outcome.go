package queue

import (
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A change is what a batch did to the state of its account.
type change uint8

const (
	noChange change = iota
	nowHeld
	nowLifted
)

// done takes a batch back: errs says for each of its notifications what became
// of it. It tells whether the account is held now, or no longer.
func (s *schedule) done(b *batch, errs []error, now time.Time) change {
	s.clock++
	a := b.account
	a.busy--
	s.busy--
	if b.bulk {
		s.bulkBusy--
		a.bulkBusy--
	}
	var sum summary
	for i, err := range errs {
		if sum.add(err) == ct2fluent.Written {
			by := s.routeOf(&b.items[i].n)
			a.writtenBy[by] = max(a.writtenBy[by], b.start)
		}
	}
	if sum.written {
		a.writtenAt = max(a.writtenAt, b.start)
	}
	// What was handed out after this batch and is written already shows that
	// the account works: a failure among many is no reason to hold it.
	company := sum.written || a.writtenAt > b.start
	hold := false
	for from := 0; from < len(b.items); {
		r, to := b.items[from].of, from
		for to < len(b.items) && b.items[to].of == r {
			to++
		}
		hold = s.back(r, b, b.items[from:to], errs[from:to], company, now) || hold
		from = to
	}
	if b.probe {
		a.probing = false
		return s.probed(a, sum, now)
	}
	switch {
	case hold && !a.held:
		a.held, a.why = true, sum.why
		if a.since.IsZero() {
			a.since, a.delay = now, s.Delays.Hold
		} else {
			a.delay = min(2*a.delay, s.Delays.HoldMax)
		}
		a.until = now.Add(a.delay)
		return nowHeld
	case !a.held && a.limit > 0 && !sum.failed && !sum.later:
		s.recover(a, sum)
	}
	return noChange
}

// A summary is what the outcomes of a batch say of its account.
type summary struct {
	written  bool
	answered bool // an API was asked and answered
	failed   bool // held or unclear
	later    bool
	why      string
}

func (m *summary) add(err error) ct2fluent.Outcome {
	o, _, _ := ct2fluent.OutcomeOf(err)
	switch o {
	case ct2fluent.Written:
		m.written, m.answered = true, true
	case ct2fluent.IsUnchanged, ct2fluent.Dead, ct2fluent.Retry:
		m.answered = true
	case ct2fluent.Held, ct2fluent.Doubtful:
		m.failed = true
		if m.why == "" {
			m.why = err.Error()
		}
	case ct2fluent.Later:
		m.later = true
	}
	return o
}

// routeOf is the route that a notification takes, as far as routes are told.
func (s *schedule) routeOf(n *ct2fluent.Notification) string {
	if s.Route == nil {
		return ""
	}
	return s.Route(n)
}

// fewer is by how much the batches shrink in which resources come again that
// failed together while others were written.
const fewer = 8

// back applies the outcomes of one resource. It tells whether they are a
// reason to hold the account.
func (s *schedule) back(r *resource, b *batch, items []*item, errs []error, company bool, now time.Time) (hold bool) {
	r.busy = false
	held, failed, route := false, false, ""
	for i, err := range errs {
		switch o, _, _ := ct2fluent.OutcomeOf(err); o {
		case ct2fluent.Held, ct2fluent.Doubtful:
			held, failed = held || o == ct2fluent.Held, true
			route = s.routeOf(&items[i].n)
		case ct2fluent.Written, ct2fluent.IsUnchanged, ct2fluent.Dead:
			r.failing, r.alone, r.together = false, false, 0
		}
	}
	counted := failed && s.failed(r, b, route)
	if n := b.resources(); failed && company && n > 1 {
		// One of them may be what hangs: the others shall not wait for it each
		// time they come again.
		r.together = max(1, n/fewer)
	}
	for i, it := range items {
		o, _, delay := ct2fluent.OutcomeOf(errs[i])
		if o.Settled() {
			it.settled = true
			continue
		}
		it.tried = it.tried || o != ct2fluent.Held || counted
		switch {
		case o == ct2fluent.Retry, o == ct2fluent.Held && counted:
			it.n.Attempts++
			it.wait(now.Add(s.backoff(it.n.Attempts)), true)
		case o == ct2fluent.Later:
			if delay <= 0 {
				delay = s.Delays.Retry
			}
			it.wait(now.Add(delay), true)
		case o == ct2fluent.Doubtful:
			// Convergence rule 3: the write may land until then, and newer ones
			// may pass meanwhile.
			it.n.Again = true
			delay := s.UnclearWait
			if counted {
				it.n.Attempts++
				delay = max(delay, s.backoff(it.n.Attempts))
			}
			it.wait(now.Add(delay), false)
		case company:
			// Others were written meanwhile, so the account is not held; this one
			// must not spin.
			it.wait(now.Add(s.Delays.Hold), true)
		}
	}
	unsettled := r.items[:0]
	for _, it := range r.items {
		if !it.settled {
			unsettled = append(unsettled, it)
		}
	}
	clear(r.items[len(unsettled):])
	r.items = unsettled
	s.place(r, now)
	return held && !counted && !company
}

func (it *item) wait(until time.Time, blocks bool) {
	it.notBefore, it.blocks = until, blocks
}

// comes is called when an item is taken in. One that was put as Again has come
// back to another queue, or under another number: until is D from now.
func (it *item) comes(until time.Time) {
	if it.n.Again && !it.tried {
		it.mayHaveWritten(until)
	}
}

// mayHaveWritten marks one that was at hand, or may have been, when its queue
// crashed (convergence rule 5). until is D after that: rule 3.
func (it *item) mayHaveWritten(until time.Time) {
	it.n.Again, it.tried = true, true
	if it.notBefore.Before(until) {
		it.wait(until, false)
	}
}

// failed notes that r could not be worked and nobody knows whose fault that
// is. It tells whether it was r's own and counts as an attempt: r was in the
// batch alone, had failed before, and between the two failures another
// resource of the account was handed out and written, by the same route: a
// handler of another one may be well. While an account or a handler is down
// nothing that was handed out since is written, so an outage counts for nobody,
// however long it is.
//
// Only written is a proof: what is unchanged or cannot be mapped asked
// commercetools alone. Which of several in a batch it was is found by handing
// them out alone the next time.
func (s *schedule) failed(r *resource, b *batch, route string) bool {
	proven := r.failing && b.account.writtenBy[route] > r.failedAt
	r.failing, r.failedAt = true, s.clock
	if proven && !b.only {
		r.alone = true
	}
	return proven && b.only
}

// probed decides what the answer to a probe means for its held account.
func (s *schedule) probed(a *account, sum summary, now time.Time) change {
	switch {
	case sum.answered:
		a.held, a.limit = false, 1
		if sum.written {
			a.recovered()
		}
		return nowLifted
	case sum.failed:
		a.why = sum.why // another trouble may have taken the place of the first
		a.delay = min(2*a.delay, s.Delays.HoldMax)
		a.until = now.Add(a.delay)
	case sum.later:
		a.until = now.Add(a.delay)
	default:
		a.until = now // nothing was asked: the next probe may go at once
	}
	return noChange
}

// recover lets the batches of an account grow again after a hold. The trouble
// is over when something was written, or when full batches go well: until
// then a new hold goes on where the last one ended.
func (s *schedule) recover(a *account, sum summary) {
	a.limit *= 2
	if a.limit >= s.BatchSize {
		a.limit = 0
	}
	if a.limit == 0 || sum.written {
		a.recovered()
	}
}

func (a *account) recovered() { a.since, a.delay = time.Time{}, 0 }

// backoff doubles with each attempt. Up to a fifth more keeps those that
// failed together from coming back together.
func (s *schedule) backoff(attempts int) time.Duration {
	d := s.Delays.RetryMax
	if n := attempts - 1; n < 30 {
		d = min(d, s.Delays.Retry<<n)
	}
	return d + time.Duration(float64(d)*s.Jitter()/5)
}

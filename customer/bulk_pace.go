package customer

import (
	"context"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// look is how often a run looks whether it may go on, and tells how far it is.
const look = 50 * time.Millisecond

// A pace holds the readers of a run to its rate.
type pace struct {
	mu      sync.Mutex
	next    time.Time
	samples []sample
}

type sample struct {
	at   time.Time
	done int
}

// turn gives the time at which n more customers may be put.
func (p *pace) turn(n int, rate float64) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	at := p.next
	p.next = p.next.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	return at
}

// window is over how long the rate is told.
const window = 10 * time.Second

// rate is how many customers a second were done of late.
func (p *pace) rate(done int) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if n := len(p.samples); n == 0 || now.Sub(p.samples[n-1].at) >= window/50 {
		p.samples = append(p.samples, sample{now, done})
	}
	for len(p.samples) > 1 && now.Sub(p.samples[1].at) > window {
		p.samples = p.samples[1:]
	}
	first := p.samples[0]
	if took := now.Sub(first.at).Seconds(); took > 0.2 {
		return float64(done-first.done) / took
	}
	return 0
}

// room waits until these may be put: the work of the account goes on, few
// enough of the run wait, and the rate allows it. Those of the run count as
// read from then on, unless they did before.
func (r *bulkRun) room(ctx context.Context, ns []ct2fluent.Notification, again bool) error {
	if r.spec.Rate > 0 {
		sleep(ctx, time.Until(r.pace.turn(len(ns), r.spec.Rate)))
	}
	n := 0
	for i := range ns {
		if ns[i].Run != "" && !again {
			n++
		}
	}
	held := ""
	for ctx.Err() == nil {
		why := r.Waits()
		if why != held {
			held = why
			r.setWhy(why)
		}
		if why == "" && r.take(n) {
			return nil
		}
		sleep(ctx, look)
	}
	return ctx.Err()
}

// take counts n customers as read, if so many more may wait.
func (r *bulkRun) take(n int) bool {
	settled := r.Ledger.Counts(r.id).settled()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read+n-settled > maxOutstanding {
		return false
	}
	r.read += n
	return true
}

func (r *bulkRun) addRead(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read += n
}

// lostAfter is how long the queue has to be empty until what the run still
// waits for is taken to be nowhere.
const lostAfter = 5 * time.Second

// settle waits until all that was read is settled, and what was put again.
func (r *bulkRun) settle(ctx context.Context) error {
	var idle time.Time
	for ctx.Err() == nil {
		p := r.progress()
		if err := r.confirm(ctx); err != nil {
			return err
		}
		if why := r.Waits(); why != p.Why {
			r.setWhy(why)
		}
		if p.Outstanding == 0 && !r.repeats() {
			return nil
		}
		switch now := time.Now(); {
		case !r.Idle():
			idle = time.Time{}
		case idle.IsZero():
			idle = now
		case now.Sub(idle) > lostAfter && p.Outstanding == 0:
			r.calm()
			return r.confirm(ctx)
		case now.Sub(idle) > lostAfter:
			// A reading that gives a customer twice, or somebody else who has
			// removed notifications: to wait for them would be for ever.
			r.keep.Log().Warn("fewer customers settled than were read, and none waits: they came twice, or were removed from the queue",
				"read", p.Read, "settled", p.Read-p.Outstanding)
			r.addRead(-p.Outstanding)
			r.moved.lost = true
			r.calm()
			return r.confirm(ctx)
		}
		sleep(ctx, look)
	}
	return ctx.Err()
}

// progress is how far the run is now.
func (r *bulkRun) progress() BulkProgress {
	// What is settled is asked before what was read: then nothing is negative.
	counts := r.Ledger.Counts(r.id)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := BulkProgress{Read: r.read, Total: r.total, Counts: counts, Phase: r.phase, Why: r.why}
	done := counts.settled()
	if r.spec.DryRun {
		done = r.read
		p.Differs = sumUp(r.sum)
	}
	p.Outstanding = max(0, r.read-done)
	if r.total > 0 {
		p.Total = max(r.total, r.read)
	}
	p.Rate = r.pace.rate(done)
	if left := p.Total - done; left > 0 && p.Rate > 0 {
		p.ETASeconds = int64(float64(left)/p.Rate + 0.5)
	}
	return p
}

func (r *bulkRun) tell() { r.keep.Tell(r.progress()) }

// tellEvery is how often the run says how far it is.
const tellEvery = 250 * time.Millisecond

func (r *bulkRun) tellOn(ctx context.Context) {
	for ctx.Err() == nil {
		r.tell()
		sleep(ctx, tellEvery)
	}
}

func (r *bulkRun) setPhase(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase, r.why = phase, ""
	if phase != phaseReading {
		r.total = r.read
	}
}

func (r *bulkRun) setWhy(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = why
}

func (r *bulkRun) setSum(i int, sum *Comparison) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum[i] = sum
}

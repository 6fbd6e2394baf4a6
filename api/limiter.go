package api

import (
	"container/list"
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// LimiterOptions are the options of a [Limiter].
type LimiterOptions struct {
	Max  int           // requests at once, at most; default 20
	Rate float64       // requests started in a second, at most; default 0: no ceiling
	Slow time.Duration // an answer that took longer is a sign of overload; default 5 s
	// LongestWait is how long Acquire waits for a pause the API asked for; a
	// longer one is told the caller at once. Default 10 s.
	LongestWait time.Duration
}

// longestPause bounds what a server may ask for: a mistaken Retry-After must
// not stop the work for a day.
const longestPause = 5 * time.Minute

// A Limiter finds out how many requests at once an API bears. The number grows
// by one for each round of good and quick answers, and is halved, once a round,
// by an answer that says "too much"; slow answers lower it a little. When the
// API asks for a pause, everyone waits. Safe for concurrent use.
type Limiter struct {
	o    LimiterOptions
	rate *rate.Limiter

	mu      sync.Mutex
	limit   float64
	busy    int
	waiting list.List // of chan struct{}, closed when its turn has come
	behind  list.List // of those that yield: served when nobody is waiting
	yielded int       // of busy: those that yield
	cut     time.Time // when the limit was last lowered
	until   time.Time // end of the pause
}

// NewLimiter makes a Limiter that starts at a quarter of its ceiling.
func NewLimiter(o LimiterOptions) *Limiter {
	if o.Max <= 0 {
		o.Max = 20
	}
	if o.Slow <= 0 {
		o.Slow = 5 * time.Second
	}
	if o.LongestWait <= 0 {
		o.LongestWait = 10 * time.Second
	}
	l := &Limiter{o: o, limit: max(1, float64(o.Max)/4)}
	if o.Rate > 0 {
		l.rate = rate.NewLimiter(rate.Limit(o.Rate), 1)
	}
	return l
}

// A Slot is the right to have one request under way.
type Slot struct {
	l      *Limiter
	since  time.Time
	yields bool
}

type yieldKey struct{}

// Yield marks the requests of a context as ones that can wait: they are served
// behind all others, and never take the last slot.
func Yield(ctx context.Context) context.Context { return context.WithValue(ctx, yieldKey{}, true) }

func yields(ctx context.Context) bool { return ctx.Value(yieldKey{}) != nil }

// Acquire waits for a slot; callers are served in the order in which they
// came, those of [Yield] behind the others. An error is a *[Fault]: [Unsent] when ctx is done, [Limited] when the
// API has asked for a pause that is longer than Acquire waits.
func (l *Limiter) Acquire(ctx context.Context) (*Slot, error) {
	if err := l.turn(ctx); err != nil {
		return nil, err
	}
	s := &Slot{l: l, yields: yields(ctx)}
	if err := l.pass(ctx); err != nil {
		s.Done(Mute, 0)
		return nil, err
	}
	s.since = time.Now()
	return s, nil
}

// turn waits until fewer than the limit are busy, and makes the caller one of
// them.
func (l *Limiter) turn(ctx context.Context) error {
	if ctx.Err() != nil {
		return &Fault{Reason: Unsent, Err: context.Cause(ctx)}
	}
	line, yields := &l.waiting, yields(ctx)
	if yields {
		line = &l.behind
	}
	l.mu.Lock()
	if l.waiting.Len() == 0 && line.Len() == 0 && l.free(yields) {
		l.take(yields)
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	place := line.PushBack(turn)
	l.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-turn:
		l.give(yields)
		l.next()
	default:
		line.Remove(place)
	}
	return &Fault{Reason: Unsent, Err: context.Cause(ctx)}
}

// free tells whether there is a slot. Those that yield leave one for who comes
// next, where there is more than one.
func (l *Limiter) free(yields bool) bool {
	limit := int(l.limit)
	if yields && l.yielded >= max(1, limit-1) {
		return false
	}
	return l.busy < limit
}

func (l *Limiter) take(yields bool) {
	l.busy++
	if yields {
		l.yielded++
	}
}

func (l *Limiter) give(yields bool) {
	l.busy--
	if yields {
		l.yielded--
	}
}

// pass waits for the end of a pause and for the rate.
func (l *Limiter) pass(ctx context.Context) error {
	for {
		l.mu.Lock()
		pause := time.Until(l.until)
		l.mu.Unlock()
		if pause <= 0 {
			break
		}
		if pause > l.o.LongestWait {
			return &Fault{Reason: Limited, RetryAfter: pause}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return &Fault{Reason: Unsent, Err: context.Cause(ctx)}
		}
	}
	if l.rate == nil {
		return nil
	}
	if err := l.rate.Wait(ctx); err != nil {
		return &Fault{Reason: Unsent, Err: context.DeadlineExceeded}
	}
	return nil
}

// A Sign is what an answer tells a Limiter.
type Sign uint8

const (
	Mute    Sign = iota // nothing: the request was not sent, or its caller went away
	Good                // an answer of any kind, quick or slow
	TooMuch             // 429, 503, C0011E, or no answer in time
)

// Done gives the slot back. pause is what the API asked for, 0 for none.
func (s *Slot) Done(sign Sign, pause time.Duration) {
	l, now := s.l, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := now.Add(min(pause, longestPause)); pause > 0 && until.After(l.until) {
		l.until = until
	}
	took := now.Sub(s.since)
	switch {
	case sign == TooMuch:
		l.lower(s, now, 0.5)
	case sign == Good && took > l.o.Slow:
		l.lower(s, now, 0.9)
	case sign == Good && took <= l.o.Slow/2 && (l.busy >= int(l.limit) || !l.free(s.yields)):
		l.limit = min(l.limit+1/l.limit, float64(l.o.Max))
	}
	l.give(s.yields)
	l.next()
}

// lower shrinks the limit, once for all requests that were under way together:
// what they say is one piece of news.
func (l *Limiter) lower(s *Slot, now time.Time, by float64) {
	if s.since.Before(l.cut) {
		return
	}
	l.limit, l.cut = max(1, l.limit*by), now
}

func (l *Limiter) next() {
	for l.free(false) && l.waiting.Len() > 0 {
		l.take(false)
		close(l.waiting.Remove(l.waiting.Front()).(chan struct{}))
	}
	for l.waiting.Len() == 0 && l.behind.Len() > 0 && l.free(true) {
		l.take(true)
		close(l.behind.Remove(l.behind.Front()).(chan struct{}))
	}
}

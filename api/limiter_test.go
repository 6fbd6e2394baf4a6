package api

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func acquire(t *testing.T, l *Limiter) *Slot {
	t.Helper()
	s, err := l.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func limit(l *Limiter) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.limit)
}

// work has n callers at once send a request after the other for d; each takes
// took and ends with sign. It returns how many were under way at most.
func work(t *testing.T, l *Limiter, n int, d, took time.Duration, sign Sign) (most int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var mu sync.Mutex
	busy := 0
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for {
				s, err := l.Acquire(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				busy++
				most = max(most, busy)
				mu.Unlock()
				time.Sleep(took)
				mu.Lock()
				busy--
				mu.Unlock()
				s.Done(sign, 0)
			}
		})
	}
	wg.Wait()
	return most
}

func TestLimiterAdapts(t *testing.T) {
	quick, slow := 100*time.Millisecond, 6*time.Second
	tests := []struct {
		name     string
		callers  int
		d, took  time.Duration
		sign     Sign
		min, max int
	}{
		{name: "it begins gently", callers: 1, d: quick, took: quick, sign: Good, min: 5, max: 5},
		{name: "quick answers raise it to the ceiling", callers: 50, d: 10 * time.Second, took: quick, sign: Good, min: 20, max: 20},
		{name: "not while it is not used", callers: 2, d: 10 * time.Second, took: quick, sign: Good, min: 5, max: 5},
		{name: "nor while answers are neither quick nor slow", callers: 50, d: time.Minute, took: 3 * time.Second, sign: Good, min: 5, max: 5},
		{name: "slow answers lower it", callers: 50, d: 5 * time.Minute, took: slow, sign: Good, min: 1, max: 1},
		{name: "too much lowers it, never to nothing", callers: 50, d: 10 * time.Second, took: quick, sign: TooMuch, min: 1, max: 1},
		{name: "what says nothing leaves it", callers: 50, d: 10 * time.Second, took: slow, sign: Mute, min: 5, max: 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := NewLimiter(LimiterOptions{})
				most := work(t, l, tt.callers, tt.d, tt.took, tt.sign)
				if got := limit(l); got < tt.min || got > tt.max {
					t.Errorf("limit %d, want %d to %d", got, tt.min, tt.max)
				}
				if most > 20 {
					t.Errorf("%d requests at once", most)
				}
			})
		})
	}
}

func TestLimiterComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{Max: 8})
		work(t, l, 20, 5*time.Second, 100*time.Millisecond, TooMuch)
		work(t, l, 20, 10*time.Second, 100*time.Millisecond, Good)
		if limit(l) != 8 {
			t.Errorf("limit %d after the API recovered", limit(l))
		}
	})
}

// Twenty requests that are refused together are one piece of news.
func TestLimiterHalvesOnceARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{Max: 80})
		var slots []*Slot
		for range 20 {
			slots = append(slots, acquire(t, l))
		}
		time.Sleep(time.Second)
		for _, s := range slots {
			s.Done(TooMuch, 0)
		}
		if limit(l) != 10 {
			t.Errorf("limit %d, want 10", limit(l))
		}
	})
}

func TestLimiterEveryoneWaitsForThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{})
		s, other := acquire(t, l), acquire(t, l)
		s.Done(TooMuch, 5*time.Second)
		other.Done(Good, 0) // a good answer does not end it
		start := time.Now()
		acquire(t, l).Done(Good, 0)
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("waited %v, want 5 s", waited)
		}
	})
}

func TestLimiterTellsOfALongPause(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 24 * time.Hour: longestPause} {
		synctest.Test(t, func(t *testing.T) {
			l := NewLimiter(LimiterOptions{})
			acquire(t, l).Done(TooMuch, asked)
			start := time.Now()
			_, err := l.Acquire(t.Context())
			var f *Fault
			if !errors.As(err, &f) || f.Reason != Limited || f.RetryAfter != want {
				t.Errorf("asked for %v: %v, want %v to wait", asked, err, want)
			}
			if time.Since(start) != 0 {
				t.Errorf("told after %v", time.Since(start))
			}
			time.Sleep(want)
			acquire(t, l).Done(Good, 0)
		})
	}
}

func TestLimiterServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{Max: 1})
		first := acquire(t, l)
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				s := acquire(t, l)
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				s.Done(Mute, 0)
			})
			synctest.Wait()
		}
		first.Done(Mute, 0)
		wg.Wait()
		for i, got := range order {
			if got != i {
				t.Fatalf("served %v", order)
			}
		}
	})
}

func TestLimiterForgetsWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{Max: 1})
		first := acquire(t, l)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := l.Acquire(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("Acquire = %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		first.Done(Mute, 0)
		acquire(t, l).Done(Mute, 0)
		if l.busy != 0 || l.waiting.Len() != 0 {
			t.Errorf("%d busy, %d waiting", l.busy, l.waiting.Len())
		}
	})
}

func TestLimiterLeavesDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{Max: 1})
		acquire(t, l).Done(TooMuch, 8*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire = %v", err)
		}
		if l.busy != 0 {
			t.Errorf("%d busy", l.busy)
		}
	})
}

func TestLimiterRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{Rate: 10})
		start := time.Now()
		for range 31 {
			acquire(t, l).Done(Good, 0)
		}
		if took := time.Since(start); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("31 requests at 10 a second took %v", took)
		}
	})
}

// Those that yield are served behind all others, and leave a slot for them.
func TestLimiterYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{Max: 12}) // three at once in the beginning
		var served []string
		var mu sync.Mutex
		var waiting sync.WaitGroup
		ask := func(name string, ctx context.Context) {
			waiting.Go(func() {
				s, err := l.Acquire(ctx)
				if err != nil {
					return
				}
				mu.Lock()
				served = append(served, name)
				mu.Unlock()
				time.Sleep(time.Second)
				s.Done(Mute, 0)
			})
			synctest.Wait()
			time.Sleep(time.Millisecond) // so that no two give back at once
		}
		bulk := Yield(t.Context())
		gone, leave := context.WithCancel(bulk)
		for _, name := range []string{"b1", "b2", "b3", "b4"} {
			ask(name, bulk) // two of them have a slot
		}
		ask("gone", gone)
		ask("l1", t.Context()) // has the third at once
		ask("l2", t.Context())
		ask("l3", t.Context())
		leave()
		waiting.Wait()
		if got := strings.Join(served, " "); got != "b1 b2 l1 l2 l3 b3 b4" {
			t.Errorf("served in the order %s", got)
		}
		if l.busy != 0 || l.yielded != 0 || l.behind.Len() != 0 {
			t.Errorf("busy %d, of these yielding %d, waiting %d", l.busy, l.yielded, l.behind.Len())
		}
	})
}

// One slot is for whoever comes.
func TestLimiterYieldsOfOne(t *testing.T) {
	l := NewLimiter(LimiterOptions{Max: 1})
	s, err := l.Acquire(Yield(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	s.Done(Good, 0)
}

// The ceiling is reached by those that yield alone, too.
func TestLimiterAdaptsToThoseThatYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(LimiterOptions{})
		ctx, cancel := context.WithTimeout(Yield(t.Context()), 10*time.Second)
		defer cancel()
		var working sync.WaitGroup
		for range 50 {
			working.Go(func() {
				for s, err := l.Acquire(ctx); err == nil; s, err = l.Acquire(ctx) {
					time.Sleep(100 * time.Millisecond)
					s.Done(Good, 0)
				}
			})
		}
		working.Wait()
		if limit(l) != 20 {
			t.Errorf("the limit is %d", limit(l))
		}
	})
}

package poll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

// A bench runs sources on a shop.
type bench struct {
	*testing.T
	*shop
	basket
	o    Options
	stop func() error

	seen    sync.Mutex // for those below
	log     bytes.Buffer
	events  map[string]int
	reached time.Time
}

// Write takes the log.
func (b *bench) Write(p []byte) (int, error) {
	b.seen.Lock()
	defer b.seen.Unlock()
	return b.log.Write(p)
}

func (b *bench) said() string {
	b.seen.Lock()
	defer b.seen.Unlock()
	return b.log.String()
}

func (b *bench) lag() time.Duration {
	b.seen.Lock()
	defer b.seen.Unlock()
	return time.Since(b.reached)
}

func (b *bench) event(name string) int {
	b.seen.Lock()
	defer b.seen.Unlock()
	return b.events[name]
}

// sizes are the numbers of customers in the bodies that were put.
func (b *bench) sizes() []int {
	b.basket.mu.Lock()
	defer b.basket.mu.Unlock()
	return slices.Clone(b.bodies)
}

// full makes put fail.
func (b *bench) full(err error) {
	b.basket.mu.Lock()
	defer b.basket.mu.Unlock()
	b.basket.err = err
}

// questions is how many pages were asked for.
func (b *bench) questions() int {
	b.shop.mu.Lock()
	defer b.shop.mu.Unlock()
	return b.pages
}

func open(t *testing.T, o Options) *bench {
	b := &bench{T: t, shop: newShop(), events: map[string]int{}}
	o.Project, o.Reader, o.Marks = "shop", b.shop, b.shop
	o.Log = slog.New(slog.NewTextHandler(b, nil))
	o.Observe = func(event string, n int) {
		b.seen.Lock()
		defer b.seen.Unlock()
		b.events[event] += n
	}
	o.Reached = func(t time.Time) {
		b.seen.Lock()
		defer b.seen.Unlock()
		b.reached = t
	}
	b.o = o
	return b
}

// start runs a source, as a process that starts does.
func (b *bench) start() {
	b.Helper()
	s, err := New(b.o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, b.basket.put) }()
	b.stop = func() error { cancel(); return <-done }
	synctest.Wait()
}

func (b *bench) stopped() {
	b.Helper()
	if err := b.stop(); err != nil {
		b.Errorf("Run: %v", err)
	}
}

func (b *bench) all(what string) {
	b.Helper()
	if ids := b.missing(b.shop); len(ids) > 0 {
		b.Errorf("%s: %d customers were not put, such as %s", what, len(ids), ids[0])
	}
}

// From the beginning: everything, in arrays of 500, page after page without a
// pause, the mark after each.
func TestBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{From: beginning})
		for i := range 1700 {
			b.change(fmt.Sprintf("%05d", i), time.Now().Add(-time.Hour), time.Time{})
		}
		began := time.Now()
		b.start()
		b.all("at once")
		if got := fmt.Sprint(b.sizes()); got != "[500 500 500 200]" {
			t.Errorf("bodies of %s", got)
		}
		if time.Since(began) > 0 {
			t.Errorf("it paused for %s", time.Since(began))
		}
		if m := b.mark(t); m.ID != "01699" {
			t.Errorf("mark %+v", m)
		}
		if lag := b.lag(); lag != margin {
			t.Errorf("lag %s, want %s", lag, margin)
		}
		time.Sleep(time.Hour)
		b.stopped()
		if len(b.sizes()) != 4 || b.event("page") < 120 || b.event("customer") != 1700 {
			t.Errorf("bodies %v, %d pages", b.sizes(), b.event("page"))
		}
		if lag := b.lag(); lag > margin+30*time.Second {
			t.Errorf("lag %s while nothing changes", lag)
		}
	})
}

// From now: nothing that was there, everything that changes from the first
// start on, also between the start and a restart.
func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		b.change("old", time.Now().Add(-margin-time.Second), time.Time{})
		// Changed in this moment, by a clock that is behind.
		b.change("late", time.Now().Add(-margin+time.Second), time.Time{})
		b.start()
		b.now("a")
		time.Sleep(time.Second)
		b.stopped()
		b.now("b")
		time.Sleep(time.Hour)
		b.now("c")
		b.start()
		time.Sleep(2 * time.Minute)
		b.stopped()
		if got := b.missing(b.shop); len(got) != 1 || got[0] != "old" {
			t.Errorf("missing %v, want the old one alone", got)
		}
	})
}

// Customers change all the time, many at one moment, become visible late, and
// the process is started again and again: nothing is lost.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 1))
			var rolling sync.Mutex
			roll := func(n int) int {
				rolling.Lock()
				defer rolling.Unlock()
				return dice.IntN(n)
			}
			b := open(t, Options{From: beginning, Every: 10 * time.Second})
			b.limit = 1 + roll(7)
			busy := func() {
				now := time.Now().Truncate(time.Duration(1+roll(3)) * time.Second)
				for range roll(6) {
					b.change(fmt.Sprintf("%02d", roll(60)), now, now.Add(time.Duration(roll(int(margin-5*time.Second)))))
				}
			}
			b.read = func() {
				if roll(4) == 0 {
					busy()
				}
			}
			for range 12 {
				b.start()
				for range roll(40) {
					busy()
					time.Sleep(time.Duration(roll(4000)) * time.Millisecond)
				}
				switch roll(3) {
				case 0:
					b.full(errors.New("full"))
					time.Sleep(time.Duration(roll(100)) * time.Second)
					b.full(nil)
				case 1:
					b.fail(nil, errors.New("no room"))
					time.Sleep(time.Duration(roll(100)) * time.Second)
					b.fail(nil, nil)
				}
				b.stopped()
			}
			b.read = nil
			b.start()
			time.Sleep(5 * time.Minute)
			b.stopped()
			b.all(fmt.Sprintf("seed %d", seed))
		})
	}
}

func (b *bench) fail(read, mark error) {
	b.shop.mu.Lock()
	defer b.shop.mu.Unlock()
	b.readErr, b.markErr = read, mark
}

// While commercetools fails it is asked later and later, and as it wishes.
func TestBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{From: beginning})
		b.fail(&commercetools.Error{Operation: "changes", Kind: commercetools.Down}, nil)
		b.now("a")
		b.start()
		time.Sleep(10 * time.Minute)
		if n := b.questions(); n < 10 || n > 30 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		before := b.questions()
		b.fail(&commercetools.Error{Operation: "changes", Kind: commercetools.Limited, RetryAfter: 10 * time.Minute}, nil)
		time.Sleep(19 * time.Minute)
		if n := b.questions() - before; n > 2 {
			t.Errorf("asked %d times while it was asked to wait", n)
		}
		b.fail(nil, nil)
		time.Sleep(10 * time.Minute)
		b.all("it works again")
		b.stopped()
		if n := strings.Count(b.said(), "cannot be read"); n != 1 || !strings.Contains(b.said(), "can be read again") {
			t.Errorf("log:\n%s", b.said())
		}
		if lag := b.lag(); lag > 2*margin {
			t.Errorf("lag %s", lag)
		}
	})
}

// The lag grows while nothing can be put.
func TestLagGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		b.start()
		b.full(errors.New("full"))
		b.now("a")
		time.Sleep(time.Hour)
		if lag := b.lag(); lag < 58*time.Minute {
			t.Errorf("lag %s", lag)
		}
		b.stopped()
	})
}

// What is not in the order that was asked for ends the run with a remedy, and
// the mark stays.
func TestUnordered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{From: beginning})
		b.change("a", time.Now().Add(-time.Hour), time.Time{})
		b.start()
		before := b.mark(t)
		b.fail(&commercetools.Error{Operation: "changes", Kind: commercetools.Stopped, Code: "unordered"}, nil)
		time.Sleep(time.Hour)
		err := b.stop()
		if err == nil || !strings.Contains(err.Error(), "unordered") || !strings.Contains(err.Error(), "see whether a proxy stands between") || !strings.Contains(err.Error(), before.At) {
			t.Errorf("Run: %v", err)
		}
		if b.mark(t) != before || b.questions() != 2 {
			t.Errorf("mark %+v after %d pages", b.mark(t), b.questions())
		}
	})
}

// A from that has changed takes the mark back, never on: what lies between has
// not been read.
func TestFromChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(24 * time.Hour)
		b := open(t, Options{})
		start := time.Now()
		b.change("old", start.Add(-time.Hour), time.Time{})
		b.change("ancient", start.Add(-20*time.Hour), time.Time{})
		run := func(from time.Time) {
			b.o.From = from
			b.start()
			time.Sleep(2 * time.Minute)
			b.stopped()
		}
		expect := func(what string, ids ...string) {
			t.Helper()
			got := b.missing(b.shop)
			slices.Sort(got)
			if !slices.Equal(got, ids) {
				t.Errorf("%s: missing %v, want %v", what, got, ids)
			}
		}
		run(time.Time{})
		expect("from now", "ancient", "old")
		run(start.Add(-2 * time.Hour))
		expect("from two hours before", "ancient")
		bodies := len(b.sizes())
		run(start.Add(-2 * time.Hour))
		if len(b.sizes()) != bodies {
			t.Error("the same from begins anew at each start")
		}
		b.now("new")
		run(time.Time{})
		expect("from now once more", "ancient")
		run(beginning)
		expect("from the beginning")
	})
}

// A mark that lies in the future, by a from of before or by a clock that was set
// back, would have nothing read for as long, and the lag would be none.
func TestMarkInTheFuture(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ahead time.Duration // of now
		back  bool
	}{
		{"by decades", 300_000 * time.Hour, true},
		{"by an hour", time.Hour, true},
		{"by a bit more than clocks may differ", time.Second, true},
		{"by what clocks may differ", 0, false},
		{"by nothing", -margin, false},
	} {
		for _, from := range []time.Time{{}, beginning} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := open(t, Options{From: from})
					n := note{commercetools.Mark{At: stamp(time.Now().Add(tt.ahead))}, ""}
					if from.Equal(beginning) {
						n.From = stamp(from)
					}
					text, err := json.Marshal(n)
					if err != nil {
						t.Fatal(err)
					}
					b.marks["shop"] = string(text)
					b.start()
					b.now("a")
					time.Sleep(3 * time.Minute)
					b.all("three minutes later")
					if said := strings.Count(b.said(), "lies in the future"); said > 1 || (said == 1) != tt.back || (b.event("mark-ahead") == 1) != tt.back {
						t.Errorf("said %d times, %d events", said, b.event("mark-ahead"))
					}
					if tt.back && !strings.Contains(b.said(), "--changed-since") {
						t.Errorf("no remedy: %s", b.said())
					}
					if lag := b.lag(); lag < margin || lag > 2*margin {
						t.Errorf("lag %s", lag)
					}
					b.stopped()
				})
			})
		}
	}
}

// While a mark in the future cannot be taken back, the lag grows.
func TestMarkInTheFutureThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		b.marks["shop"] = `{"at":"2999-01-01T00:00:00.000Z"}`
		s, err := New(b.o)
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := &run{Source: s, put: b.basket.put, work: t.Context(), mark: n}
		b.fail(nil, errors.New("no room"))
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := r.step(ctx); err != nil {
			t.Fatal(err)
		}
		if lag := b.lag(); lag < time.Hour {
			t.Errorf("lag %s", lag)
		}
	})
}

func TestMarkThatCannotBeRead(t *testing.T) {
	for _, text := range []string{"x", "{}", `{"at":"yesterday"}`} {
		b := open(t, Options{})
		b.marks["shop"] = text
		s, _ := New(b.o)
		if err := s.Run(t.Context(), b.basket.put); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s: %v", text, err)
		}
	}
	b := open(t, Options{})
	b.markErr = errors.New("no route to host")
	s, _ := New(b.o)
	if err := s.Run(t.Context(), b.basket.put); !errors.Is(err, b.markErr) {
		t.Errorf("no ledger: %v", err)
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("made without a project")
	}
	if _, err := New(open(t, Options{From: time.Now().Add(time.Hour)}).o); err == nil || !strings.Contains(err.Error(), "from lies in the future") {
		t.Errorf("from an hour on: %v", err)
	}
	b := open(t, Options{Name: "first"})
	first, _ := New(b.o)
	second, _ := New(b.o)
	if err := second.Join(first); err == nil || !strings.Contains(err.Error(), `is asked by listener "first" already`) {
		t.Errorf("one project twice: %v", err)
	}
	if err := first.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	b.readErr = errors.New("down")
	if err := first.Check(t.Context()); !errors.Is(err, b.readErr) {
		t.Errorf("check: %v", err)
	}
}

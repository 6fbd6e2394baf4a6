package inbox

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

type put = func(ctx context.Context, body []byte) error

// A fakeSource is a Run.
type fakeSource func(ctx context.Context, put put) error

func (f fakeSource) Run(ctx context.Context, put func(context.Context, []byte) error) error {
	return f(ctx, put)
}

// A shelf keeps what is put until it is full.
type shelf struct {
	mu    sync.Mutex
	calls [][]ct2fluent.Notification
	err   error
}

func (s *shelf) put(_ context.Context, ns ...ct2fluent.Notification) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.calls = append(s.calls, ns)
	return nil
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func TestPut(t *testing.T) {
	var s shelf
	var seen []Received
	in := New(Options{Put: s.put, Projects: []string{"shop"}, Observe: func(r Received) { r.Took = 0; seen = append(seen, r) }})

	n, err := in.Put(t.Context(), []byte("["+noKey+",{},"+message+"]"))
	if n != 3 || err != nil {
		t.Errorf("put: %d, %v", n, err)
	}
	if len(s.calls) != 1 || len(s.calls[0]) != 3 {
		t.Fatalf("an array is put at once, all or none: %v", s.calls)
	}
	var faults []string
	for _, n := range s.calls[0] {
		faults = append(faults, n.Fault)
	}
	if got := strings.Join(faults, ","); got != ",no-resource,unknown-project" {
		t.Errorf("faults %q", got)
	}
	if s.calls[0][0].Ref.Project != "shop" {
		t.Errorf("the only account is not taken: %v", s.calls[0][0].Ref)
	}

	s.err = ct2fluent.ErrFull
	if n, err := in.Put(t.Context(), []byte(change)); n != 0 || !errors.Is(err, ct2fluent.ErrFull) {
		t.Errorf("put into a full queue: %d, %v", n, err)
	}
	if len(seen) != 2 || seen[0] != (Received{Source: "put", Notifications: 3, Faulty: 2}) || seen[1] != (Received{Source: "put", Notifications: 1, Err: ct2fluent.ErrFull}) {
		t.Errorf("observed %+v", seen)
	}
}

// A body over the limit is no reason to refuse it: its source would bring it
// again for ever.
func TestPutShortens(t *testing.T) {
	var s shelf
	in := New(Options{Put: s.put, Projects: []string{"shop"}, MaxBody: 64})
	for _, body := range []string{change, strings.Repeat("x", 100), `{"small":1}`} {
		if _, err := in.Put(t.Context(), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.calls[0][0]; n.Body != nil || n.Fault != "" || n.Ref.ID != "c1" {
		t.Errorf("a change is worked without its body: %+v", n)
	}
	if n := s.calls[1][0]; string(n.Body) != strings.Repeat("x", 64) || n.Fault != unreadable {
		t.Errorf("of rubbish the beginning is kept: %+v", n)
	}
	if n := s.calls[2][0]; string(n.Body) != `{"small":1}` {
		t.Errorf("a small body is kept whole: %+v", n)
	}
}

func TestRun(t *testing.T) {
	t.Run("gives each source a put", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var s shelf
			var mu sync.Mutex
			counted := map[string]int{}
			bring := func(bodies ...string) fakeSource {
				return func(ctx context.Context, put put) error {
					for _, b := range bodies {
						if err := put(ctx, []byte(b)); err != nil {
							t.Error(err)
						}
					}
					<-ctx.Done()
					return nil
				}
			}
			in := New(Options{
				Sources: map[string]ct2fluent.Source{"a": bring(change), "b": bring(change, "rubbish")},
				Put:     s.put, Projects: []string{"shop"},
				Observe: func(r Received) { mu.Lock(); counted[r.Source] += r.Notifications; mu.Unlock() },
			})
			run(t, in, func() {})
			if len(s.calls) != 3 || counted["a"] != 1 || counted["b"] != 2 {
				t.Errorf("%d put, %v", len(s.calls), counted)
			}
		})
	})

	t.Run("a source that fails is started again, later and later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var starts []time.Time
			var log bytes.Buffer
			in := New(Options{
				Sources: map[string]ct2fluent.Source{"a": fakeSource(func(ctx context.Context, put put) error {
					starts = append(starts, time.Now())
					if len(starts) == 10 {
						return nil // ending by itself is no better
					}
					return errors.New("no such queue")
				})},
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			run(t, in, func() { time.Sleep(10 * time.Minute) })
			for i, start := range starts[1:] {
				most := min(time.Second<<min(i, 6), time.Minute)
				if waited := start.Sub(starts[i]); waited < most/2 || waited > most {
					t.Errorf("restart %d after %s, want %s to %s", i+1, waited, most/2, most)
				}
			}
			if len(starts) < 12 || len(starts) > 30 {
				t.Errorf("%d starts in ten minutes", len(starts))
			}
			if n := strings.Count(log.String(), "no such queue"); n != 2 {
				t.Errorf("a state is logged once, not each time: %d\n%s", n, &log)
			}
		})
	})

	t.Run("a source that worked for long is started again at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			starts := 0
			in := New(Options{Sources: map[string]ct2fluent.Source{"a": fakeSource(func(ctx context.Context, put put) error {
				starts++
				time.Sleep(2 * time.Minute)
				return errors.New("connection lost")
			})}})
			run(t, in, func() { time.Sleep(121*6*time.Second + time.Second) })
			if starts != 7 {
				t.Errorf("%d starts, want 7", starts)
			}
		})
	})

	t.Run("the error of put goes back to the source, and a full queue is logged once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := shelf{err: ct2fluent.ErrFull}
			var log bytes.Buffer
			failed := 0
			in := New(Options{
				Sources: map[string]ct2fluent.Source{"a": fakeSource(func(ctx context.Context, put put) error {
					for ctx.Err() == nil {
						if err := put(ctx, []byte(change)); errors.Is(err, ct2fluent.ErrFull) {
							failed++
						}
						time.Sleep(time.Second)
					}
					return nil
				})},
				Put: s.put, Projects: []string{"shop"}, Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			run(t, in, func() {
				time.Sleep(10*time.Second - 1)
				s.fail(nil)
				time.Sleep(5 * time.Second)
			})
			if failed != 10 || len(s.calls) != 5 {
				t.Errorf("failed %d, put %d", failed, len(s.calls))
			}
			if got := log.String(); strings.Count(got, "cannot be kept") != 1 || strings.Count(got, "kept again") != 1 {
				t.Errorf("log:\n%s", got)
			}
		})
	})

	t.Run("waits for the sources and says nothing of a stop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			ended := false
			in := New(Options{
				Sources: map[string]ct2fluent.Source{
					"a": fakeSource(func(ctx context.Context, put put) error {
						<-ctx.Done()
						time.Sleep(3 * time.Second)
						ended = true
						return nil
					}),
					"b": fakeSource(func(ctx context.Context, put put) error { return errors.New("down") }),
				},
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			run(t, in, func() { log.Reset() })
			if !ended || log.Len() > 0 {
				t.Errorf("ended %v, log %q", ended, &log)
			}
		})
	})
}

// run runs in, lets during happen and stops it.
func run(t *testing.T, in *Inbox, during func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- in.Run(ctx) }()
	synctest.Wait()
	during()
	synctest.Wait()
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

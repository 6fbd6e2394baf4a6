package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"pgregory.net/rapid"
)

type ctx = context.Context

func nilEach(ctx, ct2fluent.Notification) error { return nil }

// three is a router with the handlers A, B and C: kind "a" of a customer goes
// to A, and so on.
func three(t rapid.TB, log *slog.Logger, hs map[string]ct2fluent.HandlerFunc) *Router {
	t.Helper()
	o := Options{Log: log}
	for _, name := range []string{"A", "B", "C"} {
		var h ct2fluent.Handler = written
		if f := hs[name]; f != nil {
			h = f
		}
		o.Handlers = append(o.Handlers, Registered{Name: name, Handler: h})
		o.Routes = append(o.Routes, Route{Route: name, HandlerName: name})
		o.Mappings = append(o.Mappings, Mapping{Route: name, Name: "customer", Include: []string{strings.ToLower(name)}})
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// batch makes notifications of words such as "1a": resource 1, kind a. Their
// Seq is their place, from 1.
func batch(words ...string) (ns []ct2fluent.Notification) {
	for i, w := range words {
		ns = append(ns, ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "p", TypeID: "customer", ID: w[:1]}, Kind: w[1:], Seq: uint64(i + 1)})
	}
	return ns
}

// words is the reverse of batch.
func words(ns []ct2fluent.Notification) (ws []string) {
	for _, n := range ns {
		ws = append(ws, n.Ref.ID+n.Kind)
	}
	return ws
}

func outcomes(errs []error) string {
	var os []string
	for _, err := range errs {
		o, reason, _ := ct2fluent.OutcomeOf(err)
		os = append(os, strings.TrimSpace(o.String()+" "+reason))
	}
	return strings.Join(os, ", ")
}

func TestAnswersStandInOrder(t *testing.T) {
	r := three(t, nil, map[string]ct2fluent.HandlerFunc{
		"A": func(_ ctx, b []ct2fluent.Notification) []error {
			return slices.Repeat([]error{ct2fluent.Unchanged}, len(b))
		},
		"B": func(_ ctx, b []ct2fluent.Notification) []error {
			errs := make([]error, len(b))
			errs[len(b)-1] = ct2fluent.Skip("gone")
			return errs
		},
	})
	ns := batch("1b", "2a", "3x", "4b", "5a")
	ns = append(ns, ct2fluent.Notification{Fault: "unreadable"})
	want := "written, unchanged, skipped filtered, skipped gone, unchanged, dead unreadable"
	if got := outcomes(r.Handle(t.Context(), ns)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := r.Handle(t.Context(), nil); len(got) != 0 {
		t.Errorf("an empty batch: %v", got)
	}
}

// Each of the two handlers ends only once the other has begun.
func TestDifferentHandlersRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := make(chan bool), make(chan bool)
		r := three(t, nil, map[string]ct2fluent.HandlerFunc{
			"A": func(_ ctx, ns []ct2fluent.Notification) []error { a <- true; <-b; return make([]error, len(ns)) },
			"B": func(_ ctx, ns []ct2fluent.Notification) []error { <-a; b <- true; return make([]error, len(ns)) },
		})
		r.Handle(t.Context(), batch("1a", "2b", "3a"))
	})
}

// What goes to different handlers for one resource keeps its order, too.
func TestOneResourceAtSeveralHandlers(t *testing.T) {
	fault := errors.New("fault")
	tests := []struct {
		name  string
		batch []string
		fails map[string]error // by handler
		calls []string         // in the order of their beginning, per round sorted
		want  string
	}{
		{"in turn", []string{"1a", "1b", "1a"}, nil,
			[]string{"A 1a", "B 1b", "A 1a"}, "written, written, written"},
		{"side by side where nothing comes between", []string{"1a", "1a", "1b", "2a"}, nil,
			[]string{"A 1a 1a 2a", "B 1b"}, "written, written, written, written"},
		{"what is skipped comes between nothing", []string{"1a", "1x", "1a"}, nil,
			[]string{"A 1a 1a"}, "written, skipped filtered, written"},
		{"a fault makes the later wait, not pay", []string{"1a", "1b", "2b"}, map[string]error{"A": fault},
			[]string{"A 1a", "B 2b"}, "retry, later, written"},
		{"what was held stays held", []string{"1a", "1b"}, map[string]error{"A": ct2fluent.Unavailable(fault)},
			[]string{"A 1a"}, "held, held"},
		{"an unclear one makes the later wait, and leaves them clear", []string{"1a", "1b", "1c"}, map[string]error{"A": ct2fluent.Unclear(fault)},
			[]string{"A 1a"}, "unclear, later, later"},
		{"the dead make nobody wait", []string{"1a", "1b"}, map[string]error{"A": ct2fluent.Reject(fault)},
			[]string{"A 1a", "B 1b"}, "dead rejected, written"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var calls []string
			handler := func(name string) ct2fluent.HandlerFunc {
				return func(_ ctx, ns []ct2fluent.Notification) []error {
					mu.Lock()
					defer mu.Unlock()
					calls = append(calls, name+" "+strings.Join(words(ns), " "))
					return slices.Repeat([]error{tt.fails[name]}, len(ns))
				}
			}
			r := three(t, nil, map[string]ct2fluent.HandlerFunc{"A": handler("A"), "B": handler("B"), "C": handler("C")})
			if got := outcomes(r.Handle(t.Context(), batch(tt.batch...))); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.name == "a fault makes the later wait, not pay" {
				slices.Sort(calls) // 1a and 2b run at once
			}
			if !slices.Equal(calls, tt.calls) {
				t.Errorf("calls %q, want %q", calls, tt.calls)
			}
		})
	}
	t.Run("the delay asked for holds for the later, too", func(t *testing.T) {
		r := three(t, nil, map[string]ct2fluent.HandlerFunc{"A": func(_ ctx, ns []ct2fluent.Notification) []error {
			return []error{ct2fluent.RetryAfter(time.Minute, fault)}
		}})
		if _, _, delay := ct2fluent.OutcomeOf(r.Handle(t.Context(), batch("1a", "1b"))[1]); delay != time.Minute {
			t.Errorf("delay %v", delay)
		}
	})
}

// Whatever the batch: each answer is that of its handler, no two calls hold one
// resource, and what is worked of a resource is worked oldest first.
func TestAnyBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := batch(rapid.SliceOfN(rapid.StringMatching(`[1-4][abcx]`), 0, 12).Draw(t, "batch")...)
		slices.SortStableFunc(ns, func(a, b ct2fluent.Notification) int { return strings.Compare(a.Ref.ID, b.Ref.ID) })
		var mu sync.Mutex
		holds := map[ct2fluent.Ref]string{}
		newest := map[ct2fluent.Ref]uint64{}
		by := map[uint64]string{}
		handler := func(name string) ct2fluent.HandlerFunc {
			return func(_ ctx, ns []ct2fluent.Notification) []error {
				errs := make([]error, len(ns))
				mu.Lock()
				defer mu.Unlock()
				for i, n := range ns {
					if other := holds[n.Ref]; other != "" && other != name {
						t.Errorf("%s has %v while %s holds it", name, n.Ref, other)
					}
					holds[n.Ref] = name
					if n.Seq < newest[n.Ref] {
						t.Errorf("%v: %d after %d", n.Ref, n.Seq, newest[n.Ref])
					}
					newest[n.Ref], by[n.Seq] = n.Seq, name
					errs[i] = ct2fluent.Skip(fmt.Sprint(name, n.Seq))
				}
				mu.Unlock()
				runtime.Gosched() // lets the other handlers in
				mu.Lock()
				for _, n := range ns {
					delete(holds, n.Ref)
				}
				return errs
			}
		}
		r := three(t, nil, map[string]ct2fluent.HandlerFunc{"A": handler("A"), "B": handler("B"), "C": handler("C")})
		for i, err := range r.Handle(context.Background(), ns) {
			want := fmt.Sprint(strings.ToUpper(ns[i].Kind), ns[i].Seq)
			if ns[i].Kind == "x" {
				want = "filtered"
			}
			if _, reason, _ := ct2fluent.OutcomeOf(err); reason != want {
				t.Errorf("%d: %s, want %s", i, reason, want)
			}
		}
	})
}

func TestAPanicTakesNobodyAlong(t *testing.T) {
	var log bytes.Buffer
	var again []string
	calls := 0
	r := three(t, slog.New(slog.NewTextHandler(&log, nil)), map[string]ct2fluent.HandlerFunc{
		"A": func(_ ctx, ns []ct2fluent.Notification) []error {
			calls++
			for _, n := range ns {
				if n.Again {
					again = append(again, n.Ref.ID)
				}
				if n.Ref.ID == "2" {
					panic("jane@example.com")
				}
			}
			return make([]error, len(ns))
		},
	})
	ns := batch("1a", "2a", "2a", "3a", "4b")
	if got, want := outcomes(r.Handle(t.Context(), ns)), "written, retry, retry, written, written"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := strings.Join(again, " "); got != "1 2 3" {
		t.Errorf("Again: %s; the call that broke off may have written", got)
	}
	if calls != 4 {
		t.Errorf("%d calls, want one of all and one of each resource", calls)
	}
	whole := batch("1a", "2a")
	r.Handle(t.Context(), whole)
	if whole[0].Again {
		t.Error("the batch was changed: it is for reading only")
	}
	if strings.Contains(log.String(), "jane") || !strings.Contains(log.String(), "panic=string") {
		t.Errorf("log: %s", log.String())
	}
}

func TestAPanicOfTheRuntimeIsNamed(t *testing.T) {
	var log bytes.Buffer
	r := three(t, slog.New(slog.NewTextHandler(&log, nil)), map[string]ct2fluent.HandlerFunc{
		"A": func(_ ctx, ns []ct2fluent.Notification) []error { return []error{nil}[len(ns):][:2] },
	})
	if got := outcomes(r.Handle(t.Context(), batch("1a"))); got != "retry" {
		t.Error(got)
	}
	if !strings.Contains(log.String(), "slice bounds out of range") {
		t.Errorf("log: %s", log.String())
	}
}

// An answer missing is no answer for anybody: which one is missing is unknown.
func TestTooFewAnswers(t *testing.T) {
	r := three(t, nil, map[string]ct2fluent.HandlerFunc{
		"A": func(ctx, []ct2fluent.Notification) []error { return make([]error, 1) },
	})
	errs := r.Handle(t.Context(), batch("1a", "2a"))
	if got := outcomes(errs); got != "retry, retry" {
		t.Error(got)
	}
	if got := errs[0].Error(); got != `handler "A" gave 1 answers for 2 notifications` {
		t.Error(got)
	}
}

func TestSkippedKindsAreToldOnce(t *testing.T) {
	var log bytes.Buffer
	r := three(t, slog.New(slog.NewTextHandler(&log, nil)), nil)
	long := strings.Repeat("x", 1000)
	for range 3 {
		r.Handle(t.Context(), batch("1x", "2x", "3y", "4a", "5"+long))
	}
	lines := strings.Count(log.String(), "\n")
	if lines != 3 || strings.Contains(log.String(), long) {
		t.Errorf("%d lines, want one each of x, y and the long one, cut:\n%s", lines, log.String())
	}
	for i := range 10 * maxTold {
		r.Handle(t.Context(), batch(fmt.Sprint("1k", i)))
	}
	if got := len(r.told.kinds); got != maxTold {
		t.Errorf("%d kinds remembered", got)
	}
	if got := strings.Count(log.String(), "no further kind is named"); got != 1 {
		t.Errorf("said %d times that no further kind is named", got)
	}
}

func TestObserve(t *testing.T) {
	o := asInTheGuide()
	var got string
	o.Observe = func(handler string, size int, took time.Duration) {
		got = fmt.Sprintf("%s %d %v", handler, size, took >= 0)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n := note("customer", "ResourceCreated", "")
	r.Handle(t.Context(), []ct2fluent.Notification{n, n, note("order", "", "")})
	if got != upsertName+" 2 true" {
		t.Error(got)
	}
}

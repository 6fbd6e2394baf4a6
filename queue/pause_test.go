package queue

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

func (d *desk) pauses(project, route string) {
	d.pause(Hold{Project: project, Route: route, Since: d.now, Why: "paused"}, d.now)
}

func (d *desk) resumes(project, route string) {
	d.t.(interface{ Helper() }).Helper()
	if !d.resume(project, route, d.now) {
		d.t.Fatalf("project %q, route %q was not paused", project, route)
	}
}

func TestAPausedProjectWaits(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 2}, "p", "q")
	d.puts("p/a p/b p/c q/d")
	hand := d.gives("a1 b2")
	if n := d.pause(Hold{Project: "p"}, d.now); n != 1 {
		t.Errorf("%d batches at hand, want 1", n)
	}
	other := d.gives("d4")
	d.gives("")
	d.puts("p/e q/f+")
	d.ends(hand, nil, errFault) // it finishes, and what became of it counts
	d.gives("f6")
	d.gives("")
	d.after(time.Hour)
	d.gives("")
	d.ends(other, nil)
	d.resumes("p", "")
	d.gives("b2*1 c3")
	d.gives("e5")
	if d.resume("p", "", d.now) {
		t.Error("resumed twice")
	}
}

// A held project that is paused is not even asked whether it works again, and
// no timer runs for it; what waits burns no attempt, however often it is
// resumed and paused.
func TestAPausedProjectIsNotProbed(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a")
	d.ends(d.gives("a1"), errDown)
	d.dueIn(time.Second)
	d.pauses("p", "")
	if at := d.due(d.now); !at.IsZero() {
		t.Errorf("due in %v", at.Sub(d.now))
	}
	for range 3 {
		d.after(time.Hour)
		d.gives("")
	}
	d.resumes("p", "")
	probe := d.gives("a1")
	d.pauses("p", "")
	d.ends(probe, nil)
	d.puts("p/b")
	d.gives("")
	d.resumes("p", "")
	d.gives("b2")
}

// A paused project has no claim on a worker.
func TestAPausedProjectKeepsNoWorkerFree(t *testing.T) {
	d := newDesk(t, rules{Workers: 2, BatchSize: 1}, "p", "q")
	d.puts("p/a p/b")
	d.gives("a1")
	d.gives("")
	d.pauses("q", "")
	d.gives("b2")
}

func TestAProjectThatIsNotConfiguredPausesNoStrangers(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.pauses("gone", "")
	d.puts("x/a")
	d.gives("a1")
	d.resumes("gone", "")
}

// What takes a paused route waits; other routes go on, also of one customer.
func TestAPausedRouteWaits(t *testing.T) {
	d := newDesk(t, rules{}, "p", "q")
	d.puts("p/a@x p/a@y p/b@x q/c@x q/c@y")
	d.pauses("", "x")
	one := d.gives("a2")
	two := d.gives("c5")
	d.gives("")
	d.puts("p/a@x p/b@y p/d@x")
	d.ends(one, nil)
	d.ends(two, nil)
	three := d.gives("b7")
	d.gives("")
	if at := d.due(d.now); !at.IsZero() {
		t.Errorf("due in %v", at.Sub(d.now))
	}
	d.ends(three, nil)
	d.resumes("", "x")
	d.gives("c4")
	d.gives("a1 a6 b3 d8")
}

// A retry of a paused route keeps nothing else of its customer waiting; one of
// another route keeps the paused one waiting when that is resumed.
func TestAPausedRouteAndRetries(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a@x")
	d.ends(d.gives("a1"), errFault)
	d.puts("p/a@y")
	d.gives("") // a1 comes first
	d.pauses("", "x")
	other := d.gives("a2")
	d.ends(other, errFault)
	d.resumes("", "x")
	d.gives("")
	d.after(time.Second)
	d.gives("a1*1 a2*1")
}

// A batch at hand that comes back unsettled takes the pause into account.
func TestABatchThatComesBackIsParked(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a@x p/b@y")
	hand := d.gives("a1 b2")
	d.pauses("", "x")
	d.ends(hand, ct2fluent.RetryAfter(time.Second, errFault))
	d.after(time.Minute)
	d.gives("b2")
	d.gives("")
	d.resumes("", "x")
	d.gives("a1")
}

// Once Pause has returned and what was at hand is back, the handler is not
// called for the project, while many put and others are worked; Resume has all
// of it worked, each once.
func TestPauseAmongWorkers(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p", "q"}, BatchSize: 5, Workers: 4})
	var mu sync.Mutex
	paused := false
	worked := map[string]int{}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- q.Work(ctx, ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
			mine := batch[0].Ref.Project == "p"
			mu.Lock()
			if mine && paused {
				t.Error("handed out while it is paused")
			}
			for _, n := range batch {
				worked[n.Ref.Project+n.ID]++
				if n.Attempts > 0 {
					t.Error("an attempt was burnt")
				}
			}
			mu.Unlock()
			return make([]error, len(batch))
		}))
	}()
	const rounds, each = 8, 100
	for i := range rounds {
		ns := notes("p", each)
		for j := range ns {
			ns[j] = note("p", fmt.Sprint(i, "-", j))
		}
		mustPut(t, q, ns...)
		q.Pause(Hold{Project: "p", Why: "paused"})
		eventually(t, "what was at hand is back", func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.schedule.account("p").busy == 0
		})
		mu.Lock()
		paused = true
		mu.Unlock()
		mustPut(t, q, note("p", fmt.Sprint("late", i)), note("q", fmt.Sprint(i)))
		eventually(t, "others go on", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return worked["q"+fmt.Sprint(i)] == 1
		})
		if hs := q.Held(); len(hs) != 1 || hs[0].Project != "p" || hs[0].Why != "paused" {
			t.Errorf("held %+v", hs)
		}
		mu.Lock()
		paused = false
		mu.Unlock()
		if !q.Resume("p", "") {
			t.Error("it was not paused")
		}
	}
	eventually(t, "all is worked", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(worked) == rounds*(each+2)
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for id, n := range worked {
		if n != 1 {
			t.Errorf("%s was worked %d times", id, n)
		}
	}
}

// What waits for a paused route does not fill the window of its project.
func TestAPausedRouteDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	const many = windowFresh + 2000
	o := Options{Projects: []string{"p"}, Route: func(n *ct2fluent.Notification) string { return n.Name }}
	q := openKept(t, store.Options{Dir: t.TempDir()}, o)
	half := notes("p", many)
	for i := range half {
		half[i].Name = "x"
	}
	mustPut(t, q, half[:many/2]...)
	q.Pause(Hold{Route: "x"})
	mustPut(t, q, half[many/2:]...)
	mustPut(t, q, note("p", "other"))
	if got := workAll(t, q, 1, written); len(got) != 1 || got[0].ID != "other" {
		t.Errorf("worked %d", len(got))
	}
	q.Resume("", "x")
	workAll(t, q, many, written)
}

// A batch that was taken, but waits for its cursor to be on disk, is not handed
// out any more once its project is paused.
func TestPauseBeforeTheHandOut(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p"}})
	called := make(chan bool, 1)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	busy := func() int {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.schedule.account("p").busy
	}
	q.saving.Lock()
	mustPut(t, q, note("p", "a"))
	go func() {
		done <- q.Work(ctx, ct2fluent.HandlerFunc(func(context.Context, []ct2fluent.Notification) []error {
			called <- true
			return []error{nil}
		}))
	}()
	eventually(t, "it is taken", func() bool { return busy() == 1 })
	q.Pause(Hold{Project: "p"})
	q.saving.Unlock()
	eventually(t, "it is let go", func() bool { return busy() == 0 })
	select {
	case <-called:
		t.Fatal("it was handed out")
	default:
	}
	q.Resume("p", "")
	<-called
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

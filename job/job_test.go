package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory keeps marks. While broken it keeps nothing.
type memory struct {
	mu     sync.Mutex
	marks  map[string]string
	broken bool
}

func (m *memory) Mark(_ context.Context, name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.marks[name], nil
}

func (m *memory) SetMark(_ context.Context, name, value string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errors.New("disk full")
	}
	if m.marks == nil {
		m.marks = map[string]string{}
	}
	m.marks[name] = value
	return nil
}

// killed is what a process finds that starts after this one was killed.
func (m *memory) killed() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{marks: maps.Clone(m.marks)}
}

func open(t *testing.T, s Store, kinds ...Kind) *Jobs {
	t.Helper()
	j, err := New(t.Context(), Options{Store: s, Kinds: kinds})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// runs works the jobs until the end of the test, or until stop is called.
func runs(t *testing.T, j *Jobs) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- j.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func start(t *testing.T, j *Jobs, kind, project string) Job {
	t.Helper()
	one, err := j.Start(t.Context(), Request{Kind: kind, Project: project, By: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func state(t *testing.T, j *Jobs, id string) Job {
	t.Helper()
	synctest.Wait()
	one, err := j.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// until blocks a job until it is told to go on.
func until(release <-chan error) func(context.Context, *Run) error {
	return func(ctx context.Context, _ *Run) error {
		select {
		case err := <-release:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestAJobEnds(t *testing.T) {
	tests := []struct {
		name string
		run  func(context.Context, *Run) error
		want State
		why  string
	}{
		{"done", func(context.Context, *Run) error { return nil }, Done, ""},
		{"failed", func(context.Context, *Run) error { return errors.New("pages repeat") }, Failed, "pages repeat"},
		{"panicked, without a word of what it held", func(context.Context, *Run) error { panic("jane@example.com") }, Failed, "it panicked; the log has the place"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &memory{}
				j := open(t, s, Kind{Name: "bulk", Run: tt.run})
				defer runs(t, j)()
				id := start(t, j, "bulk", "shop").ID
				if got := state(t, j, id); got.State != tt.want || got.Why != tt.why || got.Ended.IsZero() || got.By != "anna" {
					t.Errorf("got %+v", got)
				}
				if got := state(t, open(t, s.killed()), id); got.State != tt.want || got.Why != tt.why {
					t.Errorf("kept %+v", got)
				}
			})
		})
	}
}

// What was killed goes on from its checkpoints; nobody has to ask for it.
func TestAJobGoesOnAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		counts := func(ctx context.Context, r *Run) error {
			at, err := r.Checkpoint(ctx, "page")
			if err != nil || at == "xx" {
				return err
			}
			if err := r.SetCheckpoint(ctx, "page", at+"x"); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		j := open(t, s, Kind{Name: "bulk", Run: counts})
		stop := runs(t, j)
		id := start(t, j, "bulk", "shop").ID
		for _, want := range []string{"x", "xx"} {
			synctest.Wait()
			after := s.killed()
			stop()
			if got := after.marks[mark(id, "page")]; got != want {
				t.Fatalf("checkpoint %q, want %q", got, want)
			}
			s = after
			j = open(t, s, Kind{Name: "bulk", Run: counts})
			stop = runs(t, j)
		}
		defer stop()
		if got := state(t, j, id); got.State != Done {
			t.Errorf("got %+v", got)
		}
	})
}

// An orderly stop of the process is no stop of the job.
func TestAStopOfTheProcessIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		j := open(t, s, Kind{Name: "bulk", Run: until(nil)})
		stop := runs(t, j)
		id := start(t, j, "bulk", "shop").ID
		synctest.Wait()
		stop()
		if got := state(t, j, id).State; got != Running {
			t.Errorf("it is %s", got)
		}
		release := make(chan error, 1)
		release <- nil
		j = open(t, s, Kind{Name: "bulk", Run: until(release)})
		defer runs(t, j)()
		if got := state(t, j, id).State; got != Done {
			t.Errorf("after the next start it is %s", got)
		}
	})
}

func TestOneOfAKindAndProjectAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan error)
		j := open(t, &memory{}, Kind{Name: "bulk", Run: until(release)}, Kind{Name: "reconcile", Run: until(nil)})
		defer runs(t, j)()
		first, second := start(t, j, "bulk", "shop").ID, start(t, j, "bulk", "shop").ID
		other, kind := start(t, j, "bulk", "outlet").ID, start(t, j, "reconcile", "shop").ID
		for id, want := range map[string]State{first: Running, second: Queued, other: Running, kind: Running} {
			if got := state(t, j, id).State; got != want {
				t.Errorf("%s is %s, want %s", id, got, want)
			}
		}
		if _, err := j.Stop(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		release <- nil
		for id, want := range map[string]State{first: Done, second: Running, other: Stopped} {
			if got := state(t, j, id).State; got != want {
				t.Errorf("then %s is %s, want %s", id, got, want)
			}
		}
	})
}

func TestStopAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		release := make(chan error, 1)
		j := open(t, s, Kind{Name: "bulk", Run: until(release)})
		defer runs(t, j)()
		id := start(t, j, "bulk", "shop").ID
		synctest.Wait()
		if got, err := j.Stop(t.Context(), id); err != nil || got.State != Stopped {
			t.Fatalf("%+v, %v", got, err)
		}
		if got := state(t, open(t, s.killed()), id).State; got != Stopped {
			t.Errorf("after a kill it is %s", got)
		}
		if _, err := j.Resume(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if got := state(t, j, id); got.State != Running || !got.Ended.IsZero() {
			t.Errorf("resumed: %+v", got)
		}
		release <- errors.New("refused")
		if got := state(t, j, id).State; got != Failed {
			t.Fatalf("it is %s", got)
		}
		release <- nil
		if _, err := j.Resume(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if got := state(t, j, id); got.State != Done || got.Why != "" {
			t.Errorf("resumed after a failure: %+v", got)
		}
	})
}

// What a job tells while it is being ended is kept, also over a kill.
func TestTheLastProgressIsKept(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, j *Jobs, id string, stop func()){
		"the job is stopped": func(t *testing.T, j *Jobs, id string, _ func()) {
			if _, err := j.Stop(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		},
		"the process is stopped": func(_ *testing.T, _ *Jobs, _ string, stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &memory{}
				j := open(t, s, Kind{Name: "bulk", Run: func(ctx context.Context, r *Run) error {
					r.Tell(1)
					<-ctx.Done()
					r.Tell(2)
					return ctx.Err()
				}})
				stop := sync.OnceFunc(runs(t, j))
				defer stop()
				id := start(t, j, "bulk", "shop").ID
				synctest.Wait()
				end(t, j, id, stop)
				synctest.Wait()
				if got := state(t, open(t, s.killed()), id); string(got.Progress) != "2" {
					t.Errorf("after a kill it is %s with %s", got.State, got.Progress)
				}
			})
		})
	}
}

// A job is there only if it is on disk.
func TestWhatIsNotKeptIsNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{broken: true}
		j := open(t, s, Kind{Name: "bulk", Run: until(nil)})
		defer runs(t, j)()
		if _, err := j.Start(t.Context(), Request{Kind: "bulk"}); err == nil || len(j.List()) != 0 {
			t.Errorf("%v, %v", j.List(), err)
		}
	})
}

// While the disk is full the end of a job waits to be written.
func TestTheEndIsWrittenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		release := make(chan error, 1)
		j := open(t, s, Kind{Name: "bulk", Run: until(release)})
		defer runs(t, j)()
		id := start(t, j, "bulk", "shop").ID
		synctest.Wait()
		s.mu.Lock()
		s.broken = true
		s.mu.Unlock()
		release <- nil
		time.Sleep(time.Minute)
		if got := state(t, j, id).State; got != Running {
			t.Errorf("it is %s", got)
		}
		s.mu.Lock()
		s.broken = false
		s.mu.Unlock()
		time.Sleep(keepEvery)
		synctest.Wait()
		if got := state(t, open(t, s.killed()), id).State; got != Done {
			t.Errorf("then it is %s", got)
		}
	})
}

func TestStartRefuses(t *testing.T) {
	picky := Kind{Name: "bulk", Run: until(nil), Check: func(project string, spec json.RawMessage) error {
		if string(spec) != `{}` {
			return errors.New("no spec")
		}
		return nil
	}}
	j := open(t, &memory{}, picky)
	for _, r := range []Request{{Kind: "bulk"}, {Kind: "cake", Spec: []byte(`{}`)}} {
		if _, err := j.Start(t.Context(), r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := j.Start(t.Context(), Request{Kind: "bulk", Spec: []byte(`{}`)}); err != nil {
		t.Error(err)
	}
	for _, f := range []func(context.Context, string) (Job, error){j.Stop, j.Resume} {
		if _, err := f(t.Context(), "bulk-9"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}

// Who follows is told what is so when he comes, then of changes, a few times a
// second at most, and of the end.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := func(ctx context.Context, r *Run) error {
			for i := range 1000 {
				r.Tell(map[string]int{"read": i + 1})
				time.Sleep(time.Millisecond)
			}
			return nil
		}
		j := open(t, &memory{}, Kind{Name: "bulk", Run: busy})
		id := start(t, j, "bulk", "shop").ID
		defer runs(t, j)()
		var told []string
		for one := range j.Follow(t.Context(), id) {
			told = append(told, string(one.State)+string(one.Progress))
		}
		if n := len(told); n < 4 || n > 8 || !strings.HasPrefix(told[0], "queued") || told[n-1] != `done{"read":1000}` {
			t.Errorf("told %q", told)
		}
	})
}

// Checkpoints are emptied once nobody can go on from them: of what is done,
// also when it was resumed or killed before, and of what is forgotten.
func TestCheckpointsAreEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		release := make(chan error, 1)
		work := func(ctx context.Context, r *Run) error {
			if err := r.SetCheckpoint(ctx, "page", r.Job().ID); err != nil {
				return err
			}
			return until(release)(ctx, r)
		}
		kinds := []Kind{{Name: "bulk", Run: work}}
		left := func() (ids []string) {
			synctest.Wait()
			for name, value := range s.killed().marks {
				if value != "" && name != index {
					ids = append(ids, value)
				}
			}
			return ids
		}
		j := open(t, s, kinds...)
		stop := runs(t, j)
		id := start(t, j, "bulk", "shop").ID
		if got := left(); len(got) != 1 {
			t.Fatalf("at work %q lie there", got)
		}
		after := s.killed()
		stop()
		s = after
		j = open(t, s, kinds...)
		defer runs(t, j)()
		synctest.Wait()
		if _, err := j.Stop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if got := left(); len(got) != 1 {
			t.Errorf("of a stopped job %q lie there: it could not go on", got)
		}
		if _, err := j.Resume(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		release <- nil
		if got := left(); len(got) != 0 {
			t.Errorf("%q is left of what is done", got)
		}
		for range keepResumable + 1 {
			one := start(t, j, "bulk", "shop")
			synctest.Wait()
			if _, err := j.Stop(t.Context(), one.ID); err != nil {
				t.Fatal(err)
			}
		}
		if got := left(); len(got) > keepResumable+1 { // the last one is counted at the next change
			t.Errorf("%d are left, want those of the %d jobs that are remembered", len(got), keepResumable)
		}
	})
}

// What waits has an end: all jobs are kept in one message of the ledger.
func TestNotTooManyWait(t *testing.T) {
	j := open(t, &memory{}, Kind{Name: "bulk", Run: until(nil)})
	for range maxWaiting {
		start(t, j, "bulk", "shop")
	}
	if _, err := j.Start(t.Context(), Request{Kind: "bulk"}); !errors.Is(err, ErrFull) || errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	j = open(t, &memory{}, Kind{Name: "bulk", Run: until(nil)})
	if _, err := j.Start(t.Context(), Request{Kind: "bulk", Spec: make([]byte, maxSpec+1)}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// A message of a NATS cluster has a mebibyte, in which all jobs have room,
// however many have asked for however much.
func TestAllJobsHaveRoomInOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		release := make(chan error)
		j := open(t, s, Kind{Name: "bulk", Run: until(release)})
		defer runs(t, j)()
		large := json.RawMessage(`"` + strings.Repeat("x", maxSpec-2) + `"`)
		ask := func(by int) (Job, error) {
			return j.Start(t.Context(), Request{Kind: "bulk", Project: "shop", Spec: large, By: fmt.Sprint(by)})
		}
		for i := range 120 {
			if _, err := ask(i); err != nil {
				t.Fatal(err)
			}
			release <- nil
			synctest.Wait()
		}
		waiting := 0
		for ; ; waiting++ {
			if _, err := ask(waiting); errors.Is(err, ErrFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if waiting != maxSpecs/maxSpec {
			t.Errorf("%d wait, want %d", waiting, maxSpecs/maxSpec)
		}
		if size := len(s.killed().marks[index]); size > maxIndex {
			t.Errorf("all jobs take %d bytes, want %d at most", size, maxIndex)
		}
		later := open(t, s.killed()).List()
		if n := len(later); n < waiting+20 {
			t.Errorf("%d jobs are kept, want those that wait and the last that have ended", n)
		}
	})
}

// Of those that have ended the last few are kept, of the others all. Those that
// come by themselves push out no person's.
func TestOldOnesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &memory{}
		release := make(chan error, 1+2*keep)
		j := open(t, s, Kind{Name: "bulk", Run: until(release)}, Kind{Name: "reconcile", Run: until(nil)})
		defer runs(t, j)()
		long := start(t, j, "reconcile", "shop").ID
		release <- nil
		asked := start(t, j, "bulk", "shop").ID
		for range 2 * keep {
			release <- nil
			if _, err := j.Start(t.Context(), Request{Kind: "bulk", Project: "shop", By: "schedule"}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		later := open(t, s.killed())
		if n := len(later.List()); n < keep+2 || n > keep+4 {
			t.Errorf("%d are kept", n)
		}
		if got := state(t, later, asked).State; got != Done {
			t.Errorf("what a person asked for is %s", got)
		}
		if got := state(t, j, long).State; got != Running {
			t.Errorf("the long one is %s", got)
		}
	})
}

// One that was stopped is there to go on for as long as somebody may want that:
// those that are done push it out neither by their number nor by their size.
func TestWhatCanBeResumedIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, said := &memory{}, &strings.Builder{}
		release := make(chan error, 1)
		j, err := New(t.Context(), Options{
			Store: s, Kinds: []Kind{{Name: "bulk", Run: until(release)}}, Log: slog.New(slog.NewTextHandler(said, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer runs(t, j)()
		stopped := func() string {
			t.Helper()
			id := start(t, j, "bulk", "shop").ID
			synctest.Wait()
			if _, err := j.Stop(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return id
		}
		first, second := stopped(), stopped()
		large := json.RawMessage(`"` + strings.Repeat("x", maxSpec-2) + `"`)
		for by := range 2 * keep {
			for range 3 {
				if _, err := j.Start(t.Context(), Request{Kind: "bulk", Project: "shop", Spec: large, By: fmt.Sprint("anna", by%10)}); err != nil {
					t.Fatal(err)
				}
				release <- nil
				synctest.Wait()
			}
		}
		for range keep + 1 {
			start(t, j, "bulk", "shop")
			release <- nil
			synctest.Wait()
		}
		if size := len(s.killed().marks[index]); size > maxIndex || size < maxIndex/2 {
			t.Fatalf("all jobs take %d bytes", size)
		}
		if got := state(t, open(t, s.killed()), first).State; got != Stopped {
			t.Errorf("after a kill it is %s", got)
		}
		if one, err := j.Resume(t.Context(), first); err != nil || one.State != Queued {
			t.Errorf("it is %s: %v", one.State, err)
		}
		synctest.Wait()
		if _, err := j.Stop(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		// They have an end, too, and the log says so.
		for range keepResumable { // the last one is counted at the next change
			stopped()
		}
		if _, err := j.Get(first); !errors.Is(err, ErrNotFound) {
			t.Errorf("the oldest of too many: %v", err)
		}
		state(t, j, second)
		if !strings.Contains(said.String(), "is forgotten: too many are kept\" job="+first+" project=shop state=stopped") {
			t.Error("the log does not say which")
		}
	})
}

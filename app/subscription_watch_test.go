package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

// A scene is a Subscription, the notes and the jobs of a process, and what it
// says.
type scene struct {
	mu      sync.Mutex
	status  commercetools.Health // "missing", "no scope": it cannot be read
	notes   map[string]string
	jobs    []job.Job // oldest first
	takes   time.Duration
	ends    job.State
	most    int // at once
	log     strings.Builder
	metrics []string
}

func (s *scene) Subscription(context.Context, string) (*commercetools.Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.status {
	case statusMissing:
		return nil, &commercetools.Error{Kind: commercetools.NotFound}
	case "no scope":
		return nil, &commercetools.Error{Operation: "subscription", Kind: commercetools.Stopped, Code: "insufficient_scope", Status: 403}
	case "down":
		return nil, &commercetools.Error{Operation: "subscription", Kind: commercetools.Down, Status: 503}
	}
	return &commercetools.Subscription{Key: "ct2fluent", Status: s.status}, nil
}

func (s *scene) Mark(_ context.Context, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notes[name], nil
}

func (s *scene) SetMark(_ context.Context, name, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes[name] = value
	return nil
}

func (s *scene) Start(_ context.Context, r job.Request) (job.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := job.Job{ID: fmt.Sprint(r.Kind, "-", len(s.jobs)+1), Kind: r.Kind, Project: r.Project, Spec: r.Spec, By: r.By, State: job.Running, Created: time.Now().UTC()}
	s.jobs = append(s.jobs, one)
	return one, nil
}

func (s *scene) List() []job.Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := 0
	var all []job.Job
	for i := range s.jobs {
		one := &s.jobs[i]
		if one.State == job.Running && time.Since(one.Created) >= s.takes {
			one.State = s.ends
		}
		if one.State == job.Running {
			running++
		}
		all = append(all, *one)
	}
	s.most = max(s.most, running)
	slices.Reverse(all)
	return all
}

// watched runs a process for a while.
func (s *scene) watched(d time.Duration) {
	w := &watcher{log: slog.New(slog.NewTextHandler(&s.log, nil)), states: map[string]SubscriptionState{},
		observe: func(project, status string, healthy, known bool) {
			s.metrics = append(s.metrics, fmt.Sprint(status, " ", healthy, " ", known))
		}}
	w.watches = []*watch{{watcher: w, project: "shop", key: "ct2fluent", every: time.Minute, calls: s, notes: s, jobs: s}}
	ctx, stop := context.WithTimeout(context.Background(), d)
	defer stop()
	if err := w.run(ctx); err != nil {
		panic(err)
	}
}

func (s *scene) set(h commercetools.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = h
}

// since is where the job of an index begins to read.
func (s *scene) since(t *testing.T, i int) time.Time {
	t.Helper()
	var spec customer.BulkSpec
	if err := json.Unmarshal(s.jobs[i].Spec, &spec); err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, spec.ChangedSince)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (s *scene) delivery(t *testing.T) (d delivery) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.notes["delivery/shop"]), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func stage(t *testing.T, play func(t *testing.T, s *scene)) {
	synctest.Test(t, func(t *testing.T) {
		play(t, &scene{status: commercetools.Healthy, notes: map[string]string{}, takes: time.Minute, ends: job.Done})
	})
}

// While it delivers, the moment until which all is delivered follows, and no
// job is needed.
func TestSubscriptionDelivers(t *testing.T) {
	stage(t, func(t *testing.T, s *scene) {
		begun := time.Now()
		s.watched(30*time.Minute + time.Second)
		if d := s.delivery(t); !d.Until.Equal(begun.Add(29*time.Minute)) || !d.Since.Equal(begun) || d.Owed {
			t.Errorf("%+v after 30 minutes from %v", d, begun)
		}
		if len(s.jobs) != 0 {
			t.Error("a catch-up was started")
		}
		if s.notes["confirmed/shop"] != "" {
			t.Error("what no run has brought is confirmed")
		}
	})
}

// What commercetools has handed over need not be here, nor settled: the
// confirmed moment is moved by runs alone.
func TestSubscriptionConfirmsNothing(t *testing.T) {
	stage(t, func(t *testing.T, s *scene) {
		s.watched(10 * time.Minute)
		at := time.Now().UTC().Truncate(time.Millisecond)
		if err := customer.Confirm(t.Context(), s, "shop", at); err != nil {
			t.Fatal(err)
		}
		s.watched(2 * time.Hour)
		s.set(commercetools.DeliveryStopped)
		s.watched(10 * time.Minute)
		s.set(commercetools.Healthy)
		s.watched(2 * time.Hour)
		if got, _ := customer.Confirmed(t.Context(), s, "shop"); !got.Equal(at) || len(s.jobs) == 0 || s.delivery(t).Owed {
			t.Errorf("confirmed until %v, want %v; %d jobs, %+v", got, at, len(s.jobs), s.delivery(t))
		}
	})
}

// It stops for an hour: every few minutes what changed is read, never by two at
// once, and once more when it has delivered again for a while.
func TestSubscriptionStops(t *testing.T) {
	for _, takes := range []time.Duration{0, 30 * time.Second, 12 * time.Minute} {
		t.Run(takes.String(), func(t *testing.T) {
			stage(t, func(t *testing.T, s *scene) {
				s.takes = takes
				time.AfterFunc(30*time.Minute+time.Second, func() { s.set(commercetools.DeliveryStopped) })
				time.AfterFunc(90*time.Minute+time.Second, func() { s.set(commercetools.Healthy) })
				begun := time.Now()
				s.watched(2*time.Hour + time.Second)
				if s.most > 1 {
					t.Errorf("%d jobs at once", s.most)
				}
				if want := begun.Add(19 * time.Minute); !s.since(t, 0).Equal(want) || !s.jobs[0].Created.Equal(begun.Add(31*time.Minute)) {
					t.Errorf("the first began at %v and reads from %v, want %v", s.jobs[0].Created, s.since(t, 0), want)
				}
				for i := 1; i < len(s.jobs); i++ {
					if last := s.jobs[i-1].Created; s.since(t, i).After(last.Add(-time.Minute)) {
						t.Errorf("job %d reads from %v, and job %d has read until a minute before %v", i, s.since(t, i), i-1, last)
					}
				}
				if n := len(s.jobs); takes < time.Minute && n != 13 || takes > time.Minute && n != 6 {
					t.Errorf("%d jobs", n)
				}
				closing := s.jobs[len(s.jobs)-1]
				if healthy := begun.Add(91 * time.Minute); closing.Created.Before(healthy.Add(90 * time.Second)) {
					t.Errorf("the last began at %v, and delivery was seen at %v: what is younger than a minute is not read", closing.Created, healthy)
				}
				if d := s.delivery(t); d.Owed || !d.Until.Equal(begun.Add(119*time.Minute)) {
					t.Errorf("%+v", d)
				}
				for _, say := range []string{"does not deliver", "remedy=", "the subscription delivers", "reading what the subscription did not deliver", "is read\" project=shop"} {
					if !strings.Contains(s.log.String(), say) {
						t.Errorf("nothing says %q:\n%s", say, s.log.String())
					}
				}
				if n := strings.Count(s.log.String(), "the subscription does not deliver"); n != 1 {
					t.Errorf("said %d times", n)
				}
			})
		})
	}
}

// What is owed outlives the process, and a job that fails or is stopped.
func TestSubscriptionOwes(t *testing.T) {
	stage(t, func(t *testing.T, s *scene) {
		s.watched(10 * time.Minute)
		s.set(commercetools.TemporaryError)
		s.ends = job.Failed
		s.watched(10 * time.Minute)
		s.set(commercetools.Healthy)
		from := s.delivery(t).Until
		for range 3 { // killed again and again before it has closed the gap
			s.watched(90 * time.Second)
		}
		s.watched(20 * time.Minute)
		if d := s.delivery(t); !d.Owed || !d.Until.Equal(from) {
			t.Errorf("%+v, and no job has read what was not delivered", d)
		}
		s.ends = job.Done
		s.watched(20 * time.Minute)
		if d := s.delivery(t); d.Owed {
			t.Errorf("%+v", d)
		}
	})
}

// A time in which nobody has looked is caught up with.
func TestSubscriptionUnseen(t *testing.T) {
	for _, tt := range []struct {
		name string
		gap  func(s *scene)
		jobs int
	}{
		{"the process was down for a while", func(*scene) { time.Sleep(50 * time.Minute) }, 0},
		{"the process was down for long", func(*scene) { time.Sleep(3 * time.Hour) }, 1},
		{"the scope was lost for long", func(s *scene) { s.set("no scope"); s.watched(3 * time.Hour); s.set(commercetools.Healthy) }, 1},
		{"commercetools was down for long, twice", func(s *scene) {
			for range 2 {
				s.set("down")
				s.watched(3 * time.Hour)
				s.set(commercetools.Healthy)
				s.watched(time.Hour)
			}
		}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stage(t, func(t *testing.T, s *scene) {
				s.watched(10 * time.Minute)
				tt.gap(s)
				s.watched(20 * time.Minute)
				if len(s.jobs) != tt.jobs || s.delivery(t).Owed {
					t.Errorf("%d jobs, want %d; %+v", len(s.jobs), tt.jobs, s.delivery(t))
				}
			})
		})
	}
}

// One that is not there, or cannot be looked at, is a warning.
func TestSubscriptionMissing(t *testing.T) {
	stage(t, func(t *testing.T, s *scene) {
		s.set(statusMissing)
		begun := time.Now()
		s.watched(time.Minute)
		if want := begun.Add(-keptFor - catchUpMargin); len(s.jobs) != 1 || !s.since(t, 0).Equal(want) {
			t.Errorf("%d jobs; want one from %v", len(s.jobs), want)
		}
		if !strings.Contains(s.log.String(), "ct2fluent subscription apply") || s.metrics[0] != "missing false true" {
			t.Errorf("%s\n%v", s.log.String(), s.metrics)
		}
	})
	stage(t, func(t *testing.T, s *scene) {
		s.set("no scope")
		s.watched(time.Hour)
		if len(s.jobs) != 0 || !strings.Contains(s.log.String(), "manage_subscriptions:shop") || s.metrics[0] != "unknown false false" {
			t.Errorf("%d jobs\n%s\n%v", len(s.jobs), s.log.String(), s.metrics)
		}
		if n := strings.Count(s.log.String(), "\n"); n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}

// What a person is told of a catch-up that cannot begin.
func TestSubscriptionLedgerFails(t *testing.T) {
	stage(t, func(t *testing.T, s *scene) {
		w := &watcher{log: slog.New(slog.NewTextHandler(&s.log, nil)), states: map[string]SubscriptionState{}, observe: func(string, string, bool, bool) {}}
		one := &watch{watcher: w, project: "shop", key: "ct2fluent", every: time.Minute, calls: s, notes: torn{}, jobs: s}
		one.look(t.Context())
		if !strings.Contains(s.log.String(), "cannot catch up") {
			t.Error(s.log.String())
		}
	})
}

type torn struct{}

func (torn) Mark(context.Context, string) (string, error)  { return "", errors.New("disk") }
func (torn) SetMark(context.Context, string, string) error { return errors.New("disk") }

// A catch-up that somebody has resumed is under way, though newer ones have
// ended: there are never two at once.
func TestSubscriptionLastJob(t *testing.T) {
	of := func(id, kind, project string, state job.State) job.Job {
		return job.Job{ID: id, Kind: kind, Project: project, By: bySubscription, State: state}
	}
	for _, tt := range []struct {
		oldest, newest job.State
		want           string
	}{
		{job.Failed, job.Done, "catch-up-2"},
		{job.Done, job.Stopped, "catch-up-2"},
		{job.Queued, job.Done, "catch-up-1"},
		{job.Running, job.Failed, "catch-up-1"},
	} {
		s := &scene{takes: time.Hour, jobs: []job.Job{
			of("catch-up-1", "catch-up", "shop", tt.oldest), of("catch-up-2", "catch-up", "shop", tt.newest),
			of("catch-up-3", "catch-up", "outlet", job.Queued), of("bulk-4", "bulk", "shop", job.Queued),
		}}
		s.jobs[0].Created = time.Now()
		last, any := (&watch{project: "shop", jobs: s}).lastJob()
		if !any || last.ID != tt.want {
			t.Errorf("%s and then %s: %s", tt.oldest, tt.newest, last.ID)
		}
	}
}

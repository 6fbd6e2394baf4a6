package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

// A run starts soon after the first start, and then once in a period, give or
// take a twentieth; what was due while no process ran is made up for.
func TestSchedule(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		ago    time.Duration // since the last run; 0: never
		takes  time.Duration
		fails  bool // no run leaves a time
		within [][2]time.Duration
	}{
		{name: "never run before", takes: time.Hour, within: [][2]time.Duration{{0, time.Minute}, {day * 95 / 100, day * 110 / 100}}},
		{name: "run a while ago", ago: day / 2, within: [][2]time.Duration{{day * 45 / 100, day * 55 / 100}, {day * 140 / 100, day * 160 / 100}}},
		{name: "due while no process ran", ago: 3 * day, within: [][2]time.Duration{{0, time.Minute}, {day * 95 / 100, day * 106 / 100}}},
		{name: "it failed: tried again after an hour", ago: 3 * day, fails: true, within: [][2]time.Duration{{0, time.Minute}, {time.Hour, time.Hour + 2*time.Minute}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var last time.Time
				if tt.ago > 0 {
					last = begin.Add(-tt.ago)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var runs []time.Duration
				told := 0
				s := schedule{
					every: day,
					last:  func(context.Context) (time.Time, error) { return last, nil },
					start: func(context.Context) error {
						if runs = append(runs, time.Since(begin)); len(runs) == len(tt.within) {
							cancel()
						}
						time.Sleep(tt.takes)
						if tt.fails {
							return errors.New("no")
						}
						last = time.Now()
						return nil
					},
					failed: func(error) { told++ },
				}
				s.run(ctx)
				for i, in := range tt.within {
					if runs[i] < in[0] || runs[i] > in[1] {
						t.Errorf("run %d after %v, want %v to %v", i+1, runs[i], in[0], in[1])
					}
				}
				if tt.fails != (told > 0) {
					t.Errorf("told %d times", told)
				}
			})
		})
	}
}

// A scheduled run waits for one under way only if that does all that it would do.
func TestAScheduledRunTakesNoLesserOne(t *testing.T) {
	for _, tt := range []struct {
		scheduled, spec, project string
		state                    job.State
		want                     bool
	}{
		{`{"fix":true}`, `{"fix":true}`, "shop", job.Running, true},
		{`{"fix":true}`, `{"fix":true}`, "shop", job.Queued, true},
		{`{"fix":true}`, `{}`, "shop", job.Running, false},
		{`{"fix":true}`, ``, "shop", job.Running, false},
		{`{"fix":true}`, `{"fix":true,"fields":["lastName"]}`, "shop", job.Running, false},
		{`{"fix":true}`, `{"fix":true}`, "other", job.Running, false},
		{`{"fix":true}`, `{"fix":true}`, "shop", job.Done, false},
		{`{}`, ``, "shop", job.Running, true},
		{`{}`, `{"fix":true}`, "shop", job.Running, true},
		{`{}`, `{"fields":["lastName"]}`, "shop", job.Running, false},
	} {
		one := job.Job{ID: "reconcile-7", Kind: reconcileKind, Project: tt.project, State: tt.state}
		if tt.spec != "" {
			one.Spec = json.RawMessage(tt.spec)
		}
		if got := underWay([]job.Job{one}, "shop", json.RawMessage(tt.scheduled)); (got != "") != tt.want {
			t.Errorf("%+v: takes %q", tt, got)
		}
	}
}

// Only a run that did all that a scheduled one would do puts off the next, and
// one that did less leaves the time of an earlier one that did.
func TestARunThatDidLessStandsForNone(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 2, 1, hour, 0, 0, 0, time.UTC) }
	report := &customer.ReconcileReport{}
	var last reconciled
	last = last.after(customer.ReconcileSpec{}, report, at(1))
	if compared, mended := last.stands(false), last.stands(true); !compared.Equal(at(1)) || !mended.IsZero() {
		t.Errorf("after one that only compares: %v, %v", compared, mended)
	}
	last = last.after(customer.ReconcileSpec{Fix: true}, report, at(2))
	last = last.after(customer.ReconcileSpec{}, report, at(3))
	doc, err := json.Marshal(last)
	if err != nil {
		t.Fatal(err)
	}
	var kept reconciled
	if err := json.Unmarshal(doc, &kept); err != nil {
		t.Fatal(err)
	}
	if compared, mended := kept.stands(false), kept.stands(true); !compared.Equal(at(3)) || !mended.Equal(at(2)) {
		t.Errorf("after one that mends and one that only compares: %v, %v", compared, mended)
	}
}

// Whatever becomes of the list, what is printed is a document of JSON or nothing.
func TestReconciledJSONIsWhole(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines int
		err   error
		want  string // the error that the document tells
	}{
		{name: "nothing is found"},
		{name: "some is found", lines: 2},
		{name: "the list is gone", err: errors.New("gone")},
		{name: "the list breaks off", lines: 2, err: errors.New(`it "broke"`), want: `it "broke"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			each := func(do func(listed) error) error {
				for range tt.lines {
					if err := do(listed{Drift: customer.Drift{Kind: customer.Missing, ID: "a"}}); err != nil {
						return err
					}
				}
				return tt.err
			}
			c := &cli{out: &out}
			err := c.reconciledJSON(job.Job{ID: "reconcile-1"}, customer.ReconcileReport{}, each, func(*listed) error { return nil })
			if !errors.Is(err, tt.err) {
				t.Error(err)
			}
			if tt.err != nil && tt.lines == 0 {
				if out.Len() > 0 {
					t.Errorf("it prints %s", &out)
				}
				return
			}
			var doc struct {
				Job   string
				Found []customer.Drift
				Error string
			}
			if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			if doc.Job != "reconcile-1" || len(doc.Found) != tt.lines || doc.Found == nil || doc.Error != tt.want {
				t.Errorf("%+v", doc)
			}
		})
	}
}

// One that somebody stopped leaves no time: it is not started again at once.
func TestScheduleAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		runs := 0
		schedule{
			every: 24 * time.Hour,
			last:  func(context.Context) (time.Time, error) { return time.Time{}, nil },
			start: func(context.Context) error { runs++; return nil },
		}.run(ctx)
		if runs != 1 {
			t.Errorf("%d runs in an hour", runs)
		}
	})
}

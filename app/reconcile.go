package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
	"github.com/ct2fluent/ct2fluent/ledger"
)

const reconcileKind = "reconcile"

// driftDir is where reconciliations write what they found.
func driftDir(c *Config) string { return filepath.Join(c.Queue.Store, "reconcile") }

// reconcile is the kind of job that compares both sides.
func (a *App) reconcile(o *observer) job.Kind {
	return job.Kind{
		Name: reconcileKind,
		Check: func(project string, doc json.RawMessage) error {
			t, err := a.account(project)
			if err != nil {
				return err
			}
			spec, err := customer.ParseReconcileSpec(doc, t.Mapping)
			if err == nil && spec.Fix {
				err = a.canPut(project)
			}
			return err
		},
		Run: func(ctx context.Context, r *job.Run) error {
			one := r.Job()
			t, err := a.account(one.Project)
			if err != nil {
				return err
			}
			spec, err := customer.ParseReconcileSpec(one.Spec, t.Mapping)
			if err == nil && spec.Fix {
				err = a.canPut(one.Project) // it may have begun under another file
			}
			if err != nil {
				return err
			}
			report, err := a.reconciliation(t, spec).Run(ctx, one.ID, r)
			if err != nil || len(spec.Fields) > 0 {
				return err
			}
			last, err := a.lastReconciled(ctx, one.Project)
			if err != nil {
				return err
			}
			last = last.after(spec, report, time.Now().UTC())
			o.reconciled(one.Project, last)
			return a.noteReconciled(ctx, one.Project, last)
		},
	}
}

func (a *App) account(project string) (Account, error) {
	i := slices.IndexFunc(a.accounts, func(t Account) bool { return t.Project == project })
	if i < 0 {
		return Account{}, fmt.Errorf("no account has the project %s any more", project)
	}
	return a.accounts[i], nil
}

func (a *App) reconciliation(t Account, spec customer.ReconcileSpec) customer.Reconciliation {
	r := customer.Reconciliation{
		Project: t.Project, RetailerID: t.RetailerID, From: t.Commercetools, To: t.Fluent, Mapping: t.Mapping,
		Ledger: a.ledger, Put: a.queue.Put, EndRun: a.ledger.EndRun,
		Totals: func(run string) customer.RunTotals { return runTotals(a.ledger.RunTotals(run)) },
		Waits:  func() string { return a.waits(t.Project) },
		// Until everything that was received has an outcome.
		Waiting: a.queue.Oldest,
		Grace:   a.Config.Reconcile.Grace, Dir: driftDir(a.Config), Spec: spec,
		Remembered: func(run string) bool { _, err := a.jobs.Get(run); return err == nil },
	}
	if d := deletes(a.Config.Deletes); d.Mark {
		r.Deleted = cmp.Or(d.Attribute, "commercetoolsDeleted")
	}
	for i, other := range a.accounts {
		c := a.Config.Accounts[i].Fluent
		if other.Project != t.Project && other.RetailerID == t.RetailerID && c.BaseURL == a.fluentOf(t.Project).BaseURL {
			r.Others = append(r.Others, other.Commercetools)
		}
	}
	return r
}

func (a *App) fluentOf(project string) FluentConfig {
	for _, c := range a.Config.Accounts {
		if c.Commercetools.ProjectKey == project {
			return c.Fluent
		}
	}
	return FluentConfig{}
}

func runTotals(t ledger.Totals) customer.RunTotals {
	return customer.RunTotals{Written: t.Written, Unchanged: t.Unchanged, Merged: t.Merged, Skipped: t.Skipped, Dead: t.Dead}
}

// found opens what a reconciliation has found, a line of JSON for each.
func (a *App) found(id string) (io.ReadCloser, error) {
	f, err := customer.OpenDrift(driftDir(a.Config), id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no list of what it found", control.ErrNotFound, id)
	}
	return f, err
}

// reconciled is what is remembered of the last reconciliation of a project that
// compared all fields.
type reconciled struct {
	At    time.Time                  `json:"at"`
	Fixed time.Time                  `json:"fixed,omitzero"` // when the last one ended that mends what it finds
	Found map[customer.DriftKind]int `json:"found"`
	Left  int                        `json:"left"`
}

// after is what is remembered once one more has ended.
func (last reconciled) after(spec customer.ReconcileSpec, report *customer.ReconcileReport, now time.Time) reconciled {
	next := reconciled{At: now, Fixed: last.Fixed, Found: report.Found, Left: report.Left()}
	if spec.Fix {
		next.Fixed = now
	}
	return next
}

// stands is when the last one ended that did all that a scheduled one would do.
func (last reconciled) stands(fix bool) time.Time {
	if fix {
		return last.Fixed
	}
	return last.At
}

func reconciledMark(project string) string { return "reconciled/" + project }

func (a *App) noteReconciled(ctx context.Context, project string, last reconciled) error {
	doc, err := json.Marshal(last)
	if err != nil {
		return err
	}
	return a.ledger.SetMark(ctx, reconciledMark(project), string(doc))
}

// lastReconciled is zero where there was none.
func (a *App) lastReconciled(ctx context.Context, project string) (last reconciled, err error) {
	doc, err := a.ledger.Mark(ctx, reconciledMark(project))
	if err == nil && doc != "" {
		err = json.Unmarshal([]byte(doc), &last)
	}
	return last, err
}

// reconciled shows in the metrics what the last reconciliation came to.
func (o *observer) reconciled(project string, last reconciled) {
	found := map[string]int{}
	for _, k := range customer.DriftKinds() {
		found[string(k)] = last.Found[k]
	}
	o.metrics.Drift(project, found, last.Left, last.At)
}

// reconcileOnTime starts reconciliations as the configuration has it, for each
// project on its own, until ctx is done.
func (a *App) reconcileOnTime(o *observer) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		for _, t := range a.accounts {
			last, err := a.lastReconciled(ctx, t.Project)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				a.log.Warn("what the last reconciliation came to cannot be read; the metrics show it after the next", "project", t.Project, "error", err)
			case !last.At.IsZero():
				o.reconciled(t.Project, last)
			}
		}
		c := a.Config.Reconcile
		if c.Every <= 0 {
			return nil
		}
		spec, err := json.Marshal(customer.ReconcileSpec{Fix: c.Fix})
		if err != nil {
			return err
		}
		var waiting sync.WaitGroup
		for _, t := range a.accounts {
			s := schedule{
				every: c.Every,
				last: func(ctx context.Context) (time.Time, error) {
					last, err := a.lastReconciled(ctx, t.Project)
					return last.stands(c.Fix), err
				},
				start: func(ctx context.Context) error { return a.runScheduled(ctx, t.Project, spec) },
				failed: func(err error) {
					a.log.Warn("the scheduled reconciliation could not be run", "project", t.Project, "error", err)
				},
			}
			waiting.Go(func() { s.run(ctx) })
		}
		waiting.Wait()
		return nil
	}
}

// runScheduled runs one reconciliation to its end, unless one of the project is
// under way that does all that it would do: then it waits for that.
func (a *App) runScheduled(ctx context.Context, project string, spec json.RawMessage) error {
	id := underWay(a.jobs.List(), project, spec)
	if id == "" {
		one, err := a.jobs.Start(ctx, job.Request{Kind: reconcileKind, Project: project, Spec: spec, By: "schedule"})
		if err != nil {
			return err
		}
		id = one.ID
	}
	for one := range a.jobs.Follow(ctx, id) {
		if one.State == job.Failed {
			return fmt.Errorf("%s failed: %s", id, one.Why)
		}
	}
	return nil
}

// underWay is the job that does what a scheduled reconciliation would do; empty
// where there is none. One that somebody started for a few fields, or without
// the fix, is none.
func underWay(all []job.Job, project string, scheduled json.RawMessage) string {
	var want customer.ReconcileSpec
	if json.Unmarshal(scheduled, &want) != nil {
		return ""
	}
	id := ""
	for _, one := range all {
		var has customer.ReconcileSpec
		if one.Kind != reconcileKind || one.Project != project || one.State.Ended() || len(one.Spec) > 0 && json.Unmarshal(one.Spec, &has) != nil {
			continue
		}
		if len(has.Fields) == 0 && (has.Fix || !want.Fix) {
			id = one.ID
		}
	}
	return id
}

// A schedule runs something again and again.
type schedule struct {
	every  time.Duration
	last   func(ctx context.Context) (time.Time, error) // zero: never
	start  func(ctx context.Context) error              // runs it to its end
	failed func(err error)
}

// run waits and starts until ctx is done. The time from one to the next varies
// by a twentieth each way, so that many processes do not ask all at once; a run that was
// due while no process ran is made up for soon after the start.
func (s schedule) run(ctx context.Context) {
	for ctx.Err() == nil {
		tenth := rand.N(max(1, s.every/10))
		last, err := s.last(ctx)
		if err != nil && ctx.Err() == nil {
			s.failed(err)
		}
		wait := min(tenth, time.Minute)
		if !last.IsZero() {
			wait = max(wait, time.Until(last.Add(s.every-s.every/20+tenth)))
		}
		if !waitFor(ctx, wait) {
			return
		}
		if err := s.start(ctx); err != nil && ctx.Err() == nil {
			s.failed(err)
			// Not at once: what has failed is likely to fail again.
			if !waitFor(ctx, min(s.every, time.Hour)) {
				return
			}
			continue
		}
		// One that somebody has stopped leaves no time of its own.
		if after, err := s.last(ctx); err == nil && !after.After(last) && !waitFor(ctx, s.every-s.every/20+tenth) {
			return
		}
	}
}

// waitFor is false where ctx is done before.
func waitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

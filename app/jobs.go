package app

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/job"
)

// kinds are the kinds of long work that a running process can be asked for.
func (a *App) kinds(p *plan) []job.Kind {
	return append(a.bulk(), a.reconcile(p.observe))
}

// jobs are the process's jobs as the HTTP side wants them.
type jobs struct{ a *App }

func (j jobs) Start(ctx context.Context, r control.JobRequest) (any, string, error) {
	account, err := accountOf(j.a.accounts, r.Project)
	if err != nil {
		return nil, "", err
	}
	if r.Kind == catchUpKind {
		// The watch takes the newest for its own.
		return nil, "", fmt.Errorf("%w: a %s starts by itself while the Subscription does not deliver; start one of the kind %s with changedSince", control.ErrInvalid, catchUpKind, bulkKind)
	}
	return named(j.a.jobs.Start(ctx, job.Request{Kind: r.Kind, Project: account.Project, Spec: r.Spec, By: r.By}))
}

// named gives a job's name for the audit trail as well.
func named(one job.Job, err error) (any, string, error) {
	return one, one.ID + " project " + one.Project, ofJob(err)
}

func (j jobs) List() any { return j.a.jobs.List() }

func (j jobs) Get(id string) (any, error) {
	one, err := j.a.jobs.Get(id)
	return one, ofJob(err)
}

func (j jobs) Follow(ctx context.Context, id string) iter.Seq[any] {
	return func(yield func(any) bool) {
		for one := range j.a.jobs.Follow(ctx, id) {
			if !yield(one) {
				return
			}
		}
	}
}

func (j jobs) Stop(ctx context.Context, id string) (any, string, error) {
	return named(j.a.jobs.Stop(ctx, id))
}

func (j jobs) Resume(ctx context.Context, id string) (any, string, error) {
	return named(j.a.jobs.Resume(ctx, id))
}

// ofJob gives an error of the jobs the answer that it needs.
func ofJob(err error) error {
	switch {
	case errors.Is(err, job.ErrNotFound):
		return fmt.Errorf("%w: %w", control.ErrNotFound, err)
	case errors.Is(err, job.ErrInvalid):
		return fmt.Errorf("%w: %w", control.ErrInvalid, err)
	case errors.Is(err, job.ErrFull):
		return &kindError{ct2fluent.ErrFull, err} // not now
	}
	return err
}

// described is a job in one line, without its id.
func described(one job.Job) string {
	text := string(one.State)
	if one.Progress != nil {
		text += ": " + progressLine(one)
	}
	if one.Why != "" {
		text += ": " + one.Why
	}
	return text
}

// progressLine writes the progress of a job for a person.
func progressLine(one job.Job) string {
	switch {
	case isBulk(one.Kind):
		return bulkLine(one)
	case one.Kind == reconcileKind:
		return reconcileLine(one)
	default:
		return string(one.Progress)
	}
}

package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/queue"
)

// The kinds of job that put customers of a project. A catch-up is a run over
// changes that the process starts by itself: of another kind, so that it need
// not wait for a run over all customers.
const (
	bulkKind    = "bulk"
	catchUpKind = "catch-up"
)

// isBulk tells whether the jobs of a kind are bulk runs.
func isBulk(kind string) bool { return kind == bulkKind || kind == catchUpKind }

// bulk are the kinds of job that put customers. Their runs may work at once, and
// move one confirmed moment.
func (a *App) bulk() []job.Kind {
	bulk := a.bulkRuns(new(sync.Mutex))
	catchUp := bulk
	bulk.Name, catchUp.Name = bulkKind, catchUpKind
	return []job.Kind{bulk, catchUp}
}

func (a *App) bulkRuns(confirming sync.Locker) job.Kind {
	return job.Kind{
		Check: func(project string, spec json.RawMessage) error {
			s, err := customer.ParseBulkSpec(spec)
			if err == nil && !s.DryRun {
				err = a.canPut(project)
			}
			if err != nil {
				return err
			}
			return s.CheckNew(time.Now())
		},
		Run: func(ctx context.Context, r *job.Run) error {
			one := r.Job()
			spec, err := customer.ParseBulkSpec(one.Spec)
			if err == nil && !spec.DryRun {
				err = a.canPut(one.Project) // it may have begun under another file
			}
			if err != nil {
				return err
			}
			i := slices.IndexFunc(a.accounts, func(t Account) bool { return t.Project == one.Project })
			if i < 0 {
				return fmt.Errorf("no account has the project %s any more", one.Project)
			}
			t := a.accounts[i]
			b := customer.Bulk{
				Account: customerAccount(t), From: t.Commercetools, Put: a.queue.Put, Ledger: runLedger{a.ledger},
				Waits: func() string { return a.waits(t.Project) },
				Idle:  func() bool { return a.idle(t.Project) }, Confirming: confirming,
			}
			return b.Run(ctx, one.ID, spec, r)
		},
	}
}

// forgetRuns forgets the counts of runs whose jobs are remembered no longer, or
// are done: such as of one that had failed, and whose last customers settled
// after that.
func (a *App) forgetRuns(ctx context.Context) {
	for _, run := range a.ledger.Runs() {
		// A reconciliation that started over counts under its id, a dot and a number.
		id, _, _ := strings.Cut(run, ".")
		if one, err := a.jobs.Get(id); err == nil && one.State != job.Done {
			continue
		}
		if err := a.ledger.EndRun(ctx, run); err != nil {
			a.log.Warn("the counts of a run that is over cannot be removed; tried again at the next start", "run", run, "error", err)
			return
		}
	}
}

// customerAccount is an account as the customer package has it.
func customerAccount(t Account) customer.Account {
	return customer.Account{Project: t.Project, RetailerID: t.RetailerID, From: t.Commercetools, To: t.Fluent, Mapping: t.Mapping}
}

// waits says why the work of a project does not go on now: its account is held
// or paused, or so is the route that its customers take.
func (a *App) waits(project string) string {
	route := ownRoute(a.router, project)
	for _, h := range a.held() {
		what := "the account"
		switch {
		case h.Route != "" && h.Route == route:
			what = "the route " + h.Route
		case h.Route != "" || h.Project != project && h.Project != queue.AllProjects:
			continue
		}
		if strings.HasPrefix(h.Why, "paused: ") {
			return what + " is " + h.Why
		}
		return what + " is held: " + h.Why
	}
	return ""
}

// idle tells that the queue has no bulk work of a project.
func (a *App) idle(project string) bool {
	for _, l := range a.queue.Lanes() {
		if l.Bulk && l.Project == project {
			return l.Waiting == 0 && !l.Behind
		}
	}
	return true
}

// runLedger is the ledger as a bulk run has it.
type runLedger struct{ *ledger.Ledger }

func (l runLedger) Counts(run string) customer.Counts {
	t := l.RunTotals(run)
	return customer.Counts{Written: t.Written, Unchanged: t.Unchanged, Merged: t.Merged, Skipped: t.AllSkipped(), Dead: t.AllDead(),
		NotSelected: t.Skipped["not-selected"]}
}

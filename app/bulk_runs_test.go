package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/job"
	"github.com/ct2fluent/ct2fluent/ledger"
)

// A start forgets the counts of runs that nobody will ask for any more, and of
// those alone: what goes on counts on.
func TestForgetRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := ledger.Open(t.Context(), ledger.Options{
			Journal: &ledger.MemoryJournal{},
			Put:     func(context.Context, ...ct2fluent.Notification) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ends := map[string]error{"bulk-1": nil, "bulk-2": errors.New("failed"), "bulk-3": context.Canceled, "bulk-4": nil}
		bulk := job.Kind{Name: "bulk", Run: func(ctx context.Context, r *job.Run) error {
			err := ends[r.Job().ID]
			if errors.Is(err, context.Canceled) {
				<-ctx.Done()
				return ctx.Err()
			}
			return err
		}}
		jobs, err := job.New(t.Context(), job.Options{Store: l, Kinds: []job.Kind{bulk}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- jobs.Run(ctx) }()
		for range ends {
			if _, err := jobs.Start(ctx, job.Request{Kind: "bulk", Project: "shop"}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}

		settle := l.Settle(ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
			return make([]error, len(batch))
		}))
		runs := []string{"bulk-1", "bulk-2", "bulk-3", "bulk-4", "bulk-3.2", "bulk-1.2", "bulk-99"}
		for i, run := range runs {
			n := ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "shop", TypeID: "customer", ID: "a"}, Seq: uint64(i + 1), Version: 1, Run: run}
			if err := settle.Handle(t.Context(), []ct2fluent.Notification{n}); err[0] != nil {
				t.Fatal(err)
			}
		}
		a := &App{ledger: l, jobs: jobs, log: slog.New(slog.DiscardHandler)}
		a.forgetRuns(t.Context())
		// Of the four the third went on when the process ended, and the fourth
		// had not begun; the second can be resumed.
		if got, want := l.Runs(), []string{"bulk-2", "bulk-3", "bulk-3.2", "bulk-4"}; !slices.Equal(got, want) {
			t.Errorf("the runs are %q, want %q", got, want)
		}
	})
}

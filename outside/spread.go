package outside

import (
	"context"
	"sync"

	"github.com/ct2fluent/ct2fluent"
)

// spread has notifications of different resources worked at once, at most so
// many as there are slots for all calls together, and those of one resource one
// after the other: once one did not settle, the later ones wait with it, so
// that nothing overtakes.
func spread(ctx context.Context, slots chan struct{}, batch []ct2fluent.Notification, ask func(context.Context, ct2fluent.Notification) error) []error {
	errs := make([]error, len(batch))
	var working sync.WaitGroup
	for from := 0; from < len(batch); {
		to := from + 1
		for to < len(batch) && batch[to].Ref == batch[from].Ref {
			to++
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			for i := from; i < len(batch); i++ {
				errs[i] = ct2fluent.RetryAfter(0, ctx.Err()) // it was not asked
			}
			working.Wait()
			return errs
		}
		ns, answers := batch[from:to], errs[from:to]
		working.Go(func() {
			defer func() { <-slots }()
			inOrder(ctx, ns, answers, ask)
		})
		from = to
	}
	working.Wait()
	return errs
}

// inOrder works the notifications of one resource.
func inOrder(ctx context.Context, ns []ct2fluent.Notification, errs []error, ask func(context.Context, ct2fluent.Notification) error) {
	for i, n := range ns {
		if err := ctx.Err(); err != nil {
			errs[i] = ct2fluent.RetryAfter(0, err)
			continue
		}
		errs[i] = ask(ctx, n)
		if o, _, _ := ct2fluent.OutcomeOf(errs[i]); !o.Settled() {
			behind := errs[i]
			if o == ct2fluent.Retry {
				behind = ct2fluent.RetryAfter(0, errs[i]) // a fault of that one is none of theirs
			}
			for j := i + 1; j < len(ns); j++ {
				errs[j] = behind
			}
			return
		}
	}
}

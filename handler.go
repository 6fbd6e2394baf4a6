package ct2fluent

import (
	"context"
)

// A Handler works a batch and says for each notification, in order, what
// became of it: nil for written, else Unchanged, Merged, Skip, Reject,
// RetryAfter, Unavailable, Unclear, or any other error (a fault of the
// notification: tried again, and counted). Error texts must hold no personal
// data (promise 7).
//
// What was handed out for one resource is in the batch, oldest first and side
// by side, and no other call holds that resource. Handle is called by several
// workers at once. The batch and its bodies are the callee's to read only.
type Handler interface {
	Handle(ctx context.Context, batch []Notification) []error
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, batch []Notification) []error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, batch []Notification) []error {
	return f(ctx, batch)
}

// Each is a partner's simple handler: f is called for one notification after
// the other. Once f fails for a resource, the resource's later notifications
// of the same batch wait with it, so that nothing overtakes.
func Each(f func(ctx context.Context, n Notification) error) Handler {
	return HandlerFunc(func(ctx context.Context, batch []Notification) []error {
		errs := make([]error, len(batch))
		waiting := map[Ref]error{}
		for i, n := range batch {
			if err := waiting[n.Ref]; err != nil && n.Ref != (Ref{}) {
				errs[i] = err
				continue
			}
			errs[i] = f(ctx, n)
			if o, _, _ := OutcomeOf(errs[i]); !o.Settled() {
				waiting[n.Ref] = companion(o, errs[i])
			}
		}
		return errs
	})
}

// Latest passes the newest notification of each resource to h, one per
// resource, and lets the older ones share its fate: Merged where it settled,
// dead where it died, waiting where it waits. A second notification of one ID
// is skipped as a duplicate. Force and Again of the older ones pass to the
// newest, so that merging forgets neither; where one of these has to be read
// anew, the newest loses the read that it brings along.
func Latest(h Handler) Handler {
	return HandlerFunc(func(ctx context.Context, batch []Notification) []error {
		errs := make([]error, len(batch))
		newest := map[Ref]int{} // index in passed
		var passed []Notification
		owner := make([]int, len(batch)) // index in passed
		lead := []int{}                  // index in batch of passed[i]
		for i, n := range batch {
			at, seen := newest[n.Ref]
			if !seen || n.Ref == (Ref{}) {
				newest[n.Ref] = len(passed)
				owner[i] = len(passed)
				passed = append(passed, n)
				lead = append(lead, i)
				continue
			}
			owner[i] = at
			force, again := passed[at].Force || n.Force, passed[at].Again || n.Again
			// One that tells no version may be newer than all: what is known of
			// the others' versions says nothing of it.
			force = force || n.Version == 0 || passed[at].Version == 0
			anew := passed[at].asksAnew() || n.asksAnew()
			// What says that the resource is gone may have the version of the last
			// update, and would be lost behind it: that one may be known.
			if top := passed[at]; n.Version > top.Version || n.Version == top.Version && (n.Deletes() || !top.Deletes()) {
				passed[at], lead[at] = n, i
			}
			passed[at].Force, passed[at].Again = force, again
			if anew && passed[at].HasRead() {
				passed[at].Body = nil
			}
		}
		got := h.Handle(ctx, passed)
		ids := map[string]int{} // first notification of each ID
		for i, n := range batch {
			err := got[owner[i]]
			outcome, _, _ := OutcomeOf(err)
			_, twice := ids[n.ID]
			if n.ID != "" && !twice {
				ids[n.ID] = i
			}
			switch {
			case lead[owner[i]] == i || outcome == Dead:
				errs[i] = err
			case !outcome.Settled():
				errs[i] = companion(outcome, err)
			case twice || n.ID != "" && n.ID == batch[lead[owner[i]]].ID:
				errs[i] = Skip("duplicate")
			default:
				errs[i] = Merged
			}
		}
		return errs
	})
}

// companion is the answer for a notification that was not tried itself and
// waits because another one of its resource does: a fault of that one is no
// attempt of its own.
func companion(o Outcome, err error) error {
	if o == Retry {
		return RetryAfter(0, err)
	}
	return err
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// pause is after which a notification comes again when the ledger could not be
// read, or when another worker has its resource.
const pause = time.Second

// Settle is the outermost handler around h. The error it returns for a
// notification is settled only when its outcome is on disk: the queue may
// acknowledge it (promise 2). What was settled before and is handed out again
// is not passed to h, unless it may have to repair: see Options.Shared. When
// the outcome could not be written, the notification comes back as unclear, so
// that it is worked again with care.
func (l *Ledger) Settle(h ct2fluent.Handler) ct2fluent.Handler {
	return ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		var refs []ct2fluent.Ref
		held := map[ct2fluent.Ref]*resource{}
		for _, n := range batch {
			if held[n.Ref] == nil {
				held[n.Ref] = &resource{ref: n.Ref, yields: true}
				refs = append(refs, n.Ref)
			}
			held[n.Ref].yields = held[n.Ref].yields && n.Bulk
		}
		errs := make([]error, len(batch))
		entries, err := l.load(ctx, refs)
		if err != nil {
			for i := range errs {
				errs[i] = ct2fluent.RetryAfter(pause, err)
			}
			l.tell(ctx, batch, errs)
			return errs
		}
		for ref, k := range entries {
			held[ref].last = k
		}

		var at []int
		var fresh []ct2fluent.Notification
		var repairs []bool // worked though they are counted
		for i, n := range batch {
			counted := held[n.Ref].last.counts(n.Seq)
			if counted && !l.repairs(n) {
				errs[i] = ct2fluent.Merged // its acknowledgement was lost
				continue
			}
			at, fresh, repairs = append(at, i), append(fresh, n), append(repairs, counted)
		}
		if len(fresh) == 0 {
			return errs
		}
		answers := work(ctx, h, &session{held: held}, fresh)
		for i, n := range fresh {
			r := held[n.Ref]
			a := judge(n, answers[i], l.o.MaxAttempts)
			if repairs[i] && a.outcome == ct2fluent.Dead {
				if err := l.leaveTrace(ctx, a); err != nil {
					a = judge(n, ct2fluent.RetryAfter(pause, err), l.o.MaxAttempts)
				}
			}
			a.counted = repairs[i]
			r.answers, r.at = append(r.answers, a), append(r.at, at[i])
		}

		start := time.Now()
		var todo []*resource
		for _, ref := range refs {
			if r := held[ref]; len(r.answers) > 0 {
				todo = append(todo, r)
			}
		}
		// What was worked must be written down also while stopping.
		l.settle(context.WithoutCancel(ctx), todo, errs)
		if l.o.Observe.Settle != nil {
			l.o.Observe.Settle(len(fresh), time.Since(start))
		}
		var told []error
		kept := fresh[:0:0]
		for i, n := range fresh {
			o, _, _ := ct2fluent.OutcomeOf(errs[at[i]])
			if repairs[i] && o.Settled() {
				continue // it was told when it was counted
			}
			kept, told = append(kept, n), append(told, errs[at[i]])
		}
		l.tell(ctx, kept, told)
		return errs
	})
}

// leaveTrace has the resource of a repair that died worked once more, so that it
// dies by a notification that counts. One whose dead letter lies there needs none.
func (l *Ledger) leaveTrace(ctx context.Context, a answer) error {
	_, err := l.letter(ctx, a.n.Seq)
	if errors.Is(err, ErrNotFound) {
		err = l.o.Put(ctx, forced(a.n, a.mayLand()))
	}
	if err != nil {
		return fmt.Errorf("put %s again: %w", a.n.Ref, err)
	}
	return nil
}

// work calls the inner handler with the session in its context.
func work(ctx context.Context, h ct2fluent.Handler, s *session, ns []ct2fluent.Notification) []error {
	s.working = true
	errs := h.Handle(context.WithValue(ctx, sessionKey{}, s), ns)
	s.mu.Lock()
	s.working = false
	s.mu.Unlock()
	for len(errs) < len(ns) {
		errs = append(errs, fmt.Errorf("the handler answered for %d of %d notifications", len(errs), len(ns)))
	}
	return errs
}

// repairs tells whether a notification is worked though it is settled and
// counted. Another process may have settled it while this one had it, whose
// write may lie above the other's by now (rule 7).
func (l *Ledger) repairs(n ct2fluent.Notification) bool {
	return l.o.Shared && n.Again && n.Fault == ""
}

// settle writes what became of resources, and fills in what the queue is told
// of their notifications. All are written together, and those that do not fit
// into one entry, or were overtaken, once more.
func (l *Ledger) settle(ctx context.Context, todo []*resource, errs []error) {
	for len(todo) > 0 {
		steps := make([]*step, len(todo))
		var parts []*part
		for i, r := range todo {
			steps[i] = l.step(r)
			if steps[i].part != nil {
				parts = append(parts, steps[i].part)
			}
		}
		l.commits.commit(parts)
		todo = todo[:0:0]
		for _, s := range steps {
			if l.finish(ctx, s, errs) {
				todo = append(todo, s.r)
			}
		}
	}
}

// A step settles the first n answers of a resource.
type step struct {
	r     *resource
	n     int
	entry Entry
	part  *part // nil: there is nothing to write
	err   error
}

func (l *Ledger) step(r *resource) *step {
	s := &step{r: r, n: fitting(r.answers)}
	told := r.told
	if s.n < len(r.answers) {
		told = nil // it speaks of all of them
	}
	c := conclude(r.last.Entry, r.answers[:s.n], told, l.o.Floor(r.ref.Project), time.Now().UTC())
	if l.o.Shared {
		c.entry.Floor = max(r.last.Floor, l.o.Floor(r.ref.Project))
	}
	c.entry.Runs = l.commits.keepRuns(c.entry.Runs, c.runs)
	s.entry = c.entry
	if c.news {
		if s.part, s.err = newPart(r.ref, r.last.seq, c); s.part != nil {
			s.part.yields = r.yields
		}
	}
	return s
}

// finish tells the queue of a step, as far as it is written. It returns true
// where the resource has more to settle.
func (l *Ledger) finish(ctx context.Context, s *step, errs []error) (more bool) {
	r := s.r
	err := s.err
	if s.part != nil {
		err = s.part.err
	}
	switch {
	case err == nil:
		if s.part != nil {
			r.last = kept{s.entry, s.part.seq}
		}
		for i := range s.n {
			errs[r.at[i]] = r.answers[i].err
		}
		r.answers, r.at = r.answers[s.n:], r.at[s.n:]
		return len(r.answers) > 0
	case errors.Is(err, errOvertaken):
		return l.overtaken(ctx, r, errs)
	}
	r.letGo(errs, ct2fluent.Unclear(err))
	return false
}

// letGo tells the queue that what is left of r did not settle, and why; what
// waits by its own word goes on to.
func (r *resource) letGo(errs []error, why error) {
	for i, a := range r.answers {
		errs[r.at[i]] = a.err
		if a.outcome.Settled() {
			errs[r.at[i]] = why
		}
	}
}

// overtaken decides about a resource that another worker has written to. It
// returns true where it can be settled on top of that.
func (l *Ledger) overtaken(ctx context.Context, r *resource, errs []error) (again bool) {
	entries, err := l.load(ctx, []ct2fluent.Ref{r.ref})
	if err != nil {
		r.letGo(errs, ct2fluent.Unclear(err))
		return false
	}
	r.last = entries[r.ref]
	var answers []answer
	var at, theirs []int
	for i, a := range r.answers {
		if r.last.counts(a.n.Seq) {
			// Settled and counted by the other.
			errs[r.at[i]] = ct2fluent.Merged
			theirs = append(theirs, r.at[i])
		} else {
			answers, at = append(answers, a), append(at, r.at[i])
		}
	}
	sent := slices.ContainsFunc(r.answers, answer.mayHaveSent)
	mayLand := slices.ContainsFunc(r.answers, answer.mayLand)
	var newest ct2fluent.Notification // of those that may have sent: no filter stops it
	for _, a := range r.answers {
		if a.mayHaveSent() {
			newest = a.n
		}
	}
	r.answers, r.at = answers, at
	if r.tries++; r.tries < tries && !sent && claimsNothing(r.answers, r.told) {
		return len(r.answers) > 0
	}
	// Rule 7: what we sent may lie above what the other wrote, or below. What
	// may still land is waited for (rule 3): a repair before it would be undone.
	if sent {
		if err := l.o.Put(ctx, forced(newest, mayLand)); err != nil {
			err = ct2fluent.Unclear(fmt.Errorf("put %s again: %w", r.ref, err))
			r.letGo(errs, err)
			for _, i := range theirs {
				errs[i] = err // it comes again, and repairs
			}
			return false
		}
	}
	r.letGo(errs, ct2fluent.RetryAfter(pause, fmt.Errorf("settle %s: %w", r.ref, errOvertaken)))
	return false
}

// forced is a notification that has its resource read and worked once more:
// again, once what was sent before can no longer land.
func forced(n ct2fluent.Notification, again bool) ct2fluent.Notification {
	n.Seq, n.Attempts, n.Again, n.Bulk, n.Force, n.Received = 0, 0, again, false, true, time.Now()
	n.Run = ""
	if n.HasRead() {
		n.Body = nil // a read of then
	}
	return n
}

// tell passes outcomes to the log and the metrics. What waits or died says why:
// a handler's errors hold nothing personal (promise 7).
func (l *Ledger) tell(ctx context.Context, ns []ct2fluent.Notification, errs []error) {
	type kind struct {
		outcome ct2fluent.Outcome
		reason  string
	}
	counts := map[kind]int{}
	debug := l.log.Enabled(ctx, slog.LevelDebug)
	for i, n := range ns {
		o, reason, _ := ct2fluent.OutcomeOf(errs[i])
		counts[kind{o, reason}]++
		if debug {
			line := []any{"outcome", o.String(), "reason", reason, "resource", n.Ref.String(), "version", n.Version, "seq", n.Seq}
			if !o.Settled() || o == ct2fluent.Dead {
				line = append(line, "error", errs[i])
			}
			l.log.DebugContext(ctx, "outcome", line...)
		}
	}
	if l.o.Observe.Outcome == nil {
		return
	}
	for k, n := range counts {
		l.o.Observe.Outcome(k.outcome, k.reason, n)
	}
}

package route

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A part is what one call of a handler is given: indices of the batch.
type part struct {
	to *Registered
	at []int
}

// Handle parts the batch by handler, runs different handlers at once and
// answers in the batch's order.
//
// No two handlers hold one resource at the same time, and each sees what is
// its own oldest first: where a resource's notifications go to different
// handlers, they run one after the other, in rounds. A later one waits, at no
// cost to itself, while an older one of another handler has not settled.
func (r *Router) Handle(ctx context.Context, batch []ct2fluent.Notification) []error {
	errs := make([]error, len(batch))
	unsettled := map[ct2fluent.Ref]error{}
	for _, round := range r.rounds(batch, errs) {
		var running sync.WaitGroup
		for j := range round {
			p := &round[j]
			p.at = slices.DeleteFunc(p.at, func(i int) bool {
				errs[i] = unsettled[batch[i].Ref]
				return errs[i] != nil
			})
			if len(p.at) > 0 {
				running.Go(func() { r.work(ctx, p, batch, errs) })
			}
		}
		running.Wait()
		for _, p := range round {
			for _, i := range p.at {
				if o, _, _ := ct2fluent.OutcomeOf(errs[i]); !o.Settled() {
					unsettled[batch[i].Ref] = behind(errs[i])
				}
			}
		}
	}
	return errs
}

// rounds lays out the batch: the parts of one round may run at once, as no two
// of them hold one resource. What no handler works gets its answer in errs.
func (r *Router) rounds(batch []ct2fluent.Notification, errs []error) (rounds [][]part) {
	type last struct {
		round int
		to    *Registered
	}
	seen := map[ct2fluent.Ref]last{}
	for i := range batch {
		n := &batch[i]
		mapping, end := r.find(n)
		if end != nil {
			errs[i] = end
			r.tell(n, end)
			continue
		}
		l, again := seen[n.Ref]
		if to := r.targets[mapping]; l.to != to {
			l.to = to
			if again {
				l.round++
			}
		}
		seen[n.Ref] = l
		if l.round == len(rounds) {
			rounds = append(rounds, nil)
		}
		round := &rounds[l.round]
		j := slices.IndexFunc(*round, func(p part) bool { return p.to == l.to })
		if j < 0 {
			j = len(*round)
			*round = append(*round, part{to: l.to})
		}
		(*round)[j].at = append((*round)[j].at, i)
	}
	return rounds
}

// behind is the answer for a notification that waits for an older one.
func behind(err error) error {
	o, _, delay := ct2fluent.OutcomeOf(err)
	if o == ct2fluent.Held {
		return err
	}
	return ct2fluent.RetryAfter(max(delay, time.Second), err)
}

// work gives a part to its handler and lays its answers in errs.
func (r *Router) work(ctx context.Context, p *part, batch []ct2fluent.Notification, errs []error) {
	mine := batch
	if len(p.at) < len(batch) {
		mine = make([]ct2fluent.Notification, len(p.at))
		for j, i := range p.at {
			mine[j] = batch[i]
		}
	}
	start := time.Now()
	answers := r.call(ctx, p.to, mine)
	r.observe(p.to.Name, len(mine), time.Since(start))
	for j, i := range p.at {
		errs[i] = answers[j]
	}
}

// call has a handler work notifications. When it panics, each resource is
// given to it alone, so that one that makes it panic does not take the others
// along. They are Again then: the call that broke off may have written.
func (r *Router) call(ctx context.Context, to *Registered, ns []ct2fluent.Notification) []error {
	answers, ok := r.try(ctx, to, ns)
	if ok {
		return answers
	}
	if ns[0].Ref == ns[len(ns)-1].Ref {
		return all(len(ns), fmt.Errorf("handler %q panicked", to.Name))
	}
	alone := slices.Clone(ns)
	for i := range alone {
		alone[i].Again = true
	}
	answers = make([]error, 0, len(ns))
	for len(alone) > 0 {
		end := slices.IndexFunc(alone, func(n ct2fluent.Notification) bool { return n.Ref != alone[0].Ref })
		if end < 0 {
			end = len(alone)
		}
		answers = append(answers, r.call(ctx, to, alone[:end])...)
		alone = alone[end:]
	}
	return answers
}

// try calls the handler; ok is false when it panicked.
func (r *Router) try(ctx context.Context, to *Registered, ns []ct2fluent.Notification) (answers []error, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			r.log.LogAttrs(ctx, slog.LevelError, "handler panicked",
				slog.String("handler", to.Name), slog.String("panic", harmless(v)), slog.String("stack", string(debug.Stack())))
		}
	}()
	answers = to.Handler.Handle(ctx, ns)
	if len(answers) != len(ns) {
		return all(len(ns), fmt.Errorf("handler %q gave %d answers for %d notifications", to.Name, len(answers), len(ns))), true
	}
	return answers, true
}

// harmless says what a panic was about. Promise 7: a value that the handler
// made may hold anything, one of the runtime tells of indices and types.
func harmless(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

func all(n int, err error) []error {
	return slices.Repeat([]error{err}, n)
}

// told remembers which kinds of skipped notifications were logged. Kinds come
// from outside: no more than maxTold are remembered.
type told struct {
	mu    sync.Mutex
	kinds map[kind]bool
}

type kind struct{ typeID, kind, name, reason string }

const (
	maxTold = 200
	maxWord = 80 // bytes of a word from outside that reach the log
)

// tell logs once per kind that notifications of it are skipped.
func (r *Router) tell(n *ct2fluent.Notification, end error) {
	_, reason, _ := ct2fluent.OutcomeOf(end)
	if reason != "filtered" && reason != "no-route" {
		return
	}
	k := kind{short(n.Ref.TypeID), short(n.Kind), short(n.Name), reason}
	r.told.mu.Lock()
	count := len(r.told.kinds)
	if count >= maxTold || r.told.kinds[k] {
		r.told.mu.Unlock()
		return
	}
	if r.told.kinds == nil {
		r.told.kinds = map[kind]bool{}
	}
	r.told.kinds[k] = true
	r.told.mu.Unlock()

	r.log.Info("notifications of this kind are skipped; said once",
		"typeId", k.typeID, "notificationType", k.kind, "type", k.name, "reason", reason)
	if count+1 == maxTold {
		r.log.Warn("many kinds of notifications are skipped; no further kind is named", "kinds", maxTold)
	}
}

func short(s string) string {
	return s[:min(len(s), maxWord)]
}

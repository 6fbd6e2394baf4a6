package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// A run is a piece of long work that puts notifications of its own. What became
// of each resource is counted once for it, however often the run has put the
// resource: a run that was killed puts its last page once more. The count and
// the note in the entry that it was counted are written together, so that of
// what a run has put, after any crash (promise 2),
//
//	read = written + unchanged + merged + skipped + dead + waiting

// runsKept is of how many runs that are over an entry knows at least that they
// have counted it: their notifications may still wait.
const runsKept = 8

// countRuns counts what became of a resource for the runs whose notifications
// are among the answers and that have not counted it yet. One that was merged
// has the fate of the one that it was merged into.
func (c *conclusion) countRuns(answers []answer) {
	for _, a := range answers {
		run := a.n.Run
		if run == "" || a.counted || !a.outcome.Settled() || slices.Contains(c.entry.Runs, run) {
			continue
		}
		fate := a
		for _, other := range answers {
			if other.outcome.Settled() && other.tells() > fate.tells() {
				fate = other
			}
		}
		t := c.runs[run]
		t.count(fate.outcome, fate.reason)
		if c.runs == nil {
			c.runs = map[string]Totals{}
		}
		c.runs[run] = t
		c.entry.Runs = append(c.entry.Runs, run)
	}
}

// keepRuns drops the oldest of the runs that have counted a resource, but none
// that has not ended: it may be stopped, and go on after any number of others.
// counted are those that count it now.
func (c *committer) keepRuns(runs []string, counted map[string]Totals) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := func(run string) bool {
		_, counts := c.totals.Runs[run]
		_, now := counted[run]
		return counts || now
	}
	over := -runsKept
	for _, run := range runs {
		if !live(run) {
			over++
		}
	}
	return slices.DeleteFunc(runs, func(run string) bool {
		if over <= 0 || live(run) {
			return false
		}
		over--
		return true
	})
}

// tells is how much an outcome says of its resource: of notifications that are
// settled together one was worked, and the others say that they were not.
func (a answer) tells() int {
	switch a.outcome {
	case ct2fluent.IsMerged:
		return 0
	case ct2fluent.Skipped:
		return 1
	}
	return 2
}

// RunTotals counts the resources of a run that are settled.
func (l *Ledger) RunTotals(run string) Totals {
	l.commits.mu.Lock()
	defer l.commits.mu.Unlock()
	return l.commits.totals.Runs[run].clone()
}

// Runs names the runs whose totals are kept.
func (l *Ledger) Runs() []string {
	l.commits.mu.Lock()
	defer l.commits.mu.Unlock()
	return slices.Sorted(maps.Keys(l.commits.totals.Runs))
}

// Counted tells which of the resources the run has counted already; the others
// are missing.
func (l *Ledger) Counted(ctx context.Context, run string, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]bool, error) {
	entries, err := l.Newest(ctx, refs...)
	if err != nil {
		return nil, err
	}
	counted := make(map[ct2fluent.Ref]bool, len(entries))
	for ref, e := range entries {
		if slices.Contains(e.Runs, run) {
			counted[ref] = true
		}
	}
	return counted, nil
}

// EndRun forgets the totals of a run; nil says that this is on disk. Who wants
// to keep them reads them before.
func (l *Ledger) EndRun(ctx context.Context, run string) error {
	c := l.commits
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	for try := 1; ; try++ {
		c.mu.Lock()
		next, at := c.totals, c.at
		_, there := next.Runs[run]
		next.Runs = maps.Clone(next.Runs)
		delete(next.Runs, run)
		c.mu.Unlock()
		if !there {
			return nil
		}
		err := c.setTotals(ctx, next, at)
		if err == nil || !errors.Is(err, store.ErrOvertaken) || try == tries {
			return err
		}
		if err := c.reload(ctx); err != nil {
			return err
		}
	}
}

// setTotals writes a record that follows the one at a sequence.
func (c *committer) setTotals(ctx context.Context, next record, at uint64) error {
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	at, err = c.journal.Append(ctx, expecting(totalsSubject, data, at))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals, c.at = next, at
	return nil
}

package app

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// restEvery is how often it is looked whether there is a rest.
const restEvery = time.Second

// giveBack gives memory back to the system when work has come to a rest, until
// ctx is done: left to itself Go keeps for minutes what a backlog took, and
// many run this beside other programs.
func (a *App) giveBack(ctx context.Context) error {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	worked, before := false, a.ledger.Totals().Settled()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		settled := a.ledger.Totals().Settled()
		switch {
		case settled != before:
			before, worked = settled, true
		case worked:
			worked = false
			debug.FreeOSMemory()
		}
	}
}

// leanPercent is how much the heap may grow between two collections while an
// index of a whole population is held: half of what Go does by itself.
const leanPercent = 50

// lean has the collector work more often until the last of those who asked for
// it is done. The processor pays for it, and the process stays small.
type lean struct {
	mu     sync.Mutex
	asked  int
	before int
}

// begin returns what ends it.
func (l *lean) begin() (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked++; l.asked == 1 {
		l.before = debug.SetGCPercent(leanPercent)
		if l.before >= 0 && l.before < leanPercent {
			debug.SetGCPercent(l.before) // somebody wants still less
		}
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.asked--; l.asked == 0 {
			debug.SetGCPercent(l.before)
			debug.FreeOSMemory()
		}
	}
}

package app

import (
	"context"
	"runtime/debug"
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

package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"
)

// memoryGoal is what the process wants to do with. Left to itself Go lets the
// heap grow to twice of what is alive before it collects, which a run over a
// million customers, and the indexes of as many, would have it do.
const memoryGoal = 380 << 20

// memoryLimit is the limit for a heap of which so much is alive. It is soft, and
// leaves room to work in: a collector that has none would take half of the
// processors.
func memoryLimit(alive uint64) int64 { return max(memoryGoal, int64(alive)*6/5+24<<20) }

// steadyFor is at how many looks something must have been alive to count. Now
// and then JetStream has its whole index in one buffer, some 70 MB of a million
// subjects, to write it; a limit that rose with it would stay exhausted.
const steadyFor = 8

// An aliveness is what was alive at the last looks.
type aliveness []uint64

// steady takes in what is alive now, and gives what has been for a while.
func (a *aliveness) steady(now uint64) uint64 {
	if *a = append(*a, now); len(*a) > steadyFor {
		*a = (*a)[1:]
	}
	return slices.Min(*a)
}

// limitMemory sets the limit to what is alive, unless the user has set one.
func (a *aliveness) limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(alive); alive[0].Value.Kind() == metrics.KindUint64 {
		debug.SetMemoryLimit(memoryLimit(a.steady(alive[0].Value.Uint64())))
	}
}

// restEvery is how often it is looked whether there is a rest.
const restEvery = time.Second

// giveBack gives memory back to the system when work has come to a rest, until
// ctx is done: left to itself Go keeps for minutes what a backlog took, and
// many run this beside other programs.
func (a *App) giveBack(ctx context.Context) error {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	var alive aliveness
	worked, before := false, a.ledger.Totals().Settled()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		alive.limitMemory()
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

package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// A taken is what a process takes at a rest.
type taken struct{ memory, descriptors, disk int }

// soak works one process under a steady load, with a fault every round, and
// asks at the rest after each round what it takes. What it takes is to stay
// flat: the last quarter may not lie above the second.
func soak(ctx context.Context, p *prover) error {
	const customers = 300
	lasts := cmp.Or(p.soakFor, pick(p, 40*time.Second, time.Hour))
	round := min(max(lasts/12, 3*time.Second), 30*time.Second)
	w, err := p.newWorld(ctx, setup{level: "info", sample: 100, ct: sandbox.CTKnobs{
		Duplicates: 0.2, Window: sandbox.Duration(50 * time.Millisecond), Lag: sandbox.Duration(20 * time.Millisecond),
	}})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.create("", customers); err != nil {
		return err
	}
	var levels []taken
	faults := soakFaults(round / 4)
	for over := time.Now().Add(lasts); time.Now().Before(over); {
		if err := w.soakRound(ctx, round, faults[len(levels)%len(faults)]); err != nil {
			return fmt.Errorf("round %d: %w", len(levels)+1, err)
		}
		now, err := w.takes()
		if err != nil {
			return err
		}
		if levels = append(levels, now); len(levels)%10 == 0 {
			w.say("round %d: %d MiB resident, %d descriptors, %d MiB on disk", len(levels), now.memory, now.descriptors, now.disk)
		}
	}
	first, second := quarters(levels)
	p.note("%v, %d rounds, %d notifications put; MiB resident %d, then %d at most; descriptors %d, then %d; MiB on disk %d, then %d",
		lasts, len(levels), w.putSoFar(), first.memory, second.memory, first.descriptors, second.descriptors, first.disk, second.disk)
	if err := flat(levels); err != nil {
		return err
	}
	return w.verify(func(h *check.History) { h.Whole, h.Blameless = true, true })
}

// soakFaults are what goes wrong, one in a round, for so long.
func soakFaults(lasts time.Duration) []func(w *world) error {
	inject := func(f sandbox.Fault) func(w *world) error {
		return func(w *world) error {
			if err := w.fluent.Inject(f); err != nil {
				return err
			}
			time.Sleep(lasts)
			return w.fluent.SetKnobs(sandbox.FluentKnobs{})
		}
	}
	return []func(w *world) error{
		func(*world) error { return nil },
		inject(sandbox.Fault{Kind: "429", Probability: 0.5}),
		inject(sandbox.Fault{Kind: "503"}),
		inject(sandbox.Fault{Kind: "timeout", Apply: true, Operation: "mutation", Count: 3}),
		func(w *world) error {
			w.fluentServer.Down()
			time.Sleep(lasts)
			return w.fluentServer.Up()
		},
		func(w *world) error {
			w.ctServer.Down()
			time.Sleep(lasts)
			return w.ctServer.Up()
		},
	}
}

// soakRound changes customers steadily for a while, has something go wrong
// meanwhile, and waits for the rest.
func (w *world) soakRound(ctx context.Context, lasts time.Duration, fault func(w *world) error) error {
	failed := make(chan error, 1)
	go func() { failed <- fault(w) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for over := time.Now().Add(lasts); time.Now().Before(over); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := w.change(1); err != nil {
			return err
		}
	}
	if err := <-failed; err != nil {
		return err
	}
	return w.rest(restWithin)
}

// takes tells what the process takes now.
func (w *world) takes() (l taken, err error) {
	l.memory, _ = w.memory()
	l.descriptors = descriptors(w.process.pid)
	var bytes int64
	err = filepath.WalkDir(w.store(), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it was there a moment ago
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	l.disk = int(bytes >> 20)
	return l, err
}

// quarters are the most of what was taken in the second quarter, and in the
// last: in the first, what is kept for good is still being made.
func quarters(levels []taken) (first, second taken) {
	most := func(ls []taken) taken {
		by := func(of func(taken) int) int {
			if len(ls) == 0 {
				return 0
			}
			return of(slices.MaxFunc(ls, func(a, b taken) int { return cmp.Compare(of(a), of(b)) }))
		}
		return taken{
			by(func(l taken) int { return l.memory }), by(func(l taken) int { return l.descriptors }), by(func(l taken) int { return l.disk }),
		}
	}
	n := len(levels)
	return most(levels[n/4 : n/2]), most(levels[n*3/4:])
}

// flat tells what has grown. A tenth, and what the collector, connections and
// files that are about to be compacted come and go by, is no growth.
func flat(levels []taken) error {
	if len(levels) < 4 {
		return fmt.Errorf("%d rounds tell nothing", len(levels))
	}
	first, second := quarters(levels)
	for _, one := range []struct {
		name               string
		first, then, slack int
	}{
		{"MiB resident", first.memory, second.memory, 16},
		{"descriptors", first.descriptors, second.descriptors, 16},
		{"MiB on disk", first.disk, second.disk, 16},
	} {
		if one.then > one.first*11/10+one.slack {
			return fmt.Errorf("it grows: %d %s, then %d", one.first, one.name, one.then)
		}
	}
	return nil
}

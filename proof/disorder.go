package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// A mess is a way in which notifications, reads and answers come that nobody
// would wish for.
type mess struct {
	name  string
	setup setup
	work  func(w *world) error
}

// disorder has each mess come over a process.
func disorder(ctx context.Context, p *prover) error {
	var received, regressions atomic.Int64
	all := messes(pick(p, 1, 10))
	err := abreast(4, all, func(m mess) error {
		w, err := p.newWorld(ctx, m.setup)
		if err != nil {
			return err
		}
		defer w.close()
		if err := w.comes(m); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		received.Add(int64(w.history.Totals.Received))
		regressions.Add(int64(w.history.Regressions()))
		return nil
	})
	p.note("%d kinds of disorder, %d notifications; an older version lay over a newer one for a moment %d times", len(all), received.Load(), regressions.Load())
	return err
}

func (w *world) comes(m mess) error {
	if err := w.start(); err != nil {
		return err
	}
	if err := m.work(w); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	return w.verify(func(h *check.History) { h.Whole = true })
}

func messes(times int) []mess {
	over := func(d time.Duration) sandbox.Duration { return sandbox.Duration(d) }
	const ms = time.Millisecond
	changes := func(w *world) error {
		for range times {
			if err := w.create("", 20); err != nil {
				return err
			}
			if err := w.change(200); err != nil {
				return err
			}
		}
		return nil
	}
	// So slowly that a write which lands late meets what was written meanwhile.
	slowly := func(w *world) error {
		if err := w.create("", 20); err != nil {
			return err
		}
		for range 5 * times {
			for range 8 {
				if err := w.change(8); err != nil {
					return err
				}
				time.Sleep(80 * ms)
			}
			if err := w.rest(restWithin); err != nil {
				return err
			}
			time.Sleep(700 * ms) // the last late one lands
			if err := w.rest(restWithin); err != nil {
				return err
			}
		}
		return nil
	}
	// Whether a customer is there, a read by id always knows.
	lagging := func(k sandbox.CTKnobs) func(w *world) error {
		return func(w *world) error {
			for range times {
				if err := w.ct.SetKnobs(sandbox.CTKnobs{}); err != nil {
					return err
				}
				if err := w.create("", 20); err != nil {
					return err
				}
				if err := w.rest(restWithin); err != nil {
					return err
				}
				if err := w.ct.SetKnobs(k); err != nil {
					return err
				}
				if err := w.change(200); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return []mess{
		{"everything twice, in any order", setup{ct: sandbox.CTKnobs{Duplicates: 1, Window: over(500 * ms)}}, changes},
		{"the last first", setup{ct: sandbox.CTKnobs{Window: over(400 * ms), Reverse: true}}, changes},
		{"days late", setup{}, func(w *world) error { return w.daysLate(changes) }},
		{"queries see an older state", setup{ct: sandbox.CTKnobs{Lag: over(400 * ms)}}, changes},
		{"all reads see an older state", setup{}, lagging(sandbox.CTKnobs{Lag: over(400 * ms), LagByID: true})},
		{"emails change in bursts", setup{ct: sandbox.CTKnobs{Duplicates: 0.3, Window: over(200 * ms)}}, func(w *world) error {
			for range times {
				if err := w.create("", 20); err != nil {
					return err
				}
				for _, id := range w.known() {
					if err := w.burst(id, 10); err != nil {
						return err
					}
				}
			}
			return nil
		}},
		{"all customers map to one username", setup{
			config: "mapping: { username: 'retailerId + \"_\" + \"" + mark + "\"' }\n",
			ct:     sandbox.CTKnobs{Duplicates: 0.2, Window: over(200 * ms)},
		}, changes},
		{"answers are lost, and some writes applied late", setup{fluent: sandbox.FluentKnobs{Common: sandbox.Common{Faults: []sandbox.Fault{
			{Kind: "cut", Apply: true, Operation: "mutation", Probability: 0.1},
			{Kind: "cut", Late: over(600 * ms), Operation: "mutation", Probability: 0.3},
			{Kind: "502", Apply: true, Operation: "mutation", Probability: 0.05},
			{Kind: "null", Operation: "mutation", Probability: 0.02},
		}}}}, slowly},
		{"all of it", setup{
			fluent: sandbox.FluentKnobs{Common: sandbox.Common{Latency: over(5 * ms), Jitter: over(30 * ms), Faults: []sandbox.Fault{
				{Kind: "cut", Late: over(400 * ms), Operation: "mutation", Probability: 0.05},
				{Kind: "429", Probability: 0.05},
			}}},
		}, lagging(sandbox.CTKnobs{Duplicates: 0.5, Window: over(300 * ms), Lag: over(200 * ms), LagByID: true})},
	}
}

// burst changes the email of a customer so often, as fast as it goes.
func (w *world) burst(id string, n int) error {
	for range n {
		w.mu.Lock()
		w.count++
		at := w.count
		w.mu.Unlock()
		doc, err := w.ct.Update(id, map[string]any{"action": "changeEmail", "email": fmt.Sprintf("%s.burst%d@example.com", mark, at)})
		if err != nil {
			return err
		}
		w.made(doc)
	}
	return nil
}

// daysLate has everything delivered again long after it was worked, in any
// order. Neither API is asked for anything then.
func (w *world) daysLate(changes func(w *world) error) error {
	if err := changes(w); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	if err := w.ct.SetKnobs(sandbox.CTKnobs{Window: sandbox.Duration(500 * time.Millisecond)}); err != nil {
		return err
	}
	w.ct.ResetCalls()
	w.fluent.ResetCalls()
	again := w.ct.Redeliver() + w.ct.Redeliver()
	if err := w.rest(restWithin); err != nil {
		return err
	}
	for side, calls := range map[string]map[string]map[string]int{"commercetools": w.ct.Calls(), "Fluent": w.fluent.Calls()} {
		for operation, answers := range calls {
			if operation != "deliver" {
				return fmt.Errorf("%d notifications that were known cost %s calls: %s %v", again, side, operation, answers)
			}
		}
	}
	return nil
}

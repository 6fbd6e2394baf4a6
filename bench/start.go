package main

import (
	"context"
	"fmt"
	"time"
)

// start: how long until notifications are accepted again.
func (b *bench) start(ctx context.Context) error {
	const name = "start"
	remembered, waiting := b.of(2000, 20_000), b.of(500, 2000)
	if b.long {
		remembered, waiting = 1_000_000, 100_000
	}
	s, err := b.sides(ctx, Scene{Customers: waiting, Latency: latency})
	if err != nil {
		return err
	}
	defer s.close()
	// What a kill leaves unclear is waited for at the end.
	brief := setup{Timeout: 3 * time.Second, UnclearWait: 4 * time.Second}
	p, err := b.product(s, brief)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.remember(ctx, s.Addresses, remembered); err != nil {
		return err
	}
	if err := configure(p.dir, s.Addresses, brief); err != nil {
		return err
	}
	bodies, err := s.take(ctx)
	if err != nil {
		return err
	}
	if err := p.put(ctx, bodies); err != nil {
		return err
	}
	var stopped, killed []float64
	// ready starts the process with quick APIs, which become slow then: the
	// work is to be under way when it ends.
	ready := func() (float64, error) {
		began := time.Now()
		if err := p.start(ctx); err != nil {
			return 0, err
		}
		if err := p.ready(ctx); err != nil {
			return 0, err
		}
		took := time.Since(began)
		return took.Seconds(), s.ask(ctx, "PUT", "/knobs", Knobs{Latency: time.Second}, nil)
	}
	for range b.runs {
		took, err := ready()
		if err != nil {
			return err
		}
		stopped = append(stopped, took)
		err = until(ctx, "work to be under way", time.Minute, 5*time.Millisecond, func() (bool, error) {
			c, err := s.counts(ctx)
			return c.Commercetools.Requests["query"]+c.Fluent.Requests["mutation"] > 0, err
		})
		if err != nil {
			return err
		}
		p.kill()
		if err := s.ask(ctx, "PUT", "/knobs", Knobs{Latency: latency}, nil); err != nil {
			return err
		}
		if took, err = ready(); err != nil {
			return err
		}
		killed = append(killed, took)
		if err := p.stop(); err != nil {
			return err
		}
		if err := s.ask(ctx, "PUT", "/knobs", Knobs{Latency: latency}, nil); err != nil {
			return err
		}
		if err := s.ask(ctx, "POST", "/reset", nil, nil); err != nil {
			return err
		}
	}
	with := fmt.Sprintf("%s remembered, %s waiting: ready after ", number(float64(remembered)), number(float64(waiting)))
	b.report.figure(name, with+"a clean stop", spread(stopped).Median, "s", atMost(1))
	b.report.figure(name, with+"kill -9", spread(killed).Median, "s", atMost(5))

	if err := p.start(ctx); err != nil {
		return err
	}
	status, err := p.settled(ctx, len(bodies))
	if err != nil {
		return err
	}
	b.sum(name, status, len(bodies))
	var v Verdict
	if err := s.ask(ctx, "GET", "/verdict", nil, &v); err != nil {
		return err
	}
	b.judge(name, v, waiting)
	return p.stop()
}

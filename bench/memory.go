package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/ledger"
)

// remember has the ledger remember so many customers that nobody asks for
// again.
func (p *product) remember(ctx context.Context, at Addresses, n int) (err error) {
	if n == 0 {
		return nil
	}
	if err := configure(p.dir, at, setup{Listener: byHand}); err != nil {
		return err
	}
	var l *ledger.Ledger
	a, err := newApp(ctx, p.dir, nil, app.HandlerType{
		Name: "bench",
		New: func(env app.Env) (ct2fluent.Handler, error) {
			l = env.Ledger
			return ct2fluent.Each(func(context.Context, ct2fluent.Notification) error { return nil }), nil
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	const chunk = 1000
	return atOnce(8, (n+chunk-1)/chunk, func(c int) error {
		memories := map[ct2fluent.Ref]ct2fluent.Memory{}
		for i := c * chunk; i < min(n, (c+1)*chunk); i++ {
			ref := ct2fluent.Ref{Project: project, TypeID: "customer", ID: fmt.Sprintf("00000000-0000-4000-9000-%012d", i)}
			memories[ref] = ct2fluent.Memory{
				Floor: 1, Version: 1, Username: fmt.Sprintf("%s_remembered.customer.%d@example.com", retailer, i),
				Hash: "AAAAAAAAAAAAAAAAAAAAAA", Mapping: "AAAAAAAAAAAAAAAA",
			}
		}
		return l.Adopt(ctx, memories)
	})
}

// rested is what is resident once the process had nothing to do for so long.
func (p *product) rested(ctx context.Context, d time.Duration) (rss int64, err error) {
	began := time.Now()
	err = p.wait(ctx, "a rest", 100*time.Millisecond, func() bool {
		rss = p.usage().RSS
		return time.Since(began) >= d
	})
	return rss, err
}

// memory: what is resident, by the number of customers remembered.
func (b *bench) memory(ctx context.Context) error {
	worked := b.of(1000, 10_000)
	type size struct {
		remembered, worked int
		goal               goal
	}
	sizes := []size{{0, 0, atMost(40)}, {worked, 0, atMost(80)}, {0, worked, atMost(80)}}
	if b.long {
		sizes = append(sizes, size{1_000_000, 0, atMost(500)})
	}
	for _, one := range sizes {
		if err := b.memoryOf(ctx, one.remembered, one.worked, one.goal); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) memoryOf(ctx context.Context, remembered, worked int, g goal) error {
	const name = "memory"
	s, err := b.sides(ctx, Scene{Customers: worked, Latency: latency})
	if err != nil {
		return err
	}
	defer s.close()
	p, err := b.product(s, setup{})
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.remember(ctx, s.Addresses, remembered); err != nil {
		return err
	}
	if err := configure(p.dir, s.Addresses, setup{}); err != nil {
		return err
	}
	bodies, err := s.take(ctx)
	if err != nil {
		return err
	}
	if err := p.put(ctx, bodies); err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		return err
	}
	if _, err := p.settled(ctx, len(bodies)); err != nil {
		return err
	}
	rss, err := p.rested(ctx, time.Duration(b.of(1, 5))*time.Second)
	if err != nil {
		return err
	}
	what := number(float64(remembered)) + " customers remembered, after the start"
	if worked > 0 {
		what = number(float64(worked)) + " customers remembered, after having worked them"
	}
	b.report.figure(name, what, float64(rss)/1e6, "MB", g)
	b.report.figure(name, what+", at most", float64(p.usage().Max)/1e6, "MB", nil)
	return p.stop()
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
)

// A benchCase is run once for all of its names.
type benchCase struct {
	names []string
	run   func(b *bench, ctx context.Context) error
}

func cases() []benchCase {
	return []benchCase{
		{[]string{"distinct"}, func(b *bench, ctx context.Context) error { return b.distinct(ctx, "distinct", false) }},
		{[]string{"tls"}, func(b *bench, ctx context.Context) error { return b.distinct(ctx, "tls", true) }},
		{[]string{"burst"}, (*bench).burst},
		{[]string{"calls", "known", "unchanged"}, (*bench).life},
		{[]string{"idle"}, (*bench).idle},
		{[]string{"ingest"}, (*bench).ingest},
		{[]string{"memory"}, (*bench).memory},
		{[]string{"start"}, (*bench).start},
		{[]string{"slow"}, (*bench).slow},
		{[]string{"growth"}, (*bench).growth},
		{[]string{"bulk"}, (*bench).bulk},
	}
}

// latency of every call of either API, where a case does not say otherwise.
const latency = 5 * time.Millisecond

// A contender works a backlog of fresh stand-ins.
type contender struct {
	name string
	runs int  // 0: as often as all
	own  bool // the product, whose wrong results are the bench's
	work func(ctx context.Context, s *sides, bodies [][]byte, customers int) (Run, error)
}

// against runs contenders in turns, each time with stand-ins of their own.
func (b *bench) against(ctx context.Context, name string, scene Scene, contenders ...contender) error {
	for _, c := range contenders {
		b.report.row(name, c.name) // in this order
	}
	for i := range b.runs {
		for _, c := range contenders {
			if c.work == nil || c.runs > 0 && i >= c.runs {
				continue
			}
			run, err := b.once(ctx, name, scene, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			row := b.report.row(name, c.name)
			row.Runs = append(row.Runs, run)
			b.told("   %-8s %-24s %8s customers/s", name, c.name, number(run.rate()))
		}
	}
	return nil
}

func (b *bench) once(ctx context.Context, name string, scene Scene, c contender) (Run, error) {
	s, err := b.sides(ctx, scene)
	if err != nil {
		return Run{}, err
	}
	defer s.close()
	bodies, err := s.take(ctx)
	if err != nil {
		return Run{}, err
	}
	if err := s.ask(ctx, "POST", "/silence", nil, nil); err != nil {
		return Run{}, err
	}
	run, err := c.work(ctx, s, bodies, scene.Customers)
	if err != nil {
		return run, err
	}
	var v Verdict
	if err := s.ask(ctx, "GET", "/verdict", nil, &v); err != nil {
		return run, err
	}
	run.Duplicates, run.Stale = v.Duplicates, v.Stale
	if c.own {
		b.judge(name, v, run.Customers)
	} else if v.Unequal+v.Foreign > 0 || v.Present < run.Customers {
		b.told("   %s: %+v", c.name, v)
	}
	return run, nil
}

// judge notes what is wrong with what the product has done.
func (b *bench) judge(name string, v Verdict, customers int) {
	if v.Present != customers || v.Duplicates+v.Foreign+v.Unequal+v.Stale+v.Empty > 0 {
		b.report.wrong("%s: of %d customers %+v", name, customers, v)
	}
}

// sum checks that the product's outcomes add up to what it received, and that
// nothing died.
func (b *bench) sum(name string, s control.Status, received int) {
	if s.Received != uint64(received) || s.Received != s.Written+s.Unchanged+s.Merged+s.Skipped+s.Dead+s.Waiting || s.Dead > 0 {
		b.report.wrong("%s: %d notifications were put, the ledger has %+v", name, received, s)
	}
}

const (
	theProduct = "ct2fluent"
	theTwin    = "ct2fluent, once more"
)

func (b *bench) byProduct(name, as string) contender {
	return contender{name: as, own: true, work: func(ctx context.Context, s *sides, bodies [][]byte, customers int) (Run, error) {
		p, err := b.product(s, setup{})
		if err != nil {
			return Run{}, err
		}
		defer p.close()
		run, status, err := p.backlog(ctx, s, bodies, customers, 0)
		b.sum(name, status, len(bodies))
		return run, err
	}}
}

// byRival has no work where there is no rival.
func (b *bench) byRival(merge int) contender {
	c := contender{name: "rival, 64 threads"}
	if merge > 0 {
		c.name = fmt.Sprintf("rival, merging %d", merge)
	}
	if b.rivals != "" {
		c.work = func(ctx context.Context, s *sides, bodies [][]byte, customers int) (Run, error) {
			return b.rivalRun(ctx, s, bodies, customers, merge)
		}
	}
	return c
}

// byLoop is the plain pattern or the bare loop, over the first so many
// customers; 0: over all.
func byLoop(name, mode string, lookup bool, most int) contender {
	return contender{name: name, work: func(ctx context.Context, s *sides, bodies [][]byte, customers int) (Run, error) {
		l := loop{Addresses: s.Addresses, Lookup: lookup}
		for _, body := range bodies {
			var n struct{ Resource struct{ ID string } }
			if err := json.Unmarshal(body, &n); err != nil {
				return Run{}, err
			}
			l.IDs = append(l.IDs, n.Resource.ID)
		}
		if most > 0 && most < len(l.IDs) {
			l.IDs = l.IDs[:most]
		}
		before, err := s.counts(ctx)
		if err != nil {
			return Run{}, err
		}
		var done looped
		used, err := work(ctx, mode, l, s.CA, &done)
		if err != nil {
			return Run{}, err
		}
		after, err := s.counts(ctx)
		if err != nil {
			return Run{}, err
		}
		used.Max = done.Max
		return measured(before, after, len(l.IDs), len(l.IDs), time.Duration(done.Seconds*float64(time.Second)), used), nil
	}}
}

// distinct: as many customers as notifications, all of them new.
func (b *bench) distinct(ctx context.Context, name string, tls bool) error {
	scene := Scene{Customers: b.of(1000, 20_000), Latency: latency}
	product, rival, bare := b.byProduct(name, theProduct), b.byRival(0), byLoop("bare loop", "bare", true, 0)
	contenders := []contender{rival, product, bare}
	if tls {
		scene.TLS = "yes"
	} else {
		most := b.of(50, 2000)
		if b.plain {
			most = 0
		}
		plain := byLoop("plain pattern", "plain", false, most)
		plain.runs = 1
		contenders = append(contenders, b.byProduct(name, theTwin), byLoop("bare loop, no lookup", "bare", false, 0), plain)
	}
	if err := b.against(ctx, name, scene, contenders...); err != nil {
		return err
	}
	r := b.report
	row := func(c contender) *Row { return r.row(name, c.name) }
	r.compare(name, "customers a second, to the rival's", row(product), row(rival), atLeast(10))
	r.compare(name, "customers a second, to the bare loop's", row(product), row(bare), nil)
	r.compare(name, "the bare loop's, to the rival's", row(bare), row(rival), nil)
	if !tls {
		r.compare(name, "noise: the product to itself", r.row(name, theTwin), row(product), nil)
		r.compare(name, "customers a second, to the plain pattern's", row(product), r.row(name, "plain pattern"), nil)
	}
	return nil
}

// burst: five notifications of each customer close to each other, while some
// of the customers go on changing.
func (b *bench) burst(ctx context.Context) error {
	const name = "burst"
	const each = 5
	scene := Scene{Customers: b.of(2000, 20_000) / each, Changes: each - 1, Shuffle: 200, Moving: 4, Jitter: 10 * time.Millisecond}
	product, rival := b.byProduct(name, theProduct), b.byRival(0)
	merging := []contender{b.byRival(500), b.byRival(2000)}
	if err := b.against(ctx, name, scene, append([]contender{rival, product}, merging...)...); err != nil {
		return err
	}
	r := b.report
	best := r.row(name, merging[0].name)
	for _, m := range merging {
		if row := r.row(name, m.name); row.rates().Median > best.rates().Median {
			best = row
		}
	}
	own := r.row(name, product.name)
	r.compare(name, "customers a second, to the rival's with 64 threads", own, r.row(name, rival.name), atLeast(20))
	r.compare(name, "customers a second, to the rival's best merging", own, best, atLeast(8))
	r.figure(name, "Fluent customers created twice", own.over(func(r Run) float64 { return float64(r.Duplicates) }).Max, "", atMost(0))
	r.figure(name, "stale writes", own.over(func(r Run) float64 { return float64(r.Stale) }).Max, "", atMost(0))
	return nil
}

// life: one product gets new customers, changes of all, the same again, and
// changes of what Fluent does not get.
func (b *bench) life(ctx context.Context) error {
	n := b.of(1000, 20_000)
	s, err := b.sides(ctx, Scene{Customers: n, Latency: latency})
	if err != nil {
		return err
	}
	defer s.close()
	p, err := b.product(s, setup{})
	if err != nil {
		return err
	}
	defer p.close()

	received := 0
	var last control.Status
	phase := func(name, contender string, bodies [][]byte) (Run, control.Status, error) {
		run, status, err := p.backlog(ctx, s, bodies, n, received)
		if err != nil {
			return run, status, fmt.Errorf("%s: %w", contender, err)
		}
		received += len(bodies)
		b.sum(name, status, received)
		var v Verdict
		if err := s.ask(ctx, "GET", "/verdict", nil, &v); err != nil {
			return run, status, err
		}
		b.judge(name+", "+contender, v, n)
		row := b.report.row(name, contender)
		row.Runs = append(row.Runs, run)
		delta := status
		delta.Unchanged -= last.Unchanged
		delta.Skipped -= last.Skipped
		delta.Merged -= last.Merged
		last = status
		return run, delta, nil
	}
	change := func(mapped bool) ([][]byte, error) {
		if err := s.ask(ctx, "POST", fmt.Sprintf("/change?mapped=%v", mapped), nil, nil); err != nil {
			return nil, err
		}
		return s.take(ctx)
	}

	first, err := s.take(ctx)
	if err != nil {
		return err
	}
	created, _, err := phase("calls", "new customers", first)
	if err != nil {
		return err
	}
	second, err := change(true)
	if err != nil {
		return err
	}
	updated, _, err := phase("calls", "changed customers", second)
	if err != nil {
		return err
	}
	r := b.report
	for _, one := range []struct {
		name string
		run  Run
	}{{"new", created}, {"changed", updated}} {
		r.figure("calls", "requests to commercetools per 1,000 "+one.name+" customers", perThousand(func(r Run) int { return r.Commercetools })(one.run), "", atMost(20))
		r.figure("calls", "requests to Fluent per 1,000 "+one.name+" customers", perThousand(func(r Run) int { return r.Fluent })(one.run), "", atMost(20))
	}
	again, status, err := phase("known", "the same again", append(append([][]byte{}, first...), second...))
	if err != nil {
		return err
	}
	r.figure("known", "requests to either API", float64(again.Commercetools+again.Fluent), "", atMost(0))
	if status.Skipped+status.Merged != uint64(2*n) {
		r.wrong("known: %d of %d were skipped, %d merged", status.Skipped, 2*n, status.Merged)
	}
	third, err := change(false)
	if err != nil {
		return err
	}
	same, status, err := phase("unchanged", "changes of the rest", third)
	if err != nil {
		return err
	}
	r.figure("unchanged", "requests to Fluent", float64(same.Fluent), "", atMost(0))
	r.figure("unchanged", "customers per request to commercetools", ratio(float64(n), float64(same.Commercetools)), "", atLeast(100))
	if status.Unchanged != uint64(n) {
		r.wrong("unchanged: %d of %d were", status.Unchanged, n)
	}
	return nil
}

// growth: the time of one customer does not depend on how many there are.
func (b *bench) growth(ctx context.Context) error {
	const name = "growth"
	sizes := []int{10_000, 100_000}
	if b.short {
		sizes = []int{500, 2000}
	}
	if b.long {
		sizes = append(sizes, 1_000_000)
	}
	quickest, slowest := 0.0, 0.0
	for _, n := range sizes {
		c := b.byProduct(name, theProduct)
		c.name = fmt.Sprintf("%s, %s", theProduct, number(float64(n)))
		c.runs = b.runs
		if n > 100_000 {
			c.runs = 1
		}
		if err := b.against(ctx, name, Scene{Customers: n, Latency: latency}, c); err != nil {
			return err
		}
		each := 1e6 / b.report.row(name, c.name).rates().Median
		b.report.figure(name, "of one customer among "+number(float64(n)), each, "µs", nil)
		if quickest == 0 || each < quickest {
			quickest = each
		}
		slowest = max(slowest, each)
	}
	b.report.figure(name, "slowest to quickest", ratio(slowest, quickest), "times", atMost(1.25))
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

const (
	pageOfReads   = 500 // customers of one read of commercetools, at most
	batchOfWrites = 200 // customers of one request to Fluent, by default
)

// bulk: all customers from one side to the other, and what live traffic feels
// of it.
func (b *bench) bulk(ctx context.Context) error {
	if err := b.bulkAll(ctx); err != nil {
		return err
	}
	return b.bulkBeside(ctx)
}

// bulkAll brings all customers to an empty Fluent.
func (b *bench) bulkAll(ctx context.Context) error {
	const name = "bulk"
	n := b.of(2000, 20_000)
	if b.long {
		n = 1_000_000
	}
	s, err := b.sides(ctx, Scene{Customers: n, Latency: latency, Silent: true})
	if err != nil {
		return err
	}
	defer s.close()
	p, err := b.product(s, setup{})
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		return err
	}
	if err := s.ask(ctx, "POST", "/reset", nil, nil); err != nil {
		return err
	}
	before, err := s.counts(ctx)
	if err != nil {
		return err
	}
	profile := p.profile(ctx)
	began := time.Now()
	done, err := p.bulkRun(ctx, customer.BulkSpec{})
	took := time.Since(began)
	if err != nil {
		return err
	}
	if err := <-profile; err != nil {
		return err
	}
	used := p.usage()
	after, err := s.counts(ctx)
	if err != nil {
		return err
	}
	if sum := done.Written + done.Unchanged + done.Merged + done.Skipped + done.Dead; done.Read != n || sum != uint64(n) || done.Dead > 0 {
		b.report.wrong("bulk: of %d customers the run says %+v", n, done)
	}
	var v Verdict
	if err := s.ask(ctx, "GET", "/verdict", nil, &v); err != nil {
		return err
	}
	b.judge(name, v, n)
	row := b.report.row(name, theProduct)
	row.Runs = append(row.Runs, measured(before, after, n, n, took, used))

	r := b.report
	all := func(m map[string]int) (sum int) {
		for operation, count := range m {
			if operation != "token" {
				sum += count
			}
		}
		return sum
	}
	customers := number(float64(n)) + " customers, "
	reads, writes := all(after.Commercetools.Requests), after.Fluent.Requests["mutation"]
	r.figure(name, customers+"from start to the last outcome", took.Seconds(), "s", nil)
	r.figure(name, fmt.Sprintf("reads of commercetools; %s are the least", number(least(n, pageOfReads))), float64(reads), "", nil)
	r.figure(name, fmt.Sprintf("writes to Fluent; %s are the least", number(least(n, batchOfWrites))), float64(writes), "", nil)
	r.figure(name, "lookups in Fluent, as nothing is known of anybody", float64(all(after.Fluent.Requests)-writes), "", nil)
	r.figure(name, customers+"resident, at most", float64(used.Max)/1e6, "MB", atMost(500))
	began = time.Now()
	again, err := p.bulkRun(ctx, customer.BulkSpec{})
	if err != nil {
		return err
	}
	if again.Read != n || again.Skipped != uint64(n) {
		b.report.wrong("bulk: of %d customers that are the same the run says %+v", n, again)
	}
	r.figure(name, customers+"again, from start to the last outcome: all are known", time.Since(began).Seconds(), "s", nil)
	r.figure(name, customers+"again: resident, at most", float64(p.usage().Max)/1e6, "MB", nil)
	if err := p.stop(); err != nil {
		return err
	}
	return b.bulkPlain(ctx, n)
}

func least(n, each int) float64 { return float64((n + each - 1) / each) }

// bulkPlain runs the plain pattern over the first of them, and tells how long
// it would take over n.
func (b *bench) bulkPlain(ctx context.Context, n int) error {
	const name = "bulk"
	some := b.of(50, 2000)
	if b.long || b.plain {
		some = 20_000
	}
	s, err := b.sides(ctx, Scene{Customers: some, Latency: latency, Silent: true})
	if err != nil {
		return err
	}
	defer s.close()
	var made madeCustomers
	if err := s.ask(ctx, "GET", "/made", nil, &made); err != nil {
		return err
	}
	l := loop{Addresses: s.Addresses, IDs: made.IDs}
	before, err := s.counts(ctx)
	if err != nil {
		return err
	}
	var looped looped
	used, err := work(ctx, "plain", l, s.CA, &looped)
	if err != nil {
		return err
	}
	after, err := s.counts(ctx)
	if err != nil {
		return err
	}
	used.Max = looped.Max
	run := measured(before, after, some, some, time.Duration(looped.Seconds*float64(time.Second)), used)
	row := b.report.row(name, "plain pattern")
	row.Runs = append(row.Runs, run)
	b.report.figure(name, fmt.Sprintf("the plain pattern over %s customers, from its %s", number(float64(n)), number(float64(some))),
		float64(n)/run.rate(), "s", nil)
	b.report.compare(name, "customers a second, to the plain pattern's", b.report.row(name, theProduct), row, nil)
	return nil
}

// besideLatency is that of a call where live traffic goes beside bulk work:
// these sides are far away, as they are in life. Nearer ones would measure how
// they share two processors with the product.
const besideLatency = 30 * time.Millisecond

// bulkBeside measures the way of a live change, without bulk work and beside it.
func (b *bench) bulkBeside(ctx context.Context) error {
	const name = "bulk"
	changes := b.of(30, 400)
	n := b.of(2000, 12_000)
	lives := 2*changes + 100
	s, err := b.sides(ctx, Scene{Customers: lives + n, Latency: besideLatency})
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.take(ctx); err != nil {
		return err
	}
	var made madeCustomers
	if err := s.ask(ctx, "GET", "/made", nil, &made); err != nil {
		return err
	}
	p, err := b.product(s, setup{})
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		return err
	}
	at, err := p.webhook(ctx)
	if err != nil {
		return err
	}
	if _, err := p.bulkRun(ctx, customer.BulkSpec{}); err != nil {
		return err
	}
	t := &trickle{url: at, http: &http.Client{}, posted: map[string]time.Time{}}
	if _, err := t.changes(ctx, s, made.IDs, 2*changes, 20); err != nil {
		return err
	}
	// Those that change are not among those that the run puts, so that what
	// arrives is the change. In turns: others may have the machine for a while.
	spec := customer.BulkSpec{Since: made.Created[lives], Force: true}
	var idle, beside []time.Duration
	var put int
	var during time.Duration
	const turns = 5
	for turn := range turns {
		some := changes / turns
		took, err := t.changes(ctx, s, made.IDs, turn*some, some)
		if err != nil {
			return err
		}
		idle = append(idle, took...)
		began := time.Now()
		n, err := p.during(ctx, spec, func() error {
			took, err := t.changes(ctx, s, made.IDs, changes+turn*some, some)
			beside = append(beside, took...)
			return err
		})
		if err != nil {
			return err
		}
		put, during = put+n, during+time.Since(began)
	}
	r := b.report
	how := fmt.Sprintf("of a live change, %v a call", besideLatency)
	for _, one := range []struct {
		name         string
		idle, beside time.Duration
	}{{"p50", timesOf(idle).P50, timesOf(beside).P50}, {"p99", timesOf(idle).P99, timesOf(beside).P99}} {
		r.figure(name, one.name+" "+how, ms(one.idle), "ms", nil)
		r.figure(name, one.name+" of one beside a bulk run", ms(one.beside), "ms", nil)
		r.figure(name, "the "+one.name+" moves by", 100*(ms(one.beside)/ms(one.idle)-1), "%", atMost(20))
	}
	r.figure(name, "bulk customers a second, beside live traffic", float64(put)/during.Seconds(), "", nil)
	return nil
}

// during does something while bulk runs follow each other, and says how many
// customers these have put.
func (p *product) during(ctx context.Context, spec customer.BulkSpec, do func() error) (put int, err error) {
	var stop atomic.Bool
	ended := make(chan error, 1)
	go func() {
		for !stop.Load() {
			done, err := p.bulkRun(ctx, spec)
			put += done.Read
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	select {
	case <-time.After(time.Second / 2):
	case err := <-ended:
		return put, err
	}
	err = do()
	stop.Store(true)
	if failed := <-ended; err == nil {
		err = failed
	}
	return put, err
}

// changes changes customers one after the other and gives the times of their
// ways.
func (t *trickle) changes(ctx context.Context, s *sides, ids []string, first, n int) (took []time.Duration, err error) {
	const every = 40 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range n {
		var body []byte
		if err := s.ask(ctx, "POST", fmt.Sprintf("/one?change=%d", first+i), nil, &body); err != nil {
			return nil, err
		}
		t.post(ctx, [][]byte{body})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if t.failed != nil {
		return nil, t.failed
	}
	err = until(ctx, "all changes to arrive", time.Minute, 100*time.Millisecond, func() (bool, error) {
		var arrived map[string][]time.Time
		if err := s.ask(ctx, "POST", "/written", ids[first:first+n], &arrived); err != nil {
			return false, err
		}
		took = took[:0]
		for _, id := range ids[first : first+n] {
			for _, at := range arrived[id] {
				if at.After(t.posted[id]) {
					took = append(took, at.Sub(t.posted[id]))
					break
				}
			}
		}
		return len(took) == n, nil
	})
	return took, err
}

// bulkRun starts a run over all customers, or some, and waits for its end.
func (p *product) bulkRun(ctx context.Context, spec customer.BulkSpec) (done customer.BulkProgress, err error) {
	doc, err := json.Marshal(spec)
	if err != nil {
		return done, err
	}
	c, err := control.Dial(controlOf(p.dir), "")
	if err != nil {
		return done, err
	}
	var one job.Job
	if err := c.Do(ctx, "POST", "/admin/jobs", control.JobRequest{Kind: "bulk", Project: project, Spec: doc}, &one); err != nil {
		return done, err
	}
	err = p.wait(ctx, "the run to end", 10*time.Millisecond, func() bool {
		return c.Do(ctx, "GET", "/admin/jobs/"+url.PathEscape(one.ID), nil, &one) == nil && one.State.Ended()
	})
	if one.Progress != nil {
		if broken := json.Unmarshal(one.Progress, &done); err == nil {
			err = broken
		}
	}
	if err == nil && one.State != job.Done {
		err = fmt.Errorf("%s is %s: %s", one.ID, one.State, one.Why)
	}
	return done, err
}

// webhook waits for the webhook's URL.
func (p *product) webhook(ctx context.Context) (at string, err error) {
	err = p.wait(ctx, "the webhook", 5*time.Millisecond, func() bool {
		text, _ := os.ReadFile(p.log.Name())
		if found := listens.FindSubmatch(text); found != nil {
			at = "http://" + string(found[1]) + "/notifications"
		}
		return at != ""
	})
	return at, err
}

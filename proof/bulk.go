package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// bulkKills is how often a run over all customers is killed on its way.
const bulkKills = 10

// manyForBulk is from how many customers on a run is long enough to be killed
// on its way at the pace it has.
const manyForBulk = 200_000

// bulk has a run over all customers killed on its way, while some of them
// change, and counts to the customer.
func bulk(ctx context.Context, p *prover) error {
	n, poorly := pick(p, 6000, 100_000), pick(p, 40, 400)
	if p.customers > 0 {
		n = p.customers
	}
	s := setup{
		level: "info",
		ct:    sandbox.CTKnobs{Common: sandbox.Common{Latency: sandbox.Duration(5 * time.Millisecond)}, Lag: sandbox.Duration(20 * time.Millisecond)},
		fluent: sandbox.FluentKnobs{Common: sandbox.Common{
			Latency: sandbox.Duration(5 * time.Millisecond), Jitter: sandbox.Duration(30 * time.Millisecond), Faults: refusing,
		}},
		sample: 500,
	}
	var spec customer.BulkSpec
	pause := 100 * time.Millisecond
	if n < manyForBulk {
		// So slow that there is a way to be killed on, and with a rate, so that it
		// is killed while it reads and not only after that.
		s.config = "queue: { store: STORE, workers: 3, batch-size: 50 }\n"
		spec.Rate = pick(p, 400., 3000.)
		pause = 5 * time.Millisecond
	}
	w, err := p.newWorld(ctx, s)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.populate(n, poorly); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	changing, stop := context.WithCancel(ctx)
	defer stop()
	var changes sync.WaitGroup
	var changed error
	changes.Go(func() { changed = w.changeSome(changing, pause) })
	done, err := w.killedOnItsWay(ctx, spec, rand.New(rand.NewPCG(p.seed, 7)), n)
	stop()
	changes.Wait()
	if err != nil {
		return err
	}
	if changed != nil {
		return changed
	}
	if err := w.exact(done, n); err != nil {
		return err
	}
	if got := int(done.Dead); got < poorly {
		return fmt.Errorf("%d customers are refused, and only %d died", poorly, got)
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	again, err := w.bulkRun(ctx, customer.BulkSpec{}, func(customer.BulkProgress) error { return nil })
	if err != nil {
		return err
	}
	if err := w.exact(again, n); err != nil {
		return fmt.Errorf("the second run: %w", err)
	}
	if again.Written > 0 {
		return fmt.Errorf("the second run has written %d customers anew, that were known before the kills", again.Written)
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	p.note("%d kills on the way of a run over %d customers: %d read = %d written + %d unchanged + %d merged + %d skipped + %d dead",
		bulkKills, n, done.Read, done.Written, done.Unchanged, done.Merged, done.Skipped, done.Dead)
	return w.verify(func(h *check.History) { h.All = true })
}

// populate makes customers of whom nothing tells.
func (w *world) populate(n, poorly int) error {
	w.ct.SetSubscriptionStatus("key=ct2fluent", "ManuallySuspended")
	defer w.ct.SetSubscriptionStatus("key=ct2fluent", "Healthy")
	if err := w.create("", n-poorly); err != nil {
		return err
	}
	return w.create(poor, poorly)
}

// changeSome changes customers all the time, with pauses, and none of the poor.
func (w *world) changeSome(ctx context.Context, pause time.Duration) error {
	ids := w.known()
	for ctx.Err() == nil {
		if err := w.changeOne(ids[w.rngInt(len(ids)/2)]); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// killedOnItsWay kills the process ten times, each time when the run has come
// further, and gives the run's last word.
func (w *world) killedOnItsWay(ctx context.Context, spec customer.BulkSpec, rng *rand.Rand, n int) (customer.BulkProgress, error) {
	killed := 0
	return w.bulkRun(ctx, spec, func(p customer.BulkProgress) error {
		settled := p.Read - p.Outstanding
		if killed == bulkKills || settled < (killed+1)*n/(bulkKills+1) {
			return nil
		}
		if p.Phase == "done" {
			return fmt.Errorf("the run was done after %d kills: it is too quick to be killed", killed)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(100 * time.Millisecond))))
		w.address.Store(nil)
		w.process.kill()
		killed++
		w.say("kill %d, %s, %d read, %d settled", killed, p.Phase, p.Read, settled)
		return w.start()
	})
}

// bulkWithin is how long a run may take.
const bulkWithin = time.Hour

// bulkRun starts a run over all customers and has each look at it, until it is
// done.
func (w *world) bulkRun(ctx context.Context, spec customer.BulkSpec, each func(customer.BulkProgress) error) (p customer.BulkProgress, err error) {
	doc, err := json.Marshal(spec)
	if err != nil {
		return p, err
	}
	var one job.Job
	if err := w.ask(http.MethodPost, "/admin/jobs", control.JobRequest{Kind: "bulk", Spec: doc}, &one); err != nil {
		return p, err
	}
	for deadline := time.Now().Add(bulkWithin); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if err := w.ask(http.MethodGet, "/admin/jobs/"+one.ID, nil, &one); err != nil {
			return p, fmt.Errorf("%w\n%s", err, w.lastSaid())
		}
		p = customer.BulkProgress{}
		if one.Progress != nil {
			if err := json.Unmarshal(one.Progress, &p); err != nil {
				return p, err
			}
		}
		switch one.State {
		case job.Done:
			return p, nil
		case job.Failed, job.Stopped:
			return p, fmt.Errorf("%s is %s: %s", one.ID, one.State, one.Why)
		}
		if err := each(p); err != nil {
			return p, err
		}
	}
	return p, fmt.Errorf("%s does not end: %+v", one.ID, p)
}

// exact checks the sum of a run over all n customers.
func (w *world) exact(p customer.BulkProgress, n int) error {
	if sum := p.Written + p.Unchanged + p.Merged + p.Skipped + p.Dead; p.Read != n || sum != uint64(n) || p.Outstanding != 0 {
		w.kept()
		return fmt.Errorf("of %d customers the run says %+v; it lies in %s", n, p, w.dir)
	}
	return nil
}

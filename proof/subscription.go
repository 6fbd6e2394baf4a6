package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
	"github.com/ct2fluent/ct2fluent/proof/check"
)

// subscription has the Subscription stop while customers change, and expects
// that what it did not deliver is in Fluent, by nobody's doing.
func subscription(ctx context.Context, p *prover) error {
	const customers, changes = 500, 5000
	stopped := pick(p, 40*time.Second, time.Hour)
	w, err := p.newWorld(ctx, setup{
		account: "subscription: { key: ct2fluent, watch: 1s }",
		level:   "info",
		sample:  200,
	})
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
	if err := w.rest(restWithin); err != nil {
		return err
	}
	if err := w.until("the subscription to be seen delivering", restWithin, w.delivers); err != nil {
		return err
	}

	// Somebody has started a run over all customers that takes longer than this.
	spec, err := json.Marshal(customer.BulkSpec{Rate: float64(customers) / (stopped + 30*time.Minute).Seconds()})
	if err != nil {
		return err
	}
	var long job.Job
	if err := w.ask(http.MethodPost, "/admin/jobs", control.JobRequest{Kind: "bulk", Spec: spec}, &long); err != nil {
		return err
	}
	w.ct.SetSubscriptionStatus("key=ct2fluent", "ConfigurationErrorDeliveryStopped")
	w.say("the subscription stops for %v", stopped)
	killed := false
	for begun, made := time.Now(), 0; made < changes; made++ {
		if err := w.change(1); err != nil {
			return err
		}
		// What is owed outlives the process.
		if !killed && made > changes/2 {
			w.address.Store(nil)
			w.process.kill()
			if err := w.start(); err != nil {
				return err
			}
			killed = true
		}
		due := begun.Add(stopped * time.Duration(made+1) / changes)
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if n := w.ct.Pending(); n > 0 {
		return fmt.Errorf("%d notifications of a subscription that has stopped", n)
	}
	w.ct.SetSubscriptionStatus("key=ct2fluent", "Healthy")
	began := time.Now()
	if err := w.change(changes / 50); err != nil { // from now on they are delivered
		return err
	}
	if err := w.until("the gap to be closed", 10*time.Minute, func() bool {
		return strings.Contains(w.lastSaid(), "what the subscription did not deliver is read")
	}); err != nil {
		return err
	}
	healed := time.Since(began)
	if err := w.ask(http.MethodPost, "/admin/jobs/"+long.ID+"/stop", nil, &long); err != nil {
		return err
	}
	if long.Ended.Before(began) {
		return fmt.Errorf("%s has ended before the gap was closed: nothing had to wait for it", long.ID)
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	var jobs []job.Job
	if err := w.ask(http.MethodGet, "/admin/jobs", nil, &jobs); err != nil {
		return err
	}
	for _, one := range jobs {
		if one.ID == long.ID {
			continue
		}
		if one.By != "subscription" || one.State != job.Done {
			return fmt.Errorf("%s, put by %q, is %s: %s", one.ID, one.By, one.State, one.Why)
		}
	}
	p.note("%d changes in %v without a notification, and a kill: closed by %d catch-ups beside a run over all customers, %v after the subscription delivered again",
		changes, stopped, len(jobs)-1, healed.Round(time.Second))
	return w.verify(func(h *check.History) { h.Latest = true })
}

// delivers tells whether the process has seen the Subscription deliver twice,
// from when on it remembers it.
func (w *world) delivers() bool {
	var ready struct {
		Subscriptions []struct {
			Status string
			Since  time.Time
		}
	}
	if w.ask(http.MethodGet, "/readyz", nil, &ready) != nil || len(ready.Subscriptions) != 1 {
		return false
	}
	s := ready.Subscriptions[0]
	return s.Status == "Healthy" && time.Since(s.Since) > 3*time.Second
}

package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

const (
	// catchUpMargin is how far before the last moment at which delivery was
	// known to work a catch-up begins: what was on its way then may be lost.
	catchUpMargin = 10 * time.Minute
	// catchUpEvery is how often one starts while nothing is delivered.
	catchUpEvery = 5 * time.Minute
	// recovered is how long delivery has to work before the catch-up that
	// closes the gap: it reads what was changed until a minute before it began.
	recovered = 2 * time.Minute
	// unseenFor is for how long, and for how many looks, it may not be known
	// whether delivery works.
	unseenFor   = time.Hour
	unseenLooks = 3
	// keptFor is how long commercetools keeps what it cannot deliver, at most.
	keptFor = 48 * time.Hour

	bySubscription = "subscription"
)

// What the status of a Subscription is besides commercetools' own words.
const (
	statusMissing commercetools.Health = "missing"
	statusUnknown commercetools.Health = "unknown" // it cannot be looked at
)

// A SubscriptionState is what a running process knows of a Subscription.
type SubscriptionState struct {
	Project string               `json:"project"`
	Key     string               `json:"key"`
	Status  commercetools.Health `json:"status"`
	Since   time.Time            `json:"since"`
	Why     string               `json:"why,omitempty"`     // it cannot be looked at
	CatchUp string               `json:"catchUp,omitempty"` // the job that reads what was not delivered
}

// A delivery is what is remembered, durably, of what a Subscription delivered.
type delivery struct {
	// Since and Until are the moments between which every change is known to be
	// delivered, or read by a catch-up.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Owed says that not all changes since were delivered.
	Owed bool `json:"owed,omitempty"`
}

// catchUps are the jobs that read what was not delivered.
type catchUps interface {
	Start(ctx context.Context, r job.Request) (job.Job, error)
	List() []job.Job
}

// A watcher looks at the Subscriptions of the accounts.
type watcher struct {
	watches []*watch
	log     *slog.Logger
	observe func(project, status string, healthy, known bool)

	mu     sync.Mutex
	states map[string]SubscriptionState // by project
}

// A watch is of one Subscription.
type watch struct {
	*watcher
	project string
	key     string
	every   time.Duration
	calls   interface {
		Subscription(ctx context.Context, key string) (*commercetools.Subscription, error)
	}
	notes customer.Notes
	jobs  catchUps

	healthySince time.Time // zero: it was not healthy at the last look
	seen         time.Time // the last look, if it was healthy
	tried        time.Time // a catch-up was started
	kept         *delivery // nil: not read yet
}

// watchSubscriptions makes the watches of the accounts that want one.
func (a *App) watchSubscriptions(p *plan) error {
	a.watcher = &watcher{log: a.log, observe: p.observe.metrics.Subscription, states: map[string]SubscriptionState{}}
	for i, account := range a.Config.Accounts {
		s := account.Subscription
		if s.IsZero() || s.Watch == 0 {
			continue
		}
		one, err := p.subscriber(i)
		if err != nil {
			return err
		}
		a.watcher.watches = append(a.watcher.watches, &watch{
			watcher: a.watcher, project: one.project, key: s.Key, every: s.Watch, calls: one.calls, notes: a.ledger, jobs: a.jobs,
		})
	}
	a.beside = append(a.beside, a.watcher.run)
	return nil
}

// run looks at each Subscription until ctx is done.
func (w *watcher) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range w.watches {
		g.Go(func() error {
			tick := time.NewTicker(one.every)
			defer tick.Stop()
			for {
				one.look(ctx)
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
			}
		})
	}
	return g.Wait()
}

// close lets go of the connections.
func (w *watcher) close() {
	if w == nil {
		return
	}
	for _, one := range w.watches {
		if c, ok := one.calls.(*commercetools.Client); ok {
			c.Close()
		}
	}
}

// subscriptions are the states for those who ask.
func (w *watcher) subscriptions() []SubscriptionState {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []SubscriptionState
	for _, one := range w.watches {
		if s, looked := w.states[one.project]; looked {
			all = append(all, s)
		}
	}
	return all
}

// look reads the status once, and does what follows from it. What fails is
// tried again by the next look.
func (w *watch) look(ctx context.Context) {
	has, err := w.calls.Subscription(ctx, w.key)
	now := time.Now().UTC()
	status, why := statusUnknown, ""
	switch {
	case ctx.Err() != nil:
		return
	case err == nil:
		status = cmp.Or(has.Status, statusUnknown)
	case errors.Is(err, commercetools.ErrNotFound):
		status = statusMissing
	default:
		why = err.Error()
		if remedy := remedyOfStopped(w.project, err); remedy != "" {
			why += "; " + remedy
		}
	}
	w.tell(status, why, now)
	if err := w.follow(ctx, status, now); err != nil && ctx.Err() == nil {
		w.log.Warn("cannot catch up with what the subscription did not deliver; trying again", "project", w.project, "err", err)
	}
}

// tell notes the status for metrics and health, and logs it when it changes.
func (w *watch) tell(status commercetools.Health, why string, now time.Time) {
	w.observe(w.project, string(status), status == commercetools.Healthy, status != statusUnknown)
	w.mu.Lock()
	before := w.states[w.project]
	state := SubscriptionState{Project: w.project, Key: w.key, Status: status, Since: before.Since, Why: why, CatchUp: before.CatchUp}
	if before.Status != status {
		state.Since = now
	}
	w.states[w.project] = state
	w.mu.Unlock()
	if before.Status == status && before.Why == why {
		return
	}
	log := w.log.With("project", w.project, "subscription", w.key, "status", status)
	switch {
	case status == commercetools.Healthy:
		log.Info("the subscription delivers")
	case status == statusUnknown:
		log.Warn("the subscription cannot be looked at", "why", why)
	default:
		log.Warn("the subscription does not deliver; what changes is read from commercetools every few minutes until it does", "remedy", w.remedy(status))
	}
}

func (w *watch) remedy(status commercetools.Health) string {
	if status == statusMissing {
		return "ct2fluent subscription apply"
	}
	return remedyOfStatus(status)
}

// follow moves the moment until which all is delivered, or catches up.
func (w *watch) follow(ctx context.Context, status commercetools.Health, now time.Time) error {
	before := w.seen
	if w.seen = (time.Time{}); status != commercetools.Healthy {
		w.healthySince = time.Time{}
	}
	if err := w.remember(ctx, now); err != nil || status == statusUnknown {
		return err
	}
	if status != commercetools.Healthy {
		return w.catchUp(ctx, now)
	}
	w.seen = now
	if w.healthySince.IsZero() {
		w.healthySince = now
	}
	// Nobody has looked for so long that it may have stopped in between.
	if w.kept.Owed || now.Sub(w.kept.Until) > max(unseenFor, unseenLooks*w.every) {
		return w.heal(ctx, now)
	}
	if before.IsZero() {
		return nil
	}
	return w.delivered(ctx, before)
}

func (w *watch) markName() string { return "delivery/" + w.project }

// remember reads what is kept. Where there is nothing, delivery is taken to
// have worked until now: commercetools tries again what it keeps.
func (w *watch) remember(ctx context.Context, now time.Time) error {
	if w.kept != nil {
		return nil
	}
	text, err := w.notes.Mark(ctx, w.markName())
	if err != nil {
		return err
	}
	kept := &delivery{Since: now, Until: now}
	if text != "" {
		if err := json.Unmarshal([]byte(text), kept); err != nil {
			return fmt.Errorf("read what the subscription has delivered: %w", err)
		}
	}
	w.kept = kept
	return nil
}

func (w *watch) keep(ctx context.Context, d delivery) error {
	text, err := json.Marshal(d)
	if err == nil {
		err = w.notes.SetMark(ctx, w.markName(), string(text))
	}
	if err == nil {
		w.kept = &d
	}
	return err
}

// delivered notes that all changes until a moment were delivered. The confirmed
// moment of runs over changes does not follow: commercetools tells that the
// destination took them, not that they came here and are settled.
func (w *watch) delivered(ctx context.Context, until time.Time) error {
	d := *w.kept
	d.Until, d.Owed = until, false
	return w.keep(ctx, d)
}

// catchUp starts a job that reads what has changed since all was delivered,
// unless one is under way or was started a moment ago.
func (w *watch) catchUp(ctx context.Context, now time.Time) error {
	if !w.kept.Owed {
		d := *w.kept
		if d.Owed = true; d.Since.Equal(now) {
			// It does not deliver, and has never been seen to: commercetools
			// may have dropped what it no longer keeps.
			d.Since, d.Until = now.Add(-keptFor), now.Add(-keptFor)
		}
		if err := w.keep(ctx, d); err != nil {
			return err
		}
	}
	last, any := w.lastJob()
	switch {
	case any && !last.State.Ended():
		w.catching(last.ID)
		return nil
	case !w.tried.IsZero() && now.Sub(w.tried) < catchUpEvery:
		w.catching("")
		return nil
	}
	if any && last.State == job.Done && readUntil(last).After(w.kept.Until) {
		d := *w.kept
		d.Until = readUntil(last)
		if err := w.keep(ctx, d); err != nil {
			return err
		}
	}
	return w.start(ctx, now)
}

func (w *watch) start(ctx context.Context, now time.Time) error {
	from := w.kept.Until
	confirmed, err := customer.Confirmed(ctx, w.notes, w.project)
	if err != nil {
		return err
	}
	if confirmed.After(from) {
		from = confirmed
	}
	from = from.Add(-catchUpMargin)
	spec, err := json.Marshal(customer.BulkSpec{ChangedSince: from.UTC().Format(time.RFC3339)})
	if err != nil {
		return err
	}
	one, err := w.jobs.Start(ctx, job.Request{Kind: catchUpKind, Project: w.project, Spec: spec, By: bySubscription})
	if err != nil {
		return err
	}
	w.tried = now
	w.catching(one.ID)
	w.log.Info("reading what the subscription did not deliver", "project", w.project, "job", one.ID, "since", from.Format(time.RFC3339))
	return nil
}

// heal closes the gap once delivery works again: by a catch-up that began when
// it had worked for a while.
func (w *watch) heal(ctx context.Context, now time.Time) error {
	closing := w.healthySince.Add(recovered)
	last, any := w.lastJob()
	switch {
	case any && !last.State.Ended():
		w.catching(last.ID)
		return nil
	case any && last.State == job.Done && !last.Created.Before(closing) && readUntil(last).After(w.kept.Until):
		w.catching("")
		w.log.Info("what the subscription did not deliver is read", "project", w.project, "job", last.ID)
		return w.delivered(ctx, readUntil(last))
	case now.Before(closing):
		return nil
	case any && !last.Created.Before(closing) && now.Sub(w.tried) < catchUpEvery:
		return nil // it failed, or somebody has stopped it
	}
	if !w.kept.Owed {
		d := *w.kept
		d.Owed = true
		if err := w.keep(ctx, d); err != nil {
			return err
		}
	}
	return w.start(ctx, now)
}

// readUntil is until when a catch-up has read all changes, at least: one reads
// until a minute before it begins.
func readUntil(one job.Job) time.Time { return one.Created.Add(-time.Minute) }

// lastJob is the newest catch-up, or the one that is under way: somebody may
// have resumed an older one.
func (w *watch) lastJob() (last job.Job, any bool) {
	for _, one := range w.jobs.List() {
		switch {
		case one.Kind != catchUpKind || one.Project != w.project:
		case !one.State.Ended():
			return one, true
		case !any:
			last, any = one, true
		}
	}
	return last, any
}

// catching notes the job at hand.
func (w *watch) catching(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.states[w.project]
	s.CatchUp = id
	w.states[w.project] = s
}

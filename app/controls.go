package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/inbox"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/queue"
)

// controls are what the HTTP side asks of the stations.
func (a *App) controls(p *plan) (control.Options, error) {
	c := a.Config
	o, err := door(c, a.log)
	if err != nil {
		return o, err
	}
	o.Profile = c.Control.PProf
	o.File, o.Log, o.Metrics = controlFile(c), a.log, p.observe.metrics
	o.Ready = func(context.Context) error { return a.ready(p.observe) }
	o.Held = a.held
	o.Routes = func() any { return a.router.Routes() }
	o.Handlers = func() any { return a.router.Handlers() }
	o.Status = a.Status
	o.Put = func(ctx context.Context, body []byte) (int, error) { return a.inbox.Put(ctx, body) }
	o.Resource = a.timelines
	o.Explain = func(_ context.Context, body []byte) (any, error) {
		return explain(a.router, c, body), nil
	}
	o.Map = func(ctx context.Context, r control.MapRequest) (any, error) {
		return preview(ctx, p.accounts, deletes(a.Config.Deletes), a.username, r)
	}
	o.Dead = letters{a}
	o.Pauses = a.pauses
	o.Subscribing = subscribing{p}
	o.Audit = trail{a}
	o.Jobs, o.Found = jobs{a}, a.found
	o.Subscriptions = func() any {
		if all := a.watcher.subscriptions(); len(all) > 0 {
			return all
		}
		return nil
	}
	o.Sync = &syncs{a: a}
	return o, nil
}

// ready is nil when notifications can be accepted and kept.
func (a *App) ready(o *observer) error {
	if err := a.store.Ready(); err != nil {
		return err
	}
	return o.full()
}

// Status is the ledger's sum of now (promise 2).
func (a *App) Status(ctx context.Context) (control.Status, error) {
	// What is settled is read before what was received, so that the difference
	// is never negative.
	t := a.ledger.Totals()
	received, err := a.queue.Received(ctx)
	if err != nil {
		return control.Status{}, err
	}
	s := control.Status{
		Received: received, Waiting: received - min(received, t.Settled()),
		Written: t.Written, Unchanged: t.Unchanged, Merged: t.Merged, Skipped: t.AllSkipped(), Dead: t.AllDead(),
		DeadLetters: t.DeadLetters, SkippedBy: t.Skipped, DeadBy: t.Dead, Held: a.held(),
	}
	if oldest, waits := a.queue.Oldest(); waits && s.Waiting > 0 {
		// Rounded up: 0 says that nothing waits.
		s.OldestWaitingSeconds = int64(math.Ceil(time.Since(oldest).Seconds()))
	}
	return s, nil
}

func (a *App) held() []control.Held {
	held := []control.Held{}
	for _, h := range a.queue.Held() {
		account := h.Project
		for _, t := range a.accounts {
			if t.Project == h.Project {
				account = t.Name
			}
		}
		if h.Route != "" {
			h.Project = queue.AllProjects
		}
		if h.Project == queue.AllProjects {
			account = "all"
		}
		held = append(held, control.Held{Account: account, Project: h.Project, Route: h.Route, Since: h.Since, Why: h.Why})
	}
	return append(held, a.downRoutes()...)
}

// A fallible is a handler that can tell that it is down: since when, and why.
type fallible struct {
	name string
	down func() (since time.Time, why string)
}

// downRoutes are the routes whose handlers are down. What takes them waits, and
// all else goes on.
func (a *App) downRoutes() (held []control.Held) {
	for _, f := range a.mayFail {
		since, why := f.down()
		if why == "" {
			continue
		}
		for _, r := range a.router.Routes() {
			if r.Active && r.Handler == f.name {
				held = append(held, control.Held{Account: "all", Project: queue.AllProjects, Route: r.Route, Since: since,
					Why: fmt.Sprintf("handler %s is down: %s", f.name, why)})
			}
		}
	}
	return held
}

// username is what the ledger remembers of a customer.
func (a *App) username(ctx context.Context, ref ct2fluent.Ref) (string, error) {
	m, err := a.ledger.Recall(ctx, ref)
	return m[ref].Username, err
}

// A Timeline is what the ledger has of a resource, newest first.
type Timeline struct {
	Project string         `json:"project"`
	TypeID  string         `json:"typeId"`
	ID      string         `json:"id"`
	Entries []ledger.Entry `json:"entries"`
}

func (a *App) timelines(ctx context.Context, project, typeID, id string) (any, error) {
	var found []Timeline
	for _, t := range a.accounts {
		if project != "" && project != t.Project {
			continue
		}
		entries, err := a.ledger.Timeline(ctx, ct2fluent.Ref{Project: t.Project, TypeID: typeID, ID: id})
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			found = append(found, Timeline{t.Project, typeID, id, entries})
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: the ledger has nothing of %s %s", control.ErrNotFound, typeID, id)
	}
	return found, nil
}

func (t Timeline) print(out io.Writer) error {
	m := t.Entries[0].Memory
	gone := ""
	if m.Deleted > 0 && m.Deleted >= m.Version {
		gone = ", deleted"
	}
	fmt.Fprintf(out, "%s %s of project %s\nusername %s, version %d%s\n\n", t.TypeID, t.ID, t.Project, m.Username, m.Version, gone)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHEN\tSEQ\tWHAT\tVERSION\tOUTCOME\tWHY")
	for _, e := range t.Entries {
		for i := len(e.Results) - 1; i >= 0; i-- {
			r := e.Results[i]
			why := r.Reason
			if r.Why != "" {
				why += ": " + r.Why
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%s\t%s\n", e.When.Format(time.RFC3339Nano), r.Seq, r.Name, r.Version, r.Outcome, why)
		}
		if len(e.Results) == 0 {
			fmt.Fprintf(w, "%s\t\t\t\tremembered\tusername %s\n", e.When.Format(time.RFC3339Nano), e.Memory.Username)
		}
	}
	return w.Flush()
}

// again puts what was a dead letter, or was overtaken. What could not be read
// then is read anew: an account may have been added since.
func (a *App) again(ctx context.Context, ns ...ct2fluent.Notification) error {
	var all []ct2fluent.Notification
	for _, n := range ns {
		all = append(all, reread(n, projects(a.Config))...)
	}
	return a.queue.Put(ctx, all...)
}

func reread(n ct2fluent.Notification, projects []string) []ct2fluent.Notification {
	read := []ct2fluent.Notification{n}
	switch n.Fault {
	case "":
		return read
	case "unknown-project":
		// It was read well, and its wrapping, which may have told the project,
		// is gone: only the accounts are looked at anew.
		read[0].Fault = ""
	default:
		read = inbox.Parse(n.Body, time.Now())
	}
	inbox.Assign(read, projects)
	for i := range read {
		read[i].Force = n.Force
	}
	return read
}

// letters are the ledger's dead letters as the HTTP side wants them.
type letters struct{ a *App }

func (l letters) List(ctx context.Context, reason string, after uint64, limit int) ([]control.DeadLetter, error) {
	var all []control.DeadLetter
	for d, err := range l.a.ledger.DeadLetters(ctx, ledger.Filter{Reason: reason, After: after}) {
		if err != nil {
			return nil, err
		}
		if all = append(all, letterOf(d)); len(all) == limit {
			break
		}
	}
	return all, nil
}

func (l letters) Show(ctx context.Context, seq uint64) (control.DeadLetter, error) {
	d, err := l.a.ledger.Dead(ctx, seq)
	return letterOf(d), notFound(err)
}

func (l letters) Count(ctx context.Context, s control.Selection) (int, error) {
	seqs, err := l.selected(ctx, s)
	return len(seqs), err
}

func (l letters) Replay(ctx context.Context, s control.Selection) (int, error) {
	return l.work(ctx, s, l.a.ledger.Replay)
}

func (l letters) Drop(ctx context.Context, s control.Selection) (int, error) {
	return l.work(ctx, s, l.a.ledger.Drop)
}

// work does what was asked for to those that lie there now: what dies again
// meanwhile is not taken a second time.
func (l letters) work(ctx context.Context, s control.Selection, do func(context.Context, ...uint64) (int, error)) (int, error) {
	seqs, err := l.selected(ctx, s)
	if err != nil || len(seqs) == 0 {
		return 0, err
	}
	return do(ctx, seqs...)
}

// selected are the sequences of a selection: eight bytes each, however many
// lie there.
func (l letters) selected(ctx context.Context, s control.Selection) (seqs []uint64, err error) {
	for _, seq := range s.Seqs {
		if _, err := l.a.ledger.Dead(ctx, seq); err != nil {
			return nil, notFound(fmt.Errorf("%d: %w", seq, err))
		}
	}
	if len(s.Seqs) > 0 {
		seqs = slices.Clone(s.Seqs)
		slices.Sort(seqs)
		return slices.Compact(seqs), nil
	}
	for d, err := range l.a.ledger.DeadLetters(ctx, ledger.Filter{Reason: s.Reason}) {
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, d.Notification.Seq)
	}
	return seqs, nil
}

func letterOf(d ledger.DeadLetter) control.DeadLetter {
	n := d.Notification
	return control.DeadLetter{
		Seq: n.Seq, Project: n.Ref.Project, TypeID: n.Ref.TypeID, ID: n.Ref.ID, Version: n.Version, Name: n.Name,
		Reason: d.Reason, Why: d.Why, Attempts: n.Attempts, At: d.When, Body: n.Body, Place: d.Place,
	}
}

func notFound(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("%w: %w", control.ErrNotFound, err)
	}
	return err
}

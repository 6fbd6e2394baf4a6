package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/ledger"
)

const (
	// mostSynced is how many customers one sync may name; more are a bulk run.
	mostSynced = 1000
	// syncsKept is how many syncs can be followed, the newest.
	syncsKept = 64
	// syncLook is how often is looked what became of them.
	syncLook = 50 * time.Millisecond
)

// syncs are the last syncs of this process.
type syncs struct {
	a    *App
	mu   sync.Mutex
	kept []wanted // oldest first
}

// A wanted is customers that somebody wants worked now.
type wanted struct {
	id   string
	refs []ct2fluent.Ref
	at   time.Time
}

// notification is the ID of the notification of a customer.
func (s wanted) notification(ref ct2fluent.Ref) string { return s.id + "/" + ref.ID }

// Put puts the customers, as live traffic that is worked in any case.
func (s *syncs) Put(ctx context.Context, r control.SyncRequest) (control.SyncStarted, error) {
	t, err := accountOf(s.a.accounts, r.Project)
	if err != nil {
		return control.SyncStarted{}, err
	}
	if err := s.a.canPut(t.Project); err != nil {
		return control.SyncStarted{}, fmt.Errorf("%w: %w", control.ErrInvalid, err)
	}
	ids := slices.Clone(r.IDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	switch {
	case len(ids) == 0:
		return control.SyncStarted{}, fmt.Errorf("%w: no ids", control.ErrInvalid)
	case len(ids) > mostSynced:
		return control.SyncStarted{}, fmt.Errorf("%w: %d customers are too many for one sync, which takes %d; run ct2fluent bulk customers --where", control.ErrInvalid, len(ids), mostSynced)
	}
	one := wanted{id: "sync-" + strings.ToLower(rand.Text()[:8]), at: time.Now()}
	var ns []ct2fluent.Notification
	for _, id := range ids {
		if !idText.MatchString(id) {
			return control.SyncStarted{}, fmt.Errorf("%w: %q is no id of a customer", control.ErrInvalid, id)
		}
		ref := ct2fluent.Ref{Project: t.Project, TypeID: "customer", ID: id}
		one.refs = append(one.refs, ref)
		ns = append(ns, ct2fluent.Notification{
			ID: one.notification(ref), Ref: ref, Name: "sync", Own: true, Force: true, Received: one.at,
		})
	}
	if err := s.a.queue.Put(ctx, ns...); err != nil {
		return control.SyncStarted{}, fmt.Errorf("put %s: %w", count(len(ns), "customer"), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, one)
	s.kept = s.kept[max(0, len(s.kept)-syncsKept):]
	return control.SyncStarted{Sync: one.id, Customers: len(ns)}, nil
}

// Follow gives what became of each customer of a sync.
func (s *syncs) Follow(ctx context.Context, id string) (iter.Seq[control.SyncResult], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.kept {
		if one.id == id {
			return func(yield func(control.SyncResult) bool) { s.follow(ctx, one, yield) }, nil
		}
	}
	return nil, fmt.Errorf("%w: no %s since this start; ct2fluent show ID has what became of a customer", control.ErrNotFound, id)
}

func (s *syncs) follow(ctx context.Context, one wanted, yield func(control.SyncResult) bool) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	open := slices.Clone(one.refs)
	seen := map[ct2fluent.Ref]time.Time{} // the entry that was looked at
	told := map[ct2fluent.Ref]string{}
	for len(open) > 0 && ctx.Err() == nil {
		entries, err := s.a.ledger.Newest(ctx, open...)
		if err != nil {
			return
		}
		why := s.a.waits(one.refs[0].Project)
		open = slices.DeleteFunc(open, func(ref ct2fluent.Ref) bool {
			e := entries[ref]
			r, settled := resultOf(e, one.notification(ref))
			if !settled && e.When.After(one.at) && !e.When.Equal(seen[ref]) {
				// It may lie below the newest.
				seen[ref] = e.When
				all, err := s.a.ledger.Timeline(ctx, ref)
				for i := 0; err == nil && i < len(all) && !settled; i++ {
					r, settled = resultOf(all[i], one.notification(ref))
				}
			}
			switch {
			case settled:
			case why != "":
				r = control.SyncResult{Outcome: waitingOutcome, Why: why}
			case r.Outcome != "":
				r = control.SyncResult{Outcome: waitingOutcome, Why: cmp.Or(r.Why, r.Outcome)}
			}
			r.ID = ref.ID
			if told[ref] != r.Why || settled {
				told[ref] = r.Why
				if ctx.Err() == nil && !yield(r) {
					stop()
				}
			}
			return settled
		})
		select {
		case <-time.After(syncLook):
		case <-ctx.Done():
		}
	}
}

const waitingOutcome = "waiting"

// resultOf is what an entry says of a notification, and whether that is
// settled. One that was merged has the fate of the one that was worked.
func resultOf(e ledger.Entry, notification string) (r control.SyncResult, settled bool) {
	i := slices.IndexFunc(e.Results, func(r ledger.Result) bool { return r.ID == notification })
	if i < 0 {
		return r, false
	}
	of := e.Results[i]
	if of.Outcome == ct2fluent.IsMerged.String() {
		for _, other := range e.Results {
			if settledOutcome(other.Outcome) && other.Outcome != of.Outcome {
				of = other
				break
			}
		}
	}
	version := e.Memory.Version
	if of.Outcome == ct2fluent.Dead.String() {
		version = 0
	}
	return control.SyncResult{Outcome: of.Outcome, Reason: of.Reason, Why: of.Why, Version: version}, settledOutcome(of.Outcome)
}

func settledOutcome(name string) bool {
	for o := ct2fluent.Written; o.Settled(); o++ {
		if o.String() == name {
			return true
		}
	}
	return false
}

func (c *cli) sync() *cobra.Command {
	var project string
	verb := c.asJSON(&cobra.Command{
		Use: "sync ID…", Short: "Read and write these customers now, and print what became of each", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, id := range args {
				if !idText.MatchString(id) {
					return fmt.Errorf("%w: %q is no id of a customer", errUsage, id)
				}
			}
			p, err := c.process(cmd.Context())
			if err != nil {
				return err
			}
			var started control.SyncStarted
			if err := p.Do(cmd.Context(), "POST", "/admin/sync", control.SyncRequest{Project: project, IDs: args}, &started); err != nil {
				return asked(err)
			}
			left, dead := started.Customers, 0
			err = p.Lines(cmd.Context(), "/admin/sync/"+url.PathEscape(started.Sync)+"/events", func(line json.RawMessage) error {
				var r control.SyncResult
				if err := json.Unmarshal(line, &r); err != nil {
					return err
				}
				if r.Outcome != waitingOutcome {
					left--
				}
				if r.Outcome == ct2fluent.Dead.String() {
					dead++
				}
				return c.printSynced(r)
			})
			if err == nil && left > 0 {
				err = io.ErrUnexpectedEOF // the process stops
			}
			switch {
			case cmd.Context().Err() != nil || errors.Is(err, io.ErrUnexpectedEOF):
				return fmt.Errorf("no longer followed, %s still in the queue; see ct2fluent show ID", count(left, "customer"))
			case err != nil:
				return err
			case dead > 0:
				return &kindError{errSaid, fmt.Errorf("%s dead", count(dead, "customer"))}
			}
			return nil
		},
	})
	verb.Flags().StringVar(&project, "project", "", "commercetools project key; needed where there are several")
	return verb
}

func (c *cli) printSynced(r control.SyncResult) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(r)
	}
	text := r.ID + " " + r.Outcome
	if r.Version > 0 {
		text += fmt.Sprintf(", version %d", r.Version)
	}
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	if r.Why != "" {
		text += ": " + r.Why
	}
	_, err := fmt.Fprintln(c.out, text)
	return err
}

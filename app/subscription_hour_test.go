package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
	"github.com/ct2fluent/ct2fluent/job"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/queue"
)

// A market is commercetools with a Subscription, and Fluent.
type market struct {
	mu        sync.Mutex
	status    commercetools.Health
	customers map[string]commercetools.Customer
	fluent    map[string]fluent.Write // the last write of each username
	put       func(ctx context.Context, ns ...ct2fluent.Notification) error
	lost      int // changes that made no notification
}

func (m *market) Subscription(context.Context, string) (*commercetools.Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &commercetools.Subscription{Key: "ct2fluent", Status: m.status}, nil
}

// change makes a new version of a customer, and notifies of it if anybody does.
func (m *market) change(t *testing.T, id string) {
	m.mu.Lock()
	c := m.customers[id]
	c.ID, c.Version, c.Email = id, c.Version+1, id+"@example.com"
	c.LastName, c.LastModifiedAt = fmt.Sprint("v", c.Version), time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	m.customers[id] = c
	delivers := m.status == commercetools.Healthy
	if !delivers {
		m.lost++
	}
	m.mu.Unlock()
	if !delivers {
		return
	}
	if err := m.put(t.Context(), ct2fluent.Notification{
		ID: fmt.Sprint(id, "/", c.Version), Ref: ct2fluent.Ref{Project: "shop", TypeID: "customer", ID: id},
		Kind: "ResourceUpdated", Name: "ResourceUpdated", Version: c.Version, Received: time.Now(),
	}); err != nil {
		t.Error(err)
	}
}

func (m *market) Customer(_ context.Context, id string) (*commercetools.Customer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.customers[id]
	return &c, nil
}

func (m *market) Customers(_ context.Context, ids []string) (found []commercetools.Customer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		found = append(found, m.customers[id])
	}
	return found, nil
}

// Changes gives a change only when it is a while old, as a query of
// commercetools does.
func (m *market) Changes(_ context.Context, _ commercetools.Selection, after commercetools.Mark, until string, limit int) (*commercetools.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	shown := time.Now().Add(-50 * time.Second).UTC().Format("2006-01-02T15:04:05.000Z")
	page := &commercetools.Page{Last: true}
	for _, c := range m.customers {
		later := cmp.Or(cmp.Compare(c.LastModifiedAt, after.At), cmp.Compare(c.ID, after.ID)) > 0
		if later && c.LastModifiedAt <= until && c.LastModifiedAt <= shown {
			page.Customers = append(page.Customers, c)
		}
	}
	slices.SortFunc(page.Customers, func(a, b commercetools.Customer) int {
		return cmp.Or(cmp.Compare(a.LastModifiedAt, b.LastModifiedAt), cmp.Compare(a.ID, b.ID))
	})
	if len(page.Customers) > limit {
		page.Customers, page.Last = page.Customers[:limit], false
	}
	for _, c := range page.Customers {
		body, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		page.Bodies = append(page.Bodies, body)
	}
	return page, nil
}

func (m *market) Page(context.Context, commercetools.Selection, string, int) (*commercetools.Page, error) {
	panic("nobody asked for all customers")
}

func (m *market) Count(context.Context, commercetools.Selection) (int, bool, error) {
	return 0, false, nil
}

func (m *market) Ranges(context.Context, commercetools.Selection, int) ([]commercetools.Selection, error) {
	panic("nobody asked for all customers")
}

func (m *market) Ordered(context.Context, *commercetools.Page) error { return nil }

func (m *market) Lookup(_ context.Context, usernames []string, _ bool) (map[string]fluent.Customer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := map[string]fluent.Customer{}
	for _, u := range usernames {
		if w, there := m.fluent[u]; there {
			found[u] = fluent.Customer{Username: u, Attributes: w.Attributes}
		}
	}
	return found, nil
}

func (m *market) Write(_ context.Context, ws []fluent.Write) []error {
	time.Sleep(20 * time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range ws {
		m.fluent[w.Username] = w
	}
	return make([]error, len(ws))
}

func (m *market) Scan(context.Context, string, int, bool) (fluent.Page, error) {
	return fluent.Page{}, nil
}

// A Subscription stops for an hour, and 5,000 changes make no notification.
// Nobody does anything, and Fluent has the last version of every customer.
func TestSubscriptionStopsForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people, changes = 200, 5000
		m := &market{status: commercetools.Healthy, customers: map[string]commercetools.Customer{}, fluent: map[string]fluent.Write{}}
		q := queue.NewMemory(&queue.Shelf{}, queue.Options{Projects: []string{"shop"}, Workers: 4})
		m.put = q.Put
		l, err := ledger.Open(t.Context(), ledger.Options{Journal: &ledger.MemoryJournal{}, Put: q.Put})
		if err != nil {
			t.Fatal(err)
		}
		mapping, err := customer.CompileMapping(customer.MappingConfig{})
		if err != nil {
			t.Fatal(err)
		}
		account := customer.Account{Project: "shop", RetailerID: "1", From: m, To: m, Mapping: mapping}
		h, err := customer.New(customer.Options{Accounts: []customer.Account{account}, Ledger: l})
		if err != nil {
			t.Fatal(err)
		}
		most, running := 0, 0
		var confirming sync.Mutex
		runs := func(ctx context.Context, r *job.Run) error {
			if r.Job().Kind == catchUpKind {
				if running++; running > most {
					most = running
				}
				defer func() { running-- }()
			}
			spec, err := customer.ParseBulkSpec(r.Job().Spec)
			if err != nil {
				return err
			}
			b := customer.Bulk{Account: account, From: m, Put: q.Put, Ledger: runLedger{l},
				Waits: func() string { return "" }, Idle: func() bool { return l.Totals().Settled() == q.Received() }, Confirming: &confirming}
			return b.Run(ctx, r.Job().ID, spec, r)
		}
		jobs, err := job.New(t.Context(), job.Options{Store: l, Kinds: []job.Kind{{Name: bulkKind, Run: runs}, {Name: catchUpKind, Run: runs}}})
		if err != nil {
			t.Fatal(err)
		}
		w := &watcher{log: slog.New(slog.DiscardHandler), states: map[string]SubscriptionState{}, observe: func(string, string, bool, bool) {}}
		w.watches = []*watch{{watcher: w, project: "shop", key: "ct2fluent", every: 10 * time.Second, calls: m, notes: l, jobs: jobs}}

		ctx, stop := context.WithCancel(t.Context())
		var working sync.WaitGroup
		for _, run := range []func(context.Context) error{
			func(ctx context.Context) error { return q.Work(ctx, l.Settle(h)) }, h.Run, jobs.Run, w.run,
		} {
			working.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		for i := range people {
			m.change(t, fmt.Sprint("c", i))
		}
		time.Sleep(2 * time.Minute)
		// Somebody has started a run that takes longer than all of this.
		long, err := jobs.Start(t.Context(), job.Request{Kind: bulkKind, Project: "shop", By: "ops",
			Spec: json.RawMessage(`{"changedSince":"1999-01-01T00:00:00Z","rate":0.02}`)})
		if err != nil {
			t.Fatal(err)
		}
		m.set(commercetools.DeliveryStopped)
		for i := range changes {
			time.Sleep(time.Hour / changes)
			m.change(t, fmt.Sprint("c", i*7%people))
		}
		m.set(commercetools.Healthy)
		for i := range 100 {
			m.change(t, fmt.Sprint("c", (changes+i)*7%people)) // others than changed last
		}
		time.Sleep(5 * time.Minute)
		stop()
		working.Wait()
		if err := q.Close(); err != nil {
			t.Error(err)
		}

		if m.lost != changes {
			t.Fatalf("%d changes made no notification, want %d", m.lost, changes)
		}
		wrong := 0
		for id, c := range m.customers {
			if m.fluent["1_"+id+"@example.com"].Fields["lastName"] != c.LastName {
				wrong++
			}
		}
		if wrong > 0 || len(m.fluent) != people {
			t.Errorf("Fluent has %d customers, and %d of them in an older version", len(m.fluent), wrong)
		}
		done := 0
		for _, one := range jobs.List() {
			if one.ID == long.ID {
				if one.State != job.Running {
					t.Errorf("%s is %s: nothing had to wait for it", one.ID, one.State)
				}
				continue
			}
			if one.By != bySubscription || one.State != job.Done {
				t.Errorf("%s is %s: %s", one.ID, one.State, one.Why)
			}
			done++
		}
		if done < 10 || most != 1 {
			t.Errorf("%d catch-ups, %d at once", done, most)
		}
		if s := w.subscriptions()[0]; s.Status != commercetools.Healthy || s.CatchUp != "" {
			t.Errorf("%+v", s)
		}
	})
}

func (m *market) set(h commercetools.Health) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = h
}

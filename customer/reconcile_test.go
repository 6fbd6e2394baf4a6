package customer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

func (s *shop) Page(_ context.Context, _ commercetools.Selection, after string, limit int) (*commercetools.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := slices.Sorted(maps.Keys(s.fresh))
	from, there := slices.BinarySearch(ids, after)
	if there {
		from++
	}
	p := &commercetools.Page{Last: len(ids)-from < limit}
	for _, id := range ids[from:min(from+limit, len(ids))] {
		p.Customers = append(p.Customers, s.fresh[id])
	}
	return p, s.query
}

func (s *shop) Ordered(context.Context, *commercetools.Page) error { return nil }

func (s *shop) Count(context.Context, commercetools.Selection) (int, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.fresh), false, s.query
}

func (o *om) ByID(_ context.Context, ids []string, _ bool) (map[string]fluent.Customer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := map[string]fluent.Customer{}
	for _, c := range o.customers {
		if slices.Contains(ids, c.ID) {
			found[c.ID] = *c
		}
	}
	return found, nil
}

func (l *notebook) EachMemory(_ context.Context, _, _ string, each func(ct2fluent.Ref, ct2fluent.Memory) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, m := range l.memories {
		// What was noted before does not hold any more.
		for _, m := range []ct2fluent.Memory{{Floor: 1}, {Floor: 1, Username: "1_earlier@x"}, m} {
			if err := each(ref, m); err != nil {
				return err
			}
		}
	}
	return l.err
}

// A pass is one reconciliation of a world; what it puts is worked at once.
type pass struct {
	Reconciliation
	w      *world
	log    bytes.Buffer
	parts  map[string]string
	totals RunTotals
	ended  bool
	puts   int
	told   []*ReconcileReport
}

func (p *pass) Checkpoint(_ context.Context, part string) (string, error) { return p.parts[part], nil }
func (p *pass) SetCheckpoint(_ context.Context, part, value string) error {
	p.parts[part] = value
	return nil
}
func (p *pass) Log() *slog.Logger { return slog.New(slog.NewTextHandler(&p.log, nil)) }
func (p *pass) Tell(v any)        { p.told = append(p.told, v.(*ReconcileReport)) }

func newPass(t *testing.T, w *world, spec ReconcileSpec) *pass {
	t.Helper()
	a := w.accounts["shop"]
	p := &pass{w: w, parts: map[string]string{}}
	p.totals.Skipped, p.totals.Dead = map[string]uint64{}, map[string]uint64{}
	p.Reconciliation = Reconciliation{
		Project: a.Project, RetailerID: a.RetailerID, From: w.shop, To: w.om, Mapping: a.Mapping, Ledger: w.ledger,
		Put: p.put, Totals: func(string) RunTotals { return p.totals },
		EndRun:  func(context.Context, string) error { p.ended = true; return nil },
		Waiting: func() (time.Time, bool) { return time.Time{}, false },
		Waits:   func() string { return "" },
		Dir:     t.TempDir(), Spec: spec,
	}
	return p
}

func (p *pass) put(ctx context.Context, ns ...ct2fluent.Notification) error {
	p.puts += len(ns)
	for i, err := range p.w.Handle(ctx, ns) {
		if n := ns[i]; !n.Own || !n.Bulk || !n.Force || n.Run != "reconcile-1" {
			return fmt.Errorf("put %+v", n)
		}
		switch o, reason, _ := ct2fluent.OutcomeOf(err); o {
		case ct2fluent.Written:
			p.totals.Written++
		case ct2fluent.Skipped:
			p.totals.Skipped[reason]++
		default:
			p.totals.Dead[reason]++
		}
	}
	return nil
}

// run runs the pass and gives what was found, a line for each, in order.
func (p *pass) run(t *testing.T) (*ReconcileReport, []string) {
	t.Helper()
	r, err := p.Run(t.Context(), "reconcile-1", p)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, d := range p.drift(t) {
		line := []string{string(d.Kind), d.ID}
		line = append(append(line, d.Fields...), d.Why)
		found = append(found, strings.TrimSpace(strings.Join(line, " ")))
	}
	slices.Sort(found)
	sum := r.Equal + r.Found[Missing] + r.Found[Different] + r.Found[Ambiguous] + r.NotSelected + r.Gone
	for _, n := range r.Unmappable {
		sum += n
	}
	if r.Read != sum {
		t.Errorf("%d customers read, and the sum is %d: %+v", r.Read, sum, r)
	}
	if len(found) != r.Drift() {
		t.Errorf("%d found, %d listed", r.Drift(), len(found))
	}
	if text := p.log.String(); strings.Contains(text, "@") {
		t.Errorf("promise 7: %s", text)
	}
	return r, found
}

func (p *pass) drift(t *testing.T) (ds []Drift) {
	t.Helper()
	f, err := OpenDrift(p.Dir, "reconcile-1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.Contains(lines.Text(), "@") {
			t.Errorf("promise 7: %s", lines.Text())
		}
		var d Drift
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

// synced has customers on both sides, as the handler brought them there.
func (w *world) synced(t *testing.T, ids ...string) {
	t.Helper()
	var ns []ct2fluent.Notification
	for _, id := range ids {
		w.shop.set(person(id, 1))
		ns = append(ns, updated(id, 1))
	}
	for _, got := range w.handle(t, ns...) {
		if got != "written" {
			t.Fatal(got)
		}
	}
}

func (w *world) twist(username string, change func(c *fluent.Customer)) {
	change(w.om.customers[username])
}

// Each kind of drift is found, mended where it can be, and found no more.
func TestReconcile(t *testing.T) {
	text := func(s string) *string { return &s }
	forget := func(w *world, id string) { delete(w.ledger.memories, ref(id)) }
	marking := func(p *pass) {
		p.Deleted = "commercetoolsDeleted"
		p.Put = func(ctx context.Context, ns ...ct2fluent.Notification) error {
			for i := range ns {
				ns[i].Received = time.Now().Add(-2 * freshFor) // it was tried again until then
			}
			return p.put(ctx, ns...)
		}
	}
	idOf := func(c *fluent.Customer, id string) { c.Attributes = existing("", id, "1").Attributes }
	tests := []struct {
		name  string
		given func(w *world) // jane and joe are synced
		spec  ReconcileSpec
		ask   func(p *pass)
		want  string // separated by ;
		left  string // after a fix; default nothing

		deletes bool // are marked
		check   func(t *testing.T, w *world, r *ReconcileReport)
	}{
		{name: "nothing differs"},
		{name: "missing: never written", given: func(w *world) { w.shop.set(person("new", 1)) }, want: "missing new"},
		{name: "missing: removed from Fluent", given: func(w *world) { delete(w.om.customers, "1_jane@x") }, want: "missing jane"},
		{name: "different: somebody changed it in Fluent", given: func(w *world) {
			w.twist("1_jane@x", func(c *fluent.Customer) { c.LastName, c.Country = text("Roe"), text("FR") })
		}, want: "different jane country lastName"},
		{name: "different: a notification was lost", given: func(w *world) { w.shop.set(person("jane", 2)) }, want: "different jane lastName"},
		{name: "different: its id is gone", given: func(w *world) { w.twist("1_jane@x", func(c *fluent.Customer) { c.Attributes = nil }) },
			want: "different jane attributes.commercetoolsId"},
		{name: "different: it carries an id of nobody, and is no extra one", given: func(w *world) { w.twist("1_jane@x", func(c *fluent.Customer) { idOf(c, "rubbish") }) },
			want: "different jane attributes.commercetoolsId"},
		{name: "different: to be adopted", given: func(w *world) {
			w.shop.set(person("new", 1))
			w.om.customers["1_new@x"] = existing("1_new@x", "", "1")
		}, want: "different new lastName primaryEmail attributes.commercetoolsId"},
		{name: "different: the ledger forgot it, and its email changed since", given: func(w *world) {
			forget(w, "jane")
			c := person("jane", 2)
			c.Email = "other@x"
			w.shop.set(c)
		}, want: "different jane lastName primaryEmail", check: func(t *testing.T, w *world, _ *ReconcileReport) {
			if len(w.om.customers) != 2 {
				t.Error("promise 4: a second customer was made")
			}
		}},
		{name: "equal, but the ledger forgot it: remembered again", given: func(w *world) {
			forget(w, "jane")
			c := w.om.customers["1_jane@x"]
			delete(w.om.customers, "1_jane@x")
			c.Username = "1_before@x"
			w.om.customers["1_before@x"] = c
		}, check: func(t *testing.T, w *world, _ *ReconcileReport) {
			if got := w.ledger.of("jane").Username; got != "1_before@x" {
				t.Errorf("remembers %q", got)
			}
		}},
		{name: "extra", given: func(w *world) {
			w.om.customers["1_old@x"] = existing("1_old@x", "old", "1")
		}, want: "extra old", left: "extra old"},
		{name: "extra: of another retailer is none of ours", given: func(w *world) {
			w.om.customers["2_old@x"] = existing("2_old@x", "old", "2")
		}, check: func(t *testing.T, _ *world, r *ReconcileReport) {
			if r.Elsewhere != 1 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "of another retailer with the same id: no twin, and left alone", given: func(w *world) {
			w.om.customers["2_jane@x"] = existing("2_jane@x", "jane", "2")
		}, check: func(t *testing.T, w *world, r *ReconcileReport) {
			if r.Elsewhere != 1 || w.om.id("2_jane@x") != "jane" || r.Fixed != nil && r.Fixed.Emptied != 0 {
				t.Errorf("%+v, it carries %q", r, w.om.id("2_jane@x"))
			}
		}},
		{name: "missing: only another retailer has it", given: func(w *world) {
			w.shop.set(person("new", 1))
			w.om.customers["2_new@x"] = existing("2_new@x", "new", "2")
		}, want: "missing new", check: func(t *testing.T, w *world, r *ReconcileReport) {
			if r.Fixed != nil && (w.om.id("1_new@x") != "new" || w.ledger.of("new").Username != "1_new@x") {
				t.Errorf("%q, remembers %q", w.om.id("1_new@x"), w.ledger.of("new").Username)
			}
		}},
		{name: "ambiguous: the ledger remembers another retailer's", given: func(w *world) {
			w.twist("1_jane@x", func(c *fluent.Customer) { ofRetailer(c, "2").LastName = text("Roe") })
			w.om.customers["1_a@x"] = existing("1_a@x", "jane", "1")
		}, want: "ambiguous jane retailer", left: "ambiguous jane retailer", check: func(t *testing.T, w *world, _ *ReconcileReport) {
			if *w.om.customers["1_jane@x"].LastName != "Roe" || w.om.id("1_a@x") != "jane" {
				t.Error("one of them was written")
			}
		}},
		{name: "extra: deleted unnoticed, to be marked", given: func(w *world) { delete(w.shop.fresh, "jane") },
			ask: marking, deletes: true,
			want: "extra jane", check: func(t *testing.T, w *world, _ *ReconcileReport) {
				if !markedBy(w.om.customers["1_jane@x"], "commercetoolsDeleted") {
					t.Error("it is not marked")
				}
			}},
		{name: "extra: filled in from Fluent, and never seen in commercetools", given: func(w *world) {
			w.om.customers["1_old@x"] = existing("1_old@x", "old", "1")
			w.ledger.memories[ref("old")] = ct2fluent.Memory{Username: "1_old@x"}
		}, ask: marking, deletes: true,
			want: "extra old unknown", left: "extra old unknown", check: func(t *testing.T, w *world, _ *ReconcileReport) {
				if markedBy(w.om.customers["1_old@x"], "commercetoolsDeleted") {
					t.Error("it is marked")
				}
			}},
		{name: "extra: of another project of this retailer is none", given: func(w *world) {
			w.om.customers["1_old@x"] = existing("1_old@x", "old", "1")
		}, ask: func(p *pass) {
			p.Others = []Reader{&shop{fresh: map[string]commercetools.Customer{"old": person("old", 1)}}}
		}, check: func(t *testing.T, _ *world, r *ReconcileReport) {
			if r.Elsewhere != 1 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "extra: marked already", given: func(w *world) {
			c := existing("1_old@x", "old", "1")
			c.Attributes = append(c.Attributes, fluent.Attribute{Name: "gone", Type: "STRING", Value: json.RawMessage(`"2026-01-01"`)})
			w.om.customers["1_old@x"] = c
		}, ask: func(p *pass) { p.Deleted = "gone" }, check: func(t *testing.T, _ *world, r *ReconcileReport) {
			if r.Deleted != 1 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "unclaimed is no drift", given: func(w *world) { w.om.customers["1_guest@x"] = existing("1_guest@x", "", "1") },
			check: func(t *testing.T, _ *world, r *ReconcileReport) {
				if r.Unclaimed != 1 {
					t.Errorf("%+v", r)
				}
			}},
		{name: "ambiguous: twins, the remembered stays", given: func(w *world) {
			w.om.customers["1_a@x"] = existing("1_a@x", "jane", "1")
		}, want: "ambiguous jane twins", check: func(t *testing.T, w *world, r *ReconcileReport) {
			if r.Fixed != nil && (w.om.id("1_a@x") != "" || w.om.id("1_jane@x") != "jane" || r.Fixed.Emptied != 1) {
				t.Errorf("a %q, jane %q, %+v", w.om.id("1_a@x"), w.om.id("1_jane@x"), r.Fixed)
			}
		}},
		{name: "ambiguous: twins that nobody remembers, one of them lacks much", given: func(w *world) {
			w.shop.set(person("new", 1))
			w.om.customers["1_a@x"] = existing("1_a@x", "new", "1")
			w.om.customers["1_b@x"] = existing("1_b@x", "new", "1")
		}, want: "ambiguous new twins", check: func(t *testing.T, w *world, r *ReconcileReport) {
			if r.Fixed != nil && (w.om.id("1_a@x") != "new" || w.om.id("1_b@x") != "" || w.ledger.of("new").Username != "1_a@x") {
				t.Errorf("a %q, b %q, remembers %q", w.om.id("1_a@x"), w.om.id("1_b@x"), w.ledger.of("new").Username)
			}
		}},
		{name: "ambiguous: a twin that the ledger remembers as another's", given: func(w *world) {
			w.twist("1_joe@x", func(c *fluent.Customer) { idOf(c, "jane") })
		}, want: "ambiguous jane shared;ambiguous joe shared", left: "ambiguous jane shared;ambiguous joe shared", check: func(t *testing.T, w *world, _ *ReconcileReport) {
			if w.om.id("1_joe@x") != "jane" {
				t.Error("it was written over")
			}
		}},
		{name: "ambiguous: the usernames are others'", given: func(w *world) {
			w.shop.set(person("new", 1))
			w.om.customers["1_new@x"] = existing("1_new@x", "", "2")
			w.om.customers["1_new"] = existing("1_new", "", "2")
		}, want: "ambiguous new username", left: "ambiguous new username"},
		{name: "ambiguous: the ledger remembers what Fluent does not have", given: func(w *world) {
			c := w.om.customers["1_jane@x"]
			delete(w.om.customers, "1_jane@x")
			c.Username = "1_moved@x"
			w.om.customers["1_moved@x"] = c
		}, want: "ambiguous jane elsewhere", left: "ambiguous jane elsewhere"},
		{name: "not selected is not expected", given: func(w *world) {
			c := person("new", 1)
			c.Locale = "fr"
			w.shop.set(c)
		}, check: func(t *testing.T, _ *world, r *ReconcileReport) {
			if r.NotSelected != 1 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "what cannot be mapped is not expected, and its Fluent customer is no extra", given: func(w *world) {
			c := person("jane", 2)
			c.LastName = strings.Repeat("x", 51)
			w.shop.set(c)
		}, check: func(t *testing.T, _ *world, r *ReconcileReport) {
			if r.Unmappable["too-long"] != 1 {
				t.Errorf("%+v", r)
			}
		}},
		{name: "some fields only", spec: ReconcileSpec{Fields: []string{"country"}}, given: func(w *world) {
			w.twist("1_jane@x", func(c *fluent.Customer) { c.LastName = text("Roe") })
			w.twist("1_joe@x", func(c *fluent.Customer) { c.LastName, c.Country = text("Roe"), text("FR") })
		}, want: "different joe country"},
		{name: "several of all", given: func(w *world) {
			w.shop.set(person("new", 1))
			w.twist("1_jane@x", func(c *fluent.Customer) { c.LastName = text("Roe") })
			w.om.customers["1_a@x"] = existing("1_a@x", "joe", "1")
			w.om.customers["1_old@x"] = existing("1_old@x", "old", "1")
		}, want: "ambiguous joe twins;different jane lastName;extra old;missing new", left: "extra old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) {
				o.Mapping = mustCompile(t, MappingConfig{Select: Expression{Text: `customer.locale != "fr"`}})
				o.Deletes.Mark = tt.deletes
			})
			w.synced(t, "jane", "joe")
			if tt.given != nil {
				tt.given(w)
			}
			reconcile := func(fix bool, want string) *ReconcileReport {
				t.Helper()
				tt.spec.Fix = fix
				p := newPass(t, w, tt.spec)
				if tt.ask != nil {
					tt.ask(p)
				}
				r, found := p.run(t)
				if got := strings.Join(found, ";"); got != want {
					t.Errorf("found %q, want %q", got, want)
				}
				if !fix && (p.puts != 0 || r.Fixed != nil) {
					t.Errorf("without fix %d were put", p.puts)
				}
				return r
			}
			before := maps.Clone(w.ledger.memories)
			writes := len(w.om.writes)
			reconcile(false, tt.want)
			if len(w.om.writes) != writes || !maps.EqualFunc(before, w.ledger.memories, same) {
				t.Error("without fix something was written")
			}
			r := reconcile(true, tt.want)
			if tt.check != nil {
				tt.check(t, w, r)
			}
			again := newPass(t, w, tt.spec)
			if tt.ask != nil {
				tt.ask(again)
			}
			after, found := again.run(t)
			if got := strings.Join(found, ";"); got != tt.left {
				t.Errorf("after the fix %q, want %q", got, tt.left)
			}
			if r.Left() != after.Drift() {
				t.Errorf("said %d are left, and %d are", r.Left(), after.Drift())
			}
		})
	}
}

// A stand-in for Fluent whose pages are small, and that can be told to do
// something between two calls.
type staged struct {
	*om
	scans   int
	onScan  func(n int)
	onFind  func()
	failing func() error
}

func (s *staged) Scan(ctx context.Context, after string, first int, full bool) (fluent.Page, error) {
	if s.failing != nil {
		if err := s.failing(); err != nil {
			return fluent.Page{}, err
		}
	}
	page, err := s.om.Scan(ctx, after, min(first, 2), full)
	s.scans++
	if s.onScan != nil {
		s.onScan(s.scans)
	}
	return page, err
}

func (s *staged) Lookup(ctx context.Context, usernames []string, full bool) (map[string]fluent.Customer, error) {
	found, err := s.om.Lookup(ctx, usernames, full)
	if s.onFind != nil {
		s.onFind()
	}
	return found, err
}

// What changes on both sides while it is being compared is no drift.
func TestReconcileWhileCustomersChange(t *testing.T) {
	ids := []string{"a", "b", "c", "d", "e"}
	tests := []struct {
		name string
		do   func(t *testing.T, w *world, s *staged)
		want string
	}{
		{name: "changed after Fluent was scanned", do: func(t *testing.T, w *world, s *staged) {
			s.onScan = func(int) {
				w.shop.set(person("a", 2))
				w.handle(t, updated("a", 2))
			}
		}},
		{name: "made after Fluent was scanned", do: func(t *testing.T, w *world, s *staged) {
			s.onScan = func(n int) {
				if n == 3 {
					w.synced(t, "cc")
				}
			}
		}},
		{name: "changed while it is being confirmed", do: func(t *testing.T, w *world, s *staged) {
			w.shop.set(person("a", 2))
			once := true
			s.onFind = func() {
				if once {
					once = false
					w.shop.set(person("a", 3))
					w.handle(t, updated("a", 3))
				}
			}
		}},
		{name: "deleted while it is being confirmed", do: func(t *testing.T, w *world, s *staged) {
			w.shop.set(person("new", 1))
			s.onFind = func() { w.shop.mu.Lock(); defer w.shop.mu.Unlock(); delete(w.shop.fresh, "new") }
		}},
		{name: "still under way: changed a moment ago", do: func(t *testing.T, w *world, s *staged) {
			c := person("a", 2)
			c.LastModifiedAt = time.Now().UTC().Format(time.RFC3339Nano)
			w.shop.set(c)
			time.AfterFunc(20*time.Second, func() { w.handle(t, updated("a", 2)) })
		}},
		{name: "lost: changed a while ago", do: func(t *testing.T, w *world, s *staged) {
			c := person("a", 2)
			c.LastModifiedAt = time.Now().UTC().Format(time.RFC3339Nano)
			w.shop.set(c)
		}, want: "different a lastName"},
		{name: "a query shows an older version than Fluent has", do: func(t *testing.T, w *world, s *staged) {
			w.shop.set(person("a", 2))
			w.handle(t, updated("a", 2))
			w.shop.lags["a"] = person("a", 1)
			w.twist("1_a@x", func(c *fluent.Customer) { c.Country = new(string); *c.Country = "FR" })
		}, want: "different a country"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.synced(t, ids...)
				p := newPass(t, w, ReconcileSpec{})
				s := &staged{om: w.om}
				p.To, p.Grace = s, 30*time.Second
				tt.do(t, w, s)
				_, found := p.run(t)
				if got := strings.Join(found, ";"); got != tt.want {
					t.Errorf("found %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// What was received before is worked first, for a while.
func TestReconcileWaitsForTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.synced(t, "a")
		w.shop.set(person("a", 2))
		p := newPass(t, w, ReconcileSpec{})
		p.Grace = 30 * time.Second
		received := time.Now()
		var worked atomic.Bool
		time.AfterFunc(10*time.Second, func() { w.handle(t, updated("a", 2)); worked.Store(true) })
		p.Waiting = func() (time.Time, bool) { return received, !worked.Load() }
		time.Sleep(time.Second)
		if _, found := p.run(t); len(found) != 0 {
			t.Errorf("found %q", found)
		}
		w.shop.set(person("a", 3))
		p = newPass(t, w, ReconcileSpec{})
		p.Grace = 30 * time.Second
		p.Waiting = func() (time.Time, bool) { return received, true }
		if _, found := p.run(t); len(found) != 1 {
			t.Errorf("found %q", found)
		}
	})
}

func TestReconcileWhileASideIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.synced(t, "a", "b", "c")
		p := newPass(t, w, ReconcileSpec{})
		calls := 0
		p.To = &staged{om: w.om, failing: func() error {
			if calls++; calls%3 != 0 {
				return flError(fluent.Down)
			}
			return nil
		}}
		begin := time.Now()
		if r, found := p.run(t); len(found) != 0 || r.Equal != 3 {
			t.Errorf("%+v", r)
		}
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		if n := strings.Count(p.log.String(), "trying again"); n != 2 {
			t.Errorf("told %d times:\n%s", n, &p.log)
		}
	})
	w := newWorld(t)
	p := newPass(t, w, ReconcileSpec{})
	w.shop.query = &commercetools.Error{Operation: "page", Kind: commercetools.Stopped, Code: "unordered"}
	if _, err := p.Run(t.Context(), "reconcile-1", p); err == nil || !strings.Contains(err.Error(), "unordered") {
		t.Errorf("pages that repeat: %v", err)
	}
}

// Stopped while it reads, it begins anew and says so. Stopped while it mends, it
// goes on, and each customer is counted once.
func TestReconcileGoesOn(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for i := range 3 * fixAtOnce {
		ids = append(ids, fmt.Sprintf("c%04d", i))
		w.shop.set(person(ids[i], 1))
	}
	p := newPass(t, w, ReconcileSpec{Fix: true})
	ctx, kill := context.WithCancel(t.Context())
	s := &staged{om: w.om, onFind: func() { kill() }}
	p.To = s
	if _, err := p.Run(ctx, "reconcile-1", p); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed while it reads: %v", err)
	}
	s.onFind = nil

	ctx, kill = context.WithCancel(t.Context())
	counted := map[string]bool{}
	batches := 0
	p.Put = func(ctx context.Context, ns ...ct2fluent.Notification) error {
		for _, n := range ns {
			if key := n.Run + n.Ref.ID; !counted[key] { // as the ledger does for a run
				counted[key] = true
				p.totals.Written++
			}
		}
		if batches++; batches == 2 {
			kill() // what was put is put once more
			return ctx.Err()
		}
		return nil
	}
	if _, err := p.Run(ctx, "reconcile-1", p); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed while it mends: %v", err)
	}
	r, found := p.run(t)
	f := r.Fixed
	if r.StartedOver != 1 || len(found) != len(ids) || f.Put != len(ids) || f.Written != len(ids) || f.Waiting != 0 || f.Left != 0 || batches != 4 || !p.ended {
		t.Errorf("%d found, %d batches, %+v, %+v", len(found), batches, r, f)
	}
	if !strings.Contains(p.log.String(), "starts over") {
		t.Error("it does not say that it started over")
	}
	last := p.told[len(p.told)-1]
	if last.Phase != phaseDone || last.Fixed.Written != len(ids) {
		t.Errorf("told %+v", last)
	}
	if _, again := p.run(t); len(again) != len(ids) || batches != 4 {
		t.Errorf("run once more: %d batches", batches)
	}
	// What cannot be trusted is not gone on from.
	name, _ := driftFile(p.Dir, "reconcile-1")
	if err := os.Truncate(name, 10); err != nil {
		t.Fatal(err)
	}
	p.totals.Written = 0
	if r, _ := p.run(t); r.StartedOver != 2 || !r.has(Missing, len(ids)) {
		t.Errorf("after damage: %+v", r)
	}
}

func (r *ReconcileReport) has(k DriftKind, n int) bool { return r.Found[k] == n }

// At most so many are in the queue at once.
func TestReconcileKeepsTheQueueShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const many = maxOutstanding + 3000
		for i := range many {
			w.shop.set(person(fmt.Sprintf("c%05d", i), 1))
		}
		p := newPass(t, w, ReconcileSpec{Fix: true})
		waiting, most := 0, 0
		p.Put = func(_ context.Context, ns ...ct2fluent.Notification) error {
			waiting += len(ns)
			most = max(most, waiting)
			return nil
		}
		p.Totals = func(string) RunTotals {
			if done := min(waiting, 50); done > 0 {
				waiting -= done
				p.totals.Written += uint64(done)
			}
			return p.totals
		}
		r, _ := p.run(t)
		if most > maxOutstanding || r.Fixed.Written != many {
			t.Errorf("%d at once, %+v", most, r.Fixed)
		}
	})
}

func TestDriftFilesAreForgotten(t *testing.T) {
	dir := t.TempDir()
	for i := range filesKept + 5 {
		w, err := createDrift(dir, fmt.Sprintf("reconcile-%d", i+1), func(run string) bool { return run == "reconcile-3" })
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.add(Drift{Kind: Extra, ID: "x"}), w.sync(), w.close()); err != nil {
			t.Fatal(err)
		}
	}
	for run, want := range map[string]bool{"reconcile-3": true, "reconcile-5": false, "reconcile-6": true, "reconcile-25": true, "../reconcile-25": false, "": false} {
		f, err := OpenDrift(dir, run)
		if (err == nil) != want || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", run, err)
		}
		if f != nil {
			f.Close()
		}
	}
	if is, err := os.Stat(dir + "/reconcile-25.jsonl"); err != nil || is.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", is.Mode(), err)
	}
}

func TestParseReconcileSpec(t *testing.T) {
	m := mustCompile(t, MappingConfig{Attributes: []Attribute{{Name: "key", Value: Expression{Text: "customer.key"}}}})
	wrapped := m.Wrap("w", func(_ context.Context, _ *commercetools.Customer, m Mapped) (Mapped, error) { return m, nil })
	tests := []struct {
		spec string
		m    *Mapping
		want string // in the error
	}{
		{spec: ``}, {spec: `{}`}, {spec: `{"fix":true,"fields":["lastName","attributes.key"]}`},
		{spec: `{"fields":["timezone"]}`, want: `"timezone" is none`},
		{spec: `{"fields":["attributes.kye"]}`, want: "attributes.key"},
		{spec: `{"fields":["attributes.points","timezone"]}`, m: wrapped},
		{spec: `{"fxi":true}`, want: "fxi"},
	}
	for _, tt := range tests {
		if tt.m == nil {
			tt.m = m
		}
		_, err := ParseReconcileSpec(json.RawMessage(tt.spec), tt.m)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.spec, err)
		}
	}
}

// A twin that has got another id since it was found keeps it.
func TestReconcileLooksAgainBeforeItTakesAnID(t *testing.T) {
	w := newWorld(t)
	w.synced(t, "jane")
	w.om.customers["1_a@x"] = existing("1_a@x", "jane", "1")
	p := newPass(t, w, ReconcileSpec{Fix: true})
	p.To = &changing{w.om, func() { w.om.customers["1_a@x"].Attributes = existing("", "joe", "1").Attributes }}
	if r, _ := p.run(t); r.Fixed.Emptied != 0 || w.om.id("1_a@x") != "joe" {
		t.Errorf("it carries %q, %+v", w.om.id("1_a@x"), r.Fixed)
	}
}

// A changing Fluent has something done before customers are found by Fluent's id.
type changing struct {
	*om
	before func()
}

func (c *changing) ByID(ctx context.Context, ids []string, full bool) (map[string]fluent.Customer, error) {
	c.before()
	return c.om.ByID(ctx, ids, full)
}

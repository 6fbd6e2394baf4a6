package customer

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// Jane is new to the ledger, or her username is merely intended there; Fluent
// has customers already.
func TestIdentity(t *testing.T) {
	const first, second = "1_jane@x", "1_jane"
	tests := []struct {
		name     string
		memory   ct2fluent.Memory
		fluent   []*fluent.Customer
		want     string
		username string            // remembered
		ids      map[string]string // username → commercetools id afterwards
		lookups  int
		requests int
	}{
		{name: "nobody has the username", want: "written", username: first,
			ids: map[string]string{first: "jane"}, lookups: 1, requests: 1},
		{name: "it is hers: the ledger was lost", fluent: []*fluent.Customer{existing(first, "jane", "1")}, want: "written", username: first,
			ids: map[string]string{first: "jane"}, lookups: 1, requests: 1},
		{name: "it carries no id: adopted", fluent: []*fluent.Customer{existing(first, "", "1")}, want: "written", username: first,
			ids: map[string]string{first: "jane"}, lookups: 1, requests: 1},
		{name: "it carries no id, and its retailer is not shown: adopted", fluent: []*fluent.Customer{existing(first, "", "")}, want: "written", username: first,
			ids: map[string]string{first: "jane"}, lookups: 1, requests: 1},
		{name: "it carries another id", fluent: []*fluent.Customer{existing(first, "joe", "1")}, want: "written", username: second,
			ids: map[string]string{first: "joe", second: "jane"}, lookups: 2, requests: 1},
		{name: "it carries no id and is another retailer's", fluent: []*fluent.Customer{existing(first, "", "2")}, want: "written", username: second,
			ids: map[string]string{first: "", second: "jane"}, lookups: 2, requests: 1},
		{name: "it is another's, and the alternative is hers", fluent: []*fluent.Customer{existing(first, "joe", "1"), existing(second, "jane", "1")},
			want: "written", username: second, ids: map[string]string{first: "joe", second: "jane"}, lookups: 2, requests: 1},
		{name: "both are others'", fluent: []*fluent.Customer{existing(first, "joe", "1"), existing(second, "jim", "1")},
			want: "dead foreign-username", ids: map[string]string{first: "joe", second: "jim"}, lookups: 2},
		{name: "intended, and the create never arrived", memory: ct2fluent.Memory{Floor: 1, Username: first}, want: "written", username: first,
			ids: map[string]string{first: "jane"}, lookups: 1, requests: 1},
		{name: "intended, and the create arrived", memory: ct2fluent.Memory{Floor: 1, Username: first},
			fluent: []*fluent.Customer{existing(first, "jane", "1")}, want: "written", username: first,
			ids: map[string]string{first: "jane"}, lookups: 1, requests: 1},
		{name: "intended, and another was faster", memory: ct2fluent.Memory{Floor: 1, Username: first},
			fluent: []*fluent.Customer{existing(first, "joe", "1")}, want: "written", username: second,
			ids: map[string]string{first: "joe", second: "jane"}, lookups: 2, requests: 1},
		{name: "intended under an email of before", memory: ct2fluent.Memory{Floor: 1, Username: "1_old@x"},
			fluent: []*fluent.Customer{existing("1_old@x", "jane", "1")}, want: "written", username: "1_old@x",
			ids: map[string]string{"1_old@x": "jane", first: "nobody"}, lookups: 1, requests: 1},
		{name: "written once, and gone from Fluent", memory: ct2fluent.Memory{Floor: 1, Version: 1, Username: first, Hash: "h", Mapping: "m"},
			want: "written", username: first, ids: map[string]string{first: "jane"}, lookups: 1, requests: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			collisions := 0
			w := newWorld(t, func(o *Options) { o.Observe.Collision = func(string) { collisions++ } })
			w.shop.set(person("jane", 2))
			if tt.memory.Floor != 0 {
				w.ledger.memories[ref("jane")] = tt.memory
			}
			for _, c := range tt.fluent {
				w.om.customers[c.Username] = c
			}
			if got := w.handle(t, updated("jane", 2)); got[0] != tt.want {
				t.Errorf("%s, want %s", got[0], tt.want)
			}
			if got := w.ledger.of("jane").Username; got != tt.username {
				t.Errorf("remembers %q, want %q", got, tt.username)
			}
			for username, id := range tt.ids {
				if got := w.om.id(username); got != id {
					t.Errorf("%s is %q's, want %q's", username, got, id)
				}
			}
			if w.om.lookups != tt.lookups || w.om.requests != tt.requests {
				t.Errorf("%d lookups, %d requests", w.om.lookups, w.om.requests)
			}
			if (collisions > 0) != (tt.ids["1_jane"] != "") {
				t.Errorf("%d collisions counted", collisions)
			}
		})
	}
}

// The username is in the ledger before a create or an adoption is sent
// (promise 4).
func TestUsernameIsRememberedBeforeFluentHearsOfIt(t *testing.T) {
	for name, has := range map[string]*fluent.Customer{
		"create": nil, "adopt": existing("1_jane@x", "", "1"), "found again": existing("1_jane@x", "jane", "1"), "create again": nil,
	} {
		w := newWorld(t)
		w.shop.set(person("jane", 1))
		if has != nil {
			w.om.customers[has.Username] = has
		}
		sent := 0
		if name == "create again" {
			// Written once and gone: until the create is confirmed, the
			// username may become another's.
			w.ledger.memories[ref("jane")] = ct2fluent.Memory{Floor: 1, Version: 1, Username: "1_jane@x"}
			sent--
		}
		w.om.arrived = func([]fluent.Write) {
			sent++
			if sent == 0 {
				return // the update that finds nobody
			}
			if m := w.ledger.of("jane"); m.Username != "1_jane@x" || m.Version != 0 || m.Floor != 1 {
				t.Errorf("%s: the ledger holds %+v when the write arrives", name, m)
			}
		}
		if got := w.handle(t, forced(updated("jane", 1))); got[0] != "written" || sent != 1 {
			t.Error(name, got, sent)
		}
	}
}

// A create that meets "already exists" looks who it is, and never writes over
// another's customer.
func TestCreateMeetsExists(t *testing.T) {
	tests := []struct {
		name string
		has  *fluent.Customer // appears between lookup and create
		hide bool
		want string
		ids  map[string]string
	}{
		{"our own create, applied late", existing("1_jane@x", "jane", "1"), false, "written", map[string]string{"1_jane@x": "jane"}},
		{"another's", existing("1_jane@x", "joe", "1"), false, "written", map[string]string{"1_jane@x": "joe", "1_jane": "jane"}},
		{"one without an id", existing("1_jane@x", "", "1"), false, "written", map[string]string{"1_jane@x": "jane"}},
		{"one that no lookup shows: no second customer is made", existing("1_jane@x", "jane", "1"), true, "retry foreign-username",
			map[string]string{"1_jane@x": "jane", "1_jane": "nobody"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.shop.set(person("jane", 1))
			var once sync.Once
			w.om.arrived = func([]fluent.Write) {
				once.Do(func() { w.om.customers[tt.has.Username] = tt.has; w.om.hides[tt.has.Username] = tt.hide })
			}
			if got := w.handle(t, updated("jane", 1)); got[0] != tt.want {
				t.Errorf("%s, want %s", got[0], tt.want)
			}
			for username, id := range tt.ids {
				if got := w.om.id(username); got != id {
					t.Errorf("%s is %q's, want %q's", username, got, id)
				}
			}
		})
	}
}

// Fluent that contradicts itself for ever costs a bounded number of calls.
func TestContradictionEnds(t *testing.T) {
	w := newWorld(t)
	w.shop.set(person("jane", 1))
	w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
	w.om.before = func(fluent.Write) error { return flError(fluent.Missing) }
	if got := w.handle(t, updated("jane", 1)); got[0] != "retry" || w.om.requests > maxRounds {
		t.Error(got, w.om.requests)
	}
}

// Two customers with one email (commercetools allows it in different stores)
// never share a Fluent customer: in one batch or in two at the same time,
// whether the username is free or waits to be adopted.
func TestTwoCustomersOneUsername(t *testing.T) {
	twins := func(w *world, ids ...string) (ns []ct2fluent.Notification) {
		for _, id := range ids {
			c := person(id, 1)
			c.Email = "both@x"
			w.shop.set(c)
			ns = append(ns, updated(id, 1))
		}
		return ns
	}
	check := func(t *testing.T, w *world, ids ...string) {
		t.Helper()
		owners := map[string]string{}
		for _, id := range ids {
			u := w.ledger.of(id).Username
			if got := w.om.id(u); got != id {
				t.Errorf("%s remembers %s, which is %q's", id, u, got)
			}
			if other, taken := owners[u]; taken {
				t.Errorf("%s and %s share %s", id, other, u)
			}
			owners[u] = id
		}
		if len(w.om.customers) != len(ids) {
			t.Errorf("%d Fluent customers for %d", len(w.om.customers), len(ids))
		}
	}
	for _, adopt := range []bool{false, true} {
		given := func(w *world) {
			if adopt {
				w.om.customers["1_both@x"] = existing("1_both@x", "", "1")
			}
		}
		ids := []string{"a", "b", "c", "d"}
		t.Run("in one batch", func(t *testing.T) {
			w := newWorld(t)
			given(w)
			if got := w.handle(t, twins(w, ids...)...); !slices.Equal(got, every(4, "written")) {
				t.Error(got)
			}
			check(t, w, ids...)
		})
		t.Run("in batches at the same time", func(t *testing.T) {
			for range 20 {
				w := newWorld(t)
				given(w)
				ns := twins(w, ids...)
				got := make([][]string, len(ns))
				var working sync.WaitGroup
				for i, n := range ns {
					working.Go(func() { got[i] = w.handle(t, n) })
				}
				working.Wait()
				for i := range ns {
					if got[i][0] != "written" {
						t.Error(got)
					}
				}
				check(t, w, ids...)
			}
		})
	}
}

// Claims taken in opposite orders cannot lock up.
func TestClaimsInOppositeOrders(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		ns := map[string]ct2fluent.Notification{}
		for _, id := range []string{"a1", "b1", "a2", "b2"} {
			c := person(id, 1)
			c.Email = id[:1] + "@x"
			w.shop.set(c)
			ns[id] = updated(id, 1)
		}
		var working sync.WaitGroup
		working.Go(func() { w.handle(t, ns["a1"], ns["b1"]) })
		working.Go(func() { w.handle(t, ns["b2"], ns["a2"]) })
		working.Wait()
		if len(w.om.customers) != 4 {
			t.Errorf("%d customers", len(w.om.customers))
		}
	}
}

// A lost answer, a change of email and a second delivery: still one customer.
func TestUnclearCreateIsFoundAgain(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		w := newWorld(t)
		w.shop.set(person("jane", 1))
		lost := func(fluent.Write) error { return flError(fluent.Unclear) }
		if w.om.after = lost; !arrived {
			w.om.before = lost
		}
		if got := w.handle(t, updated("jane", 1)); got[0] != "unclear" {
			t.Fatal(got)
		}
		w.om.after, w.om.before = nil, nil
		c := person("jane", 2)
		c.Email = "doe@x"
		w.shop.set(c)
		if got := w.handle(t, again(updated("jane", 1))); got[0] != "written" {
			t.Error(got)
		}
		if len(w.om.customers) != 1 || w.om.id("1_jane@x") != "jane" || *w.om.customers["1_jane@x"].PrimaryEmail != "doe@x" {
			t.Errorf("arrived %v: %v", arrived, w.om.customers)
		}
	}
}

// A claim that another batch holds keeps the customer waiting, not the batch.
func TestBatchGoesOnBesideAClaim(t *testing.T) {
	w := newWorld(t)
	w.shop.set(person("jane", 1))
	w.shop.set(person("joe", 1))
	if busy := w.claims.take("1_jane@x"); busy != nil {
		t.Fatal("taken")
	}
	w.om.arrived = func(ws []fluent.Write) {
		if ws[0].Username == "1_joe@x" {
			w.claims.give("1_jane@x") // only joe's write lets jane go on
		}
	}
	if got := w.handle(t, updated("jane", 1), updated("joe", 1)); !slices.Equal(got, every(2, "written")) {
		t.Error(got)
	}
}

func TestIntendFailsForNewCustomersOnly(t *testing.T) {
	w := newWorld(t)
	ns := w.crowd(2)
	w.ledger.memories[ns[0].Ref] = ct2fluent.Memory{Floor: 1, Username: "1_c000@x"}
	w.ledger.intendErr = errors.New("overtaken")
	if got, want := w.handle(t, ns...), []string{"written", "later"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

func newTestStage(t *testing.T, s Scene) *stage {
	t.Helper()
	g, err := newStage(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// at serves the stage, and gives a plain pattern that works it.
func (g *stage) at(t *testing.T) (*plain, *meter, *meter) {
	t.Helper()
	ct, fluent := newMeter(g.ct, ofCommercetools), newMeter(g.fluent, ofFluent)
	ct.before = g.move
	one, other := httptest.NewServer(ct), httptest.NewServer(fluent)
	t.Cleanup(one.Close)
	t.Cleanup(other.Close)
	p := &plain{ctx: t.Context(), loop: loop{Addresses: Addresses{Commercetools: one.URL, Fluent: other.URL}}}
	if err := p.tokens(); err != nil {
		t.Fatal(err)
	}
	return p, ct, fluent
}

func (p *plain) must(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := p.work(id); err != nil {
			t.Fatal(err)
		}
	}
}

// What a verdict says of work that is right, and of each way to be wrong.
func TestVerdict(t *testing.T) {
	twin := `mutation { createCustomer(input: {username: "twin", primaryEmail: "twin@example.com", firstName: "-", timezone: "UTC", promotionOptIn: false,
		retailer: {id: 1}, attributes: [{name: "commercetoolsId", type: "STRING", value: "ID"}]}) { id } }`
	tests := []struct {
		name  string
		spoil func(t *testing.T, g *stage, p *plain)
		want  Verdict
	}{
		{"right", func(*testing.T, *stage, *plain) {}, Verdict{Customers: 3, Present: 3}},
		{"changed and worked again", func(t *testing.T, g *stage, p *plain) {
			for range 3 { // each kind of change but that of the email, which the plain pattern cannot follow
				if g.changes%4 == 0 {
					g.changes++
				}
				if err := g.change(g.ids[0], true); err != nil {
					t.Fatal(err)
				}
				p.must(t, g.ids[0])
			}
		}, Verdict{Customers: 3, Present: 3}},
		{"changed and not worked", func(t *testing.T, g *stage, p *plain) {
			if err := g.change(g.ids[0], true); err != nil {
				t.Fatal(err)
			}
		}, Verdict{Customers: 3, Present: 3, Unequal: 1}},
		{"a change of the rest needs no work", func(t *testing.T, g *stage, p *plain) {
			if err := g.changeAll(false); err != nil {
				t.Fatal(err)
			}
		}, Verdict{Customers: 3, Present: 3}},
		{"missing", func(t *testing.T, g *stage, p *plain) {
			if _, err := g.create(); err != nil {
				t.Fatal(err)
			}
		}, Verdict{Customers: 4, Present: 3}},
		{"created twice", func(t *testing.T, g *stage, p *plain) {
			if err := p.graphQL(strings.Replace(twin, "ID", g.ids[1], 1), nil, nil); err != nil {
				t.Fatal(err)
			}
		}, Verdict{Customers: 3, Present: 3, Duplicates: 1, Unequal: 1}},
		{"of nobody", func(t *testing.T, g *stage, p *plain) {
			if err := p.graphQL(strings.Replace(twin, "ID", "nobody", 1), nil, nil); err != nil {
				t.Fatal(err)
			}
		}, Verdict{Customers: 3, Present: 3, Foreign: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newTestStage(t, Scene{Customers: 3})
			p, _, _ := g.at(t)
			p.must(t, g.ids...)
			tt.spoil(t, g, p)
			got := g.verdict()
			got.Examples = nil
			if got.Customers != tt.want.Customers || got.Present != tt.want.Present || got.Duplicates != tt.want.Duplicates ||
				got.Foreign != tt.want.Foreign || got.Unequal != tt.want.Unequal || got.Stale != 0 {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Who reads a moving customer twice and writes in the wrong order is found out.
func TestVerdictStale(t *testing.T) {
	g := newTestStage(t, Scene{Customers: 1, Moving: 1})
	p, _, _ := g.at(t)
	id := g.ids[0]
	p.must(t, id, id)
	if v := g.verdict(); v.Stale+v.Unequal != 0 || g.movings != 2 {
		t.Fatalf("in order: %+v, %d moves", v, g.movings)
	}
	doc, _ := g.ct.Customer(id)
	mutation := `mutation($n: String!) { updateCustomer(input: {username: $n, lastName: "Moved 1"}) { id } }`
	if err := p.graphQL(mutation, map[string]any{"n": retailer + "_" + doc["email"].(string)}, nil); err != nil {
		t.Fatal(err)
	}
	if v := g.verdict(); v.Stale != 1 || v.Unequal != 1 {
		t.Errorf("out of order: %+v", v)
	}
}

// The meter tells the work from what is apart, and knows when it began.
func TestMeter(t *testing.T) {
	g := newTestStage(t, Scene{Customers: 2})
	p, ct, fluent := g.at(t)
	began := time.Now()
	p.must(t, g.ids...)
	for _, path := range []string{"/customers?limit=1", "/customers?limit=2&where=" + "id+in+(%22" + g.ids[0] + "%22)"} {
		var v any
		if err := p.do(http.MethodGet, p.Commercetools+"/"+project+path, "", "", bearer(p.ctToken), &v); err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{"query scan { customers(first: 1) { edges { node { id } } } }", "query check { customers(first: 1) { edges { node { id } } } }"} {
		if err := p.graphQL(query, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	a, b := ct.read(), fluent.read()
	if a.customers() != 3 || a.apart() != 2 || a.Requests["get"] != 2 || a.Requests["query"] != 1 || a.Requests["check"] != 1 {
		t.Errorf("commercetools: %v", a.Requests)
	}
	if b.customers() != 4 || b.apart() != 3 || b.Requests["mutation"] != 2 || b.Requests["scan"] != 1 {
		t.Errorf("Fluent: %v", b.Requests)
	}
	if first := (Counts{Commercetools: a, Fluent: b}).first(); first.Before(began) || first.UnixNano() != a.First || b.First <= a.First {
		t.Errorf("the first request came at %v, in a test that began at %v", first, began)
	}
	if got, err := fluent.wait(t.Context(), 1); err != nil || got.N != 2 || got.Busy <= 0 {
		t.Errorf("answered: %+v, %v", got, err)
	}
	ct.reset()
	if after := ct.read(); len(after.Requests) > 0 || after.First != 0 {
		t.Errorf("after a reset: %+v", after)
	}
}

// A scene makes as many notifications as it says, shuffled near their places.
func TestScene(t *testing.T) {
	g := newTestStage(t, Scene{Customers: 20, Changes: 4, Shuffle: 10})
	bodies, err := g.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 100 {
		t.Fatalf("%d notifications of 20 customers, want 100", len(bodies))
	}
	place, times, early := map[string]int{}, map[string]int{}, 0
	for i, id := range g.ids {
		place[id] = i
	}
	for i, body := range bodies {
		id := resource(body)
		times[id]++
		if place[id]/10 != i/50 {
			t.Errorf("notification %d is of customer %d", i, place[id])
		}
		if i < 10 && strings.Contains(string(body), `"ResourceCreated"`) {
			early++
		}
	}
	for id, n := range times {
		if n != 5 {
			t.Errorf("%d notifications of %s, want 5", n, id)
		}
	}
	if early == 10 {
		t.Error("the customers' making comes first, as it was: not shuffled")
	}
	if k := g.fluent.Knobs(); k.Latency != sandbox.Duration(0) {
		t.Errorf("knobs %+v", k)
	}
}

// What Fluent is to have, by a customer of commercetools.
func TestWanted(t *testing.T) {
	type doc = map[string]any
	addresses := []any{
		doc{"id": "a", "country": "DE", "phone": "1"},
		doc{"id": "b", "country": "FR", "phone": "2", "mobile": "3"},
		doc{"id": "c", "country": "PL"},
	}
	tests := []struct {
		name string
		of   doc
		want doc
	}{
		{"nothing but an email", doc{"email": "e"}, doc{"primaryEmail": "e"}},
		{"names", doc{"firstName": "f", "lastName": "l", "title": "t", "salutation": "s"}, doc{"firstName": "f", "lastName": "l", "title": "t"}},
		{"no title", doc{"salutation": "s"}, doc{"title": "s"}},
		{"the first address", doc{"addresses": addresses}, doc{"country": "DE", "primaryPhone": "1"}},
		{"the default billing address, whose mobile comes before the phone",
			doc{"addresses": addresses, "defaultBillingAddressId": "b"}, doc{"country": "FR", "primaryPhone": "3"}},
		{"the default shipping address before it, which has no phone",
			doc{"addresses": addresses, "defaultBillingAddressId": "b", "defaultShippingAddressId": "c"}, doc{"country": "PL", "primaryPhone": "3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for field, got := range wanted(tt.of) {
				if got != tt.want[field] {
					t.Errorf("%s is %v, want %v", field, got, tt.want[field])
				}
			}
		})
	}
}

package sandbox_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// The same seed makes the same customers and changes, another one others.
func TestPopulationIsDeterministic(t *testing.T) {
	a, b, other := sandbox.NewPopulation(1), sandbox.NewPopulation(1), sandbox.NewPopulation(2)
	doc := obj{"addresses": []any{obj{"id": "x", "country": "DE"}}}
	same := 0
	for i := range 100 {
		if toJSON(t, a.Draft(i)) != toJSON(t, b.Draft(i)) || toJSON(t, a.Change(i, doc)) != toJSON(t, b.Change(i, doc)) {
			t.Fatalf("customer %d differs", i)
		}
		if toJSON(t, a.Draft(i)) == toJSON(t, other.Draft(i)) {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d customers are those of another seed", same)
	}
}

// Every draft and every change is one that commercetools takes; between them
// they have what is hard: no names, no addresses, other scripts, large numbers,
// emails with a % and emails that change.
func TestPopulationIsPlausible(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	p := sandbox.NewPopulation(7)
	const n = 1000
	if err := p.Fill(s, n); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	seen := map[string]int{}
	s.Each(func(doc map[string]any) {
		all.WriteString(toJSON(t, doc))
		for _, field := range []string{"firstName", "lastName", "defaultShippingAddressId", "custom"} {
			if doc[field] == nil {
				seen["no "+field]++
			}
		}
		for _, field := range []string{"firstName", "lastName"} {
			if v, _ := doc[field].(string); utf8.RuneCountInString(v) > 50 {
				t.Errorf("%s %q is too long for Fluent", field, v)
			}
		}
	})
	for i, id := range s.IDs() {
		doc, _ := s.Customer(id)
		for _, a := range p.Change(i, doc) {
			seen[a["action"].(string)]++
		}
		if _, err := s.Update(id, p.Change(i, doc)...); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	for _, what := range []string{"no firstName", "no lastName", "no defaultShippingAddressId", "no custom", "changeEmail", "setLastName",
		"addAddress", "changeAddress", "setDefaultShippingAddress", "setDefaultBillingAddress", "setCustomField", "setSalutation", "setTitle", "setLocale"} {
		if seen[what] == 0 {
			t.Errorf("there is none with %s", what)
		}
	}
	for _, part := range []string{"ł", "東京", "😀", "90071992547", `"100%`, `@Example.com`, `"mobile"`, `"phone"`, `O'Neil`} {
		if !strings.Contains(all.String(), part) {
			t.Errorf("there is none with %s", part)
		}
	}
}

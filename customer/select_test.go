package customer

import (
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// selecting has the customers of a locale synced.
func selecting(t testing.TB, locale string) func(*Options) {
	return func(o *Options) {
		o.Mapping = mustCompile(t, MappingConfig{Select: Expression{Text: `customer.locale == "` + locale + `"`}})
	}
}

// A customer that is not selected is left alone, and known from then on.
func TestNotSelected(t *testing.T) {
	const other = "another mapping"
	written := func(m ct2fluent.Memory) ct2fluent.Memory { m.Username = "1_jane@x"; return m }
	tests := []struct {
		name  string
		n     ct2fluent.Notification
		knows ct2fluent.Memory
		want  string
		after ct2fluent.Memory // Mapping: that of the world where it is empty
	}{
		{name: "for the first time", n: updated("jane", 3), want: "skipped not-selected",
			after: ct2fluent.Memory{Floor: 3, Version: 3}},
		{name: "announced again", n: updated("jane", 3), knows: ct2fluent.Memory{Floor: 3, Version: 3}, want: "skipped known",
			after: ct2fluent.Memory{Floor: 3, Version: 3}},
		{name: "no longer: what Fluent has stays, and is remembered", n: updated("jane", 3),
			knows: written(ct2fluent.Memory{Floor: 2, Version: 2, Hash: "h", Attributes: []string{"key"}}), want: "skipped not-selected",
			after: written(ct2fluent.Memory{Floor: 3, Version: 3, Hash: "h", Attributes: []string{"key"}})},
		{name: "by a changed mapping: what another wrote proves nothing", n: updated("jane", 3),
			knows: written(ct2fluent.Memory{Floor: 2, Version: 2, Hash: "h", Mapping: other, Attributes: []string{"key"}}), want: "skipped not-selected",
			after: written(ct2fluent.Memory{Floor: 3, Version: 3})},
		{name: "handed out again: an earlier write may lie above", n: again(updated("jane", 3)),
			knows: written(ct2fluent.Memory{Floor: 3, Version: 3, Hash: "h", Attributes: []string{"key"}}), want: "skipped not-selected",
			after: written(ct2fluent.Memory{Floor: 3, Version: 3})},
		{name: "forced: another worker's write may lie above", n: forced(updated("jane", 3)),
			knows: written(ct2fluent.Memory{Floor: 3, Version: 3, Hash: "h"}), want: "skipped not-selected",
			after: written(ct2fluent.Memory{Floor: 3, Version: 3})},
		{name: "a username that is merely intended does not become certain", n: updated("jane", 3),
			knows: written(ct2fluent.Memory{Floor: 2}), want: "skipped not-selected",
			after: written(ct2fluent.Memory{Floor: 3})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, selecting(t, "de"))
			w.shop.set(person("jane", 3))
			mapping := w.accounts["shop"].Mapping.Fingerprint()
			for _, m := range []*ct2fluent.Memory{&tt.knows, &tt.after} {
				if m.Mapping == "" && m.Floor > 0 {
					m.Mapping = mapping
				}
			}
			if tt.knows.Floor > 0 {
				w.ledger.memories[ref("jane")] = tt.knows
			}
			if got := w.handle(t, tt.n); got[0] != tt.want {
				t.Errorf("%s, want %s", got[0], tt.want)
			}
			if got := w.ledger.of("jane"); !same(got, tt.after) {
				t.Errorf("remembers %+v, want %+v", got, tt.after)
			}
			if w.om.requests+w.om.lookups != 0 {
				t.Error("Fluent was asked or written")
			}
		})
	}
}

// A customer that comes to be selected is written, whatever was remembered
// while it was not.
func TestSelectedAgain(t *testing.T) {
	w := newWorld(t, selecting(t, "de"))
	changed := func(version int64, locale, name, want string) {
		t.Helper()
		c := person("jane", version)
		c.Locale, c.LastName = locale, name
		w.shop.set(c)
		if got := w.handle(t, updated("jane", version)); got[0] != want {
			t.Fatalf("version %d: %s, want %s", version, got[0], want)
		}
	}
	changed(1, "fr", "a", "skipped not-selected")
	changed(2, "de", "a", "written")
	changed(3, "fr", "b", "skipped not-selected")
	changed(4, "de", "a", "unchanged")

	// A write whose answer was lost lands while the customer is left out.
	w.om.after = func(fluent.Write) error { return flError(fluent.Unclear) }
	changed(5, "de", "late", "unclear")
	w.om.after = nil
	changed(6, "fr", "late", "skipped not-selected")
	if got := w.handle(t, again(updated("jane", 5))); got[0] != "skipped not-selected" {
		t.Fatal(got)
	}
	changed(7, "de", "a", "written")
	if l := *w.om.customers["1_jane@x"].LastName; l != "a" {
		t.Error("Fluent has", l)
	}
}

func TestSelect(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // of a customer of the store berlin
	}{
		{"a store", `any(customer.stores, .key == "berlin")`, "written"},
		{"another store", `any(customer.stores, .key == "bonn")`, "skipped not-selected"},
		{"a group that it has not", `customer.customerGroup?.id == "vip"`, "skipped not-selected"},
		{"a custom field that it has not", `customer.custom?.fields?.sync`, "skipped not-selected"},
		{"nothing", `nil`, "skipped not-selected"},
		{"the account", `projectKey == "shop" and retailerId == "1"`, "written"},
		{"what is neither true nor false", `customer.custom?.fields?.sync ?? "yes"`, "dead mapping"},
		{"what fails", `customer.stores[7].key == "berlin"`, "dead mapping"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) {
				o.Mapping = mustCompile(t, MappingConfig{Select: Expression{Text: tt.text, Place: "a.yml:7"}})
			})
			c := person("jane", 1)
			c.Stores = append(c.Stores, commercetools.KeyReference{TypeID: "store", Key: "berlin"})
			w.shop.set(c)
			err := w.Handle(t.Context(), []ct2fluent.Notification{updated("jane", 1)})[0]
			if got := said(err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if strings.HasPrefix(tt.want, "dead") && !strings.HasPrefix(err.Error(), "a.yml:7: select: ") {
				t.Errorf("%v does not say where", err)
			}
		})
	}
}

func TestSelectIsCompiled(t *testing.T) {
	_, err := CompileMapping(MappingConfig{Select: Expression{Text: "customer.email", Place: "a.yml:7"}})
	if err == nil || !strings.HasPrefix(err.Error(), "a.yml:7: select: this is text, and true or false is wanted") {
		t.Error(err)
	}
	plain, selects := mustCompile(t, MappingConfig{}), mustCompile(t, MappingConfig{Select: Expression{Text: "true"}})
	if plain.Fingerprint() == selects.Fingerprint() {
		t.Error("a changed select is not seen")
	}
}

func TestPreviewNotSelected(t *testing.T) {
	w := newWorld(t, selecting(t, "de"))
	w.shop.set(person("jane", 3))
	p, err := w.accounts["shop"].Account.Preview(t.Context(), PreviewRequest{ID: "jane", Diff: true})
	if err != nil || p.Skipped != "not-selected" || p.Username != "" || p.ID != "jane" {
		t.Errorf("%+v, %v", p, err)
	}
}

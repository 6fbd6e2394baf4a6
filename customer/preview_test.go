package customer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

func TestPreview(t *testing.T) {
	text := func(s string) *string { return &s }
	old := existing("1_jane@x", "jane", "1")
	old.LastName, old.PrimaryEmail, old.Title = text("Old"), text("jane@x"), text("Dr.")
	old.Attributes = append(old.Attributes, fluent.Attribute{Name: "key", Type: "STRING", Value: json.RawMessage(`"k"`)})
	const created = "firstName: <nil> → -, lastName: <nil> → v3, primaryEmail: <nil> → jane@x, " +
		"promotionOptIn: <nil> → false, timezone: <nil> → UTC, attributes.commercetoolsId: <nil> → jane"
	tests := []struct {
		name     string
		fluent   *fluent.Customer
		ask      PreviewRequest
		username string
		would    string
		adopts   bool
		differs  string
	}{
		{name: "without Fluent", fluent: old, ask: PreviewRequest{ID: "jane"}, username: "1_jane@x"},
		{name: "a document", fluent: old, ask: PreviewRequest{Customer: &commercetools.Customer{ID: "joe", Email: "joe@x"}}, username: "1_joe@x"},
		{name: "would be updated", fluent: old, ask: PreviewRequest{ID: "jane", Diff: true}, username: "1_jane@x", would: "update",
			differs: "lastName: Old → v3, title: Dr. → <nil>, attributes.key: k → "},
		{name: "would be created", ask: PreviewRequest{ID: "jane", Diff: true}, username: "1_jane@x", would: "create", differs: created},
		{name: "would be adopted", fluent: existing("1_jane@x", "", "1"), ask: PreviewRequest{ID: "jane", Diff: true}, username: "1_jane@x",
			would: "update", adopts: true,
			differs: "lastName: <nil> → v3, primaryEmail: <nil> → jane@x, attributes.commercetoolsId: <nil> → jane"},
		{name: "under another username", fluent: existing("1_jane@x", "joe", "1"), ask: PreviewRequest{ID: "jane", Diff: true},
			username: "1_jane", would: "create", differs: created},
		{name: "under the username remembered", fluent: existing("1_old@x", "jane", "1"),
			ask: PreviewRequest{ID: "jane", Username: "1_old@x", Diff: true}, username: "1_old@x", would: "update",
			differs: "lastName: <nil> → v3, primaryEmail: <nil> → jane@x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.shop.set(person("jane", 3))
			if tt.fluent != nil {
				w.om.customers[tt.fluent.Username] = tt.fluent
			}
			p, err := w.accounts["shop"].Account.Preview(t.Context(), tt.ask)
			if err != nil {
				t.Fatal(err)
			}
			var differs []string
			for _, d := range p.Differs {
				differs = append(differs, fmt.Sprintf("%s: %v → %v", d.Field, d.Has, d.Gets))
			}
			if got := strings.Join(differs, ", "); p.Username != tt.username || p.Would != tt.would || p.Adopts != tt.adopts || got != tt.differs {
				t.Errorf("%s %q, adopts %v, differs in\n%s\nwant\n%s", p.Username, p.Would, p.Adopts, got, tt.differs)
			}
			if p.Create.Username != tt.username || !p.Create.Create || p.Update.Username != tt.username || p.Update.Create {
				t.Errorf("create %+v, update %+v", p.Create, p.Update)
			}
			if w.om.requests > 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestPreviewFails(t *testing.T) {
	w := newWorld(t)
	a := w.accounts["shop"].Account
	w.om.customers["1_joe@x"], w.om.customers["1_joe"] = existing("1_joe@x", "a", "1"), existing("1_joe", "b", "1")
	tests := map[string]PreviewRequest{
		"read customer jane: commercetools": {ID: "jane"},
		"the customer has no email":         {Customer: &commercetools.Customer{ID: "joe"}},
		"belong to other Fluent customers":  {Customer: &commercetools.Customer{ID: "joe", Email: "joe@x"}, Diff: true},
	}
	for want, ask := range tests {
		if _, err := a.Preview(t.Context(), ask); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What a delete would do is shown, too, where deletes are marked and the ledger
// remembers whom.
func TestPreviewDeleted(t *testing.T) {
	marked := existing("1_jane@x", "jane", "1")
	marked.Attributes = append(marked.Attributes, fluent.Attribute{Name: "commercetoolsDeleted", Type: "STRING", Value: json.RawMessage(`"2026-01-01T00:00:00.000Z"`)})
	tests := []struct {
		name   string
		ask    PreviewRequest
		fluent *fluent.Customer
		would  string
		fails  bool
	}{
		{name: "to be marked", ask: PreviewRequest{Username: "1_jane@x", Diff: true, Deletes: Deletes{Mark: true}}, fluent: existing("1_jane@x", "jane", "1"), would: "mark"},
		{name: "marked already", ask: PreviewRequest{Username: "1_jane@x", Diff: true, Deletes: Deletes{Mark: true}}, fluent: marked},
		{name: "not in Fluent", ask: PreviewRequest{Username: "1_jane@x", Diff: true, Deletes: Deletes{Mark: true}}},
		{name: "without Fluent", ask: PreviewRequest{Username: "1_jane@x", Deletes: Deletes{Mark: true}}, fluent: existing("1_jane@x", "jane", "1")},
		{name: "nobody is remembered", ask: PreviewRequest{Diff: true, Deletes: Deletes{Mark: true}}, fluent: existing("1_jane@x", "jane", "1"), fails: true},
		{name: "deletes are ignored", ask: PreviewRequest{Username: "1_jane@x", Diff: true}, fluent: existing("1_jane@x", "jane", "1"), fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.fluent != nil {
				w.om.customers["1_jane@x"] = tt.fluent
			}
			tt.ask.ID = "jane"
			p, err := w.accounts["shop"].Account.Preview(t.Context(), tt.ask)
			if (err != nil) != tt.fails || p.Deleted == tt.fails || p.Would != tt.would {
				t.Errorf("%+v, %v", p, err)
			}
			if tt.would == "mark" && (len(p.Differs) != 1 || p.Differs[0].Field != "attributes.commercetoolsDeleted" || p.Differs[0].Has != nil) {
				t.Errorf("%+v", p.Differs)
			}
		})
	}
}

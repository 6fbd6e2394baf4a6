package commercetools_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// A town is a stand-in of commercetools, a client of it, and a clock that
// stands still unless it is moved.
type town struct {
	*commercetools.Client
	s   *sandbox.CommerceTools
	now time.Time
}

func newTown(t interface {
	Cleanup(func())
	Fatal(...any)
}, seed uint64) *town {
	w := &town{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	var err error
	w.s, err = sandbox.NewCommerceTools(sandbox.CTOptions{Seed: seed, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	server, err := sandbox.Start(context.Background(), "", w.s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w.Client, err = commercetools.New(commercetools.Options{
		ProjectKey: "sandbox", APIURL: server.URL, AuthURL: server.URL, ClientID: "client",
		ClientSecret: func() (string, error) { return "secret", nil },
		Scopes:       []string{"view_customers:sandbox", "manage_subscriptions:sandbox"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *town) create(t *rapid.T, draft map[string]any) string {
	doc, err := w.s.Create(draft)
	if err != nil {
		t.Fatal(err)
	}
	return doc["id"].(string)
}

// disturb creates, changes and deletes some customers; lost are the ids that
// were changed or deleted.
func (w *town) disturb(t *rapid.T, lost map[string]bool) {
	for range rapid.IntRange(0, 3).Draw(t, "disturbances") {
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "later")) * time.Millisecond)
		all := w.s.IDs()
		kind := rapid.SampledFrom([]string{"create", "change", "delete"}).Draw(t, "kind")
		if kind == "create" || len(all) == 0 {
			w.create(t, map[string]any{"firstName": "new"})
			continue
		}
		id := rapid.SampledFrom(all).Draw(t, "whom")
		var err error
		if kind == "delete" {
			lost[id] = true
			err = w.s.Delete(id)
		} else {
			lost[id] = true
			_, err = w.s.Update(id, map[string]any{"action": "setTitle", "title": fmt.Sprint(w.now.UnixNano(), len(lost))})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Reading by id sees each customer that is there all the while exactly once,
// and no customer twice, whoever comes, goes or changes.
func TestEveryCustomerOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTown(t, rapid.Uint64().Draw(t, "seed"))
		for range rapid.IntRange(0, 60).Draw(t, "customers") {
			w.create(t, map[string]any{})
		}
		before, deleted := w.s.IDs(), map[string]bool{}
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		read := map[string]int{}
		for after, last := "", false; !last; {
			p, err := w.Page(t.Context(), commercetools.Selection{}, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range p.Customers {
				read[c.ID]++
				after = c.ID
			}
			if err := w.Ordered(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			last = p.Last
			w.disturb(t, deleted)
		}
		there := map[string]bool{}
		for _, id := range w.s.IDs() {
			there[id] = true
		}
		for _, id := range before {
			if there[id] && read[id] == 0 {
				t.Errorf("%s was not read", id)
			}
		}
		for id, n := range read {
			if n > 1 {
				t.Errorf("%s was read %d times", id, n)
			}
		}
	})
}

// Reading changes sees each customer changed between since and until exactly
// once, many of one moment included, and at most once one that changes
// meanwhile; and nobody else.
func TestEveryChangeOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTown(t, rapid.Uint64().Draw(t, "seed"))
		stamp := func() string { return w.now.Format("2006-01-02T15:04:05.000Z") }
		step := func(label string) string {
			for range rapid.IntRange(0, 30).Draw(t, label) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "later")) * time.Millisecond)
				w.create(t, map[string]any{"firstName": label})
			}
			w.now = w.now.Add(time.Millisecond)
			return stamp()
		}
		since := step("before")
		until := step("wanted")
		w.now = w.now.Add(time.Millisecond)
		step("after")
		changed := map[string]bool{}
		read := map[string]int{}
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		for mark, last := (commercetools.Mark{At: since}), false; !last; {
			p, err := w.Changes(t.Context(), commercetools.Selection{}, mark, until, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range p.Customers {
				read[c.ID]++
				mark = c.Mark()
				if c.FirstName != "wanted" {
					t.Errorf("%s %q was read", c.ID, c.FirstName)
				}
			}
			last = p.Last
			w.disturb(t, changed)
		}
		w.s.Each(func(doc map[string]any) {
			id := doc["id"].(string)
			if n := read[id]; doc["firstName"] == "wanted" && !changed[id] && n != 1 {
				t.Errorf("%s was read %d times", id, n)
			}
		})
		for id, n := range read {
			if n > 1 {
				t.Errorf("%s was read %d times", id, n)
			}
		}
	})
}

// Ranges of creation hold each customer exactly once, also those who come
// later, and the many do not stay in one range.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTown(t, rapid.Uint64().Draw(t, "seed"))
		want := map[string]int{}
		burst := rapid.SampledFrom([]int{0, 1, 600, 1200}).Draw(t, "burst")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "pace"), 0))
		for range burst { // imported within some seconds
			w.now = w.now.Add(time.Duration(rng.IntN(5)) * time.Millisecond)
			want[w.create(t, map[string]any{})] = 1
		}
		for range rapid.IntRange(0, 20).Draw(t, "trickle") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "hours")) * time.Hour)
			want[w.create(t, map[string]any{})] = 1
		}
		n := rapid.IntRange(1, 6).Draw(t, "ranges")
		parts, err := w.Ranges(t.Context(), commercetools.Selection{}, n)
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
		want[w.create(t, map[string]any{})] = 1 // while they are read
		w.now = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := w.s.SetKnobs(sandbox.CTKnobs{}); err != nil { // its being down is of that clock too
			t.Fatal(err)
		}
		want[w.create(t, map[string]any{})] = 1 // a clock that was set back
		got := map[string]int{}
		for _, part := range parts {
			read := 0
			for after, last := "", false; !last; {
				p, err := w.Page(t.Context(), part, after, 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range p.Customers {
					got[c.ID]++
					after = c.ID
				}
				read, last = read+len(p.Customers), p.Last
			}
			if n >= 4 && burst > 900 && read > burst*3/4+20 {
				t.Errorf("%d of %d are in one of %d ranges", read, burst, len(parts))
			}
		}
		if !maps.Equal(got, want) || len(parts) > n {
			t.Errorf("%d ranges of %d: read %d customers, want %d, or some twice", len(parts), n, len(got), len(want))
		}
	})
}

// Ranges part the many that were imported at once, and are not spent on the few
// of the year before.
func TestRangesAreEven(t *testing.T) {
	w := newTown(t, 1)
	for i := range 2430 {
		if i < 30 {
			w.now = w.now.Add(300 * time.Hour)
		}
		w.now = w.now.Add(time.Millisecond)
		if _, err := w.s.Create(map[string]any{}); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := w.Ranges(t.Context(), commercetools.Selection{}, 4)
	if err != nil || len(parts) != 4 {
		t.Fatalf("%d ranges, %v", len(parts), err)
	}
	for _, part := range parts {
		if n, _, err := w.Count(t.Context(), part); err != nil || n < 300 || n > 1000 {
			t.Errorf("%d of 2430 in %+v, %v", n, part, err)
		}
	}
}

// What a Selection says is what is read and counted.
func TestSelection(t *testing.T) {
	w := newTown(t, 1)
	at := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		draft := map[string]any{"firstName": name}
		if name < "c" {
			draft["stores"] = []any{map[string]any{"typeId": "store", "key": "ny"}, map[string]any{"typeId": "store", "key": "la"}}
		}
		doc, err := w.s.Create(draft)
		if err != nil {
			t.Fatal(err)
		}
		at[name] = doc["createdAt"].(string)
		w.now = w.now.Add(time.Minute)
	}
	tests := []struct {
		name      string
		selection commercetools.Selection
		want      string
		oldest    string
		newest    string
	}{
		{"all", commercetools.Selection{}, "abcd", at["a"], at["d"]},
		{"of a store", commercetools.Selection{Store: "ny"}, "ab", at["a"], at["b"]},
		{"since", commercetools.Selection{From: at["b"]}, "bcd", at["b"], at["d"]},
		{"between", commercetools.Selection{From: at["b"], To: at["d"]}, "bc", at["b"], at["c"]},
		{"where", commercetools.Selection{Where: `firstName = "a" or firstName = "d"`}, "ad", at["a"], at["d"]},
		{"all of it", commercetools.Selection{Where: `firstName = "a" or firstName = "b"`, Store: "la", From: at["b"]}, "b", at["b"], at["b"]},
		{"nobody", commercetools.Selection{Store: "sf"}, "", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := w.Page(t.Context(), test.selection, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range p.Customers {
				names = append(names, c.FirstName)
			}
			slices.Sort(names)
			n, capped, err := w.Count(t.Context(), test.selection)
			oldest, newest, berr := w.Bounds(t.Context(), test.selection)
			if err != nil || berr != nil {
				t.Fatal(err, berr)
			}
			if got := strings.Join(names, ""); got != test.want || n != len(test.want) || capped || oldest != test.oldest || newest != test.newest {
				t.Errorf("read %q, counted %d (capped %v), from %s to %s", got, n, capped, oldest, newest)
			}
		})
	}
	t.Run("a predicate that commercetools refuses", func(t *testing.T) {
		_, err := w.Page(t.Context(), commercetools.Selection{Where: "colour = 1"}, "", 0)
		var e *commercetools.Error
		if !errors.As(err, &e) || e.Kind != commercetools.Refused || e.Code != "InvalidInput" {
			t.Errorf("err = %v", err)
		}
	})
}

// Counting ends where commercetools ends it, and says so.
func TestCountIsCapped(t *testing.T) {
	w := newTown(t, 1)
	for range 10_001 {
		if _, err := w.s.Create(map[string]any{}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		selection commercetools.Selection
		n         int
		capped    bool
	}{
		{commercetools.Selection{}, 10_001, false},
		{commercetools.Selection{From: "2000-01-01T00:00:00.000Z"}, 10_000, true},
		{commercetools.Selection{To: "2000-01-01T00:00:00.000Z"}, 0, false},
	}
	for _, test := range tests {
		if n, capped, err := w.Count(t.Context(), test.selection); err != nil || n != test.n || capped != test.capped {
			t.Errorf("%+v: %d, %v, %v", test.selection, n, capped, err)
		}
	}
}

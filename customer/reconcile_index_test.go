package customer

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

func TestIndex(t *testing.T) {
	m := mustCompile(t, MappingConfig{})
	x := newIndex(newColumns(m, nil, nil), m, "gone", "1")
	uuid := func(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-00000000000%d", i, i%10) }
	const many = 3*chunk + 7
	for i := range many {
		x.add(existing(fmt.Sprintf("u%d", i), uuid(i), "1"))
	}
	for name, id := range map[string]string{"none": "", "odd": "not-a-uuid", "other": "also-none", "twin": uuid(5), "CAPITALS": "ABCDEF01-0000-4000-8000-000000000001"} {
		x.add(existing(name, id, "1"))
	}
	x.add(existing("elsewhere", "", "2"))
	unread := existing("unread", "", "1")
	unread.Attributes = []fluent.Attribute{{Name: "commercetoolsId", Value: []byte("7")}}
	x.add(unread)
	deleted := existing("deleted", "gone-1", "1")
	deleted.Attributes = append(deleted.Attributes, fluent.Attribute{Name: "gone", Value: []byte(`"2026-01-01"`)})
	x.add(deleted)

	if x.n != many+8 {
		t.Errorf("%d rows", x.n)
	}
	for _, i := range []int{0, 1, chunk - 1, chunk, many - 1} {
		row, there := x.named(fmt.Sprintf("u%d", i))
		if !there || row != i || x.id(row) != uuid(i) {
			t.Errorf("u%d: row %d, %v, of %s", i, row, there, x.id(row))
		}
	}
	if _, there := x.named("nobody"); there {
		t.Error("nobody is there")
	}
	if got := x.carrying(uuid(5)); len(got) != 2 || x.name(got[0]) != "u5" || x.name(got[1]) != "twin" {
		t.Errorf("twins: %v", got)
	}
	for id, name := range map[string]string{"not-a-uuid": "odd", "also-none": "other", "ABCDEF01-0000-4000-8000-000000000001": "CAPITALS"} {
		if got := x.carrying(id); len(got) != 1 || x.name(got[0]) != name || x.id(got[0]) != id {
			t.Errorf("%s: %v", id, got)
		}
	}
	if got := x.carrying("abcdef01-0000-4000-8000-000000000001"); len(got) != 0 {
		t.Errorf("capitals count: %v", got)
	}
	for _, tt := range []struct {
		username, id string
		want         place
	}{
		{"u5", uuid(5), ours}, {"u5", uuid(6), foreign}, {"none", uuid(6), unclaimed},
		{"elsewhere", uuid(6), foreign}, {"unread", uuid(6), foreign}, {"nobody", uuid(6), vacant},
	} {
		if got := x.placed(tt.username, tt.id); got != tt.want {
			t.Errorf("%s is %v, want %v", tt.username, got, tt.want)
		}
	}
	if at, _ := x.named("deleted"); x.row(at).flags&marked == 0 {
		t.Error("deleted is not marked")
	}
}

// A page may repeat what the one before had, and have it newer.
func TestIndexTakesTheNewerOfOneUsername(t *testing.T) {
	m := mustCompile(t, MappingConfig{})
	x := newIndex(newColumns(m, nil, nil), m, "", "1")
	text := func(s string) *string { return &s }
	for _, id := range []string{"a", "", "b", "b"} {
		c := existing("u", id, "1")
		c.LastName = text("name " + id)
		x.add(c)
	}
	if x.n != 1 || len(x.carrying("a")) != 0 || !slices.Equal(x.carrying("b"), []int{0}) {
		t.Errorf("%d rows, a %v, b %v", x.n, x.carrying("a"), x.carrying("b"))
	}
	want := make([]uint32, len(x.columns.names))
	c := existing("u", "b", "1")
	c.LastName = text("name b")
	x.columns.of(c, want)
	if !slices.Equal(x.digestsOf(0), want) {
		t.Error("the older one is kept")
	}
}

// What is kept of a customer is small, so that a million fit.
func TestIndexIsSmall(t *testing.T) {
	m := mustCompile(t, MappingConfig{Attributes: []Attribute{{Name: "key", Value: Expression{Text: "customer.key"}}, {Name: "number", Value: Expression{Text: "customer.key"}}}})
	const many = 100_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x := newIndex(newColumns(m, nil, nil), m, "", "1")
	for i := range many {
		x.add(existing(fmt.Sprintf("1_somebody.of.that.name%d@example.com", i), fmt.Sprintf("%08x-0000-4000-8000-000000000000", i), "1"))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / many
	t.Logf("%d bytes for each customer", each)
	if each > 140 {
		t.Errorf("%d bytes for each customer", each)
	}
	runtime.KeepAlive(x)
}

// Of what the ledger noted of a customer the last holds.
func TestIndexRemembersTheLast(t *testing.T) {
	m := mustCompile(t, MappingConfig{})
	x := newIndex(newColumns(m, nil, nil), m, "", "1")
	x.add(existing("1_a@x", "a", "1"))
	x.add(existing("1_b@x", "b", "1"))
	memory := func(id string) string { return x.memory(id, x.carrying(id)).Username }
	steps := []struct{ id, username, want string }{
		{"a", "1_a@x", "1_a@x"}, {"a", "1_b@x", "1_b@x"}, {"a", "1_none@x", "1_none@x"}, {"a", "", ""}, {"a", "1_a@x", "1_a@x"},
	}
	for _, s := range steps {
		x.remember(s.id, ct2fluent.Memory{Version: 2, Username: s.username})
		if got := memory(s.id); got != s.want {
			t.Errorf("after %q it is %q", s.username, got)
		}
	}
	x.remember("c", ct2fluent.Memory{Username: "1_b@x"})
	x.rememberedAll()
	if at, _ := x.named("1_b@x"); x.row(at).flags&another == 0 || memory("c") != "1_b@x" || memory("b") != "" {
		t.Error("another's is not known")
	}
}

// Another retailer's customer takes no place of the account's own, whatever id
// and username it has.
func TestIndexKeepsTheRetailersOwn(t *testing.T) {
	m := mustCompile(t, MappingConfig{})
	for _, order := range [][]string{{"1", "2"}, {"2", "1"}} {
		x := newIndex(newColumns(m, nil, nil), m, "", "1")
		for _, retailer := range order {
			x.add(existing("u", "a", retailer))
		}
		x.add(existing("theirs", "a", "2"))
		if got := x.carrying("a"); len(got) != 1 || x.name(got[0]) != "u" {
			t.Errorf("%v: carried by %v", order, got)
		}
		if x.placed("u", "a") != ours || x.placed("theirs", "a") != foreign {
			t.Errorf("%v: u is %v, theirs %v", order, x.placed("u", "a"), x.placed("theirs", "a"))
		}
	}
}

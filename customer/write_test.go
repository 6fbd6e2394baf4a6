package customer

import (
	"sync"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// What comes again goes in two requests, apart from the rest: a customer that
// makes every request it is in lose its answer soon has no company.
func TestAgainIsPartedFromTheRest(t *testing.T) {
	w := newWorld(t)
	ns := w.crowd(32)
	var mu sync.Mutex
	poisoned := map[string]bool{}
	w.om.arrived = func(ws []fluent.Write) {
		mu.Lock()
		defer mu.Unlock()
		for _, x := range ws {
			if x.Username == "1_c007@x" {
				for _, y := range ws {
					poisoned[y.Username] = true
				}
			}
		}
	}
	w.om.after = func(x fluent.Write) error {
		mu.Lock()
		defer mu.Unlock()
		if poisoned[x.Username] {
			delete(poisoned, x.Username)
			return flError(fluent.Unclear)
		}
		return nil
	}
	for round := 1; len(ns) > 1; round++ {
		var left []ct2fluent.Notification
		for i, word := range w.handle(t, ns...) {
			if word == "unclear" {
				left = append(left, again(ns[i]))
			}
		}
		if round > 7 {
			t.Fatalf("%d customers still share the fate of one", len(left))
		}
		ns = left
	}
	if len(ns) != 1 || ns[0].Ref.ID != "c007" {
		t.Error(ns)
	}
}

// An attribute whose source is gone is cleared where Fluent may have it.
func TestClearedAttributes(t *testing.T) {
	w := newWorld(t)
	value := func() string {
		for _, a := range w.om.customers["1_jane@x"].Attributes {
			if a.Name == "key" {
				return string(a.Value)
			}
		}
		return "none"
	}
	step := func(version int64, key, want string) {
		t.Helper()
		c := person("jane", version)
		c.Key = key
		w.shop.set(c)
		if got := w.handle(t, updated("jane", version)); got[0] != "written" || value() != want {
			t.Errorf("version %d: %v, key %s, want %s", version, got, value(), want)
		}
	}
	step(1, "", "none")
	step(2, "k", `"k"`)
	step(3, "", `""`)
	m := w.ledger.of("jane")
	if m.Attributes != nil {
		t.Error("remembers a value that was cleared:", m.Attributes)
	}
	sent := len(w.om.writes)
	step(4, "", `""`)
	if n := len(w.om.writes[sent].Attributes); n != 1 {
		t.Errorf("%d attributes sent, want the id alone", n)
	}
	w.ledger.memories[ref("jane")] = doubt(m)
	step(5, "", `""`)
	if n := len(w.om.writes[sent+1].Attributes); n != 2 {
		t.Errorf("%d attributes sent in doubt, want both", n)
	}
}

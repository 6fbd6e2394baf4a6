package customer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

func TestKnown(t *testing.T) {
	n := updated("jane", 3)
	bulk := n
	bulk.Bulk = true
	tests := []struct {
		name   string
		n      ct2fluent.Notification
		memory ct2fluent.Memory
		want   bool
	}{
		{"nothing is remembered", n, ct2fluent.Memory{}, false},
		{"an older version is done", n, ct2fluent.Memory{Floor: 2, Version: 2}, false},
		{"the version is done", n, ct2fluent.Memory{Floor: 3, Version: 3}, true},
		{"a newer version is done", n, ct2fluent.Memory{Floor: 4, Version: 4}, true},
		{"the version was read, and is not done for certain", n, ct2fluent.Memory{Floor: 3}, false},
		{"forced", forced(n), ct2fluent.Memory{Floor: 4, Version: 4}, false},
		{"handed out again", again(n), ct2fluent.Memory{Floor: 4, Version: 4}, false},
		{"of no version", updated("jane", 0), ct2fluent.Memory{Floor: 4, Version: 4}, false},
		{"bulk, and done under this mapping", bulk, ct2fluent.Memory{Floor: 3, Version: 3, Mapping: "m"}, true},
		{"bulk, and done under another mapping", bulk, ct2fluent.Memory{Floor: 3, Version: 3, Mapping: "l"}, false},
		{"bulk, and what Fluent has is in doubt", bulk, ct2fluent.Memory{Floor: 3, Version: 3}, false},
	}
	for _, tt := range tests {
		if got := known(tt.n, tt.memory, "m"); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestUnchanged(t *testing.T) {
	n, m := updated("jane", 3), ct2fluent.Memory{Version: 2, Hash: "h", Mapping: "m"}
	tests := []struct {
		name          string
		n             ct2fluent.Notification
		memory        ct2fluent.Memory
		hash, mapping string
		want          bool
	}{
		{"equal", n, m, "h", "m", true},
		{"another hash", n, m, "g", "m", false},
		{"under another mapping", n, m, "h", "l", false},
		{"in doubt", n, doubt(m), "", "", false},
		{"forced", forced(n), m, "h", "m", false},
		{"handed out again", again(n), m, "h", "m", false},
	}
	for _, tt := range tests {
		if got := unchanged(tt.n, tt.memory, tt.hash, tt.mapping); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestHolds(t *testing.T) {
	n, m := updated("jane", 3), ct2fluent.Memory{Version: 2, Hash: "h", Attributes: []string{"key"}}
	tests := []struct {
		name      string
		n         ct2fluent.Notification
		memory    ct2fluent.Memory
		attribute string
		want      bool
	}{
		{"written last", n, m, "key", true},
		{"not written last", n, m, "other", false},
		{"in doubt", n, doubt(m), "other", true},
		{"handed out again: what it wrote may lie above", again(n), m, "other", true},
		{"forced, as an overtaken one is", forced(n), m, "other", true},
	}
	for _, tt := range tests {
		if got := holds(tt.n, tt.memory, tt.attribute); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestPlaceOf(t *testing.T) {
	with := func(value string) *fluent.Customer {
		c := existing("u", "", "1")
		c.Attributes = []fluent.Attribute{{Name: "other", Value: json.RawMessage(`"jane"`)}, {Name: "ctid", Value: json.RawMessage(value)}}
		return c
	}
	tests := []struct {
		name  string
		found *fluent.Customer
		want  place
	}{
		{"nobody", nil, vacant},
		{"our id", with(`"jane"`), ours},
		{"another id", with(`"joe"`), foreign},
		{"an empty id", with(`""`), unclaimed},
		{"a null id", with(`null`), unclaimed},
		{"an id that is no text", with(`{"id":"jane"}`), foreign},
		{"no attribute", existing("u", "", "1"), unclaimed},
		{"no attribute and no retailer", existing("u", "", ""), unclaimed},
		{"no attribute and another retailer", existing("u", "", "2"), foreign},
		{"our id and another retailer", ofRetailer(with(`"jane"`), "2"), foreign},
		{"our id and no retailer", ofRetailer(with(`"jane"`), ""), ours},
	}
	for _, tt := range tests {
		if got := placeOf(tt.found, "ctid", "jane", "1"); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Every memory meets every Fluent: who ends where, and that nothing is ever
// written over another's customer. Between two steps nobody else acts.
func TestIdentityExhaustively(t *testing.T) {
	memories := map[string]ct2fluent.Memory{
		"nothing":       {},
		"intended":      {Username: "first"},
		"intended two":  {Username: "second"},
		"written":       {Username: "first", Version: 1},
		"written as 2":  {Username: "second", Version: 1},
		"intended else": {Username: "old"},
	}
	places := []place{vacant, ours, unclaimed, foreign}
	for name, memory := range memories {
		for _, first := range places {
			for _, second := range places {
				world := map[string]place{"first": first, "second": second, "old": vacant}
				if memory.Version > 0 && world[memory.Username] != ours && world[memory.Username] != vacant {
					continue // what was written is ours, until Fluent loses it
				}
				t.Run(fmt.Sprintf("%s, %v, %v", name, first, second), func(t *testing.T) {
					walk(t, memory, world)
				})
			}
		}
	}
}

func walk(t *testing.T, m ct2fluent.Memory, world map[string]place) {
	d := identify(m, "first", "second")
	taken := func(u string) bool { return world[u] == foreign }
	for range maxRounds {
		switch d.next() {
		case lookUp:
			d = d.looked(world[d.username])
		case reject:
			if !taken("second") || !taken("first") && m.Username != "second" {
				t.Errorf("gave up with %v", world)
			}
			return
		case create:
			if world[d.username] != vacant {
				t.Fatalf("create over %v", world[d.username])
			}
			world[d.username] = ours
			return
		case update:
			if world[d.username] == vacant {
				d = d.met(fluent.Missing)
				continue
			}
			if world[d.username] == foreign {
				t.Fatal("update of another's customer")
			}
			return
		default:
			t.Fatal(d)
		}
	}
	t.Error("no end")
}

func TestYoung(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, tt := range []struct {
		name     string
		received time.Time
		want     bool
	}{
		{"received just now", now, true},
		{"received a moment ago", now.Add(-freshFor + 1), true},
		{"received long ago", now.Add(-freshFor), false},
		{"received nobody knows when", time.Time{}, false},
	} {
		if got := young(ct2fluent.Notification{Received: tt.received}, now); got != tt.want {
			t.Errorf("%s: young %v, want %v", tt.name, got, tt.want)
		}
	}
}

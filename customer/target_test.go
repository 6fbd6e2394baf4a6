package customer

import (
	"testing"

	"github.com/ct2fluent/ct2fluent"
)

// A ledger that remembers customers of one Fluent is of no other; one that
// remembers none may be filled from another.
func TestBind(t *testing.T) {
	here := Target{BaseURL: "https://a.example", Account: "ACME", RetailerID: "1"}
	tests := []struct {
		name   string
		other  Target
		known  bool
		bound  bool // to here still
		filled bool
	}{
		{name: "the same", other: here, known: true, filled: true},
		{name: "the same host in capitals", other: Target{"https://A.example", "ACME", "1"}, known: true, filled: true},
		{name: "the same with its port", other: Target{"https://a.example.:443/", "ACME", "1"}, known: true, filled: true},
		{name: "another path", other: Target{"https://a.example/Other", "ACME", "1"}, known: true, bound: true, filled: true},
		{name: "another port", other: Target{"https://a.example:8443", "ACME", "1"}, known: true, bound: true, filled: true},
		{name: "another address", other: Target{"https://b.example", "ACME", "1"}, known: true, bound: true, filled: true},
		{name: "another account", other: Target{"https://a.example", "OTHER", "1"}, known: true, bound: true, filled: true},
		{name: "another retailer", other: Target{"https://a.example", "ACME", "2"}, known: true, bound: true, filled: true},
		{name: "another, and no customer is remembered", other: Target{"https://a.example", "ACME", "2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &notebook{memories: map[ct2fluent.Ref]ct2fluent.Memory{}, marks: map[string]string{fillMark("shop"): markDone}}
			if got, err := Bind(t.Context(), l, "shop", here); got != here || err != nil {
				t.Fatalf("a ledger without a note is of %v, %v", got, err)
			}
			if tt.known {
				l.memories[ref("c1")] = ct2fluent.Memory{Username: "u"}
			}
			want := tt.other
			if tt.bound {
				want = here
			}
			for range 2 {
				if got, err := Bind(t.Context(), l, "shop", tt.other); got != want || err != nil {
					t.Errorf("it is of %v, %v, want %v", got, err, want)
				}
			}
			if got := l.marks[fillMark("shop")] == markDone; got != tt.filled {
				t.Errorf("filled: %t, want %t", got, tt.filled)
			}
		})
	}
}

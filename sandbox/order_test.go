package sandbox

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// An order holds what a sorted slice would, whatever is put and taken.
func TestOrder(t *testing.T) {
	tests := []struct {
		name string
		next func(rng *rand.Rand, i int) int
	}{
		{"at random", func(rng *rand.Rand, _ int) int { return rng.IntN(1 << 30) }},
		{"upwards", func(_ *rand.Rand, i int) int { return i }},
		{"downwards", func(_ *rand.Rand, i int) int { return -i }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			o := order[int]{compare: cmp.Compare[int]}
			held := map[int]bool{}
			for i := range 5000 {
				v := test.next(rng, i)
				if !held[v] {
					o.insert(v)
					held[v] = true
				}
				if i%3 == 0 {
					o.remove(v)
					delete(held, v)
				}
			}
			var want []int
			for v := range held {
				want = append(want, v)
			}
			slices.Sort(want)
			if got := slices.Collect(o.from(want[0])); !slices.Equal(got, want) {
				t.Fatalf("holds %d values, want %d, or in another order", len(got), len(want))
			}
			middle := want[len(want)/2]
			if got := slices.Collect(o.from(middle)); !slices.Equal(got, want[len(want)/2:]) {
				t.Errorf("from the middle: %d values, want %d", len(got), len(want)-len(want)/2)
			}
			if got := slices.Collect(o.from(want[len(want)-1] + 1)); len(got) > 0 {
				t.Errorf("after the last there are %v", got)
			}
			for _, v := range want {
				o.remove(v)
			}
			o.remove(7)
			if len(o.blocks) > 0 {
				t.Errorf("%d blocks are left of an empty order", len(o.blocks))
			}
		})
	}
}

// Ids have an order that is total, stable and not that of their texts.
func TestUUIDOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var ids []uuid
	for range 100 {
		u := newUUID(rng)
		if back, ok := parseUUID(u.String()); !ok || back != u {
			t.Fatalf("%s reads as %s", u, back)
		}
		ids = append(ids, u)
	}
	slices.SortFunc(ids, uuid.compare)
	if slices.IsSortedFunc(ids, func(a, b uuid) int { return strings.Compare(a.String(), b.String()) }) {
		t.Error("ids sort as texts")
	}
	a, _ := parseUUID("00000000-0000-0001-8000-000000000000")
	b, _ := parseUUID("01000000-0000-0000-8000-000000000000")
	if a.compare(b) <= 0 {
		t.Error("the last byte of the first half does not lead")
	}
	for _, s := range []string{"", "x", "00000000-0000-0001-8000-00000000000", "00000000-0000-0001-8000-00000000000G", "0000000000000-0001-8000-000000000000-", "ABCDEF00-0000-0001-8000-000000000000"} {
		if _, ok := parseUUID(s); ok {
			t.Errorf("%q is read as an id", s)
		}
	}
}

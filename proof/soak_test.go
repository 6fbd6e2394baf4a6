package main

import "testing"

func TestFlat(t *testing.T) {
	rounds := func(n int, of func(i int) taken) (all []taken) {
		for i := range n {
			all = append(all, of(i))
		}
		return all
	}
	tests := []struct {
		name   string
		levels []taken
		flat   bool
	}{
		{"all the same", rounds(40, func(int) taken { return taken{60, 40, 10} }), true},
		{"it comes and goes", rounds(40, func(i int) taken { return taken{60 + i%7*5, 40 + i%3*5, 10 + i%5*4} }), true},
		{"it grows until it is warm", rounds(40, func(i int) taken { return taken{min(60, 10*i), min(40, 8*i), min(30, 5*i)} }), true},
		{"memory grows", rounds(40, func(i int) taken { return taken{60 + 3*i, 40, 10} }), false},
		{"descriptors grow", rounds(40, func(i int) taken { return taken{60, 40 + 2*i, 10} }), false},
		{"disk grows", rounds(40, func(i int) taken { return taken{60, 40, 10 + 2*i} }), false},
		{"too few", rounds(3, func(int) taken { return taken{60, 40, 10} }), false},
	}
	for _, tt := range tests {
		if err := flat(tt.levels); (err == nil) != tt.flat {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

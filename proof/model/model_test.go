package model

import (
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	for _, r := range []Rule{Rule1, Rule2, Rule2Sent, Rule3, Rule4, Rule5, Rule6, Rule7} {
		at := time.Now()
		l := Limits{Crashes: 1, Lost: 1, Unclear: 1, Late: 1, Stale: 1}
		if r == Rule7 {
			l.Crashes, l.Pauses = 0, 1
		}
		rep, err := Explore(t.Context(), Options{Limits: l, Without: r, States: 300000})
		t.Logf("without %d: %v %v %v", r, rep, err, time.Since(at))
	}
	at := time.Now()
	r, err := Explore(t.Context(), Options{Limits: Limits{Pauses: 1}, States: 200000})
	t.Logf("pauses: %v %v %v %v", r, r.Whole, err, time.Since(at))
}

package ledger

import (
	"fmt"
	"slices"
	"testing"
)

// The runs whose totals are kept are known by name, also after a start.
func TestRuns(t *testing.T) {
	r := newRig(t)
	for i, run := range []string{"bulk-2", "bulk-1", ""} {
		n := note(uint64(i+1), 1)
		n.Run = run
		r.settle(say(nil), n)
	}
	r.crash()
	if got := r.ledger.Runs(); !slices.Equal(got, []string{"bulk-1", "bulk-2"}) {
		t.Errorf("runs are %q", got)
	}
	if err := r.ledger.EndRun(t.Context(), "bulk-1"); err != nil {
		t.Fatal(err)
	}
	if got := r.ledger.Runs(); !slices.Equal(got, []string{"bulk-2"}) {
		t.Errorf("runs are %q", got)
	}
}

// What an entry remembers of runs that are over has an end.
func TestRunsThatAreOver(t *testing.T) {
	r := newRig(t)
	for i := range 12 {
		n := note(uint64(i+1), 1)
		n.Run = fmt.Sprint("bulk-", i)
		r.settle(say(nil), n)
		if i < 2 {
			continue // stopped
		}
		if err := r.ledger.EndRun(t.Context(), n.Run); err != nil {
			t.Fatal(err)
		}
	}
	n := note(20, 1)
	n.Run = "bulk-12"
	r.settle(say(nil), n)
	want := []string{"bulk-0", "bulk-1", "bulk-4", "bulk-5", "bulk-6", "bulk-7", "bulk-8", "bulk-9", "bulk-10", "bulk-11", "bulk-12"}
	if got := r.timeline(jane)[0].Runs; !slices.Equal(got, want) {
		t.Errorf("runs are %q, want %q", got, want)
	}
}

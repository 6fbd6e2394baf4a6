package ledger

import (
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

package ledger

import (
	"fmt"
	"testing"
)

// Bulk work waits for what is live, in the order in which it came, and not for
// ever.
func TestTakeYields(t *testing.T) {
	n := 0
	parts := func(text string) (ps []*part) {
		for _, kind := range text {
			n++
			ps = append(ps, &part{subject: fmt.Sprint(kind, n), yields: kind == 'b'})
		}
		return ps
	}
	kinds := func(ps []*part) (text string) {
		for _, p := range ps {
			text += map[bool]string{true: "b", false: "l"}[p.yields]
		}
		return text
	}
	c := &committer{waiting: parts("bblbl")}
	for _, want := range []string{"ll", "bbb", ""} {
		if got := kinds(c.take()); got != want {
			t.Errorf("took %q, want %q", got, want)
		}
	}
	c.waiting = parts("b")
	first := c.waiting[0]
	for i := range mostPassed {
		c.waiting = append(c.waiting, parts("l")...)
		if got := kinds(c.take()); got != "l" {
			t.Fatalf("group %d is %q", i, got)
		}
	}
	c.waiting = append(c.waiting, parts("l")...)
	if got := c.take(); kinds(got) != "bl" || got[0] != first {
		t.Errorf("after %d groups went before it, %q was taken", mostPassed, kinds(got))
	}
}

package ledger

import (
	"fmt"
	"strings"
	"testing"
)

// act has an operator do something; outcome "" is one that goes on.
func (r *rig) act(what, outcome string) {
	r.t.Helper()
	a, err := r.ledger.Begin(r.t.Context(), Act{Who: "ann", What: what})
	if err != nil {
		r.t.Fatal(err)
	}
	if outcome == "" {
		return
	}
	a.Outcome, a.Count = outcome, 7
	if err := r.ledger.End(r.t.Context(), a); err != nil {
		r.t.Fatal(err)
	}
}

// trail is the audit trail as it is read aloud, newest first.
func (r *rig) trail(before uint64, n int) string {
	r.t.Helper()
	acts, err := r.ledger.Acts(r.t.Context(), before, n)
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	for _, a := range acts {
		if a.When.IsZero() || a.Who != "ann" {
			r.t.Errorf("act %d was at %v by %q", a.Number, a.When, a.Who)
		}
		lines = append(lines, fmt.Sprint(a.Number, " ", a.What, " ", a.Outcome, " ", a.Count))
	}
	return strings.Join(lines, ", ")
}

func TestAuditTrail(t *testing.T) {
	r := newRig(t)
	if got := r.trail(0, 10); got != "" {
		t.Errorf("before anything was done: %s", got)
	}
	r.act("drop", "done")
	r.act("pause", "failed")
	r.act("put", "") // goes on
	const all = "3 put begun 0, 2 pause failed 7, 1 drop done 7"
	want := func(when, want string) {
		t.Helper()
		if got := r.trail(0, 10); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	want("now", all)
	r.restart()
	want("after a restart", all)
	r.crash()
	want("after a crash", all)
	r.act("resume", "done")
	r.crash()
	want("written after a crash, and crashed", "4 resume done 7, "+all)
	for _, page := range []struct {
		before uint64
		n      int
		want   string
	}{{0, 1, "4 resume done 7"}, {4, 2, "3 put begun 0, 2 pause failed 7"}, {2, 9, "1 drop done 7"}, {1, 9, ""}, {99, 1, "4 resume done 7"}} {
		if got := r.trail(page.before, page.n); got != page.want {
			t.Errorf("%d before %d: %q, want %q", page.n, page.before, got, page.want)
		}
	}
}

// An act that ends late does not hide those that began after it.
func TestAuditTrailOfWhatGoesOnAtOnce(t *testing.T) {
	r := newRig(t)
	long, err := r.ledger.Begin(t.Context(), Act{Who: "ann", What: "put"})
	if err != nil {
		t.Fatal(err)
	}
	r.act("drop", "done")
	long.Outcome = "done"
	if err := r.ledger.End(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	if got := r.trail(0, 9); got != "2 drop done 7, 1 put done 0" {
		t.Error(got)
	}
}

// The newest acts are kept and no others, however many there were.
func TestAuditTrailIsBounded(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir(), o: Options{Acts: 3}}
	r.start()
	defer func() { r.store.Close() }()
	for i := range 8 {
		r.act(fmt.Sprint("drop", i+1), "done")
		if i == 5 {
			r.crash()
		}
	}
	r.crash() // what was removed must not come back
	if got := r.trail(0, 100); got != "8 drop8 done 7, 7 drop7 done 7, 6 drop6 done 7" {
		t.Error(got)
	}
	kept, err := r.journal.Page(t.Context(), acts+">", 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	subjects := map[string]bool{}
	for _, m := range kept.Messages {
		subjects[m.Subject] = true
	}
	if len(subjects) != 3 {
		t.Errorf("the journal holds %d acts: %v", len(subjects), subjects)
	}
}

// The end of an act takes nothing away that was noted at its beginning.
func TestEndKeepsTheBeginning(t *testing.T) {
	r := newRig(t)
	begun, err := r.ledger.Begin(t.Context(), Act{Who: "ann", What: "drop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range []Act{
		{Number: begun.Number, Who: "ann", What: "drop", Outcome: "done"},
		{When: begun.When, Who: "ann", What: "drop", Outcome: "done"},
	} {
		if err := r.ledger.End(t.Context(), lost); err == nil {
			t.Errorf("%+v was noted", lost)
		}
	}
	if got := r.trail(0, 9); got != "1 drop begun 0" {
		t.Error(got)
	}
}

// An act that cannot be noted is not to be done.
func TestBeginFailsWithTheDisk(t *testing.T) {
	r := newRig(t)
	r.append = fails
	if _, err := r.ledger.Begin(t.Context(), Act{Who: "ann", What: "drop"}); err == nil {
		t.Error("no error")
	}
	r.append = nil
	r.act("drop", "done")
	if got := r.trail(0, 9); got != "1 drop done 7" {
		t.Error(got)
	}
}

// Two processes on one journal give each act a number of its own.
func TestAuditTrailOfTwo(t *testing.T) {
	r := newRig(t)
	other := r.another()
	for range 2 {
		r.act("drop", "done")
		if _, err := other.Begin(t.Context(), Act{Who: "ann", What: "put"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.trail(0, 9); got != "4 put begun 0, 3 drop done 7, 2 put begun 0, 1 drop done 7" {
		t.Error(got)
	}
}

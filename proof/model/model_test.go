package model

import (
	"context"
	"flag"
	"os"
	"runtime/debug"
	"testing"
	"time"
)

var deep = flag.Bool("deep", false, "explore more that can go wrong at once: minutes instead of seconds")

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("rapid.checks").Value.String() == "100" {
		_ = flag.Set("rapid.checks", "3000") // a history takes about a millisecond
	}
	debug.SetGCPercent(400) // the states that were seen stay
	os.Exit(m.Run())
}

// Promises 2, 3 and 4 hold in every order of the steps.
func TestWhole(t *testing.T) {
	tests := []struct {
		name string
		deep bool
		o    Options
	}{
		{name: "nothing goes wrong", o: Options{}},
		{name: "a crash, a lost acknowledgement, an unclear answer, a late write, a stale read",
			o: Options{Limits: Limits{Crashes: 1, Lost: 1, Unclear: 1, Late: 1, Stale: 1}}},
		{name: "a paused worker wakes after it was overtaken", o: Options{Limits: Limits{Pauses: 1}}},
		{name: "a bulk run brings a read along, an unclear answer, a late write", o: Options{Limits: Limits{Carried: 1, Unclear: 1, Late: 1}}},

		{name: "a bulk run brings a read along, a crash, a lost acknowledgement", deep: true,
			o: Options{Limits: Limits{Carried: 1, Crashes: 1, Lost: 1}}},
		{name: "a bulk run brings a read along, a paused worker", deep: true, o: Options{Limits: Limits{Carried: 1, Pauses: 1}}},
		{name: "the same, and a notification comes twice", deep: true,
			o: Options{Limits: Limits{Crashes: 1, Lost: 1, Unclear: 1, Late: 1, Stale: 1, Duplicates: 1}}},
		{name: "two unclear answers and two late writes", deep: true, o: Options{Limits: Limits{Crashes: 1, Unclear: 2, Late: 2}}},
		{name: "a paused worker, an unclear answer, a late write", deep: true,
			o: Options{Limits: Limits{Pauses: 1, Unclear: 1, Late: 1}}},
		{name: "a paused worker, a lost acknowledgement, a stale read", deep: true,
			o: Options{Limits: Limits{Pauses: 1, Lost: 1, Stale: 1}}},
		// All of these would not fit into memory.
		{name: "a paused worker goes on with all that its queue holds, an unclear answer, a late write: the nearest 5,000,000 states", deep: true,
			o: Options{Limits: Limits{Pauses: 1, Unclear: 1, Late: 1}, Both: true, States: 5_000_000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.deep && !*deep {
				t.Skip("with -deep")
			}
			t.Parallel()
			begin := time.Now()
			r, err := Explore(context.Background(), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v, %v", r, time.Since(begin).Round(time.Millisecond))
			if r.Violation != "" || r.Whole != (tt.o.States == 0) {
				t.Errorf("whole: %v, violation: %q", r.Whole, r.Violation)
			}
		})
	}
}

// Without any of the rules of convergence a promise breaks, though no more
// goes wrong than what the whole stands.
func TestEachRuleIsNeeded(t *testing.T) {
	tests := []struct {
		name    string
		without Rule
		Limits
		deep bool
	}{
		{name: "1: a read is never older than what is known", without: Rule1, Limits: Limits{Stale: 1}},
		{name: "2: unclear is not done", without: Rule2, Limits: Limits{Unclear: 1}},
		{name: "2: unclear is not sent again", without: Rule2Sent, Limits: Limits{Unclear: 1, Late: 1}},
		{name: "3: what comes again waits", without: Rule3, Limits: Limits{Unclear: 1, Late: 1}},
		{name: "4: what comes again works", without: Rule4, Limits: Limits{Unclear: 1, Late: 1}},
		{name: "5: what comes again survives a kill", without: Rule5, Limits: Limits{Crashes: 1, Late: 1}},
		{name: "6: the username is in the ledger before the create", without: Rule6, Limits: Limits{Unclear: 1}},
		{name: "7: who was overtaken has the customer worked again", without: Rule7, Limits: Limits{Pauses: 1}},
		{name: "1, of a read that is brought along", without: CarriedFloor, Limits: Limits{Carried: 1}},
		{name: "4, of a read that is brought along", without: CarriedAgain, Limits: Limits{Carried: 1, Unclear: 1, Late: 1}},
		{name: "7: and not before its write can no longer land", without: Rule7Early, Limits: Limits{Pauses: 1, Unclear: 1, Late: 1}, deep: true},
		{name: "7: also if it learns of it by what it is handed out again", without: Rule7Known, Limits: Limits{Pauses: 1, Unclear: 1, Late: 1}, deep: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.deep && !*deep {
				t.Skip("with -deep")
			}
			r, err := Explore(t.Context(), Options{Limits: tt.Limits, Without: tt.without})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r)
			if r.Violation == "" {
				t.Error("nothing breaks without the rule")
			}
		})
	}
}

// docs/promises.md: what a process sent that was paused for longer than D, and
// that died then, may leave older data. The explorer has to see that, too, or
// it would look away where it matters.
func TestNotPromised(t *testing.T) {
	r, err := Explore(t.Context(), Options{Limits: Limits{Pauses: 1, Crashes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if r.Violation == "" {
		t.Error("nothing breaks: then promise it")
	}
}

// An exploration ends with its context, and after so many states.
func TestExploreEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Explore(ctx, Options{}); err == nil {
		t.Error("no error of a context that is done")
	}
	r, err := Explore(t.Context(), Options{Limits: Limits{Crashes: 1}, States: 100})
	if err != nil || r.Whole || r.States < 100 || r.States > 150 {
		t.Errorf("%v, whole %v, %v", r, r.Whole, err)
	}
}

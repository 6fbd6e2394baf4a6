package ledgertest

import (
	"context"
	"fmt"
	"maps"

	"github.com/ct2fluent/ct2fluent"
)

// of marks a notification as put by a run.
func of(run string, n ct2fluent.Notification) ct2fluent.Notification {
	n.Own, n.Bulk, n.Run = true, true, run
	return n
}

func (d *desk) runCounts(run string, want map[string]uint64) {
	d.t.Helper()
	if got := d.ledger.RunCounts(run); !maps.Equal(got, want) {
		d.t.Errorf("run %s counted %v, want %v", run, got, want)
	}
}

func runCountsOnce(d *desk) {
	d.settles(d.ledger, says(nil), batch(note(1, jane, 1)), "written")
	d.runCounts("bulk-1", map[string]uint64{})
	d.settles(d.ledger, says(nil), batch(of("bulk-1", note(2, jane, 2))), "written")
	// The page is put twice, and its acknowledgement is lost besides.
	d.settles(d.ledger, says(ct2fluent.Unchanged), batch(of("bulk-1", note(3, jane, 2))), "unchanged")
	d.crash()
	d.settles(d.ledger, says(ct2fluent.Unchanged), batch(of("bulk-1", note(2, jane, 2)), of("bulk-1", note(4, jane, 2))), "merged", "unchanged")
	d.settles(d.ledger, says(errFault), batch(of("bulk-1", note(5, john, 1))), "retry")
	d.runCounts("bulk-1", map[string]uint64{"written": 1})
	d.counts(map[string]uint64{"written": 2, "unchanged": 2})

	d.settles(d.ledger, says(ct2fluent.Skip("known")), batch(of("bulk-2", note(6, jane, 2)), of("bulk-1", note(7, john, 1))), "skipped", "skipped")
	d.restart()
	d.runCounts("bulk-1", map[string]uint64{"written": 1, "skipped known": 1})
	d.runCounts("bulk-2", map[string]uint64{"skipped known": 1})
	counted, err := d.ledger.Counted(d.t.Context(), "bulk-2", jane, john)
	if err != nil || !maps.Equal(counted, map[ct2fluent.Ref]bool{jane: true}) {
		d.t.Errorf("bulk-2 has counted %v, %v, want jane alone", counted, err)
	}

	for range 2 {
		if err := d.ledger.EndRun(d.t.Context(), "bulk-1"); err != nil {
			d.t.Fatal(err)
		}
	}
	d.crash()
	d.runCounts("bulk-1", map[string]uint64{})
	d.runCounts("bulk-2", map[string]uint64{"skipped known": 1})
	d.counts(map[string]uint64{"written": 2, "unchanged": 2, "skipped known": 2})
}

// One that is merged has the fate of the one that was worked, also in the
// counts of a run.
func runCountsFate(d *desk) {
	latest := ct2fluent.Latest(ct2fluent.HandlerFunc(func(_ context.Context, ns []ct2fluent.Notification) []error {
		return make([]error, len(ns))
	}))
	d.ledger.Settle(latest).Handle(d.t.Context(), batch(
		of("bulk-1", note(1, jane, 1)), note(2, jane, 2), // overtaken by a live one
		of("bulk-1", note(3, john, 1)), of("bulk-1", note(4, john, 1)), // put twice
	))
	d.runCounts("bulk-1", map[string]uint64{"written": 2})
	d.counts(map[string]uint64{"written": 2, "merged": 2})
}

// A run is stopped, many others come and end, and it goes on: its last page is
// put once more.
func runOutlivesOthers(d *desk) {
	d.settles(d.ledger, says(nil), batch(of("bulk-1", note(1, jane, 1))), "written")
	for i := range 30 {
		run := fmt.Sprint("bulk-", i+2)
		d.settles(d.ledger, says(ct2fluent.Skip("known")), batch(of(run, note(uint64(i+2), jane, 1))), "skipped")
		if i == 15 {
			continue // stopped too
		}
		if err := d.ledger.EndRun(d.t.Context(), run); err != nil {
			d.t.Fatal(err)
		}
	}
	d.restart()
	d.settles(d.ledger, says(ct2fluent.Skip("known")), batch(
		of("bulk-1", note(40, jane, 1)), of("bulk-17", note(41, jane, 1)),
		of("bulk-31", note(42, jane, 1)), // over, and it waited still
	), "skipped", "skipped", "skipped")
	d.runCounts("bulk-1", map[string]uint64{"written": 1})
	d.runCounts("bulk-17", map[string]uint64{"skipped known": 1})
	d.runCounts("bulk-31", map[string]uint64{})
}

// An entry without an outcome, and one of another process, keep what was
// counted.
func runIsRemembered(d *desk) {
	other := d.another()
	d.settles(d.ledger, says(nil), batch(of("bulk-1", note(1, jane, 1))), "written")
	f := func(ctx context.Context, n ct2fluent.Notification) error {
		if err := d.ledger.Intend(ctx, map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: "u"}}); err != nil {
			d.t.Error(err)
		}
		return errFault
	}
	d.settles(d.ledger, f, batch(note(2, jane, 2)), "retry")
	f = func(_ context.Context, n ct2fluent.Notification) error {
		if n.Ref == john { // which another process works at the same time
			d.settles(other, says(nil), batch(of("bulk-1", note(3, john, 1))), "written")
		}
		return ct2fluent.Skip("known")
	}
	d.settles(d.ledger, f, batch(of("bulk-1", note(4, john, 1)), of("bulk-1", note(5, jane, 1))), "skipped", "skipped")
	d.open()
	d.runCounts("bulk-1", map[string]uint64{"written": 2})
}

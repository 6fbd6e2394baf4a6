package app

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

func TestBulkLine(t *testing.T) {
	counts := customer.Counts{Written: 300, Skipped: 100}
	merged := counts
	merged.Merged = 5
	tests := []struct {
		name      string
		p         customer.BulkProgress
		state     job.State
		line, bar string
	}{
		{"reading", customer.BulkProgress{Phase: "reading", Read: 900, Total: 1600, Outstanding: 500, Counts: counts, Rate: 99.6, ETASeconds: 61},
			job.Running, "reading, 900 of 1600 read: 300 written, 0 unchanged, 100 skipped, 0 dead, 500 waiting; 100/s, 1m1s left",
			"[######..................]  25% "},
		{"how many there are is not known", customer.BulkProgress{Phase: "reading", Read: 900, Outstanding: 500, Counts: counts},
			job.Running, "reading, 900 read: 300 written, 0 unchanged, 100 skipped, 0 dead, 500 waiting", ""},
		{"it waits", customer.BulkProgress{Phase: "reading", Read: 900, Total: 1600, Outstanding: 500, Counts: counts, Why: "queue is full"},
			job.Running, "reading, 900 of 1600 read: 300 written, 0 unchanged, 100 skipped, 0 dead, 500 waiting; waits: queue is full",
			"[######..................]  25% "},
		{"stopped while it waited", customer.BulkProgress{Phase: "reading", Read: 900, Total: 1600, Outstanding: 500, Counts: counts, Rate: 99.6, ETASeconds: 3, Why: "queue is full"},
			job.Stopped, "reading, 900 of 1600 read: 300 written, 0 unchanged, 100 skipped, 0 dead, 500 waiting",
			"[######..................]  25% "},
		{"resumed, and in line", customer.BulkProgress{Phase: "reading", Read: 900, Total: 1600, Outstanding: 500, Counts: counts, Rate: 99.6, ETASeconds: 3},
			job.Queued, "reading, 900 of 1600 read: 300 written, 0 unchanged, 100 skipped, 0 dead, 500 waiting",
			"[######..................]  25% "},
		{"done", customer.BulkProgress{Phase: "done", Read: 405, Total: 405, Counts: merged},
			job.Done, "405 read: 300 written, 0 unchanged, 5 merged, 100 skipped, 0 dead",
			"[########################] 100% "},
		{"all were left out", customer.BulkProgress{Phase: "done", Read: 30, Total: 30, Counts: customer.Counts{Skipped: 30, NotSelected: 30}},
			job.Done, "30 read: 0 written, 0 unchanged, 30 skipped, 0 dead; none was selected: see select in the configuration",
			"[########################] 100% "},
		{"some were left out", customer.BulkProgress{Phase: "done", Read: 30, Total: 30, Counts: customer.Counts{Skipped: 30, NotSelected: 29}},
			job.Done, "30 read: 0 written, 0 unchanged, 30 skipped, 0 dead", "[########################] 100% "},
		{"a dry run that left all out", customer.BulkProgress{Phase: "done", Read: 30, Total: 30, Differs: &customer.Comparison{Skipped: map[string]int{"not-selected": 30}}},
			job.Done, "30 read: 0 to create, 0 to update, 0 equal, 30 skipped, 0 dead; none was selected: see select in the configuration",
			"[########################] 100% "},
		{"a dry run", customer.BulkProgress{Phase: "reading", Read: 10, Total: 20, Differs: &customer.Comparison{
			Create: 1, Update: 2, Equal: 3, Skipped: map[string]int{"not-selected": 3}, Dead: map[string]int{"mapping": 1}}},
			job.Running, "reading, 10 of 20 read: 1 to create, 2 to update, 3 equal, 3 skipped, 1 dead", "[############............]  50% "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := json.Marshal(tt.p)
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"bulk", "catch-up"} {
				if got := progressLine(job.Job{Kind: kind, State: tt.state, Progress: doc}); got != tt.line {
					t.Errorf("line %q\nwant %q", got, tt.line)
				}
				if got := bar(job.Job{Kind: kind, Progress: doc}); got != tt.bar {
					t.Errorf("bar %q, want %q", got, tt.bar)
				}
			}
		})
	}
	if got := bar(job.Job{Kind: "other", Progress: json.RawMessage(`{"total":7}`)}); got != "" {
		t.Errorf("another kind has the bar %q", got)
	}
}

func TestPrintComparison(t *testing.T) {
	var out strings.Builder
	printComparison(&out, &customer.Comparison{
		Create: 12, Update: 9, Adopt: 1, Equal: 3, Skipped: map[string]int{"not-selected": 2}, Dead: map[string]int{"too-long": 1, "mapping": 4},
		Fields: map[string]customer.Differing{"title": {Customers: 1, Examples: []string{"a"}}, "lastName": {Customers: 8, Examples: []string{"b", "c"}}},
	})
	want := `
to create               12
to update               9  of these 1 carry no commercetools id yet
  lastName              8  b c
  title                 1  a
equal                   3
skipped (not-selected)  2
dead (mapping)          4
dead (too-long)         1
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("printed %s\nwant %s", got, want)
	}
}

// On a terminal there is a bar, and what does not fit beside it is left out.
func TestDrawn(t *testing.T) {
	for want, p := range map[string]customer.BulkProgress{
		"[######..................]  25% bulk-7 400 of 1600, 2 dead; 100/s, 12s left": {
			Phase: "reading", Read: 900, Total: 1600, Outstanding: 500, Counts: customer.Counts{Dead: 2}, Rate: 99.6, ETASeconds: 12},
		"bulk-7 400; waits: queue is full": {Phase: "reading", Read: 900, Outstanding: 500, Why: "queue is full"},
		"bulk-7 queued":                    {},
	} {
		one := job.Job{ID: "bulk-7", Kind: "bulk", State: job.Queued}
		if p.Phase != "" {
			one.State = job.Running
			one.Progress, _ = json.Marshal(p) // it is made of numbers and texts
		}
		if got := drawn(one); got != want {
			t.Errorf("drawn %q, want %q", got, want)
		}
	}
}

func TestFitting(t *testing.T) {
	for text, want := range map[string]string{"": "", "über": "über", "überall": "über…", "uebers": "uebe…"} {
		if got := fitting(text, 6); got != want {
			t.Errorf("%q fits as %q, want %q", text, got, want)
		}
	}
}

func TestCheckBulk(t *testing.T) {
	tests := []struct {
		spec customer.BulkSpec
		want string
	}{
		{customer.BulkSpec{Rate: 100}, ""},
		{customer.BulkSpec{Rate: math.NaN()}, "rate: NaN is none; it is a number from 0.001 on, or 0 for no limit"},
		{customer.BulkSpec{Rate: math.Inf(1)}, "rate: +Inf is none; it is a number from 0.001 on, or 0 for no limit"},
		{customer.BulkSpec{Rate: 1e-300}, "rate: 1e-300 is none; it is a number from 0.001 on, or 0 for no limit"},
		{customer.BulkSpec{ChangedSince: "2999-01-01T00:00:00Z"}, "changedSince: 2999-01-01T00:00:00.000Z lies in the future"},
	}
	for _, tt := range tests {
		got := ""
		if err := checkBulk(tt.spec); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.spec, got, tt.want)
		}
	}
}

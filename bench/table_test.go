package main

import (
	"strings"
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	tests := []struct {
		v    float64
		want string
	}{
		{0, "0"}, {0.0123, "0.012"}, {0.5, "0.5"}, {1.2345, "1.23"}, {12.345, "12.3"}, {99.96, "100"}, {5, "5"},
		{123.4, "123"}, {999.6, "1,000"}, {1234567, "1,234,567"}, {-1234, "-1,234"}, {-2.5, "-2.5"},
	}
	for _, tt := range tests {
		if got := number(tt.v); got != tt.want {
			t.Errorf("number(%v) = %q, want %q", tt.v, got, tt.want)
		}
	}
}

// run is a run of so many customers a second.
func runOf(rate float64) Run {
	return Run{Notifications: 1000, Customers: 1000, Seconds: 1000 / rate, Commercetools: 5, Fluent: 10, Apart: 3, Sockets: [2]int{4, 6}}
}

func rowOf(contender string, rates ...float64) *Row {
	r := &Row{Case: "distinct", Contender: contender}
	for _, rate := range rates {
		r.Runs = append(r.Runs, runOf(rate))
	}
	return r
}

// print gives the lines of a report, with one space for many.
func print(t *testing.T, r *Report) (lines []string) {
	t.Helper()
	var out strings.Builder
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

func TestTable(t *testing.T) {
	yes, no := true, false
	r := &Report{
		When: time.Unix(0, 0), Runs: 3,
		Rows: []*Row{rowOf("rival", 100, 200, 125), rowOf("ct2fluent", 2000, 1000, 1250), rowOf("absent")},
		Figures: []Figure{
			{Case: "distinct", What: "to the rival's", Value: 10, Unit: "times", Goal: "≥ 10 times", Reached: &yes},
			{Case: "start", What: "ready", Value: 7, Unit: "s", Goal: "≤ 5 s", Reached: &no},
			{Case: "tls", What: "without a rival", Goal: "≥ 10 times"},
			{Case: "ingest", What: "for information", Value: 4131, Unit: ""},
		},
		Wrong: []string{"distinct: one is missing"},
	}
	got := strings.Join(print(t, r), "\n")
	for _, want := range []string{
		// Median, range, ratio to the first row, requests per 1,000 customers.
		"distinct rival 1,000 125 100–200 1 5 10 3 0 0 0 4+6 0 0",
		"distinct ct2fluent 1,000 1,250 1,000–2,000 10 5 10 3 0 0 0 4+6 0 0",
		"distinct absent – – – – – – – – – – – – –",
		"distinct to the rival's 10 times ≥ 10 times yes",
		"start ready 7 s ≤ 5 s NO",
		"tls without a rival – ≥ 10 times –",
		"ingest for information 4,131 – –",
		"WRONG: distinct: one is missing",
	} {
		if !strings.Contains(got+"\n", want+"\n") {
			t.Errorf("there is no line %q in\n%s", want, got)
		}
	}
}

func TestGoals(t *testing.T) {
	tests := []struct {
		name    string
		goal    goal
		value   float64
		reached bool
	}{
		{"at least, reached exactly", atLeast(10), 10, true},
		{"at least, missed", atLeast(10), 9.99, false},
		{"at most, reached exactly", atMost(0), 0, true},
		{"at most, missed", atMost(0), 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Report
			r.figure("case", "what", tt.value, "s", tt.goal)
			if f := r.Figures[0]; f.Reached == nil || *f.Reached != tt.reached || f.Goal == "" {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Where there is no rival the goal is told and not judged.
func TestCompare(t *testing.T) {
	own, rival, absent := rowOf("ct2fluent", 1000, 1100, 900), rowOf("rival", 90, 100, 110), rowOf("rival")
	var r Report
	r.compare("distinct", "to the rival's", own, rival, atLeast(10))
	r.compare("distinct", "to an absent one's", own, absent, atLeast(10))
	r.compare("distinct", "to an absent one's, without a goal", own, absent, nil)
	if len(r.Figures) != 2 {
		t.Fatalf("%+v", r.Figures)
	}
	if f := r.Figures[0]; f.Value != 10 || f.Reached == nil || !*f.Reached {
		t.Errorf("with a rival: %+v", f)
	}
	if f := r.Figures[1]; f.Reached != nil || f.Goal == "" {
		t.Errorf("without one: %+v", f)
	}
}

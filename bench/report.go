package main

import (
	"fmt"
	"time"
)

// A Report is all that came out.
type Report struct {
	When    time.Time `json:"when"`
	Machine machine   `json:"machine"`
	Runs    int       `json:"runs"`
	Short   bool      `json:"short,omitempty"`
	Rows    []*Row    `json:"rows"`
	Figures []Figure  `json:"figures"`
	Wrong   []string  `json:"wrong"` // results of the product
}

func newReport(o options) *Report {
	return &Report{When: time.Now().UTC(), Machine: thisMachine(), Runs: o.runs, Short: o.short, Wrong: []string{}}
}

// A Row is what a contender did in a case.
type Row struct {
	Case      string `json:"case"`
	Contender string `json:"contender"`
	Runs      []Run  `json:"runs"` // none: it was not there
}

// A Run is one of a Row.
type Run struct {
	Notifications int `json:"notifications"`
	Customers     int `json:"customers"`
	// From the first request about a customer until all is settled; where none
	// was needed, from the start of the process.
	Seconds float64 `json:"seconds"`
	// Requests about customers, and beside them the tokens, the checks at the
	// start and the scan of Fluent that fills an empty ledger.
	Commercetools int     `json:"commercetools"`
	Fluent        int     `json:"fluent"`
	Apart         int     `json:"apart"`
	CPU           float64 `json:"cpu"`      // seconds, of the contender
	SidesCPU      float64 `json:"sidesCpu"` // of the stand-ins, while it ran
	RSS           int64   `json:"rss"`      // bytes, at most
	Sockets       [2]int  `json:"sockets"`  // accepted by commercetools, by Fluent
	Duplicates    int     `json:"duplicates"`
	Stale         int     `json:"stale"`
}

func (r Run) rate() float64 { return ratio(float64(r.Customers), r.Seconds) }

func (r *Row) rates() Spread { return r.over(Run.rate) }

// over is the spread of something of the runs.
func (r *Row) over(f func(Run) float64) Spread {
	values := make([]float64, len(r.Runs))
	for i, run := range r.Runs {
		values[i] = f(run)
	}
	return spread(values)
}

func perThousand(requests func(Run) int) func(Run) float64 {
	return func(r Run) float64 { return ratio(1000*float64(requests(r)), float64(r.Customers)) }
}

// row finds or makes a row.
func (r *Report) row(name, contender string) *Row {
	for _, one := range r.Rows {
		if one.Case == name && one.Contender == contender {
			return one
		}
	}
	one := &Row{Case: name, Contender: contender}
	r.Rows = append(r.Rows, one)
	return one
}

// A Figure is one thing that a case is about.
type Figure struct {
	Case  string  `json:"case"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Goal is what the value must reach; empty: it is for information. Reached
	// is nil where there was nothing to compare.
	Goal    string `json:"goal,omitempty"`
	Reached *bool  `json:"reached,omitempty"`
}

// A goal is a limit for a figure; nil: none.
type goal func(f *Figure)

func atLeast(limit float64) goal {
	return func(f *Figure) {
		reached := f.Value >= limit
		f.Goal, f.Reached = fmt.Sprintf("≥ %s %s", number(limit), f.Unit), &reached
	}
}

func atMost(limit float64) goal {
	return func(f *Figure) {
		reached := f.Value <= limit
		f.Goal, f.Reached = fmt.Sprintf("≤ %s %s", number(limit), f.Unit), &reached
	}
}

// missing is a goal to which there is nothing to compare.
func missing(g goal) goal {
	return func(f *Figure) { g(f); f.Reached = nil }
}

func (r *Report) figure(name, what string, value float64, unit string, g goal) {
	f := Figure{Case: name, What: what, Value: value, Unit: unit}
	if g != nil {
		g(&f)
	}
	r.Figures = append(r.Figures, f)
}

// compare notes how many times as quick a row is as another. Where one of them
// was not there, only the goal is left to tell of.
func (r *Report) compare(name, what string, a, b *Row, g goal) {
	if len(a.Runs) == 0 || len(b.Runs) == 0 {
		if g == nil {
			return
		}
		g = missing(g)
	}
	r.figure(name, what, ratio(a.rates().Median, b.rates().Median), "times", g)
}

func (r *Report) wrong(format string, args ...any) {
	r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

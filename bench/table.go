package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

// print writes the report for a person: a table of the runs, one of the goals.
func (r *Report) print(out io.Writer) error {
	m := r.Machine
	fmt.Fprintf(out, "%s, %s/%s, %d CPUs, %d runs", m.Go, m.OS, m.Arch, m.CPUs, r.Runs)
	if r.Short {
		fmt.Fprint(out, "; short: the speeds mean nothing")
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(r.Rows) > 0 {
		fmt.Fprint(out, "\n\nRequests are those per 1,000 customers, about customers; tokens, checks and the first scan are apart.\nRatio is to the first row of the case.\n\n")
		fmt.Fprintln(w, "case\tcontender\tcustomers\tcustomers/s\tmin–max\tratio\tcommercetools\tFluent\tapart\tCPU s\tstand-ins s\tmax MB\tsockets\ttwice\tstale\t")
	}
	var first *Row
	for _, row := range r.Rows {
		if first == nil || first.Case != row.Case {
			first = row
		}
		row.print(w, first)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Figures) > 0 {
		fmt.Fprintln(out)
		fmt.Fprintln(w, "case\twhat\tmeasured\tgoal\treached")
	}
	for _, f := range r.Figures {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Case, f.What, f.measured(), or(f.Goal, "–"), f.verdict())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range r.Wrong {
		fmt.Fprintf(out, "WRONG: %s\n", s)
	}
	return nil
}

func (r *Row) print(w io.Writer, first *Row) {
	if len(r.Runs) == 0 {
		fmt.Fprintf(w, "%s\t%s\t–\t–\t–\t–\t–\t–\t–\t–\t–\t–\t–\t–\t–\t\n", r.Case, r.Contender)
		return
	}
	median := func(f func(Run) float64) string { return number(r.over(f).Median) }
	rates := r.rates()
	compared := "–"
	if x := ratio(rates.Median, first.rates().Median); x > 0 {
		compared = number(x)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s–%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s+%s\t%s\t%s\t\n", r.Case, r.Contender,
		median(func(r Run) float64 { return float64(r.Customers) }),
		number(rates.Median), number(rates.Min), number(rates.Max), compared,
		median(perThousand(func(r Run) int { return r.Commercetools })),
		median(perThousand(func(r Run) int { return r.Fluent })),
		median(func(r Run) float64 { return float64(r.Apart) }),
		median(func(r Run) float64 { return r.CPU }), median(func(r Run) float64 { return r.SidesCPU }),
		median(func(r Run) float64 { return float64(r.RSS) / 1e6 }),
		median(func(r Run) float64 { return float64(r.Sockets[0]) }), median(func(r Run) float64 { return float64(r.Sockets[1]) }),
		median(func(r Run) float64 { return float64(r.Duplicates) }), median(func(r Run) float64 { return float64(r.Stale) }))
}

func (f Figure) measured() string {
	if f.Goal != "" && f.Reached == nil {
		return "–"
	}
	return number(f.Value) + " " + f.Unit
}

func (f Figure) verdict() string {
	switch {
	case f.Reached == nil:
		return "–"
	case *f.Reached:
		return "yes"
	}
	return "NO"
}

// number has three digits that mean something, and thousands set apart.
func number(v float64) string {
	digits := 0
	if a := math.Abs(v); a > 0 && a < 100 {
		digits = max(0, 2-int(math.Floor(math.Log10(a))))
	}
	digits = min(digits, 3)
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			s = strconv.FormatFloat(f, 'f', -1, 64)
		}
		return s
	}
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

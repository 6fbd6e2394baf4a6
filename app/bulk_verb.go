package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

func (c *cli) bulk() *cobra.Command {
	verb := &cobra.Command{
		Use: "bulk", Short: "Bring whole populations to Fluent", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verb.AddCommand(c.bulkCustomers())
	return verb
}

func (c *cli) bulkCustomers() *cobra.Command {
	var spec customer.BulkSpec
	var project string
	var values, detach bool
	verb := c.asJSON(&cobra.Command{
		Use: "customers", Short: "Put all customers of a project into the queue, behind live traffic", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkBulk(spec); err != nil {
				return fmt.Errorf("%w: %w", errUsage, inFlags(err))
			}
			switch {
			case values && !spec.DryRun:
				return fmt.Errorf("%w: --values is of --dry-run", errUsage)
			case values && detach:
				return fmt.Errorf("%w: --values needs the end of the run; leave --detach away", errUsage)
			}
			one, err := c.startJob(cmd, bulkKind, project, spec, detach)
			if err != nil || !spec.DryRun || detach {
				return err
			}
			return c.printCompared(cmd, one, values)
		},
	})
	flags := verb.Flags()
	flags.StringVar(&spec.Where, "where", "", "only customers for which this predicate of commercetools holds; it is shown with the job, so without personal data")
	flags.StringVar(&spec.Store, "store", "", "only customers of the store with this key")
	flags.StringVar(&spec.Since, "since", "", "only customers created at this time or later")
	flags.StringVar(&spec.ChangedSince, "changed-since", "", "only customers changed at this time or later; last: since what is confirmed")
	flags.BoolVar(&spec.DryRun, "dry-run", false, "compare with Fluent and sum up what would change; write nothing")
	flags.BoolVar(&values, "values", false, "with --dry-run: show the values of the examples, which are personal data")
	flags.Float64Var(&spec.Rate, "rate", 0, "customers a second, at most, 0.001 or more; 0: no limit")
	flags.BoolVar(&spec.Force, "force", false, "write also what is known and unchanged")
	flags.BoolVar(&detach, "detach", false, "start it and do not follow it")
	flags.StringVar(&project, "project", "", "commercetools project key; needed where there are several")
	return verb
}

// checkBulk tells what is wrong with a spec before the process is asked.
func checkBulk(spec customer.BulkSpec) error {
	doc, err := spec.Encode()
	if err != nil {
		return err
	}
	parsed, err := customer.ParseBulkSpec(doc)
	if err != nil {
		return err
	}
	return parsed.CheckNew(time.Now())
}

// inFlags tells what is wrong with a key of a spec by the flag that gives it.
func inFlags(err error) error {
	var bad *customer.SpecError
	if !errors.As(err, &bad) {
		return err
	}
	flag := regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(bad.Key, func(s string) string { return "-" + strings.ToLower(s) })
	return fmt.Errorf("--%s: %w", flag, bad.Err)
}

// bulkLine is the progress of a bulk run for a person.
func bulkLine(one job.Job) string {
	var p customer.BulkProgress
	if json.Unmarshal(one.Progress, &p) != nil {
		return string(one.Progress)
	}
	var b strings.Builder
	switch {
	case p.Phase == "done":
		fmt.Fprintf(&b, "%d read", p.Read)
	case p.Total > 0:
		fmt.Fprintf(&b, "%s, %d of %d read", p.Phase, p.Read, p.Total)
	default:
		fmt.Fprintf(&b, "%s, %d read", p.Phase, p.Read)
	}
	if d := p.Differs; d != nil {
		fmt.Fprintf(&b, ": %d to create, %d to update, %d equal, %d skipped, %d dead", d.Create, d.Update, d.Equal, total(d.Skipped), total(d.Dead))
	} else {
		fmt.Fprintf(&b, ": %d written, %d unchanged, ", p.Written, p.Unchanged)
		if p.Merged > 0 {
			fmt.Fprintf(&b, "%d merged, ", p.Merged)
		}
		fmt.Fprintf(&b, "%d skipped, %d dead", p.Skipped, p.Dead)
		if p.Outstanding > 0 {
			fmt.Fprintf(&b, ", %d waiting", p.Outstanding)
		}
	}
	if noneSelected(p) {
		b.WriteString("; none was selected: see select in the configuration")
	}
	b.WriteString(pace(one.State, p))
	return b.String()
}

// noneSelected tells whether a run that is done has left out all that it read.
func noneSelected(p customer.BulkProgress) bool {
	left := int(p.NotSelected)
	if p.Differs != nil {
		left = p.Differs.Skipped["not-selected"]
	}
	return p.Phase == "done" && p.Read > 0 && left == p.Read
}

// pace is how fast a bulk run is, how long it will take, and what it waits for:
// nothing of one that does not run, as of that one this is over.
func pace(s job.State, p customer.BulkProgress) string {
	if s != job.Running {
		return ""
	}
	text := ""
	if p.Phase != "done" && p.Rate > 0 {
		text += fmt.Sprintf("; %.0f/s", p.Rate)
	}
	if p.Phase != "done" && p.ETASeconds > 0 {
		text += fmt.Sprintf(", %v left", time.Duration(p.ETASeconds)*time.Second)
	}
	if p.Why != "" {
		text += "; waits: " + p.Why
	}
	return text
}

// drawn is a job that goes on, in a line of a terminal.
func drawn(one job.Job) string {
	var p customer.BulkProgress
	if !isBulk(one.Kind) || json.Unmarshal(one.Progress, &p) != nil || p.Phase == "" {
		return bar(one) + one.ID + " " + described(one)
	}
	text := fmt.Sprintf("%s%s %d", bar(one), one.ID, p.Read-p.Outstanding)
	if p.Total > 0 {
		text += fmt.Sprintf(" of %d", p.Total)
	}
	if p.Dead > 0 {
		text += fmt.Sprintf(", %d dead", p.Dead)
	}
	return text + pace(one.State, p)
}

func total(by map[string]int) (n int) {
	for _, c := range by {
		n += c
	}
	return n
}

// barWidth is that of a bar, in characters.
const barWidth = 24

// bar draws how far a job is; empty where that is not known.
func bar(one job.Job) string {
	var p customer.BulkProgress
	var r customer.ReconcileReport
	share := 0.0
	switch {
	case isBulk(one.Kind) && json.Unmarshal(one.Progress, &p) == nil && p.Total > 0:
		share = float64(p.Read-p.Outstanding) / float64(p.Total)
	case one.Kind == reconcileKind && json.Unmarshal(one.Progress, &r) == nil && r.Total > 0:
		// Both sides are read, and have about as many.
		share = float64(r.Fluent+r.Read) / float64(2*r.Total)
	default:
		return ""
	}
	share = min(1, share)
	full := min(barWidth, int(share*barWidth))
	return fmt.Sprintf("[%s%s] %3.0f%% ", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*share)
}

// printCompared prints what a dry run has found, field by field.
func (c *cli) printCompared(cmd *cobra.Command, one job.Job, values bool) error {
	var p customer.BulkProgress
	if err := json.Unmarshal(one.Progress, &p); err != nil || p.Differs == nil {
		return fmt.Errorf("%s has no comparison", one.ID)
	}
	d := p.Differs
	if !c.json {
		printComparison(c.out, d)
	}
	if !values {
		return nil
	}
	var ids []string
	for _, name := range d.FieldNames() {
		ids = append(ids, d.Fields[name].Examples...)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		var v struct {
			ID      string                `json:"id"`
			Differs []customer.Difference `json:"differs"`
		}
		path := "/admin/map/" + url.PathEscape(id) + "?diff=true&project=" + url.QueryEscape(one.Project)
		if err := c.ask(cmd, "GET", path, nil, &v); err != nil {
			return err
		}
		if c.json {
			if err := json.NewEncoder(c.out).Encode(v); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(c.out, "\n%s\n", id)
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for _, x := range v.Differs {
			fmt.Fprintf(w, "  %s\t%s\t→ %s\n", x.Field, shown(x.Has), shown(x.Gets))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func shown(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(text)
}

func printComparison(out io.Writer, d *customer.Comparison) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "to create\t%d\n", d.Create)
	adopted := ""
	if d.Adopt > 0 {
		adopted = fmt.Sprintf("\tof these %d carry no commercetools id yet", d.Adopt)
	}
	fmt.Fprintf(w, "to update\t%d%s\n", d.Update, adopted)
	for _, name := range d.FieldNames() {
		f := d.Fields[name]
		fmt.Fprintf(w, "  %s\t%d\t%s\n", name, f.Customers, strings.Join(f.Examples, " "))
	}
	fmt.Fprintf(w, "equal\t%d\n", d.Equal)
	for _, by := range []struct {
		name  string
		count map[string]int
	}{{"skipped", d.Skipped}, {"dead", d.Dead}} {
		for _, reason := range slices.Sorted(maps.Keys(by.count)) {
			fmt.Fprintf(w, "%s (%s)\t%d\n", by.name, reason, by.count[reason])
		}
	}
	_ = w.Flush() // as Fprintf
}

// width is that of a terminal, in characters.
func width(w any) int {
	if f, ok := fileOf(w); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}

// fitting is what of a text fits into a line, beside the cursor.
func fitting(text string, width int) string {
	if runes := []rune(text); len(runes) >= width {
		return string(runes[:max(0, width-2)]) + "…"
	}
	return text
}

package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

func (c *cli) reconcile() *cobra.Command {
	var spec customer.ReconcileSpec
	var project string
	var values, detach bool
	verb := c.asJSON(&cobra.Command{
		Use: "reconcile", Short: "Compare all customers of both sides, and mend what differs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case values && spec.Fix:
				return fmt.Errorf("%w: --values shows what differs, and after --fix nothing does", errUsage)
			case values && detach:
				return fmt.Errorf("%w: --values needs the end of the run; see ct2fluent reconcile show", errUsage)
			}
			follower := c
			if c.json && !detach {
				// A pipeline wants the one document.
				follower = &cli{setup: c.setup, in: c.in, out: io.Discard, err: c.err, file: c.file}
			}
			one, err := follower.startJob(cmd, reconcileKind, project, spec, detach)
			if detach || one.ID == "" {
				return err
			}
			if err != nil && one.State != job.Done {
				if c.json && one.State.Ended() {
					return errors.Join(err, c.printJSON(one))
				}
				return err
			}
			return c.printReconciled(cmd, one, values)
		},
	})
	flags := verb.Flags()
	flags.BoolVar(&spec.Fix, "fix", false, "put what differs into the queue, behind live traffic, and wait until it is worked")
	flags.StringSliceVar(&spec.Fields, "fields", nil, "compare only these, such as lastName,attributes.customerNumber")
	flags.BoolVar(&values, "values", false, "show the values that differ, which are personal data")
	flags.BoolVar(&detach, "detach", false, "start it and do not follow it")
	flags.StringVar(&project, "project", "", "commercetools project key; needed where there are several")
	verb.AddCommand(c.reconcileShow())
	return verb
}

func (c *cli) reconcileShow() *cobra.Command {
	var values bool
	verb := c.asJSON(&cobra.Command{
		Use: "show ID", Short: "Print what a reconciliation has found", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var one job.Job
			if err := c.ask(cmd, "GET", "/admin/jobs/"+url.PathEscape(args[0]), nil, &one); err != nil {
				return err
			}
			if one.Kind != reconcileKind {
				return fmt.Errorf("%w: %s is a job of the kind %s", errUsage, one.ID, one.Kind)
			}
			if one.State != job.Done {
				return fmt.Errorf("%s is %s; see ct2fluent jobs follow %s", one.ID, described(one), one.ID)
			}
			return c.printReconciled(cmd, one, values)
		},
	})
	verb.Flags().BoolVar(&values, "values", false, "show the values that differ now, which are personal data")
	return verb
}

// maxListed is how many customers a person is shown.
const maxListed = 50

// listed is one customer of the list, with values where they were asked for.
type listed struct {
	customer.Drift
	Differs []customer.Difference `json:"differs,omitempty"`
}

// printReconciled prints what was found. The error is that of drift that is
// left, which is no error to be told.
func (c *cli) printReconciled(cmd *cobra.Command, one job.Job, values bool) error {
	var report customer.ReconcileReport
	if err := json.Unmarshal(one.Progress, &report); err != nil {
		return fmt.Errorf("%s has no report: %w", one.ID, err)
	}
	p, err := c.process(cmd.Context())
	if err != nil {
		return err
	}
	each := func(do func(l listed) error) error {
		return p.Lines(cmd.Context(), "/admin/jobs/"+url.PathEscape(one.ID)+"/found", func(line json.RawMessage) error {
			var l listed
			if err := json.Unmarshal(line, &l); err != nil {
				return err
			}
			return do(l)
		})
	}
	withValues := func(l *listed) error {
		if !values || l.Kind != customer.Missing && l.Kind != customer.Different {
			return nil
		}
		return c.valuesOf(cmd, p, one.Project, l)
	}
	if c.json {
		err = c.reconciledJSON(one, report, each, withValues)
	} else {
		err = c.reconciledTable(one, report, each, withValues)
	}
	if err != nil {
		return err
	}
	if report.Left() > 0 {
		return &kindError{errSaid, fmt.Errorf("%d customers are not as they should be", report.Left())}
	}
	return nil
}

// valuesOf reads both sides for a customer, now.
func (c *cli) valuesOf(cmd *cobra.Command, p *control.Client, project string, l *listed) error {
	var v customer.Preview
	path := "/admin/map/" + url.PathEscape(l.ID) + "?diff=true&project=" + url.QueryEscape(project)
	if err := p.Do(cmd.Context(), "GET", path, nil, &v); err != nil {
		if errors.Is(err, control.ErrNotFound) {
			return nil // deleted since
		}
		return err
	}
	for _, d := range v.Differs {
		if l.Kind == customer.Missing || slices.Contains(l.Fields, d.Field) {
			l.Differs = append(l.Differs, d)
		}
	}
	return nil
}

// reconciledJSON writes one document, the list as it comes. Where there is no
// list it writes nothing, and where that ends too early the document says so
// and is closed.
func (c *cli) reconciledJSON(one job.Job, report customer.ReconcileReport, each func(func(listed) error) error, values func(*listed) error) error {
	head := struct {
		Job     string                   `json:"job"`
		Project string                   `json:"project"`
		Drift   int                      `json:"drift"`
		Left    int                      `json:"left"`
		Report  customer.ReconcileReport `json:"report"`
	}{one.ID, one.Project, report.Drift(), report.Left(), report}
	doc, err := json.Marshal(head)
	if err != nil {
		return err
	}
	before := string(doc[:len(doc)-1]) + ",\"found\":[\n"
	err = each(func(l listed) error {
		if err := values(&l); err != nil {
			return err
		}
		line, err := json.Marshal(l)
		if err == nil {
			_, err = fmt.Fprintf(c.out, "%s%s", before, line)
			before = ",\n"
		}
		return err
	})
	begun := before == ",\n"
	switch {
	case err != nil && !begun:
		return err
	case err != nil:
		why, _ := json.Marshal(err.Error()) // a text
		_, wrote := fmt.Fprintf(c.out, "\n],\"error\":%s}\n", why)
		return cmp.Or(wrote, err)
	case !begun:
		_, err = fmt.Fprintln(c.out, before+"]}")
	default:
		_, err = fmt.Fprintln(c.out, "\n]}")
	}
	return err
}

// errEnough ends a list.
var errEnough = errors.New("enough")

func (c *cli) reconciledTable(one job.Job, r customer.ReconcileReport, each func(func(listed) error) error, values func(*listed) error) error {
	fmt.Fprintf(c.out, "project %s: %d customers in commercetools, %d in Fluent\n", one.Project, r.Read, r.Fluent)
	if r.StartedOver > 0 {
		fmt.Fprintf(c.out, "it was stopped before it had found everything, and started over: %s\n", count(r.StartedOver, "time"))
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	row := func(name string, n int, of string) { fmt.Fprintf(w, "%s\t%d\t%s\n", name, n, of) }
	row("equal", r.Equal, "")
	row("missing", r.Found[customer.Missing], "")
	row("different", r.Found[customer.Different], counted(r.Fields))
	row("extra", r.Found[customer.Extra], "")
	row("ambiguous", r.Found[customer.Ambiguous], counted(r.Ambiguous))
	if err := w.Flush(); err != nil {
		return err
	}
	if other := besides(r); other != "" {
		fmt.Fprintf(c.out, "no drift: %s\n", other)
	}
	if r.Drift() > 0 {
		fmt.Fprintln(c.out)
		fmt.Fprintln(w, "KIND\tCUSTOMER\tWHAT")
		n := 0
		err := each(func(l listed) error {
			if n++; n > maxListed {
				return errEnough
			}
			if err := values(&l); err != nil {
				return err
			}
			l.print(w)
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if more := r.Drift() - maxListed; more > 0 {
			fmt.Fprintf(c.out, "and %d more; ct2fluent reconcile show %s --json has all\n", more, one.ID)
		}
	}
	if f := r.Fixed; f != nil {
		fmt.Fprintf(c.out, "\nfixed: %d put into the queue: %d written, %d unchanged, %s skipped, %s dead\n",
			f.Put, f.Written, f.Unchanged, countedOrNone(f.Skipped), countedOrNone(f.Dead))
		if f.Emptied > 0 {
			fmt.Fprintf(c.out, "the commercetools id was taken from %s\n", count(f.Emptied, "second Fluent customer"))
		}
		fmt.Fprintf(c.out, "left: %d\n", f.Left)
	}
	return nil
}

// print writes a line of the table, and a line for each value.
func (l listed) print(w io.Writer) {
	what := strings.Join(l.Fields, ", ")
	switch {
	case l.Kind == customer.Extra:
		what = "Fluent " + strings.Join(l.Fluent, ", ")
		if l.Why != "" {
			what = l.Why + ": " + what
		}
	case l.Why == "twins" && len(l.Fluent) > 1:
		what = fmt.Sprintf("twins: Fluent %s stays, and not %s", l.Fluent[0], strings.Join(l.Fluent[1:], ", "))
	case l.Kind == customer.Ambiguous:
		what = l.Why
		if len(l.Fluent) > 0 {
			what += ": Fluent " + strings.Join(l.Fluent, ", ")
		}
	}
	fmt.Fprintf(w, "%s\t%s\t%s\n", l.Kind, l.ID, what)
	for _, d := range l.Differs {
		fmt.Fprintf(w, "\t  %s\t%s → %s\n", d.Field, inJSON(d.Has), inJSON(d.Gets))
	}
}

// counted writes counts by name, the highest first.
func counted(by map[string]int) string {
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		if by[a] != by[b] {
			return by[b] - by[a]
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %d", name, by[name]))
	}
	return strings.Join(parts, ", ")
}

func countedOrNone(by map[string]int) string {
	if n := total(by); n > 0 {
		return fmt.Sprintf("%d (%s)", n, counted(by))
	}
	return "0"
}

// besides says what else was seen and is no drift.
func besides(r customer.ReconcileReport) string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(r.Unclaimed, "in Fluent without a commercetools id")
	add(r.Elsewhere, "in Fluent of other retailers or projects")
	add(r.Deleted, "in Fluent marked as deleted")
	add(r.NotSelected, "not selected")
	add(r.Gone, "deleted meanwhile")
	if n := total(r.Unmappable); n > 0 {
		parts = append(parts, fmt.Sprintf("%d that cannot be mapped (%s)", n, counted(r.Unmappable)))
	}
	return strings.Join(parts, ", ")
}

// reconcileLine is the progress of a reconciliation for a person.
func reconcileLine(one job.Job) string {
	r := customer.ReconcileReport{}
	if json.Unmarshal(one.Progress, &r) != nil {
		return string(one.Progress)
	}
	text := fmt.Sprintf("%s, %d of %d read", r.Phase, r.Read, max(r.Total, r.Read))
	switch {
	case r.Phase == "done":
		text = fmt.Sprintf("%d compared", r.Read)
	case r.Read == 0:
		text = fmt.Sprintf("%s, %d read", r.Phase, r.Fluent)
	}
	var parts []string
	for _, k := range customer.DriftKinds() {
		parts = append(parts, fmt.Sprintf("%d %s", r.Found[k], k))
	}
	text += ": " + strings.Join(parts, ", ")
	if f := r.Fixed; f != nil {
		text += fmt.Sprintf("; %d put, %d of them waiting, %d left", f.Put, f.Waiting, f.Left)
	}
	if r.StartedOver > 0 {
		text += "; started over"
	}
	if r.Why != "" && one.State == job.Running {
		text += "; waits: " + r.Why
	}
	return text
}

package customer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A Census reads all customers of one commercetools project, and each of them
// again. Errors are *commercetools.Error.
type Census interface {
	Reader
	// Page reads up to limit customers after an id, in commercetools' order.
	Page(ctx context.Context, s commercetools.Selection, after string, limit int) (*commercetools.Page, error)
	// Ordered asks whether a page really is in that order.
	Ordered(ctx context.Context, p *commercetools.Page) error
	// Count estimates how many customers there are.
	Count(ctx context.Context, s commercetools.Selection) (n int, capped bool, err error)
}

// A Directory finds customers of Fluent by Fluent's own ids, too.
type Directory interface {
	Writer
	ByID(ctx context.Context, ids []string, full bool) (map[string]fluent.Customer, error)
}

// A Run is the job that a reconciliation is.
type Run interface {
	// Checkpoint gives what was kept of a part; empty: nothing.
	Checkpoint(ctx context.Context, part string) (string, error)
	// SetCheckpoint keeps it; nil: it is on disk.
	SetCheckpoint(ctx context.Context, part, value string) error
	// Tell tells how far it is: a *[ReconcileReport] that changes no more.
	Tell(progress any)
	Log() *slog.Logger
}

// A ReconcileSpec says what is to be done.
type ReconcileSpec struct {
	// Fix puts what differs into the queue and mends what it can.
	Fix bool `json:"fix,omitempty"`
	// Fields are those that are compared, as a [Difference] has them; empty:
	// all that the mapping writes.
	Fields []string `json:"fields,omitempty"`
}

// ParseReconcileSpec reads a spec and checks it against a mapping. An empty doc
// is the zero spec.
func ParseReconcileSpec(doc json.RawMessage, m *Mapping) (s ReconcileSpec, err error) {
	if len(doc) > 0 {
		d := json.NewDecoder(strings.NewReader(string(doc)))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return s, fmt.Errorf(`want {"fix":true,"fields":["lastName"]}: %w`, err)
		}
	}
	known := m.fields()
	for _, f := range s.Fields {
		attribute := strings.HasPrefix(f, attributeField("")) && len(m.wraps) > 0
		if !attribute && !slices.Contains(known, f) {
			return s, fmt.Errorf("field %q is none that the mapping writes: %s", f, strings.Join(known, ", "))
		}
	}
	return s, nil
}

// A Reconciliation compares both sides of an account. Make one for each run.
type Reconciliation struct {
	Project    string
	RetailerID string
	From       Census
	To         Directory
	Mapping    *Mapping
	// Others are the projects whose customers go to the same retailer.
	Others []Reader
	Ledger ReconcileLedger
	// Put has notifications worked.
	Put func(ctx context.Context, ns ...ct2fluent.Notification) error
	// Totals count what became of the resources that a run has put.
	Totals func(run string) RunTotals
	// EndRun forgets these counts, once they are in the report.
	EndRun func(ctx context.Context, run string) error
	// Waits says why the work of the account does not go on now; empty: it does.
	Waits func() string
	// Waiting is since when the oldest notification waits.
	Waiting func() (since time.Time, any bool)
	// Deleted is the attribute that marks a Fluent customer whose customer was
	// deleted; empty: none is marked, and extra ones are only reported.
	Deleted string
	// Grace is how long a change may be under way. What differs for a customer
	// that was changed within it, or while older notifications wait, is looked
	// at again.
	Grace time.Duration
	// Dir is where what was found is written to.
	Dir string
	// Remembered tells of an earlier run whether its list may still be asked
	// for. Those of the last 20 runs stay in any case. Nil: no other does.
	Remembered func(run string) bool

	Spec ReconcileSpec
}

// A ReconcileLedger is what a reconciliation asks of the ledger.
type ReconcileLedger interface {
	Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error)
	Adopt(ctx context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error
	// EachMemory calls each for all memories of a type, older ones before newer
	// ones of the same resource.
	EachMemory(ctx context.Context, project, typeID string, each func(ref ct2fluent.Ref, m ct2fluent.Memory) error) error
}

// The checkpoints of a run.
const (
	partBegun = "begun" // how often it has begun
	partFound = "found" // the outcome of finding
	partFixed = "fixed" // how far fixing is
)

// kept is what is kept of finding when it is done: the report, and how long the
// file is.
type keptReport struct {
	Report *ReconcileReport `json:"report"`
	Size   int64            `json:"size"`
}

// A reconciliation is one at work.
type reconciliation struct {
	Reconciliation
	run    Run
	id     string
	log    *slog.Logger
	report *ReconcileReport
}

// Run finds what differs, and mends it if it is to. The report is told as the
// run's progress, the last one with the phase "done". What fails for a while is
// tried again. A run that was stopped or killed begins anew while it has not
// found everything yet, and says so; when it has, it goes on with fixing where
// it was, and nothing is counted twice.
func (o Reconciliation) Run(ctx context.Context, id string, run Run) (*ReconcileReport, error) {
	if o.Mapping == nil {
		return nil, errors.New("reconcile: no mapping")
	}
	r := &reconciliation{Reconciliation: o, run: run, id: id, log: run.Log(), report: newReport()}
	done, err := r.resume(ctx)
	if err == nil && !done {
		if err = r.begin(ctx); err == nil {
			err = r.find(ctx)
		}
	}
	if err == nil && r.Spec.Fix && r.report.Phase != phaseDone {
		err = r.fix(ctx)
	}
	if err == nil && r.Spec.Fix {
		err = r.EndRun(ctx, r.name())
	}
	if err == nil {
		r.finish()
	}
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return r.report, err
}

// What a report says it is at.
const (
	phaseFluent        = "reading Fluent"
	phaseLedger        = "reading the ledger"
	phaseCommerceTools = "reading commercetools"
	phaseConfirming    = "confirming"
	phaseFixing        = "fixing"
)

// resume takes up what an earlier run has found, if it had found everything.
func (r *reconciliation) resume(ctx context.Context) (found bool, err error) {
	text, err := r.run.Checkpoint(ctx, partFound)
	if err != nil || text == "" {
		return false, err
	}
	k := keptReport{Report: newReport()}
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return false, fmt.Errorf("read the checkpoint: %w", err)
	}
	name, err := driftFile(r.Dir, r.id)
	if err != nil {
		return false, err
	}
	if is, err := os.Stat(name); err != nil || is.Size() != k.Size {
		r.log.Warn("the file of what was found is gone or damaged")
		return false, nil
	}
	r.report = k.Report
	return true, nil
}

// begin notes that it begins.
func (r *reconciliation) begin(ctx context.Context) error {
	text, err := r.run.Checkpoint(ctx, partBegun)
	if err != nil {
		return err
	}
	times := 0
	if text != "" {
		if err := json.Unmarshal([]byte(text), &times); err != nil {
			return fmt.Errorf("read the checkpoint: %w", err)
		}
		r.log.Warn("it was stopped before everything was found, and starts over", "times", times)
	}
	r.report.StartedOver = times
	if err := r.run.SetCheckpoint(ctx, partFixed, ""); err != nil {
		return err
	}
	return r.run.SetCheckpoint(ctx, partBegun, fmt.Sprint(times+1))
}

// keep notes the report, with the size of the file.
func (r *reconciliation) keep(ctx context.Context, size int64) error {
	doc, err := json.Marshal(keptReport{r.report, size})
	if err != nil {
		return err
	}
	return r.run.SetCheckpoint(ctx, partFound, string(doc))
}

// finish says how it ended.
func (r *reconciliation) finish() {
	r.tell(phaseDone)
	say := r.log.Info
	if r.report.Left() > 0 {
		say = r.log.Warn
	}
	line := []any{"fluent", r.report.Fluent, "commercetools", r.report.Read, "equal", r.report.Equal}
	for _, k := range DriftKinds() {
		line = append(line, string(k), r.report.Found[k])
	}
	if r.Spec.Fix {
		line = append(line, "left", r.report.Left())
	}
	say("reconciled", line...)
}

// tell tells how far it is.
func (r *reconciliation) tell(phase string) {
	r.report.Phase = phase
	r.run.Tell(r.report.copy())
}

func (r *reconciliation) ref(id string) ct2fluent.Ref {
	return ct2fluent.Ref{Project: r.Project, TypeID: "customer", ID: id}
}

// steady calls f until it succeeds, ctx is done, or it fails for good. Both
// sides may be down for a while.
func (r *reconciliation) steady(ctx context.Context, what string, f func() error) error {
	wait, told := firstWait, ""
	for {
		err := f()
		if err == nil {
			if told != "" {
				r.log.Info("reconciliation goes on", "what", what)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		after, lasting := judged(err)
		if lasting {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err.Error() != told {
			told = err.Error()
			r.log.Warn("reconciliation waits, trying again", "what", what, "error", err)
		}
		wait = max(wait, after)
		sleep(ctx, wait)
		wait = min(2*wait, longWait)
	}
}

// judged tells whether an error of either side, or of the ledger, will last,
// and how long the side asked to be left alone.
func judged(err error) (after time.Duration, lasting bool) {
	var ct *commercetools.Error
	if errors.As(err, &ct) {
		return ct.RetryAfter, ct.Kind == commercetools.Refused || ct.Kind == commercetools.NotFound || ct.Code == "unordered"
	}
	var om *fluent.Error
	if errors.As(err, &om) {
		return om.RetryAfter, om.Kind == fluent.Refused || om.Kind == fluent.TooBig
	}
	var at *os.PathError
	return 0, errors.As(err, &at)
}

package customer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/api"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// A bulk run puts all customers of a project into the queue, marked as bulk,
// each with the page's read of it, so that it need not be read again.
//
// It reads by pages of 500 after the last id, several ranges of createdAt at
// once. For each range there is a checkpoint, written before a page is put: the
// place before the page, and its customers. After a kill just these are put
// once more, and the ledger counts each resource of a run once. So in the end
//
//	read = written + unchanged + merged + skipped + dead
//
// holds exactly (promise 2). No more than maxOutstanding wait at any time.
//
// bulk.go is the run, bulk_read.go reads and puts the pages, bulk_pace.go holds
// back and tells how far it is, bulk_delta.go is the run over changes, and
// bulk_dry.go compares instead of putting.

const (
	pageSize       = 500
	maxOutstanding = 10_000
	defaultRanges  = 4
	maxRanges      = 16

	// A range below this size is not worth its own requests.
	rangeSize = 2500

	// So many are put at once: what is put by others waits for a commit.
	putSize = 100

	// A larger customer is read by the handler: the queue's messages have an
	// end.
	maxCarried = 256 << 10

	// queryable is how long a change may take until a query shows it.
	queryable = 60 * time.Second
)

// A Population reads all customers of one commercetools project, page by page;
// see [commercetools.Client]. Errors are *commercetools.Error.
type Population interface {
	Page(ctx context.Context, s commercetools.Selection, after string, limit int) (*commercetools.Page, error)
	Changes(ctx context.Context, s commercetools.Selection, after commercetools.Mark, until string, limit int) (*commercetools.Page, error)
	Count(ctx context.Context, s commercetools.Selection) (n int, capped bool, err error)
	Ranges(ctx context.Context, s commercetools.Selection, n int) ([]commercetools.Selection, error)
	Ordered(ctx context.Context, p *commercetools.Page) error
}

// Counts are what became of the resources of a run.
type Counts struct {
	Written   uint64 `json:"written"`
	Unchanged uint64 `json:"unchanged"`
	Merged    uint64 `json:"merged"`
	Skipped   uint64 `json:"skipped"`
	Dead      uint64 `json:"dead"`
	// NotSelected are those of the skipped that the mapping's select leaves out.
	NotSelected uint64 `json:"notSelected,omitempty"`
}

func (c Counts) settled() int { return int(c.Written + c.Unchanged + c.Merged + c.Skipped + c.Dead) }

// A RunLedger counts what became of the resources of a run, and keeps notes.
type RunLedger interface {
	// Counts gives the resources of a run that are settled.
	Counts(run string) Counts
	// Counted tells which of the resources are among them.
	Counted(ctx context.Context, run string, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]bool, error)
	// EndRun forgets the counts of a run.
	EndRun(ctx context.Context, run string) error
	// Recall gives the memories that there are.
	Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error)
	Notes
}

// A Carrier carries a run over kills: it keeps checkpoints by name and tells
// how far the run is.
type Carrier interface {
	Checkpoint(ctx context.Context, part string) (string, error)
	SetCheckpoint(ctx context.Context, part, value string) error // nil: on disk
	Tell(progress any)                                           // a value that is not changed any more
	Log() *slog.Logger
}

// A Bulk can run over the customers of one account. All fields are required.
type Bulk struct {
	Account Account
	From    Population
	Put     func(ctx context.Context, ns ...ct2fluent.Notification) error
	Ledger  RunLedger
	// Waits says why nothing more is to be put now; empty: it may be.
	Waits func() string
	// Idle tells that the queue has no bulk work of the project left, of this run
	// or of others.
	Idle func() bool
	// Confirming is held while the confirmed moment moves; the same for all runs
	// of a project that may work at once.
	Confirming sync.Locker
}

// A BulkSpec says what a run is over. Its zero value is all customers.
type BulkSpec struct {
	Where        string  `json:"where,omitempty"`        // a predicate in commercetools' language
	Store        string  `json:"store,omitempty"`        // the key of a store
	Since        string  `json:"since,omitempty"`        // created at this time or later
	ChangedSince string  `json:"changedSince,omitempty"` // changed at this time or later; "last": since the confirmed moment
	DryRun       bool    `json:"dryRun,omitempty"`       // compare, and put nothing
	Rate         float64 `json:"rate,omitempty"`         // customers a second, at most, 0.001 or more; 0: no limit
	Ranges       int     `json:"ranges,omitempty"`       // read at once; default 4
	Force        bool    `json:"force,omitempty"`        // write also what is known and unchanged
}

// last is the ChangedSince that goes on where the last one ended.
const last = "last"

// A SpecError says what is wrong with a key of a spec.
type SpecError struct {
	Key string // as JSON has it
	Err error
}

func (e *SpecError) Error() string { return e.Key + ": " + e.Err.Error() }
func (e *SpecError) Unwrap() error { return e.Err }

func specError(key, format string, args ...any) error {
	return &SpecError{key, fmt.Errorf(format, args...)}
}

// ParseBulkSpec reads a spec, strictly: a misspelt key must not widen a run.
// Empty is all customers. The error says what is wrong with it; that of a key is
// a *[SpecError].
func ParseBulkSpec(doc []byte) (BulkSpec, error) {
	var s BulkSpec
	if len(doc) > 0 {
		d := json.NewDecoder(bytes.NewReader(doc))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return s, fmt.Errorf("spec: %w", err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return s, errors.New("spec: more than one JSON value")
		}
	}
	for _, t := range []struct {
		name  string
		value *string
	}{{"since", &s.Since}, {"changedSince", &s.ChangedSince}} {
		if *t.value == "" || t.name == "changedSince" && *t.value == last {
			continue
		}
		at, err := time.Parse(time.RFC3339, *t.value)
		if err != nil {
			return s, specError(t.name, "%q is no time; write it as 2026-01-31T00:00:00Z", *t.value)
		}
		*t.value = at.UTC().Format(timeShape)
	}
	if err := checkRate(s.Rate); err != nil {
		return s, err
	}
	switch {
	case s.Ranges < 0 || s.Ranges > maxRanges:
		return s, specError("ranges", "1 to %d can be read at once", maxRanges)
	case s.DryRun && s.Force:
		return s, specError("force", "a dry run writes nothing")
	}
	if err := s.selection().Check(); err != nil {
		return s, &SpecError{"where", err}
	}
	return s, nil
}

// leastRate is one customer in about a quarter of an hour: below it a run would
// stand still.
const leastRate = 0.001

// checkRate refuses what no run can keep, what is no number (NaN) among it.
func checkRate(rate float64) error {
	if rate == 0 || rate >= leastRate && rate <= math.MaxFloat64 {
		return nil
	}
	return specError("rate", "%v is none; it is a number from %v on, or 0 for no limit", rate, leastRate)
}

// Encode is the spec as a request has it. The error says what is wrong with it,
// as that of [ParseBulkSpec].
func (s BulkSpec) Encode() ([]byte, error) {
	if err := checkRate(s.Rate); err != nil {
		return nil, err // JSON has no words for some of it
	}
	return json.Marshal(s)
}

// CheckNew refuses a parsed spec that nobody means to start now: of times in the
// future. A run that is under way goes on also when the clock was set. The error
// is a *[SpecError].
func (s BulkSpec) CheckNew(now time.Time) error {
	for name, value := range map[string]string{"since": s.Since, "changedSince": s.ChangedSince} {
		if at, err := time.Parse(time.RFC3339, value); err == nil && at.After(now) {
			return specError(name, "%s lies in the future", value)
		}
	}
	return nil
}

func (s BulkSpec) selection() commercetools.Selection {
	return commercetools.Selection{Where: s.Where, Store: s.Store, From: s.Since}
}

// whole tells whether no customer is left out.
func (s BulkSpec) whole() bool { return s.selection() == commercetools.Selection{} }

// BulkProgress is how far a run is. Of a dry run, Outstanding and Counts are 0.
type BulkProgress struct {
	Read        int `json:"read"`
	Total       int `json:"total"` // an estimate until it is done; 0 where it is not known
	Outstanding int `json:"outstanding"`
	Counts
	Rate       float64     `json:"rate"`          // customers a second, of late
	ETASeconds int64       `json:"etaSeconds"`    // 0 where it is not known
	Phase      string      `json:"phase"`         // reading, settling, done
	Why        string      `json:"why,omitempty"` // what it waits for, if it does
	Differs    *Comparison `json:"differs,omitempty"`
}

// The phases of a run.
const (
	phaseReading  = "reading"
	phaseSettling = "settling"
	phaseDone     = "done"
)

// The names of checkpoints.
const (
	planPart  = "plan"
	finalPart = "final"
)

// A bulkPlan is what was found out when a run began.
type bulkPlan struct {
	Began time.Time                 `json:"began"`
	Total int                       `json:"total,omitempty"`
	Parts []commercetools.Selection `json:"parts"`
	// Of a run over changes: those after From, up to Until.
	From  *commercetools.Mark `json:"from,omitempty"`
	Until string              `json:"until,omitempty"`
}

// A bulkRun is a run at work.
type bulkRun struct {
	*Bulk
	id   string
	spec BulkSpec
	keep Carrier
	plan bulkPlan
	pace pace

	mu    sync.Mutex
	read  int // customers that the run has read, each once
	total int
	phase string
	why   string
	sum   []*Comparison // of a dry run, of each part
	moved flight
}

// Run runs to the end, going on from the carrier's checkpoints under the same
// id. What fails for a while it tries again. The error is that of ctx, or one
// that trying again will not mend; it has no personal data.
func (b *Bulk) Run(ctx context.Context, id string, spec BulkSpec, keep Carrier) error {
	ctx = api.Yield(ctx)
	r := &bulkRun{Bulk: b, id: id, spec: spec, keep: keep, phase: phaseReading}
	if r.spec.Ranges == 0 {
		r.spec.Ranges = defaultRanges
	}
	done, err := r.wasDone(ctx)
	if done || err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	parts, err := r.loadParts(ctx)
	if err != nil {
		return err
	}
	telling, stop := context.WithCancel(ctx)
	var teller sync.WaitGroup
	teller.Go(func() { r.tellOn(telling) })
	err = r.work(ctx, parts)
	stop()
	teller.Wait()
	if err != nil {
		r.tell()
		return err
	}
	return r.end(ctx)
}

// work reads all parts and waits until what was put is settled.
func (r *bulkRun) work(ctx context.Context, parts []bulkPart) error {
	reading, ctx2 := errgroup.WithContext(ctx)
	reading.SetLimit(r.spec.Ranges)
	for _, part := range parts {
		reading.Go(func() error { return r.readPart(ctx2, part) })
	}
	if err := reading.Wait(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	if r.spec.DryRun {
		return nil
	}
	r.setPhase(phaseSettling)
	return r.settle(ctx)
}

// wasDone ends a run that had come to its end when the process was killed.
func (r *bulkRun) wasDone(ctx context.Context) (bool, error) {
	var p BulkProgress
	found, err := r.load(ctx, finalPart, &p)
	if err != nil || !found {
		return false, err
	}
	r.keep.Tell(p)
	return true, r.retry(ctx, func() error { return r.Ledger.EndRun(ctx, r.id) })
}

// end notes the final figures before the ledger forgets the run's counts.
func (r *bulkRun) end(ctx context.Context) error {
	r.setPhase(phaseDone)
	p := r.progress()
	p.Total = p.Read
	if err := r.confirmWhole(ctx); err != nil {
		return err
	}
	if err := r.save(ctx, finalPart, p); err != nil {
		return err
	}
	r.keep.Tell(p)
	return r.retry(ctx, func() error { return r.Ledger.EndRun(ctx, r.id) })
}

// prepare finds out what there is to read, unless that was done before.
func (r *bulkRun) prepare(ctx context.Context) error {
	found, err := r.load(ctx, planPart, &r.plan)
	if err != nil {
		return err
	}
	if !found {
		r.plan.Began = time.Now().UTC()
		if r.spec.ChangedSince != "" {
			err = r.planChanges(ctx)
		} else {
			err = r.retry(ctx, func() error { return r.planAll(ctx) })
		}
		if err == nil {
			err = r.save(ctx, planPart, r.plan)
		}
		if err != nil {
			return err
		}
	}
	r.total, r.sum = r.plan.Total, make([]*Comparison, len(r.plan.Parts))
	return nil
}

// planAll parts the customers into ranges.
func (r *bulkRun) planAll(ctx context.Context) error {
	s := r.spec.selection()
	n, capped, err := r.From.Count(ctx, s)
	if err != nil {
		return fmt.Errorf("count the customers: %w", err)
	}
	most := maxRanges * 4
	if !capped {
		most = n / rangeSize
	}
	r.plan.Total, r.plan.Parts = n, []commercetools.Selection{s}
	if parts := min(most, 4*r.spec.Ranges); parts > 1 && r.spec.Ranges > 1 {
		if r.plan.Parts, err = r.From.Ranges(ctx, s, parts); err != nil {
			return fmt.Errorf("part the customers: %w", err)
		}
	}
	if !capped {
		return nil
	}
	r.plan.Total = 0
	for _, part := range r.plan.Parts {
		n, capped, err := r.From.Count(ctx, part)
		if err != nil {
			return fmt.Errorf("count the customers: %w", err)
		}
		if capped {
			r.plan.Total = 0
			return nil
		}
		r.plan.Total += n
	}
	return nil
}

// load reads a checkpoint.
func (r *bulkRun) load(ctx context.Context, part string, v any) (found bool, err error) {
	text := ""
	err = r.retry(ctx, func() (err error) {
		text, err = r.keep.Checkpoint(ctx, part)
		return err
	})
	if err != nil || text == "" {
		return false, err
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return false, fmt.Errorf("read the checkpoint of %s: %w", part, err)
	}
	return true, nil
}

// save writes a checkpoint.
func (r *bulkRun) save(ctx context.Context, part string, v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return r.retry(ctx, func() error { return r.keep.SetCheckpoint(ctx, part, string(doc)) })
}

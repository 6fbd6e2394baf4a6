// Package ledgertest is the suite that any ledger must pass, whatever it is
// kept in.
//
// Run opens ledgers through a Harness and gives them batches with a handler
// that the test plays. What a ledger says of itself is asked before and after a
// stop, after a crash, and of a second one that is opened on the same place, as
// another process would.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// Options of a ledger under test.
type Options struct {
	MaxAttempts int
	Floor       func(project string) uint64
	Put         func(ctx context.Context, ns ...ct2fluent.Notification) error
}

// A Ledger is one under test.
type Ledger interface {
	Settle(h ct2fluent.Handler) ct2fluent.Handler
	Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error)
	Remember(ctx context.Context, ref ct2fluent.Ref, m ct2fluent.Memory)
	Intend(ctx context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error
	Adopt(ctx context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error
	Known(ctx context.Context, project string) (bool, error)
	Mark(ctx context.Context, name string) (string, error)
	SetMark(ctx context.Context, name, value string) error
	Replay(ctx context.Context, seqs ...uint64) (int, error)
	Counted(ctx context.Context, run string, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]bool, error)
	EndRun(ctx context.Context, run string) error

	// Counts are the settled ones by outcome, "skipped known" with the reason;
	// and the dead letters that lie here as "lying". No zeros.
	Counts() map[string]uint64
	// RunCounts are those of the resources of a run, without "lying".
	RunCounts(run string) map[string]uint64
	// Close ends the ledger, and all on its place, in order.
	Close()
	// Crash ends them so that nothing more is kept, as a kill does.
	Crash()
}

// A Harness makes ledgers.
type Harness struct {
	// Open opens the ledger that is kept in place, a directory of the test's.
	// It is opened again after Close or Crash, or while another is open.
	Open func(t *testing.T, place string, o Options) Ledger
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, test := range []struct {
		name string
		run  func(d *desk)
	}{
		{"each outcome counts once", outcomes},
		{"what waits does not count", waits},
		{"tried too often is dead", attempts},
		{"what was settled is not worked again", settledOnce},
		{"what the queue never hands out again is forgotten", pruned},
		{"a memory is kept with the outcome", memory},
		{"a floor and a username are never taken back", floorStays},
		{"an intent is kept before the outcome", intent},
		{"a hash proves nothing after a crash", crash},
		{"a hash proves nothing after an unclear write", unclear},
		{"who was overtaken has the resource worked again", overtaken},
		{"who was overtaken and sent nothing lets go", overtakenUnsent},
		{"a dead letter is replayed once", replay},
		{"adopted, known and marked", adopted},
		{"a run counts each resource once", runCountsOnce},
		{"a run counts what became of the one it was merged into", runCountsFate},
		{"a run that has not ended is remembered over any number of others", runOutlivesOthers},
		{"what a run has counted is remembered with the resource", runIsRemembered},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &desk{t: t, h: h, place: t.TempDir()}
			d.open()
			test.run(d)
		})
	}
}

// A desk opens ledgers and plays the queue and the handler.
type desk struct {
	t      *testing.T
	h      Harness
	place  string
	ledger Ledger
	floor  uint64
	put    []ct2fluent.Notification
}

func (d *desk) open() Ledger {
	d.ledger = d.another()
	return d.ledger
}

func (d *desk) another() Ledger {
	return d.h.Open(d.t, d.place, Options{
		MaxAttempts: 3,
		Floor:       func(string) uint64 { return d.floor },
		Put: func(_ context.Context, ns ...ct2fluent.Notification) error {
			d.put = append(d.put, ns...)
			return nil
		},
	})
}

func (d *desk) restart() { d.ledger.Close(); d.open() }
func (d *desk) crash()   { d.ledger.Crash(); d.open() }

var (
	errFault = errors.New("fault")
	jane     = ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "jane"}
	john     = ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "john.*>"}
)

func note(seq uint64, ref ct2fluent.Ref, version int64) ct2fluent.Notification {
	return ct2fluent.Notification{
		ID: fmt.Sprint("id-", seq), Ref: ref, Kind: "ResourceUpdated", Name: "ResourceUpdated", Version: version,
		Body: fmt.Appendf(nil, "{%d}\n", seq), Received: time.Unix(int64(seq), 0).UTC(), Seq: seq,
	}
}

// settles has a ledger settle a batch and checks what it says of each, by the
// names of the outcomes.
func (d *desk) settles(l Ledger, f func(ctx context.Context, n ct2fluent.Notification) error, batch []ct2fluent.Notification, want ...string) {
	d.t.Helper()
	h := ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		errs := make([]error, len(batch))
		for i, n := range batch {
			errs[i] = f(ctx, n)
		}
		return errs
	})
	var got []string
	for _, err := range l.Settle(h).Handle(d.t.Context(), batch) {
		o, _, _ := ct2fluent.OutcomeOf(err)
		got = append(got, o.String())
	}
	if !slices.Equal(got, want) {
		d.t.Errorf("the queue is told %q, want %q", got, want)
	}
}

func says(err error) func(context.Context, ct2fluent.Notification) error {
	return func(context.Context, ct2fluent.Notification) error { return err }
}

// remembers answers err and has m remembered.
func remembers(l Ledger, m ct2fluent.Memory, err error) func(context.Context, ct2fluent.Notification) error {
	return func(ctx context.Context, n ct2fluent.Notification) error {
		l.Remember(ctx, n.Ref, m)
		return err
	}
}

func batch(ns ...ct2fluent.Notification) []ct2fluent.Notification { return ns }

func (d *desk) counts(want map[string]uint64) {
	d.t.Helper()
	if got := d.ledger.Counts(); !maps.Equal(got, want) {
		d.t.Errorf("counted %v, want %v", got, want)
	}
}

func (d *desk) recalls(ref ct2fluent.Ref, want ct2fluent.Memory) {
	d.t.Helper()
	ms, err := d.ledger.Recall(d.t.Context(), ref)
	if err != nil {
		d.t.Fatal(err)
	}
	if got := ms[ref]; !reflect.DeepEqual(got, want) {
		d.t.Errorf("%s: remembered is %+v, want %+v", ref.ID, got, want)
	}
}

func outcomes(d *desk) {
	for i, tt := range []struct {
		say  error
		want string
	}{
		{nil, "written"}, {ct2fluent.Unchanged, "unchanged"}, {ct2fluent.Merged, "merged"}, {ct2fluent.Skip("known"), "skipped"},
		{ct2fluent.Reject(ct2fluent.WithReason("mapping", errFault)), "dead"},
	} {
		d.settles(d.ledger, says(tt.say), batch(note(uint64(i+1), jane, 1)), tt.want)
	}
	want := map[string]uint64{"written": 1, "unchanged": 1, "merged": 1, "skipped known": 1, "dead mapping": 1, "lying": 1}
	d.counts(want)
	d.restart()
	d.counts(want)
	d.crash()
	d.counts(want)
}

func waits(d *desk) {
	for i, tt := range []struct {
		say  error
		want string
	}{
		{errFault, "retry"}, {ct2fluent.RetryAfter(1, errFault), "later"},
		{ct2fluent.Unavailable(errFault), "held"}, {ct2fluent.Unclear(errFault), "unclear"},
	} {
		d.settles(d.ledger, says(tt.say), batch(note(uint64(i+1), jane, 1)), tt.want)
	}
	d.counts(map[string]uint64{})
	d.crash()
	d.counts(map[string]uint64{})
}

func attempts(d *desk) {
	n := note(1, jane, 1)
	n.Attempts = 2
	for _, err := range []error{ct2fluent.Unavailable(errFault), ct2fluent.RetryAfter(1, errFault), ct2fluent.Unclear(errFault)} {
		d.settles(d.ledger, says(err), batch(n), d.name(err))
	}
	d.counts(map[string]uint64{})
	d.settles(d.ledger, says(errFault), batch(n), "dead")
	d.counts(map[string]uint64{"dead attempts": 1, "lying": 1})
}

func (d *desk) name(err error) string {
	o, _, _ := ct2fluent.OutcomeOf(err)
	return o.String()
}

func settledOnce(d *desk) {
	d.settles(d.ledger, says(nil), batch(note(1, jane, 1), note(2, john, 1)), "written", "written")
	d.settles(d.ledger, says(ct2fluent.Skip("known")), batch(note(3, jane, 1)), "skipped")
	d.crash()
	worked := []uint64{}
	f := func(_ context.Context, n ct2fluent.Notification) error {
		worked = append(worked, n.Seq)
		return nil
	}
	again := note(3, jane, 1)
	again.Again = true
	d.settles(d.ledger, f, batch(note(1, jane, 1), again, note(4, jane, 2), note(2, john, 1)), "merged", "merged", "written", "merged")
	if !slices.Equal(worked, []uint64{4}) {
		d.t.Errorf("worked %v, want 4 alone", worked)
	}
	d.counts(map[string]uint64{"written": 3, "skipped known": 1})
}

func pruned(d *desk) {
	d.settles(d.ledger, says(nil), batch(note(1, jane, 1), note(2, jane, 2)), "written", "written")
	d.floor = 1
	d.settles(d.ledger, says(nil), batch(note(3, jane, 3)), "written")
	// 1 would be worked again, but the queue never brings it; 2 it may.
	d.settles(d.ledger, says(nil), batch(note(2, jane, 2)), "merged")
	d.settles(d.ledger, says(nil), batch(note(1, jane, 1)), "written")
}

func memory(d *desk) {
	m := ct2fluent.Memory{Floor: 3, Version: 3, Username: "u", Hash: "h", Mapping: "m", Attributes: []string{"a"}}
	d.settles(d.ledger, remembers(d.ledger, m, nil), batch(note(1, jane, 3)), "written")
	d.recalls(jane, m)
	d.recalls(john, ct2fluent.Memory{})
	d.restart()
	d.recalls(jane, m)
	d.settles(d.ledger, func(ctx context.Context, n ct2fluent.Notification) error {
		ms, err := d.ledger.Recall(ctx, n.Ref)
		if err != nil || !reflect.DeepEqual(ms[n.Ref], m) {
			d.t.Errorf("the handler is told %+v, %v", ms[n.Ref], err)
		}
		return ct2fluent.Skip("known")
	}, batch(note(2, jane, 3)), "skipped")
	d.recalls(jane, m)
	// What did not settle is not claimed.
	next := ct2fluent.Memory{Floor: 4, Version: 4, Username: "u", Hash: "h4", Mapping: "m"}
	d.settles(d.ledger, remembers(d.ledger, next, errFault), batch(note(3, jane, 4)), "retry")
	d.recalls(jane, ct2fluent.Memory{Floor: 4, Version: 3, Username: "u"})
}

func floorStays(d *desk) {
	d.settles(d.ledger, remembers(d.ledger, ct2fluent.Memory{Floor: 7, Version: 7, Username: "u", Hash: "h"}, nil), batch(note(1, jane, 7)), "written")
	d.settles(d.ledger, remembers(d.ledger, ct2fluent.Memory{Version: 5, Hash: "h5"}, nil), batch(note(2, jane, 5)), "written")
	d.recalls(jane, ct2fluent.Memory{Floor: 7, Version: 5, Username: "u", Hash: "h5"})
}

func intent(d *desk) {
	f := func(ctx context.Context, n ct2fluent.Notification) error {
		if err := d.ledger.Intend(ctx, map[ct2fluent.Ref]ct2fluent.Memory{jane: {Floor: 2, Version: 2, Hash: "h", Username: "u"}}); err != nil {
			d.t.Error(err)
		}
		d.ledger.Crash()
		return nil
	}
	d.ledger.Settle(ct2fluent.Each(f)).Handle(d.t.Context(), batch(note(1, jane, 2)))
	d.open()
	d.recalls(jane, ct2fluent.Memory{Floor: 2, Username: "u"})
	if err := d.ledger.Intend(d.t.Context(), map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: "x"}}); err == nil {
		d.t.Error("an intent outside Handle is taken")
	}
}

func crash(d *desk) {
	m := ct2fluent.Memory{Floor: 3, Version: 3, Username: "u", Hash: "h", Mapping: "m"}
	d.settles(d.ledger, remembers(d.ledger, m, nil), batch(note(1, jane, 3)), "written")
	d.crash()
	doubtful := ct2fluent.Memory{Floor: 3, Version: 3, Username: "u", Mapping: "m"}
	d.recalls(jane, doubtful)
	d.restart()
	d.recalls(jane, doubtful)
	d.settles(d.ledger, remembers(d.ledger, m, nil), batch(note(2, jane, 3)), "written")
	d.restart()
	d.recalls(jane, m)
}

func unclear(d *desk) {
	m := ct2fluent.Memory{Floor: 3, Version: 3, Username: "u", Hash: "h", Mapping: "m"}
	d.settles(d.ledger, remembers(d.ledger, m, nil), batch(note(1, jane, 3)), "written")
	d.settles(d.ledger, says(ct2fluent.Unclear(errFault)), batch(note(2, jane, 4)), "unclear")
	d.recalls(jane, ct2fluent.Memory{Floor: 3, Username: "u"})
	d.restart()
	d.recalls(jane, ct2fluent.Memory{Floor: 3, Username: "u"})
}

func overtaken(d *desk) {
	other := d.another()
	m := ct2fluent.Memory{Floor: 5, Version: 5, Username: "theirs", Hash: "theirs"}
	f := func(ctx context.Context, n ct2fluent.Notification) error {
		if n.Ref == jane {
			d.settles(other, remembers(other, m, nil), batch(note(1, jane, 5)), "written")
		}
		return remembers(d.ledger, ct2fluent.Memory{Version: 4, Username: "ours", Hash: "ours"}, nil)(ctx, n)
	}
	d.settles(d.ledger, f, batch(note(2, jane, 4), note(3, john, 4)), "later", "written")
	d.recalls(jane, m)
	if len(d.put) != 1 || d.put[0].Ref != jane || !d.put[0].Force {
		d.t.Errorf("put %+v, want jane once, forced", d.put)
	}
	d.open()
	d.counts(map[string]uint64{"written": 2})
}

func overtakenUnsent(d *desk) {
	other := d.another()
	f := func(context.Context, ct2fluent.Notification) error {
		d.settles(other, says(nil), batch(note(1, jane, 5)), "written")
		return ct2fluent.Unchanged
	}
	d.settles(d.ledger, f, batch(note(2, jane, 4)), "later")
	if len(d.put) > 0 {
		d.t.Errorf("put %+v, and nothing was sent", d.put)
	}
	d.open()
	d.counts(map[string]uint64{"written": 1})
}

func replay(d *desk) {
	d.settles(d.ledger, says(ct2fluent.Reject(ct2fluent.WithReason("mapping", errFault))), batch(note(1, jane, 1), note(2, john, 1)), "dead", "dead")
	d.restart()
	for _, want := range []int{1, 0} {
		if n, err := d.ledger.Replay(d.t.Context(), 2); n != want || err != nil {
			d.t.Errorf("replayed %d, %v, want %d", n, err, want)
		}
	}
	if len(d.put) != 1 || d.put[0].Ref != john || !d.put[0].Force || string(d.put[0].Body) != "{2}\n" {
		d.t.Errorf("put %+v, want john forced, with the body", d.put)
	}
	d.counts(map[string]uint64{"dead mapping": 2, "lying": 1})
	d.crash()
	d.counts(map[string]uint64{"dead mapping": 2, "lying": 1})
}

func adopted(d *desk) {
	known := func(want bool) {
		d.t.Helper()
		if got, err := d.ledger.Known(d.t.Context(), "p"); got != want || err != nil {
			d.t.Errorf("known: %v, %v, want %v", got, err, want)
		}
	}
	d.settles(d.ledger, says(ct2fluent.Skip("filtered")), batch(note(1, jane, 1)), "skipped")
	known(false)
	for _, u := range []string{"first", "second"} {
		if err := d.ledger.Adopt(d.t.Context(), map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: u}, john: {Username: u}}); err != nil {
			d.t.Fatal(err)
		}
	}
	known(true)
	d.recalls(jane, ct2fluent.Memory{Username: "first"})
	d.recalls(john, ct2fluent.Memory{Username: "first"})
	for _, v := range []string{"from 1", "done"} {
		if err := d.ledger.SetMark(d.t.Context(), "fill/p", v); err != nil {
			d.t.Fatal(err)
		}
	}
	d.crash()
	for name, want := range map[string]string{"fill/p": "done", "fill/q": ""} {
		if got, err := d.ledger.Mark(d.t.Context(), name); got != want || err != nil {
			d.t.Errorf("mark %s is %q, %v, want %q", name, got, err, want)
		}
	}
}

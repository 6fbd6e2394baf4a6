package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
)

// Rule 7: another process settles the resource while this one works it.
func TestOvertaken(t *testing.T) {
	claim := ct2fluent.Memory{Version: 1, Hash: "mine", Username: "mine"}
	unreadable := ct2fluent.Reject(ct2fluent.WithReason("unreadable", errFault))
	tests := []struct {
		name   string
		say    error
		told   bool // a memory
		fault  bool // the notification's
		same   bool // the other settled the very notification
		last   bool // it is the last attempt
		putErr error

		want   ct2fluent.Outcome
		put    bool   // the resource is put once more
		again  bool   // when what was sent can no longer land (rule 3)
		totals string // with what the other settled
	}{
		{name: "written", told: true, want: ct2fluent.Later, put: true, totals: "1 written"},
		{name: "written, and the queue is full", told: true, putErr: ct2fluent.ErrFull, want: ct2fluent.Doubtful, totals: "1 written"},
		{name: "written by both", told: true, same: true, want: ct2fluent.IsMerged, put: true, totals: "1 written"},
		{name: "written by both, and the queue is full", told: true, same: true, putErr: ct2fluent.ErrFull, want: ct2fluent.Doubtful, totals: "1 written"},
		{name: "unclear", say: ct2fluent.Unclear(errFault), want: ct2fluent.Doubtful, put: true, again: true, totals: "1 written"},
		{name: "unclear, and written by the other", say: ct2fluent.Unclear(errFault), same: true, want: ct2fluent.IsMerged, put: true, again: true, totals: "1 written"},
		{name: "unclear for the last time", say: ct2fluent.Unclear(errFault), last: true, want: ct2fluent.Later, put: true, again: true, totals: "1 written"},
		{name: "a fault", say: errFault, want: ct2fluent.Retry, put: true, totals: "1 written"},
		{name: "refused", say: ct2fluent.Reject(errFault), want: ct2fluent.Later, put: true, totals: "1 written"},
		{name: "unchanged: compared with what was there before", say: ct2fluent.Unchanged, want: ct2fluent.Later, totals: "1 written"},
		{name: "held", say: ct2fluent.Unavailable(errFault), told: true, want: ct2fluent.Held, totals: "1 written"},
		{name: "skipped", say: ct2fluent.Skip("filtered"), want: ct2fluent.Skipped, totals: "1 written, 1 skipped"},
		{name: "skipped by both", say: ct2fluent.Skip("filtered"), same: true, want: ct2fluent.IsMerged, totals: "1 written"},
		{name: "skipped, with a memory", say: ct2fluent.Skip("gone"), told: true, want: ct2fluent.Later, totals: "1 written"},
		{name: "unreadable", say: unreadable, fault: true, want: ct2fluent.Dead, totals: "1 written, 1 dead, 1 lying"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.putErr = tt.putErr
			theirs, mine := note(1, 5), note(2, 4)
			mine.Bulk, mine.Attempts = true, 3
			if tt.fault {
				mine.Fault = "unreadable"
			}
			if tt.last {
				mine.Attempts = 8
			}
			if tt.same {
				theirs.Seq = mine.Seq
			}
			other := r.another()
			f := func(ctx context.Context, n ct2fluent.Notification) error {
				wantOutcomes(t, settleBy(t, other, func(ctx context.Context, n ct2fluent.Notification) error {
					other.Remember(ctx, n.Ref, ct2fluent.Memory{Version: 5, Hash: "theirs", Username: "theirs"})
					return nil
				}, theirs), ct2fluent.Written)
				if tt.told {
					r.ledger.Remember(ctx, n.Ref, claim)
				}
				return tt.say
			}
			wantOutcomes(t, r.settle(f, mine), tt.want)
			if m := r.memory(jane); m.Hash != "theirs" || m.Username != "theirs" {
				t.Errorf("%+v is remembered: the other's was lost", m)
			}
			if got := len(r.put) == 1; got != tt.put {
				t.Fatalf("put %d times, want it: %v", len(r.put), tt.put)
			}
			if tt.put {
				p := r.put[0]
				if !p.Force || p.Again != tt.again || p.Bulk || p.Seq != 0 || p.Attempts != 0 || p.Ref != jane || string(p.Body) != `{"version":4}` {
					t.Errorf("put %+v, want it forced and live, with its body", p)
				}
			}
			r.ledger = r.another()
			r.wantTotals(tt.totals)
		})
	}
}

// A notification comes again that another process has settled: what this one
// had sent for it may have landed on top. It is worked once more, whatever comes
// of it, and not counted. Where nobody else can have settled it, its
// acknowledgement was lost, and that is all.
func TestSettledByAnother(t *testing.T) {
	tests := []struct {
		name   string
		alone  bool // nobody else has the ledger
		first  bool // it does not come again
		fault  string
		say    error
		putErr error
		worked bool
		want   ct2fluent.Outcome
		told   string // to the metrics
		put    bool   // what cannot be counted as dead becomes so by another
	}{
		{name: "comes for the first time", first: true, want: ct2fluent.IsMerged},
		{name: "nobody else is there", alone: true, want: ct2fluent.IsMerged},
		{name: "unreadable: nothing was sent", fault: "unreadable", want: ct2fluent.IsMerged},
		{name: "written", worked: true, want: ct2fluent.Written},
		{name: "filtered", worked: true, say: ct2fluent.Skip("filtered"), want: ct2fluent.Skipped},
		{name: "refused", worked: true, say: ct2fluent.Reject(errFault), want: ct2fluent.Dead, put: true},
		{name: "refused, and the queue is full", worked: true, say: ct2fluent.Reject(errFault), putErr: ct2fluent.ErrFull, want: ct2fluent.Later, told: "later 1"},
		{name: "a fault", worked: true, say: errFault, want: ct2fluent.Retry, told: "retry 1"},
		{name: "unclear", worked: true, say: ct2fluent.Unclear(errFault), want: ct2fluent.Doubtful, told: "unclear 1"},
		{name: "held", worked: true, say: ct2fluent.Unavailable(errFault), want: ct2fluent.Held, told: "held 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			n := note(1, 1)
			n.Run, n.Own = "bulk-1", true
			wantOutcomes(t, settleBy(t, r.another(), say(nil), n), ct2fluent.Written)
			told := ""
			r.o.Shared, r.putErr = !tt.alone, tt.putErr
			r.o.Observe.Outcome = func(o ct2fluent.Outcome, _ string, n int) { told += fmt.Sprint(o, " ", n) }
			r.ledger = r.another()
			n.Again, n.Fault = !tt.first, tt.fault
			worked := false
			f := func(context.Context, ct2fluent.Notification) error {
				worked = true
				return tt.say
			}
			wantOutcomes(t, r.settle(f, n), tt.want)
			if put := len(r.put) == 1; worked != tt.worked || told != tt.told || put != tt.put {
				t.Errorf("worked %v, told %q, put %v; want %v, %q, %v", worked, told, put, tt.worked, tt.told, tt.put)
			}
			r.wantTotals("1 written")
			if got := totalsText(r.ledger.RunTotals("bulk-1")); got != "1 written" {
				t.Errorf("the run counts %s", got)
			}
		})
	}
}

// What had died before a kill, and dies again, has its dead letter already.
func TestTheDeadDieOnce(t *testing.T) {
	r := newRig(t)
	r.o.Shared = true
	r.ledger = r.another()
	n := note(1, 1)
	refuse := say(ct2fluent.Reject(errFault))
	wantOutcomes(t, r.settle(refuse, n), ct2fluent.Dead)
	n.Again = true
	wantOutcomes(t, r.settle(refuse, n), ct2fluent.Dead)
	if len(r.put) > 0 {
		t.Errorf("put %+v", r.put)
	}
	r.wantTotals("1 dead, 1 lying")
}

// Another process has settled so many since that its queue's floor is above what
// this one has at hand: that is counted all the same.
func TestSettledBelowTheFloorOfAnother(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("again: %v", again), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.o.Shared = true
			r.ledger = r.another()
			other := r.another()
			n := note(1, 1)
			n.Again = again
			f := func(context.Context, ct2fluent.Notification) error {
				wantOutcomes(t, settleBy(t, other, say(nil), note(1, 1)), ct2fluent.Written)
				r.floor = 1
				wantOutcomes(t, settleBy(t, other, say(nil), note(2, 2)), ct2fluent.Written)
				return nil
			}
			wantOutcomes(t, r.settle(f, n), ct2fluent.IsMerged)
			r.settle(say(nil), n)
			r.ledger = r.another()
			r.wantTotals("2 written")
		})
	}
}

// Who repairs may be overtaken as well.
func TestRepairIsOvertaken(t *testing.T) {
	r := newRig(t)
	other := r.another()
	wantOutcomes(t, settleBy(t, other, say(nil), note(1, 1)), ct2fluent.Written)
	r.o.Shared = true
	r.ledger = r.another()
	again := note(1, 1)
	again.Again = true
	f := func(context.Context, ct2fluent.Notification) error {
		wantOutcomes(t, settleBy(t, other, say(nil), note(2, 2)), ct2fluent.Written)
		return nil
	}
	wantOutcomes(t, r.settle(f, again), ct2fluent.IsMerged)
	if len(r.put) != 1 || !r.put[0].Force {
		t.Errorf("put %+v, want the customer once more", r.put)
	}
	r.ledger = r.another()
	r.wantTotals("2 written")
}

// What is put once more is one that may have sent: another may be of a kind that
// a filter keeps out.
func TestOvertakenPutsWhatMayHaveSent(t *testing.T) {
	r := newRig(t)
	other := r.another()
	f := func(_ context.Context, n ct2fluent.Notification) error {
		if n.Seq == 3 {
			return ct2fluent.Skip("filtered")
		}
		settleBy(t, other, say(nil), note(1, 5))
		return nil
	}
	sent, filtered := note(2, 4), note(3, 4)
	filtered.Name = "CustomerAddressAdded"
	wantOutcomes(t, r.settle(f, sent, filtered), ct2fluent.Later, ct2fluent.Later)
	if len(r.put) != 1 || r.put[0].Name != sent.Name {
		t.Errorf("put %+v, want %s", r.put, sent.Name)
	}
}

// One that is overtaken does not keep the others of its group.
func TestOvertakenIsPartedFromTheRest(t *testing.T) {
	r := newRig(t)
	other := r.another()
	f := func(_ context.Context, n ct2fluent.Notification) error {
		if n.Ref == jane {
			settleBy(t, other, say(nil), note(1, 1))
		}
		return nil
	}
	wantOutcomes(t, r.settle(f, note(2, 2), of(john, note(3, 1))), ct2fluent.Later, ct2fluent.Written)
	r.wantTotals("2 written")
}

// The totals are everybody's: another process has moved them.
func TestTotalsOvertaken(t *testing.T) {
	r := newRig(t)
	other := r.another()
	wantOutcomes(t, settleBy(t, other, say(ct2fluent.Skip("known")), note(1, 1)), ct2fluent.Skipped)
	wantOutcomes(t, r.settle(say(nil), of(john, note(2, 1))), ct2fluent.Written)
	wantOutcomes(t, settleBy(t, other, say(nil), note(3, 1)), ct2fluent.Written)
	if got := totalsText(other.Totals()); got != "2 written, 1 skipped" {
		t.Errorf("totals are %q", got)
	}
}

// An intent that is overtaken is an error: nothing may be created.
func TestIntendOvertaken(t *testing.T) {
	r := newRig(t)
	other := r.another()
	var ierr error
	f := func(ctx context.Context, n ct2fluent.Notification) error {
		settleBy(t, other, say(nil), note(1, 1))
		ierr = r.ledger.Intend(ctx, map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: "x"}})
		return ct2fluent.RetryAfter(1, ierr)
	}
	wantOutcomes(t, r.settle(f, note(2, 2)), ct2fluent.Later)
	if ierr == nil || r.memory(jane).Username != "" {
		t.Errorf("Intend: %v, and %+v is remembered", ierr, r.memory(jane))
	}
}

// A disk that is full: nothing is lost, nothing counted, and what was
// remembered before proves nothing until it is written anew.
func TestAppendFails(t *testing.T) {
	r := newRig(t)
	m := ct2fluent.Memory{Version: 1, Hash: "h1", Username: "u"}
	r.settle(r.remembering(m, nil), note(1, 1), of(john, note(2, 1)))
	r.append = fails
	f := func(ctx context.Context, n ct2fluent.Notification) error {
		if n.Ref == jane {
			return ct2fluent.Unavailable(errFault)
		}
		r.ledger.Remember(ctx, n.Ref, ct2fluent.Memory{Version: 2, Hash: "h2", Username: "u"})
		return nil
	}
	wantOutcomes(t, r.settle(f, note(3, 2), of(john, note(4, 2))), ct2fluent.Held, ct2fluent.Doubtful)
	r.wantTotals("2 written")
	if got := r.memory(john); got.Hash != "" || got.Version != 1 || got.Username != "u" {
		t.Errorf("%+v is remembered, want no hash: an unknown write may have been sent", got)
	}
	// The note outlives an orderly stop, once something can be written again,
	// also over totals that another has moved.
	r.append = nil
	settleBy(t, r.another(), say(ct2fluent.Skip("known")), of(ct2fluent.Ref{ID: "else"}, note(6, 1)))
	wantOutcomes(t, r.settle(say(ct2fluent.Skip("known")), note(5, 1)), ct2fluent.Skipped)
	r.restart()
	if got := r.memory(john); got.Hash != "" {
		t.Errorf("after a restart %+v is remembered, want no hash", got)
	}
	wantOutcomes(t, r.settle(f, of(john, note(4, 2))), ct2fluent.Written)
	if got := r.memory(john); got.Hash != "h2" {
		t.Errorf("%+v is remembered, want what was written anew", got)
	}
	r.wantTotals("3 written, 2 skipped")
}

// The answer of JetStream is lost, and the batch is there.
func TestLostAnswer(t *testing.T) {
	r := newRig(t)
	r.append = func(ctx context.Context, msgs ...*nats.Msg) (uint64, error) {
		if _, err := r.journal.Append(ctx, msgs...); err != nil {
			t.Error(err)
		}
		return 0, context.DeadlineExceeded
	}
	wantOutcomes(t, r.settle(say(nil), note(1, 1), of(john, note(2, 1))), ct2fluent.Written, ct2fluent.Written)
	wantOutcomes(t, r.settle(say(ct2fluent.Reject(errFault)), note(3, 1)), ct2fluent.Dead)
	r.append = nil
	wantOutcomes(t, r.settle(say(nil), note(4, 1)), ct2fluent.Written)
	r.wantTotals("3 written, 1 dead, 1 lying")
	r.restart()
	r.wantTotals("3 written, 1 dead, 1 lying")
}

// The answer is lost, and the batch lands after it was looked for.
func TestLateBatch(t *testing.T) {
	r := newRig(t)
	var late []*nats.Msg
	r.append = func(_ context.Context, msgs ...*nats.Msg) (uint64, error) {
		late = msgs
		return 0, context.DeadlineExceeded
	}
	wantOutcomes(t, r.settle(say(nil), note(1, 1)), ct2fluent.Doubtful)
	r.append = nil
	if _, err := r.journal.Append(t.Context(), late...); err != nil {
		t.Fatal(err)
	}
	again := note(1, 1)
	again.Again = true
	wantOutcomes(t, r.settle(say(nil), again, of(john, note(2, 1))), ct2fluent.IsMerged, ct2fluent.Written)
	r.wantTotals("2 written")
}

// Several workers settle at once: all are counted.
func TestWorkersAtOnce(t *testing.T) {
	const workers, rounds, size = 8, 4, 50
	r := newRig(t)
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for round := range rounds {
				var batch []ct2fluent.Notification
				for i := range size {
					ref := ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(w, i)}
					batch = append(batch, of(ref, note(uint64(1+i+size*(round+rounds*w)), 1)))
				}
				for _, err := range r.settle(say(nil), batch...) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	working.Wait()
	r.wantTotals("1600 written")
	r.restart()
	r.wantTotals("1600 written")
}

// What waits travels together, each group within what JetStream takes.
func TestGroups(t *testing.T) {
	small := func(n int) (ps []*part) {
		for range n {
			ps = append(ps, &part{data: make([]byte, 100)})
		}
		return ps
	}
	large := func(n, bytes int) *part {
		return &part{letters: slices.Repeat([]letter{{data: make([]byte, bytes)}}, n)}
	}
	tests := []struct {
		name    string
		waiting []*part
		want    []int // parts of each group
	}{
		{name: "one", waiting: small(1), want: []int{1}},
		{name: "as many as go with the totals", waiting: small(store.MaxBatch), want: []int{store.MaxBatch - 1, 1}},
		{name: "dead letters count", waiting: []*part{large(499, 1), large(498, 1), large(1, 1)}, want: []int{2, 1}},
		{name: "size counts", waiting: []*part{large(1, 3<<20), large(1, 1<<20), large(1, 1)}, want: []int{2, 1}},
		{name: "one too large travels alone", waiting: []*part{large(1, 5<<20), large(1, 1)}, want: []int{1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, p := range tt.waiting {
				p.subject = strconv.Itoa(i)
			}
			c := committer{waiting: tt.waiting}
			var got []int
			for len(c.waiting) > 0 {
				got = append(got, len(c.take()))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("groups of %v, want %v", got, tt.want)
			}
		})
	}
}

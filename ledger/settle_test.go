package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

var errFault = errors.New("C9999")

func TestSettle(t *testing.T) {
	tests := []struct {
		name     string
		say      error
		attempts int // before

		want   ct2fluent.Outcome // for the queue
		totals string
		noted  string // in the timeline
	}{
		{name: "written", want: ct2fluent.Written, totals: "1 written", noted: "written"},
		{name: "unchanged", say: ct2fluent.Unchanged, want: ct2fluent.IsUnchanged, totals: "1 unchanged", noted: "unchanged"},
		{name: "merged", say: ct2fluent.Merged, want: ct2fluent.IsMerged, totals: "1 merged", noted: "merged"},
		{name: "skipped", say: ct2fluent.Skip("known"), want: ct2fluent.Skipped, totals: "1 skipped", noted: "skipped known"},
		{name: "rejected", say: ct2fluent.Reject(ct2fluent.WithReason("refused", errFault)),
			want: ct2fluent.Dead, totals: "1 dead, 1 lying", noted: "dead refused C9999"},
		{name: "to be tried again", say: errFault, attempts: 6, want: ct2fluent.Retry, noted: "retry C9999"},
		{name: "tried too often", say: errFault, attempts: 7, want: ct2fluent.Dead,
			totals: "1 dead, 1 lying", noted: "dead attempts C9999"},
		{name: "tried too often, with a reason", say: ct2fluent.WithReason("stale-read", errFault), attempts: 7, want: ct2fluent.Dead,
			totals: "1 dead, 1 lying", noted: "dead stale-read C9999"},
		{name: "limited: does not count as an attempt", say: ct2fluent.RetryAfter(1, errFault), attempts: 7, want: ct2fluent.Later},
		{name: "held", say: ct2fluent.Unavailable(errFault), attempts: 7, want: ct2fluent.Held},
		{name: "held, and the queue has counted enough", say: ct2fluent.Unavailable(errFault), attempts: 8, want: ct2fluent.Dead,
			totals: "1 dead, 1 lying", noted: "dead attempts C9999"},
		{name: "unclear", say: ct2fluent.Unclear(errFault), want: ct2fluent.Doubtful, noted: "unclear C9999"},
		{name: "unclear, and the queue has counted enough", say: ct2fluent.Unclear(errFault), attempts: 8, want: ct2fluent.Dead,
			totals: "1 dead, 1 lying", noted: "dead attempts C9999"},
	}
	r := newRig(t)
	before := Totals{}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(i)}
			n := of(ref, note(uint64(i+1), 1))
			n.Attempts = tt.attempts
			wantOutcomes(t, r.settle(say(tt.say), n), tt.want)
			now := r.ledger.Totals()
			if got := totalsText(less(now, before)); got != tt.totals {
				t.Errorf("counted %q, want %q", got, tt.totals)
			}
			before = now
			noted := ""
			for _, e := range r.timeline(ref) {
				for _, x := range e.Results {
					noted += strings.Join(strings.Fields(x.Outcome+" "+x.Reason+" "+x.Why), " ")
				}
			}
			if noted != tt.noted {
				t.Errorf("noted %q, want %q", noted, tt.noted)
			}
		})
	}
}

// less is what was counted since.
func less(now, before Totals) Totals {
	d := Totals{
		Written: now.Written - before.Written, Unchanged: now.Unchanged - before.Unchanged, Merged: now.Merged - before.Merged,
		DeadLetters: now.DeadLetters - before.DeadLetters,
	}
	add(&d.Skipped, "", now.AllSkipped()-before.AllSkipped())
	add(&d.Dead, "", now.AllDead()-before.AllDead())
	return d
}

// Promise 2: the acknowledgement of settled ones may be lost.
func TestSettledIsNotWorkedAgain(t *testing.T) {
	r := newRig(t)
	r.settle(say(nil), note(1, 1), note(2, 2))
	r.settle(say(ct2fluent.Skip("known")), note(3, 1))
	r.crash()

	var worked []uint64
	f := func(_ context.Context, n ct2fluent.Notification) error {
		worked = append(worked, n.Seq)
		return nil
	}
	again := note(2, 2)
	again.Again = true
	wantOutcomes(t, r.settle(f, note(1, 1), again, note(3, 1), note(4, 4)),
		ct2fluent.IsMerged, ct2fluent.IsMerged, ct2fluent.IsMerged, ct2fluent.Written)
	wantOutcomes(t, r.settle(f, note(1, 1)), ct2fluent.IsMerged)
	if !slices.Equal(worked, []uint64{4}) {
		t.Errorf("worked %v, want only 4", worked)
	}
	r.wantTotals("3 written, 1 skipped")
}

// What the queue never hands out again need not be known any longer.
func TestOpenIsPruned(t *testing.T) {
	r := newRig(t)
	r.settle(say(nil), note(1, 1), note(2, 2))
	r.floor = 1
	r.settle(say(nil), note(5, 3))
	if got := r.timeline(jane)[0].Open; !slices.Equal(got, []uint64{2, 5}) {
		t.Errorf("open are %v, want 2 and 5", got)
	}
	r.floor = 5
	r.settle(say(nil), note(6, 4))
	if got := r.timeline(jane)[0].Open; !slices.Equal(got, []uint64{6}) {
		t.Errorf("open are %v, want 6", got)
	}
}

func TestMemoryIsWrittenWithTheOutcome(t *testing.T) {
	r := newRig(t)
	m := ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane", Hash: "h", Mapping: "m", Attributes: []string{"a"}}
	r.settle(r.remembering(m, nil), note(1, 3))
	r.restart()
	if got := r.memory(jane); !sameMemory(got, m) {
		t.Errorf("remembered %+v, want %+v", got, m)
	}
	seen := ct2fluent.Memory{}
	r.settle(func(ctx context.Context, n ct2fluent.Notification) error {
		ms, err := r.ledger.Recall(ctx, jane, john)
		if _, known := ms[john]; known || err != nil {
			t.Errorf("recalled %v, %v: john is not known", ms, err)
		}
		seen = ms[jane]
		return ct2fluent.Skip("known")
	}, note(2, 3))
	if !sameMemory(seen, m) {
		t.Errorf("the handler was told %+v, want %+v", seen, m)
	}
	if got := r.memory(jane); !sameMemory(got, m) {
		t.Errorf("after a skip %+v is remembered, want %+v", got, m)
	}
}

// Only who holds a resource may write its memory.
func TestRememberOfAnother(t *testing.T) {
	r := newRig(t)
	var late context.Context
	r.settle(func(ctx context.Context, n ct2fluent.Notification) error {
		r.ledger.Remember(ctx, john, ct2fluent.Memory{Username: "x"})
		late = ctx
		return nil
	}, note(1, 1))
	r.ledger.Remember(late, jane, ct2fluent.Memory{Username: "x"})
	if err := r.ledger.Intend(late, map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: "x"}}); err == nil {
		t.Error("what is intended after the end is taken")
	}
	r.settle(say(nil), note(2, 1), of(john, note(3, 1)))
	for _, ref := range []ct2fluent.Ref{jane, john} {
		if m := r.memory(ref); m.Username != "" {
			t.Errorf("%s: %q is remembered", ref, m.Username)
		}
	}
}

// Rule 6: the username is on disk before the handler goes on.
func TestIntend(t *testing.T) {
	r := newRig(t)
	r.settle(r.remembering(ct2fluent.Memory{Floor: 2, Version: 2, Username: "old", Hash: "h"}, nil), note(1, 2))
	intent := map[ct2fluent.Ref]ct2fluent.Memory{
		jane: {Floor: 1, Version: 9, Username: "new", Hash: "h9"}, john: {Username: "1_john"},
	}
	f := func(ctx context.Context, n ct2fluent.Notification) error {
		if n.Ref == jane {
			if err := r.ledger.Intend(ctx, intent); err != nil {
				t.Fatal(err)
			}
			ms, err := r.another().Recall(t.Context(), jane, john)
			want := ct2fluent.Memory{Floor: 9, Version: 2, Username: "new"}
			if err != nil || !sameMemory(ms[jane], want) || ms[john].Username != "1_john" {
				t.Errorf("on disk are %+v, %v; an intent must not claim what is not done", ms, err)
			}
			if n := len(r.timeline(jane)); n != 2 {
				t.Errorf("jane has %d entries, want 2: settled, intended", n)
			}
			if err := r.ledger.Intend(ctx, map[ct2fluent.Ref]ct2fluent.Memory{jane: ms[jane]}); err != nil {
				t.Errorf("the same once more: %v", err)
			}
		}
		return nil
	}
	wantOutcomes(t, r.settle(f, note(2, 3), of(john, note(3, 1))), ct2fluent.Written, ct2fluent.Written)
	if n := len(r.timeline(jane)); n != 2 {
		t.Errorf("jane has %d entries, want 2: what was intended between is of no use any more", n)
	}
	if len(r.put) > 0 {
		t.Error("the ledger overtook itself")
	}
	wantOutcomes(t, r.settle(say(errFault), note(1, 2)), ct2fluent.IsMerged)
	if err := r.ledger.Intend(t.Context(), intent); err == nil {
		t.Error("Intend outside Handle: no error")
	}
}

func TestTooFewAnswers(t *testing.T) {
	r := newRig(t)
	h := ct2fluent.HandlerFunc(func(context.Context, []ct2fluent.Notification) []error { return []error{nil} })
	errs := r.ledger.Settle(h).Handle(t.Context(), []ct2fluent.Notification{note(1, 1), note(2, 2)})
	wantOutcomes(t, errs, ct2fluent.Written, ct2fluent.Retry)
}

// Nothing was sent, so nothing is unclear when the ledger cannot be read.
func TestLedgerCannotBeRead(t *testing.T) {
	r := newRig(t)
	r.store.Crash()
	worked := false
	errs := r.settle(func(context.Context, ct2fluent.Notification) error { worked = true; return nil }, note(1, 1))
	wantOutcomes(t, errs, ct2fluent.Later)
	if worked {
		t.Error("worked without knowing what was settled")
	}
	r.start()
}

// A stop does not keep from disk what was worked.
func TestSettleWhileStopping(t *testing.T) {
	r := newRig(t)
	ctx, stop := context.WithCancel(t.Context())
	h := ct2fluent.Each(func(context.Context, ct2fluent.Notification) error { stop(); return nil })
	wantOutcomes(t, r.ledger.Settle(h).Handle(ctx, []ct2fluent.Notification{note(1, 1)}), ct2fluent.Written)
	r.restart()
	r.wantTotals("1 written")
}

// One resource with more dead letters than an atomic batch holds, in number
// and in size, is settled in several.
func TestManyDeadOfOneResource(t *testing.T) {
	r := newRig(t)
	var batch []ct2fluent.Notification
	for seq := range uint64(1200) {
		batch = append(batch, ct2fluent.Notification{Seq: seq + 1, Fault: "unreadable", Body: []byte("{")})
	}
	for i := range 8 {
		batch[i].Body = make([]byte, 1<<20)
	}
	for _, err := range r.settle(say(ct2fluent.Reject(errFault)), batch...) {
		wantOutcomes(t, []error{err}, ct2fluent.Dead)
	}
	r.wantTotals("1200 dead, 1200 lying")

	// What is to be remembered speaks of all: it is written with the last.
	x := &resource{told: &ct2fluent.Memory{Username: "u"}}
	for _, n := range batch {
		x.answers = append(x.answers, judge(n, ct2fluent.Reject(errFault), 8))
	}
	if s := r.ledger.step(x); s.n > 4 || s.entry.Memory.Username != "" {
		t.Errorf("the first of several entries is of %d and remembers %+v", s.n, s.entry.Memory)
	}
	d, err := r.ledger.Dead(t.Context(), 8)
	if err != nil || len(d.Notification.Body) != 1<<20 {
		t.Errorf("letter 8 has %d bytes, %v", len(d.Notification.Body), err)
	}
}

func TestHostileIDs(t *testing.T) {
	r := newRig(t)
	for i, id := range []string{"", "-", "a.b", "*", ">", "é €", strings.Repeat("x", 1<<20)} {
		ref := ct2fluent.Ref{Project: id, TypeID: id, ID: id}
		n := of(ref, note(uint64(i+1), 1))
		n.ID, n.Name = id, id
		wantOutcomes(t, r.settle(r.remembering(ct2fluent.Memory{Username: fmt.Sprint(i)}, ct2fluent.Reject(errFault)), n), ct2fluent.Dead)
		if m := r.memory(ref); m.Username != fmt.Sprint(i) {
			t.Errorf("id %.10q: %q is remembered", id, m.Username)
		}
		d, err := r.ledger.Dead(t.Context(), n.Seq)
		if err != nil || d.Notification.Ref != ref || d.Notification.ID != id {
			t.Errorf("id %.10q: its dead letter is of %.10q, %v", id, d.Notification.Ref.ID, err)
		}
	}
}

// Promise 7, and one line per outcome.
func TestObserve(t *testing.T) {
	var settled, groups int
	outcomes := map[string]int{}
	r := newRig(t)
	r.o.Observe = Observe{
		Outcome: func(o ct2fluent.Outcome, reason string, n int) { outcomes[o.String()+reason] += n },
		Settle:  func(n int, _ time.Duration) { settled += n },
		Commit:  func(n int, _ time.Duration) { groups += n },
	}
	r.ledger = r.another()
	r.settle(func(_ context.Context, n ct2fluent.Notification) error {
		return []error{nil, ct2fluent.Skip("known"), ct2fluent.Unavailable(errFault), nil}[n.Seq-1]
	}, note(1, 1), note(2, 1), of(john, note(3, 1)), note(4, 1))
	r.settle(say(nil), note(1, 1))
	if fmt.Sprint(outcomes) != "map[held:1 skippedknown:1 written:2]" || settled != 4 || groups != 1 {
		t.Errorf("outcomes %v, %d settled, %d resources written", outcomes, settled, groups)
	}
}

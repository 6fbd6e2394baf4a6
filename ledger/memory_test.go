package ledger

import (
	"context"
	"fmt"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/nats-io/nats.go"
)

func TestAdopt(t *testing.T) {
	r := newRig(t)
	known := func(want bool) {
		t.Helper()
		if got, err := r.ledger.Known(t.Context(), "p"); got != want || err != nil {
			t.Errorf("known: %v, %v; want %v", got, err, want)
		}
	}
	known(false)
	// One that had no work here leaves an entry, and no memory.
	r.settle(say(ct2fluent.Skip("filtered")), note(1, 1))
	known(false)
	r.settle(r.remembering(ct2fluent.Memory{Username: "ours", Hash: "h"}, nil), of(john, note(2, 1)))
	known(true)

	ms := map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: "jane"}, john: {Username: "theirs"}}
	for i := range 1200 {
		ms[ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(i)}] = ct2fluent.Memory{Username: fmt.Sprint(i)}
	}
	if err := r.ledger.Adopt(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	var refs []ct2fluent.Ref
	for ref := range ms {
		refs = append(refs, ref)
	}
	got, err := r.ledger.Recall(t.Context(), refs...)
	if err != nil || len(got) != len(ms) {
		t.Fatalf("recalled %d of %d, %v", len(got), len(ms), err)
	}
	ms[john] = ct2fluent.Memory{Username: "ours", Hash: "h"}
	for ref, m := range got {
		if !sameMemory(m, ms[ref]) {
			t.Errorf("%s: %+v is remembered, want %+v", ref, m, ms[ref])
		}
	}
	// The outcomes of before are not forgotten.
	wantOutcomes(t, r.settle(say(nil), note(1, 1)), ct2fluent.IsMerged)
	r.wantTotals("1 written, 1 skipped")
}

// A fill meets a resource that is settled at the same moment.
func TestAdoptOvertaken(t *testing.T) {
	r := newRig(t)
	other := r.another()
	met := 0
	plain := r.journal.Append
	r.append = func(ctx context.Context, msgs ...*nats.Msg) (uint64, error) {
		if met++; met == 1 {
			r.append = nil
			settleBy(t, other, say(ct2fluent.Skip("filtered")), note(1, 1))
		}
		return plain(ctx, msgs...)
	}
	if err := r.ledger.Adopt(t.Context(), map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: "jane"}}); err != nil {
		t.Fatal(err)
	}
	if m := r.memory(jane); m.Username != "jane" || met != 1 {
		t.Errorf("%+v is remembered", m)
	}
}

func TestFind(t *testing.T) {
	r := newRig(t)
	shop := ct2fluent.Ref{Project: "a shop", TypeID: "customer", ID: "jane"}
	r.settle(say(nil), note(1, 1), of(shop, note(2, 1)), of(john, note(3, 1)))
	refs, err := r.ledger.Find(t.Context(), "customer", "jane")
	if got := map[ct2fluent.Ref]bool{}; err != nil || len(refs) != 2 {
		t.Errorf("found %v, %v", refs, err)
	} else if got[refs[0]], got[refs[1]] = true, true; !got[jane] || !got[shop] {
		t.Errorf("found %v", refs)
	}
	if refs, err := r.ledger.Find(t.Context(), "customer", "nobody"); len(refs) > 0 || err != nil {
		t.Errorf("found %v, %v", refs, err)
	}
}

func TestMarks(t *testing.T) {
	r := newRig(t)
	if v, err := r.ledger.Mark(t.Context(), "fill/p"); v != "" || err != nil {
		t.Errorf("a mark that was never set: %q, %v", v, err)
	}
	for _, want := range []string{"from x", "done", ""} {
		if err := r.ledger.SetMark(t.Context(), "fill/p", want); err != nil {
			t.Fatal(err)
		}
		r.restart()
		if v, err := r.ledger.Mark(t.Context(), "fill/p"); v != want || err != nil {
			t.Errorf("mark: %q, %v; want %q", v, err, want)
		}
	}
}

func TestTimeline(t *testing.T) {
	r := newRig(t)
	if entries := r.timeline(jane); len(entries) > 0 {
		t.Errorf("one that is not known has %d entries", len(entries))
	}
	for seq := range uint64(perSubject + 2) {
		r.settle(say(nil), note(seq+1, int64(seq)))
	}
	entries := r.timeline(jane)
	if len(entries) != perSubject || entries[0].Results[0].Seq != perSubject+2 {
		t.Errorf("%d entries, the first of %d; want the newest %d, newest first", len(entries), entries[0].Results[0].Seq, perSubject)
	}
}

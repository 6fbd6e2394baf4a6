package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// bury settles n notifications as dead, every third as "mapping".
func (r *rig) bury(n int) {
	var batch []ct2fluent.Notification
	for i := range n {
		batch = append(batch, of(ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(i)}, note(uint64(i+1), 3)))
	}
	r.settle(func(_ context.Context, n ct2fluent.Notification) error {
		if n.Seq%3 == 0 {
			return ct2fluent.Reject(ct2fluent.WithReason("mapping", errFault))
		}
		return ct2fluent.Reject(errFault)
	}, batch...)
}

func (r *rig) lying(f Filter) (seqs []uint64) {
	for d, err := range r.ledger.DeadLetters(r.t.Context(), f) {
		if err != nil {
			r.t.Fatal(err)
		}
		if d.Notification.Body != nil {
			r.t.Error("a list holds a body")
		}
		seqs = append(seqs, d.Notification.Seq)
	}
	return seqs
}

func TestDeadLetters(t *testing.T) {
	r := newRig(t)
	if got := r.lying(Filter{}); len(got) > 0 {
		t.Errorf("%v lie in a new ledger", got)
	}
	r.bury(500) // more than a page
	all := r.lying(Filter{})
	if len(all) != 500 || !slices.IsSorted(all) {
		t.Errorf("%d letters, sorted %v; want 500", len(all), slices.IsSorted(all))
	}
	places := map[uint64]uint64{}
	for d, err := range r.ledger.DeadLetters(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		places[d.Notification.Seq] = d.Place
	}
	if got := r.lying(Filter{Reason: "mapping", After: places[490]}); !slices.Equal(got, []uint64{492, 495, 498}) {
		t.Errorf("mapping after 490: %v", got)
	}
	if got := r.lying(Filter{After: places[500]}); len(got) > 0 {
		t.Errorf("after the last: %v", got)
	}
	if n, err := r.ledger.Drop(t.Context(), 490); n != 1 || err != nil {
		t.Fatalf("dropped %d, %v", n, err)
	}
	if got := r.lying(Filter{Reason: "mapping", After: places[490]}); !slices.Equal(got, []uint64{492, 495, 498}) {
		t.Errorf("mapping after 490, which is not there any more: %v", got)
	}
	for range r.ledger.DeadLetters(t.Context(), Filter{}) {
		break
	}

	d, err := r.ledger.Dead(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	want := of(ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "2"}, note(3, 3))
	if fmt.Sprint(d.Notification) != fmt.Sprint(want) || d.Reason != "mapping" || d.Why != "C9999" || time.Since(d.When) > time.Minute {
		t.Errorf("letter 3 is %+v", d)
	}
	if _, err := r.ledger.Dead(t.Context(), 501); !errors.Is(err, ErrNotFound) {
		t.Errorf("a letter that is not there: %v, want ErrNotFound", err)
	}
}

func TestDrop(t *testing.T) {
	r := newRig(t)
	r.bury(5)
	if n, err := r.ledger.Drop(t.Context(), 2, 2, 9, 4); n != 2 || err != nil {
		t.Errorf("dropped %d, %v; want 2", n, err)
	}
	r.wantTotals("5 dead, 3 lying")
	r.restart()
	r.wantTotals("5 dead, 3 lying")
	if got := r.lying(Filter{}); !slices.Equal(got, []uint64{1, 3, 5}) {
		t.Errorf("%v lie there", got)
	}
	// It is dead all the same, and not to be worked.
	wantOutcomes(t, r.settle(say(nil), of(ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "1"}, note(2, 3))), ct2fluent.IsMerged)
}

func TestReplay(t *testing.T) {
	r := newRig(t)
	r.bury(120)
	r.putErr = ct2fluent.ErrFull
	if n, err := r.ledger.Replay(t.Context(), 1); n != 0 || !errors.Is(err, ct2fluent.ErrFull) {
		t.Errorf("replayed %d, %v; want ErrFull", n, err)
	}
	r.wantTotals("120 dead, 120 lying")
	r.putErr = nil
	if n, err := r.ledger.Replay(t.Context(), append(r.lying(Filter{}), 700, 3, 3)...); n != 120 || err != nil {
		t.Errorf("replayed %d, %v; want 120", n, err)
	}
	r.wantTotals("120 dead")
	if len(r.put) != 120 {
		t.Fatalf("%d put, want 120", len(r.put))
	}
	n := r.put[2]
	if !n.Force || !n.Bulk || n.Again || n.Seq != 0 || n.Attempts != 0 || n.ID != "id-3" || string(n.Body) != `{"version":3}` || time.Since(n.Received) > time.Minute {
		t.Errorf("put %+v, want it as received anew, forced and after live traffic", n)
	}
	if n, err := r.ledger.Replay(t.Context(), 1); n != 0 || err != nil {
		t.Errorf("replayed once more: %d, %v", n, err)
	}
}

package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
)

// childDir, when set, makes this test binary a process that settles in the
// directory it names until it is killed.
const childDir = "LEDGER_TEST_CHILD"

// childFirst is the sequence it begins with.
const childFirst = "LEDGER_TEST_FIRST"

// fate is what becomes of a sequence, in whichever process.
func fate(n ct2fluent.Notification) error {
	return []error{nil, ct2fluent.Unchanged, ct2fluent.Merged, ct2fluent.Skip("known"), ct2fluent.Reject(errFault)}[n.Seq%5]
}

// hand is a batch: ten notifications of five resources, from a sequence on.
func hand(first uint64) (batch []ct2fluent.Notification) {
	for seq := first; seq < first+10; seq++ {
		n := of(ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(first/10%20, seq%5)}, note(seq, 1))
		n.Run = "bulk-1"
		batch = append(batch, n)
	}
	return batch
}

// child settles batches by four workers, each of which holds resources of its
// own, and prints the first sequence of each batch that it may acknowledge.
func child(dir string) {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	l, err := Open(ctx, Options{Store: s})
	if err != nil {
		panic(err)
	}
	h := l.Settle(ct2fluent.Each(func(_ context.Context, n ct2fluent.Notification) error { return fate(n) }))
	var first uint64
	fmt.Sscan(os.Getenv(childFirst), &first)
	var out sync.Mutex
	var working sync.WaitGroup
	for w := range uint64(4) {
		working.Go(func() {
			for at := first + 10*w; ; at += 40 {
				for _, err := range h.Handle(ctx, hand(at)) {
					if o, _, _ := ct2fluent.OutcomeOf(err); !o.Settled() {
						panic(err)
					}
				}
				out.Lock()
				fmt.Println(at)
				out.Unlock()
			}
		})
	}
	working.Wait()
}

// Promises 1 and 2: whenever the process is killed, what it said is settled is
// settled, and counted once with all that was settled besides.
func TestAddsUpAfterKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[uint64]bool{}
	first := uint64(10)
	for kill := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprint(childFirst, "=", first))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for said := 0; lines.Scan(); {
			var at uint64
			if _, err := fmt.Sscan(lines.Text(), &at); err == nil {
				acknowledged[at] = true
				first = max(first, at+10)
			}
			if said++; said == 10+7*kill {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		first += 40 // what was at hand

		s, err := store.Open(t.Context(), store.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		l, err := Open(t.Context(), Options{Store: s})
		if err != nil {
			t.Fatal(err)
		}
		// The queue hands out everything once more.
		var worked atomic.Int64
		h := l.Settle(ct2fluent.Each(func(_ context.Context, n ct2fluent.Notification) error {
			if acknowledged[n.Seq/10*10] {
				t.Errorf("%d was acknowledged, and is worked again", n.Seq)
			}
			worked.Add(1)
			return fate(n)
		}))
		before := l.Totals().Settled()
		for at := uint64(10); at < first; at += 10 {
			for _, err := range h.Handle(t.Context(), hand(at)) {
				if o, _, _ := ct2fluent.OutcomeOf(err); !o.Settled() {
					t.Error(err)
				}
			}
		}
		n := first - 10
		if before+uint64(worked.Load()) != n {
			t.Errorf("%d were settled before and %d are now, want %d in sum", before, worked.Load(), n)
		}
		each := n / 5
		want := totalsText(Totals{Written: each, Unchanged: each, Merged: each,
			Skipped: map[string]uint64{"known": each}, Dead: map[string]uint64{"rejected": each}, DeadLetters: each})
		if got := totalsText(l.Totals()); got != want {
			t.Errorf("after kill %d: totals are %q, want %q", kill+1, got, want)
		}
		resources := map[ct2fluent.Ref]bool{}
		for at := uint64(10); at < first; at += 10 {
			for _, n := range hand(at) {
				resources[n.Ref] = true
			}
		}
		// By its sequence each resource has the same fate always.
		of := uint64(len(resources))
		want = totalsText(Totals{Written: of / 5, Unchanged: of / 5, Merged: of / 5,
			Skipped: map[string]uint64{"known": of / 5}, Dead: map[string]uint64{"rejected": of / 5}})
		if got := totalsText(l.RunTotals("bulk-1")); got != want {
			t.Errorf("after kill %d: the run has counted %q, want each of %d resources once: %q", kill+1, got, of, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for at := uint64(10); at < first; at += 10 {
			acknowledged[at] = true
		}
	}
}

// A crash between two writes of one resource: the ledger is opened again
// without an orderly stop, at every step of a settlement.
func TestAddsUpAfterEveryStep(t *testing.T) {
	steps := []struct {
		name string
		f    func(r *rig)
	}{
		{"before anything", func(*rig) {}},
		{"after an intent", func(r *rig) {
			r.settle(func(ctx context.Context, n ct2fluent.Notification) error {
				if err := r.ledger.Intend(ctx, map[ct2fluent.Ref]ct2fluent.Memory{jane: {Username: "u"}}); err != nil {
					t.Error(err)
				}
				r.append = fails
				return nil
			}, note(1, 1))
		}},
		{"after the entry, before the acknowledgement", func(r *rig) { r.settle(say(nil), note(1, 1)) }},
		{"after an unclear write", func(r *rig) { r.settle(say(ct2fluent.Unclear(errFault)), note(1, 1)) }},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s.f(r)
			r.append = nil
			r.crash()
			r.settle(say(nil), note(1, 1))
			r.wantTotals("1 written")
		})
	}
}

func fails(context.Context, ...*nats.Msg) (uint64, error) { return 0, errors.New("no space left") }

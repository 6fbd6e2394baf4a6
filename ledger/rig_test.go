package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// A rig is a ledger over a real JetStream that can be stopped, crashed and
// started again, and whose writes can be made to fail.
type rig struct {
	t       *testing.T
	dir     string
	store   *store.Store
	journal Journal
	ledger  *Ledger
	append  func(ctx context.Context, msgs ...*nats.Msg) (uint64, error) // instead of the journal's, if set
	floor   uint64
	o       Options

	mu     sync.Mutex
	put    []ct2fluent.Notification
	putErr error
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir()}
	r.start()
	t.Cleanup(func() {
		if r.store != nil {
			r.store.Close()
		}
	})
	return r
}

func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.store, err = store.Open(r.t.Context(), store.Options{Dir: r.dir}); err != nil {
		r.t.Fatal(err)
	}
	if r.journal, err = openJournal(r.t.Context(), r.store, slog.New(slog.DiscardHandler)); err != nil {
		r.t.Fatal(err)
	}
	r.ledger = r.another()
}

// another opens a second ledger on the same journal, as another process would.
func (r *rig) another() *Ledger {
	r.t.Helper()
	o := r.o
	o.Journal, o.Put, o.Floor = rigJournal{r.journal, r}, r.keep, func(string) uint64 { return r.floor }
	l, err := Open(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (r *rig) restart() {
	r.t.Helper()
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

func (r *rig) crash() {
	r.t.Helper()
	r.store.Crash()
	r.start()
}

func (r *rig) keep(_ context.Context, ns ...ct2fluent.Notification) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.putErr != nil {
		return r.putErr
	}
	r.put = append(r.put, ns...)
	return nil
}

type rigJournal struct {
	Journal
	r *rig
}

func (j rigJournal) Append(ctx context.Context, msgs ...*nats.Msg) (uint64, error) {
	if j.r.append != nil {
		return j.r.append(ctx, msgs...)
	}
	return j.Journal.Append(ctx, msgs...)
}

// settle hands a batch to the ledger; the inner handler answers by f.
func (r *rig) settle(f func(ctx context.Context, n ct2fluent.Notification) error, batch ...ct2fluent.Notification) []error {
	return settleBy(r.t, r.ledger, f, batch...)
}

func settleBy(t *testing.T, l *Ledger, f func(ctx context.Context, n ct2fluent.Notification) error, batch ...ct2fluent.Notification) []error {
	h := ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		errs := make([]error, len(batch))
		for i, n := range batch {
			errs[i] = f(ctx, n)
		}
		return errs
	})
	return l.Settle(h).Handle(t.Context(), batch)
}

// say answers every notification the same.
func say(err error) func(context.Context, ct2fluent.Notification) error {
	return func(context.Context, ct2fluent.Notification) error { return err }
}

// remembering answers so too, and has m remembered.
func (r *rig) remembering(m ct2fluent.Memory, err error) func(context.Context, ct2fluent.Notification) error {
	return func(ctx context.Context, n ct2fluent.Notification) error {
		r.ledger.Remember(ctx, n.Ref, m)
		return err
	}
}

func (r *rig) memory(ref ct2fluent.Ref) ct2fluent.Memory {
	r.t.Helper()
	ms, err := r.ledger.Recall(r.t.Context(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return ms[ref]
}

func (r *rig) timeline(ref ct2fluent.Ref) []Entry {
	r.t.Helper()
	entries, err := r.ledger.Timeline(r.t.Context(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

// wantTotals compares the totals, written as they are read aloud.
func (r *rig) wantTotals(want string) {
	r.t.Helper()
	if got := totalsText(r.ledger.Totals()); got != want {
		r.t.Errorf("totals are %q, want %q", got, want)
	}
}

func totalsText(t Totals) string {
	var words []string
	say := func(n uint64, word string) {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, word))
		}
	}
	say(t.Written, "written")
	say(t.Unchanged, "unchanged")
	say(t.Merged, "merged")
	say(t.AllSkipped(), "skipped")
	say(t.AllDead(), "dead")
	say(t.DeadLetters, "lying")
	return strings.Join(words, ", ")
}

func wantOutcomes(t *testing.T, errs []error, want ...ct2fluent.Outcome) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("%d answers, want %d", len(errs), len(want))
	}
	for i, err := range errs {
		if o, _, _ := ct2fluent.OutcomeOf(err); o != want[i] {
			t.Errorf("answer %d is %v (%v), want %v", i, o, err, want[i])
		}
	}
}

var (
	jane = ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "jane"}
	john = ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "john"}
)

// note is the notification of jane's version, put at sequence seq.
func note(seq uint64, version int64) ct2fluent.Notification {
	return ct2fluent.Notification{
		ID: fmt.Sprintf("id-%d", seq), Ref: jane, Name: "CustomerEmailChanged", Kind: "Message", Version: version,
		Body: fmt.Appendf(nil, `{"version":%d}`, version), Received: time.Unix(int64(seq), 0).UTC(), Seq: seq,
	}
}

func of(ref ct2fluent.Ref, n ct2fluent.Notification) ct2fluent.Notification {
	n.Ref = ref
	return n
}

package ledger

import (
	"context"
	"log/slog"
	"testing"

	"github.com/ct2fluent/ct2fluent/ledger/ledgertest"
	"github.com/ct2fluent/ct2fluent/store"
)

// An underTest is a ledger of which the suite asks more than its methods.
type underTest struct {
	*Ledger
	close, crash func()
}

func (u underTest) Close() { u.close() }
func (u underTest) Crash() { u.crash() }

func (u underTest) Counts() map[string]uint64              { return countsOf(u.Totals()) }
func (u underTest) RunCounts(run string) map[string]uint64 { return countsOf(u.RunTotals(run)) }

func countsOf(t Totals) map[string]uint64 {
	counts := map[string]uint64{}
	note := func(name string, n uint64) {
		if n > 0 {
			counts[name] = n
		}
	}
	note("written", t.Written)
	note("unchanged", t.Unchanged)
	note("merged", t.Merged)
	note("lying", t.DeadLetters)
	for reason, n := range t.Skipped {
		note("skipped "+reason, n)
	}
	for reason, n := range t.Dead {
		note("dead "+reason, n)
	}
	return counts
}

func openUnderTest(t *testing.T, o Options, so ledgertest.Options) *Ledger {
	t.Helper()
	o.MaxAttempts, o.Floor, o.Put = so.MaxAttempts, so.Floor, so.Put
	l, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSuite is the journal of an embedded store.
func TestSuite(t *testing.T) {
	suite(t, func(ctx context.Context, s *store.Store) (Journal, error) {
		return openJournal(ctx, s, slog.New(slog.DiscardHandler))
	})
}

// TestSuiteStream is the journal of a cluster.
func TestSuiteStream(t *testing.T) {
	suite(t, func(ctx context.Context, s *store.Store) (Journal, error) { return openStream(ctx, s) })
}

func suite(t *testing.T, open func(context.Context, *store.Store) (Journal, error)) {
	type kept struct {
		*store.Store
		journal Journal
	}
	stores := map[string]kept{}
	ledgertest.Run(t, ledgertest.Harness{Open: func(t *testing.T, place string, o ledgertest.Options) ledgertest.Ledger {
		k, there := stores[place]
		if !there {
			var err error
			if k.Store, err = store.Open(context.Background(), store.Options{Dir: place}); err != nil {
				t.Fatal(err)
			}
			if k.journal, err = open(context.Background(), k.Store); err != nil {
				t.Fatal(err)
			}
			stores[place] = k
			t.Cleanup(func() { k.Crash() })
		}
		end := func(stop func()) func() {
			return func() {
				stop()
				delete(stores, place)
			}
		}
		return underTest{openUnderTest(t, Options{Journal: k.journal}, o), end(func() {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}), end(k.Crash)}
	}})
}

func TestSuiteInMemory(t *testing.T) {
	journals := map[string]*MemoryJournal{}
	ledgertest.Run(t, ledgertest.Harness{Open: func(t *testing.T, place string, o ledgertest.Options) ledgertest.Ledger {
		j := journals[place]
		if j == nil {
			j = &MemoryJournal{}
			journals[place] = j
		}
		l := openUnderTest(t, Options{Journal: j}, o)
		return underTest{l, func() { j.Reopened(true) }, func() { j.Reopened(false) }}
	}})
}

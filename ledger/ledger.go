// Package ledger keeps what became of every notification, and what is
// remembered of every resource between batches.
//
// Settle is the outermost handler. It reads the newest entry of each resource
// of a batch, lets the inner handler work, and writes what came out: per
// resource an entry with its memory and its outcomes, a letter for each of the
// dead, and the totals, in one atomic batch of JetStream. All of them are
// there or none, so the sum holds after any crash (promise 2):
//
//	received = written + unchanged + merged + skipped + dead + waiting
//
// A notification that is handed out a second time, because the queue's own
// acknowledgement was lost, is found among the open sequences of its
// resource's newest entry and is neither worked nor counted again.
//
// An entry is written only over the entry that was read. Who finds another one
// there was overtaken: what it did may have been undone, and the resource is
// put into the queue once more (promise 4, rule 7). Where the ledger is shared, a
// notification that comes again and is found settled is worked once more, and
// not counted: if another process settled it, what this one had sent for it was
// never repaired.
//
// # When a memory is in doubt
//
// A write whose answer is lost may or may not have reached Fluent. From then
// on the remembered hash proves nothing, and its resource must not end as
// unchanged by it. Three things can leave such a write behind:
//
//   - The handler says so. The entry that notes it forgets version and hash,
//     in the same atomic batch as all the rest.
//   - The process ended in disorder. Its writes of that moment are not known
//     to anyone, and a newer notification may be handed out before the one
//     that comes again. So an unclean start notes the last sequence of the
//     stream, and the hash of every entry up to it is forgotten when it is
//     read. A resource that changes has then one write that could have been
//     spared; one that does not has none.
//   - The entry could not be written. The same note is made then, up to the
//     newest of the entries concerned.
//
// Version and mapping survive the last two: "the work of version v is done
// under mapping m" stays true. A write that was sent after the entry was of a
// read that is at least the entry's floor (rule 1), which is at least v, so
// whether it landed or not, Fluent holds v or newer. Two kinds of write can
// undo that work: one that was sent before the entry and lands after it can be
// older, and one that a process with another mapping sent is not of m. But the
// notification of either is not settled: it comes again, is never taken for
// known (rule 4) and writes anew, under the mapping of then. What is known can
// therefore be skipped after a crash without a call, by a bulk run as well.
// Where the one that comes again repairs nothing, the memory forgets: the
// mapping, if it settled and no handler told what to remember (a route that is
// not there any more), and the version as well, if it died.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// ErrNotFound says that there is no such dead letter.
var ErrNotFound = errors.New("no such dead letter")

// Options say what a Ledger works with.
type Options struct {
	Store Store

	// Journal is where the ledger is kept; default: a stream of Store.
	Journal Journal

	// MaxAttempts is how often a notification is tried; default 8.
	MaxAttempts int

	// Acts is how many acts of operators the audit trail holds; default 10,000.
	Acts int

	// Floor gives the sequence up to which no notification of a project will
	// be handed out again. Default: 0 for all, and entries keep every sequence.
	Floor func(project string) uint64

	// Put puts notifications into the queue: what is replayed and what was
	// overtaken. Required.
	Put func(ctx context.Context, ns ...ct2fluent.Notification) error

	// Shared says that another process may work with the same ledger: nobody
	// locks a cluster. What comes again and is settled is worked once more then,
	// and not counted.
	Shared bool

	Log     *slog.Logger // default: none
	Observe Observe
}

// Observe are hooks for metrics. They are called by several goroutines at
// once; each may be nil.
type Observe struct {
	// Outcome is called for n notifications that left Settle, settled or not.
	Outcome func(o ct2fluent.Outcome, reason string, n int)
	// Settle is called for the n notifications of a batch with the time it took
	// to write down what became of them.
	Settle func(n int, took time.Duration)
	// Commit is called for each atomic batch with its number of resources.
	Commit func(n int, took time.Duration)
}

// A Ledger holds outcomes, memories, totals and dead letters. All methods are
// safe for concurrent use.
type Ledger struct {
	o       Options
	log     *slog.Logger
	commits *committer

	// removing is held from reading a dead letter to removing it, so that each
	// is replayed and counted once.
	removing sync.Mutex

	acting sync.Mutex // held while an act gets its number
}

// Open opens the ledger in the store. The time it takes does not grow with the
// number of resources.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 8
	}
	if o.Acts == 0 {
		o.Acts = actsKept
	}
	if o.Floor == nil {
		o.Floor = func(string) uint64 { return 0 }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Journal == nil {
		j, err := openJournal(ctx, o.Store, o.Log)
		if err != nil {
			return nil, err
		}
		o.Journal = j
	}
	l := &Ledger{o: o, log: o.Log}
	l.commits = &committer{
		journal: o.Journal,
		observe: o.Observe.Commit,
		turn:    make(chan struct{}, 1),
	}
	lying, err := l.countLetters(ctx)
	if err != nil {
		return nil, fmt.Errorf("count the dead letters: %w", err)
	}
	l.commits.lying = lying
	if err := l.commits.reload(ctx); err != nil {
		return nil, fmt.Errorf("read the totals: %w", err)
	}
	if o.Journal.Clean() {
		return l, nil
	}
	last, err := o.Journal.Last(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.commits.doubtUpTo(ctx, last); err != nil {
		return nil, fmt.Errorf("note the unclean start: %w", err)
	}
	return l, nil
}

// Close ends what runs beside the calls; nobody may use the ledger any more.
// Without it nothing is lost.
func (l *Ledger) Close() {
	if j, ok := l.o.Journal.(interface{ Close() }); ok {
		j.Close()
	}
}

// Totals counts what was settled so far. Read it before the queue's Received:
// then received is never less than what is settled of it.
func (l *Ledger) Totals() Totals { return l.commits.read() }

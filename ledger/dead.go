package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// replayAtOnce is how many dead letters are put into the queue together.
const replayAtOnce = 50

// A Filter selects dead letters.
type Filter struct {
	Reason string // empty: any
	// After is the Place that the selected ones follow: that of the last one of
	// the page before, which need not lie there any more. 0: from the first.
	After uint64
}

// DeadLetters gives the selected dead letters in the order in which they died,
// without bodies. It reads on as it is ranged over, holds a page at a time, and
// ends after an error.
func (l *Ledger) DeadLetters(ctx context.Context, f Filter) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		for m, err := range l.scan(ctx, letters+">", f.After+1) {
			if err != nil {
				yield(DeadLetter{}, err)
				return
			}
			d, err := decodeLetter(m.Data)
			if err == nil && f.Reason != "" && d.Reason != f.Reason {
				continue
			}
			d.Notification.Body, d.Place = nil, m.Seq
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// Dead gives the dead letter of a notification, with its body, or ErrNotFound.
func (l *Ledger) Dead(ctx context.Context, seq uint64) (DeadLetter, error) {
	m, err := l.letter(ctx, seq)
	if err != nil {
		return DeadLetter{}, err
	}
	return decodeLetter(m.Data)
}

func (l *Ledger) letter(ctx context.Context, seq uint64) (Message, error) {
	newest, err := l.o.Journal.Newest(ctx, letterSubject(seq))
	if err != nil {
		return Message{}, err
	}
	m, found := newest[letterSubject(seq)]
	if !found {
		return Message{}, fmt.Errorf("dead letter %d: %w", seq, ErrNotFound)
	}
	return m, nil
}

// Drop removes the dead letters of notifications and says how many there were.
// Those that are not there are passed over.
func (l *Ledger) Drop(ctx context.Context, seqs ...uint64) (n int, err error) {
	for _, seq := range seqs {
		err := l.drop(ctx, seq)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (l *Ledger) drop(ctx context.Context, seq uint64) error {
	l.removing.Lock()
	defer l.removing.Unlock()
	m, err := l.letter(ctx, seq)
	if err != nil {
		return err
	}
	return l.remove(ctx, m)
}

// remove deletes a dead letter that was just read, while removing is held.
func (l *Ledger) remove(ctx context.Context, m Message) error {
	if err := l.o.Journal.Remove(ctx, m.Seq); err != nil {
		return fmt.Errorf("remove a dead letter: %w", err)
	}
	l.commits.removed()
	return nil
}

// Replay puts the dead letters of notifications into the queue once more and
// removes them here. It says how many; those that are not there are passed
// over. A replayed one is received anew, works even if its version is known,
// and yields to live traffic. One whose removal was cut off by a crash lies
// here still and may be replayed again, which does no harm.
func (l *Ledger) Replay(ctx context.Context, seqs ...uint64) (n int, err error) {
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	for len(seqs) > 0 {
		k := min(len(seqs), replayAtOnce)
		done, err := l.replay(ctx, seqs[:k])
		n += done
		if err != nil {
			return n, err
		}
		seqs = seqs[k:]
	}
	return n, nil
}

func (l *Ledger) replay(ctx context.Context, seqs []uint64) (n int, err error) {
	l.removing.Lock()
	defer l.removing.Unlock()
	subjects := make([]string, len(seqs))
	for i, seq := range seqs {
		subjects[i] = letterSubject(seq)
	}
	newest, err := l.o.Journal.Newest(ctx, subjects...)
	if err != nil {
		return 0, err
	}
	var ns []ct2fluent.Notification
	for _, subject := range subjects {
		m, found := newest[subject]
		if !found {
			continue
		}
		d, err := decodeLetter(m.Data)
		if err != nil {
			return 0, err
		}
		again := d.Notification
		again.Seq, again.Attempts, again.Force, again.Bulk, again.Received = 0, 0, true, true, time.Now()
		again.Run = ""
		if again.HasRead() {
			again.Body = nil // a read of then
		}
		ns = append(ns, again)
	}
	if len(ns) == 0 {
		return 0, nil
	}
	if err := l.o.Put(ctx, ns...); err != nil {
		return 0, fmt.Errorf("replay %d dead letters: %w", len(ns), err)
	}
	for _, m := range newest {
		if err := l.remove(ctx, m); err != nil {
			return len(ns), err
		}
	}
	return len(ns), nil
}

// countLetters counts the dead letters in one request.
func (l *Ledger) countLetters(ctx context.Context) (uint64, error) {
	p, err := l.o.Journal.Page(ctx, letters+">", 1, 1)
	if err != nil {
		return 0, err
	}
	return uint64(len(p.Messages)) + p.Pending, nil
}

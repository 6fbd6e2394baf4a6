package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A Shelf is what a Memory keeps over a crash, in place of a disk. The zero
// value is empty. One Memory may have it open at a time.
type Shelf struct {
	received uint64
	items    []Item
	lately   []Item // settled by the last Memory, oldest first
}

// A Memory is a queue that keeps nothing over the end of the process, with the
// decisions of a Queue: for tests that need no disk. All methods are safe for
// concurrent use.
type Memory struct {
	o       Options
	log     *slog.Logger
	shelf   *Shelf
	closing context.Context
	close   context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	ready   sync.Cond
	alarm   *time.Timer
	desk    *Desk
	bytes   int64
	ended   bool
	crashed bool
	working bool
}

var _ ct2fluent.Queue = (*Memory)(nil)

// NewMemory opens a shelf. Of the options, the store plays no part.
func NewMemory(shelf *Shelf, o Options) *Memory {
	o.defaults()
	now := time.Now()
	for i, it := range shelf.items {
		shelf.items[i] = it.Crashed(now.Add(o.UnclearWait))
	}
	q := &Memory{o: o, log: o.Log, shelf: shelf, desk: NewDesk(o, nil, now, shelf.items...)}
	for _, it := range shelf.items {
		q.bytes += int64(len(it.Notification.Body))
	}
	shelf.items, shelf.lately = nil, nil
	q.ready.L = &q.mu
	q.closing, q.close = context.WithCancel(context.Background())
	q.alarm = time.AfterFunc(time.Hour, q.wake)
	return q
}

func (q *Memory) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ready.Broadcast()
}

// Put keeps the notifications, all or none.
func (q *Memory) Put(_ context.Context, ns ...ct2fluent.Notification) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return errClosed
	}
	size := int64(0)
	for _, n := range ns {
		size += int64(len(n.Body))
	}
	if q.bytes+size > q.o.MaxBytes {
		return fmt.Errorf("%w: %d bytes wait", ct2fluent.ErrFull, q.bytes)
	}
	q.bytes += size
	for _, n := range ns {
		q.shelf.received++
		n.Seq, n.Attempts = q.shelf.received, 0
		n.Body, n.Received = slices.Clone(n.Body), n.Received.UTC().Round(0)
		q.desk.Put(time.Now(), n)
	}
	q.ready.Broadcast()
	return nil
}

// Work hands out batches until ctx is done, as [Queue.Work] does.
func (q *Memory) Work(ctx context.Context, h ct2fluent.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(q.closing, stop)()
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		q.wake()
		limit := time.AfterFunc(q.o.StopTimeout, cancel)
		context.AfterFunc(handling, func() { limit.Stop() })
	})()
	q.mu.Lock()
	if q.working || q.ended {
		q.mu.Unlock()
		return errors.New("work: the queue is closed, or another call works it")
	}
	q.working = true
	q.workers.Add(1)
	q.mu.Unlock()

	var calls sync.WaitGroup
	for range q.o.Workers {
		calls.Go(func() {
			for b := q.next(ctx); b != nil; b = q.next(ctx) {
				errs := call(handling, q.log, h, b.batch)
				q.done(b, errs)
			}
		})
	}
	calls.Wait()
	q.mu.Lock()
	q.working = false
	q.mu.Unlock()
	q.workers.Done()
	return nil
}

func (q *Memory) next(ctx context.Context) *Batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil && !q.ended {
		now := time.Now()
		if b := q.desk.Next(now); b != nil {
			q.ready.Signal() // there may be more
			return b
		}
		if due := q.desk.Due(now); !due.IsZero() {
			q.alarm.Reset(due.Sub(now))
		}
		q.ready.Wait()
	}
	return nil
}

func (q *Memory) done(b *Batch, errs []error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.crashed {
		return
	}
	before := make([]Item, len(b.batch.items))
	for i, it := range b.batch.items {
		before[i] = it.seen()
		before[i].AtHand = true
	}
	q.desk.Done(b, errs, time.Now())
	for i, it := range b.batch.items {
		if it.settled {
			q.bytes -= int64(len(it.n.Body))
			q.shelf.lately = append(q.shelf.lately, before[i])
		}
	}
	q.ready.Broadcast()
}

// Received is how many notifications were ever put.
func (q *Memory) Received() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.shelf.received
}

// Waiting are the unsettled items.
func (q *Memory) Waiting() []Item {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.desk.Items()
}

// Holding lists the projects whose work waits for something else.
func (q *Memory) Holding() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.desk.Held()
}

// Close ends the queue in order and lays what is unsettled back on the shelf.
func (q *Memory) Close() error {
	q.close()
	q.wake()
	q.workers.Wait()
	q.end(0)
	return nil
}

// Crash ends the queue as a kill does: what is at hand comes again, and so do
// the last lost of those that were settled, as their acknowledgement was not
// kept.
func (q *Memory) Crash(lost int) {
	q.end(lost)
	q.close()
}

func (q *Memory) end(lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.ended, q.crashed = true, true
	q.alarm.Stop()
	q.ready.Broadcast()
	q.shelf.items = q.desk.Items()
	n := len(q.shelf.lately)
	q.shelf.items = append(q.shelf.items, q.shelf.lately[max(0, n-lost):]...)
	q.shelf.lately = nil
}

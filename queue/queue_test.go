package queue

import (
	"context"
	"testing"

	"github.com/ct2fluent/ct2fluent/queue/queuetest"
	"github.com/ct2fluent/ct2fluent/store"
)

// A kept is a queue with the store it lies in.
type kept struct {
	*Queue
	store *store.Store
	ended bool
}

func openKept(t testing.TB, so store.Options, o Options) *kept {
	t.Helper()
	s, err := store.Open(context.Background(), so)
	if err != nil {
		t.Fatal(err)
	}
	o.Store = s
	if o.Delays == (Delays{}) {
		o.Delays = Delays{Retry: queuetest.Retry, Hold: queuetest.Hold, HoldMax: 4 * queuetest.Hold}
	}
	q, err := Open(context.Background(), o)
	if err != nil {
		s.Crash()
		t.Fatal(err)
	}
	k := &kept{Queue: q, store: s}
	t.Cleanup(func() {
		if !k.ended {
			k.Crash()
		}
		q.finish()
	})
	return k
}

func (k *kept) Close() error {
	k.ended = true
	err := k.Queue.Close()
	if err := k.store.Close(); err != nil {
		return err
	}
	return err
}

// Crash takes the store from under the queue: nothing can be saved any more.
func (k *kept) Crash() {
	k.ended = true
	k.store.Crash()
}

func (k *kept) Holding() []string {
	var ps []string
	for _, h := range k.Held() {
		ps = append(ps, h.Project)
	}
	return ps
}

func TestQueue(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, queuetest.Harness{Open: func(t *testing.T, place string, o queuetest.Options) queuetest.Queue {
		return openKept(t, store.Options{Dir: place}, Options{
			Projects: o.Projects, Workers: o.Workers, BatchSize: o.BatchSize, MaxBytes: o.MaxBytes, UnclearWait: o.UnclearWait,
		})
	}})
}

package queue

import (
	"sync"
	"testing"

	"github.com/ct2fluent/ct2fluent/queue/queuetest"
)

// A shelved queue is a Memory as the suite knows one.
type shelved struct{ *Memory }

func (s shelved) Crash() { s.Memory.Crash(0) }

func TestMemory(t *testing.T) {
	t.Parallel()
	var shelves sync.Map
	queuetest.Run(t, queuetest.Harness{Open: func(t *testing.T, place string, o queuetest.Options) queuetest.Queue {
		shelf, _ := shelves.LoadOrStore(place, &Shelf{})
		q := NewMemory(shelf.(*Shelf), Options{
			Projects: o.Projects, Workers: o.Workers, BatchSize: o.BatchSize, MaxBytes: o.MaxBytes, UnclearWait: o.UnclearWait,
			Delays: Delays{Retry: queuetest.Retry, Hold: queuetest.Hold, HoldMax: 4 * queuetest.Hold},
		})
		t.Cleanup(func() { q.Crash(0) })
		return shelved{q}
	}})
}

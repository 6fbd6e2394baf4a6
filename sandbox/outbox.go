package sandbox

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"
)

// An outbox holds what is to be delivered until it is due.
type outbox struct {
	mu    sync.Mutex
	items dueHeap
	seq   uint64
	wake  chan struct{} // one waiting worker looks again
	open  int           // waiting or in a worker's hand
	idle  chan struct{} // closed while open is 0
}

type parcel struct {
	note
	due     time.Time
	seq     uint64
	attempt int
}

func newOutbox() *outbox {
	o := &outbox{wake: make(chan struct{}, 1), idle: make(chan struct{})}
	close(o.idle)
	return o
}

func (o *outbox) put(ps ...parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range ps {
		if o.open++; o.open == 1 {
			o.idle = make(chan struct{})
		}
		o.add(p)
	}
}

// again puts back what could not be delivered.
func (o *outbox) again(p parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(p)
}

func (o *outbox) add(p parcel) {
	o.seq++
	p.seq = o.seq
	heap.Push(&o.items, p)
	o.rouse()
}

func (o *outbox) done() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open--; o.open == 0 {
		close(o.idle)
	}
}

func (o *outbox) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take waits for the next that is due; it is false when ctx is done.
func (o *outbox) take(ctx context.Context, now func() time.Time) (parcel, bool) {
	for ctx.Err() == nil {
		o.mu.Lock()
		wait := time.Hour
		if len(o.items) > 0 {
			wait = o.items[0].due.Sub(now())
		}
		if wait <= 0 {
			p := heap.Pop(&o.items).(parcel)
			if len(o.items) > 0 {
				o.rouse()
			}
			o.mu.Unlock()
			return p, true
		}
		o.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-o.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
	return parcel{}, false
}

func (o *outbox) pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open
}

func (o *outbox) idled() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.idle
}

type dueHeap []parcel

func (h dueHeap) Len() int      { return len(h) }
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h dueHeap) Less(i, j int) bool {
	return cmp.Or(h[i].due.Compare(h[j].due), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h *dueHeap) Push(p any) { *h = append(*h, p.(parcel)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	*h = slices.Delete(*h, last, last+1)
	return p
}

// Run delivers notifications until ctx is done, and returns nil then. One
// that Deliver refuses is delivered again, later and later.
func (s *CommerceTools) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range s.o.Deliverers {
		wg.Go(func() { s.deliver(ctx) })
	}
	wg.Wait()
	return nil
}

func (s *CommerceTools) deliver(ctx context.Context) {
	for {
		p, ok := s.outbox.take(ctx, s.gate.now)
		if !ok {
			return
		}
		alive, destination, _ := p.to.target()
		if !alive {
			s.outbox.done()
			continue
		}
		if err := s.o.Deliver(ctx, destination, p.body(s.o.ProjectKey)); err != nil {
			s.gate.count("deliver", "failed")
			p.due = s.gate.now().Add(min(5*time.Second, 100*time.Millisecond<<min(p.attempt, 6)))
			p.attempt++
			s.outbox.again(p)
			continue
		}
		s.gate.count("deliver", "ok")
		s.outbox.done()
	}
}

// send puts notes into the outbox as the knobs want it: late, twice, in
// another order. It is called with s.mu held.
func (s *CommerceTools) send(notes []note) {
	if s.o.Deliver == nil {
		return
	}
	k := s.knobs
	for _, n := range notes {
		copies := 1
		if s.gate.chance(k.Duplicates) {
			copies = 2
		}
		for range copies {
			s.outbox.put(parcel{note: n, due: s.due(k)})
		}
	}
}

func (s *CommerceTools) due(k CTKnobs) time.Time {
	now := s.gate.now()
	due := now.Add(time.Duration(k.Delay))
	switch window := time.Duration(k.Window); {
	case window <= 0:
	case k.Reverse:
		// Mirrored at the end of its window: the first comes last.
		end := now.Truncate(window).Add(window)
		due = due.Add(2 * end.Sub(now))
	default:
		due = due.Add(s.gate.spread(k.Window))
	}
	return due
}

// Redeliver delivers every notification ever made once more, and returns how
// many.
func (s *CommerceTools) Redeliver() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(s.history)
	return len(s.history)
}

// Pending is the number of notifications not yet delivered.
func (s *CommerceTools) Pending() int { return s.outbox.pending() }

// Drain waits until every notification is delivered, or for the end of ctx,
// whose error it returns then.
func (s *CommerceTools) Drain(ctx context.Context) error {
	select {
	case <-s.outbox.idled():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

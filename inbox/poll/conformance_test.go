package poll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/inbox/sourcetest"
)

// The ct-queue of a poll is the order of changes: a body of the suite is a
// customer that changes, and what the mark has passed is acknowledged.
func TestSource(t *testing.T) {
	sourcetest.Test(t, func(t *testing.T, acknowledged func([]byte)) sourcetest.Harness {
		q := &order{shop: newShop(), bodies: map[string][]byte{}, waiting: map[string]commercetools.Mark{}}
		q.marked = func(m commercetools.Mark) {
			for _, body := range q.passed(m) {
				acknowledged(body)
			}
		}
		return sourcetest.Harness{
			Source: func() ct2fluent.Source {
				s, err := New(Options{Project: "shop", Reader: q, Marks: q, Every: time.Second / 4, From: beginning})
				if err != nil {
					t.Fatal(err)
				}
				return &translated{s, q, map[string]bool{}, sync.Mutex{}}
			},
			Send:  q.send,
			Taken: func() int { q.mu.Lock(); defer q.mu.Unlock(); return q.handed },
			Slow:  time.Hour,
		}
	})
}

type order struct {
	*shop
	more    sync.Mutex
	bodies  map[string][]byte // by customer
	waiting map[string]commercetools.Mark
}

func (q *order) send(body []byte) {
	q.more.Lock()
	defer q.more.Unlock()
	id := fmt.Sprintf("%06d", len(q.bodies))
	// Old enough to be read at once.
	at := time.Now().Add(-margin)
	q.bodies[id], q.waiting[id] = body, commercetools.Mark{At: stamp(at), ID: id}
	q.change(id, at, time.Now())
}

// passed are the bodies that a mark acknowledges.
func (q *order) passed(m commercetools.Mark) (bodies [][]byte) {
	q.more.Lock()
	defer q.more.Unlock()
	for id, at := range q.waiting {
		if cmpMarks(at, m) <= 0 {
			bodies = append(bodies, q.bodies[id])
			delete(q.waiting, id)
		}
	}
	return bodies
}

// translated has the put of the suite get the bodies of the customers in an
// array, all or none as the inbox has it: those that it took before the rest
// failed are not put again.
type translated struct {
	*Source
	q    *order
	took map[string]bool
	mu   sync.Mutex
}

func (s *translated) Run(ctx context.Context, put func(context.Context, []byte) error) error {
	return s.Source.Run(ctx, func(ctx context.Context, body []byte) error {
		var changes []change
		if err := json.Unmarshal(body, &changes); err != nil {
			return err
		}
		errs := make([]error, len(changes))
		var putting sync.WaitGroup
		for i, c := range changes {
			s.q.more.Lock()
			body := s.q.bodies[c.Resource.ID]
			s.q.more.Unlock()
			s.mu.Lock()
			took := s.took[c.Resource.ID]
			s.mu.Unlock()
			if took {
				continue
			}
			putting.Go(func() {
				if errs[i] = put(ctx, body); errs[i] == nil {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.took[c.Resource.ID] = true
				}
			})
		}
		putting.Wait()
		return errors.Join(errs...)
	})
}

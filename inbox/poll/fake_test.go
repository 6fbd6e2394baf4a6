package poll

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

// A shop is a commercetools project, its ledger's marks, and what was put.
type shop struct {
	mu        sync.Mutex
	customers map[string]*row
	marks     map[string]string
	marked    func(commercetools.Mark) // after each SetMark
	read      func()                   // before each page
	readErr   error
	markErr   error
	limit     int // of a page, 0 for what is asked for
	pages     int
	handed    int // customers
}

type row struct {
	commercetools.Customer
	visible time.Time // to queries
}

func newShop() *shop { return &shop{customers: map[string]*row{}, marks: map[string]string{}} }

// change makes or changes a customer, as of a time, visible from then on.
func (s *shop) change(id string, at time.Time, visible time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.customers[id]
	if r == nil {
		r = &row{Customer: commercetools.Customer{ID: id}}
		s.customers[id] = r
	}
	r.Version++
	r.LastModifiedAt, r.visible = stamp(at), visible
}

// now changes a customer at this moment.
func (s *shop) now(id string) { s.change(id, time.Now(), time.Now()) }

// Changes is of Reader, as commercetools has it.
func (s *shop) Changes(ctx context.Context, _ commercetools.Selection, after commercetools.Mark, until string, limit int) (*commercetools.Page, error) {
	s.mu.Lock()
	read := s.read
	s.mu.Unlock()
	if read != nil {
		read()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages++
	if s.readErr != nil {
		return nil, s.readErr
	}
	if s.limit > 0 {
		limit = min(limit, s.limit)
	}
	var found []commercetools.Customer
	for _, r := range s.customers {
		m := r.Mark()
		if !r.visible.After(time.Now()) && m.At <= until && (m.At > after.At || m.At == after.At && (after.ID == "" || m.ID > after.ID)) {
			found = append(found, r.Customer)
		}
	}
	slices.SortFunc(found, func(a, b commercetools.Customer) int {
		return cmpMarks(a.Mark(), b.Mark())
	})
	p := &commercetools.Page{Customers: found[:min(len(found), limit)]}
	p.Last = len(p.Customers) < limit
	s.handed += len(p.Customers)
	return p, ctx.Err()
}

func cmpMarks(a, b commercetools.Mark) int {
	return slices.Compare([]string{a.At, a.ID}, []string{b.At, b.ID})
}

// Mark and SetMark are of Marks.
func (s *shop) Mark(_ context.Context, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.marks[name], s.markErr
}

func (s *shop) SetMark(ctx context.Context, name, value string) error {
	s.mu.Lock()
	marked, err := s.marked, s.markErr
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		s.marks[name] = value
	}
	s.mu.Unlock()
	var n note
	if err == nil && marked != nil && json.Unmarshal([]byte(value), &n) == nil {
		marked(n.Mark)
	}
	return err
}

func (s *shop) mark(t *testing.T) note {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var n note
	if err := json.Unmarshal([]byte(s.marks["shop"]), &n); err != nil {
		t.Fatalf("mark %q: %v", s.marks["shop"], err)
	}
	return n
}

// A basket is a put: it knows the newest version of each customer that is kept.
type basket struct {
	mu     sync.Mutex
	newest map[string]int64
	bodies []int // the customers in each
	err    error
}

func (b *basket) put(_ context.Context, body []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	var changes []change
	if err := json.Unmarshal(body, &changes); err != nil {
		return err
	}
	if b.newest == nil {
		b.newest = map[string]int64{}
	}
	for _, c := range changes {
		if c.NotificationType != "ResourceUpdated" || c.ProjectKey != "shop" || c.Resource.TypeID != "customer" || c.ModifiedAt == "" {
			return fmt.Errorf("no change: %+v", c)
		}
		b.newest[c.Resource.ID] = max(b.newest[c.Resource.ID], c.Version)
	}
	b.bodies = append(b.bodies, len(changes))
	return nil
}

// missing are the customers of which the newest version was not put.
func (b *basket) missing(s *shop) (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.customers {
		if b.newest[id] < r.Version {
			ids = append(ids, id)
		}
	}
	return ids
}

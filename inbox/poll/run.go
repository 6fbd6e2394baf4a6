package poll

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

// Run reads until ctx is done; see [ct2fluent.Source]. It returns an error
// where commercetools does not keep to the order, and where the mark can be
// neither read nor made. What fails otherwise is tried again, later and later.
func (s *Source) Run(ctx context.Context, put func(ctx context.Context, body []byte) error) error {
	// The page at hand outlives ctx, up to the limit of the stop.
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(stopLimit):
			giveUp()
		case <-work.Done():
		}
	})
	defer stop()
	if ctx.Err() != nil {
		return nil
	}
	mark, err := s.begin(work)
	if err != nil {
		return err
	}
	r := &run{Source: s, put: put, work: work, mark: mark}
	s.reached(mark.At)
	for ctx.Err() == nil {
		if err := r.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A run is one Run.
type run struct {
	*Source
	put  func(ctx context.Context, body []byte) error
	work context.Context // of put and mark

	mark   note
	failed int // readings in a row
}

// step reads one page and puts it, or waits.
func (r *run) step(ctx context.Context) error {
	until := time.Now().Add(-margin).Truncate(time.Millisecond)
	if at, err := time.Parse(time.RFC3339, r.mark.At); err == nil && until.Before(at) {
		if at.Sub(until) > margin {
			r.takeBack(ctx, until)
		} else {
			pause(ctx, min(r.o.Every, at.Sub(until)))
		}
		return nil
	}
	p, err := r.o.Reader.Changes(ctx, commercetools.Selection{}, r.mark.Mark, stamp(until), pageSize)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return r.unread(ctx, err)
	}
	if r.failed > 0 {
		r.failed = 0
		r.o.Log.Info("changes can be read again", "project", r.o.Project)
	}
	r.o.Observe("page", 1)
	if len(p.Customers) > 0 {
		body, err := r.body(p.Customers)
		if err != nil {
			return err
		}
		if !r.pass(ctx, body, p.Customers[len(p.Customers)-1].Mark()) {
			return nil
		}
		r.o.Observe("customer", len(p.Customers))
	}
	if p.Last {
		r.o.Reached(until)
		pause(ctx, r.o.Every)
		return nil
	}
	r.reached(r.mark.At)
	return nil
}

// unread waits after a page that could not be read, longer each time.
func (r *run) unread(ctx context.Context, err error) error {
	r.o.Observe("read-failed", 1)
	var ct *commercetools.Error
	wait := delay(r.failed)
	if errors.As(err, &ct) {
		if ct.Code == "unordered" {
			return r.explain(r.mark.Mark, err)
		}
		wait = max(wait, ct.RetryAfter)
	}
	if r.failed == 0 {
		r.o.Log.Error("changes cannot be read; they are asked for again, later and later", "error", r.explain(r.mark.Mark, err))
	}
	r.failed++
	pause(ctx, wait)
	return nil
}

// pass puts a page and moves the mark past it, as often as it takes. It is
// false when the stop came first. Nothing more is read meanwhile.
func (r *run) pass(ctx context.Context, body []byte, last commercetools.Mark) bool {
	for tries := 0; ; tries++ {
		if err := r.put(r.work, body); err == nil {
			break
		}
		r.o.Observe("put-failed", 1)
		if !pause(ctx, delay(tries)) {
			return false
		}
	}
	return r.move(ctx, last)
}

// move keeps another mark, as often as it takes. It is false when the stop came
// first.
func (r *run) move(ctx context.Context, to commercetools.Mark) bool {
	next := note{to, r.mark.From}
	for tries := 0; ; tries++ {
		err := r.keep(r.work, next)
		if err == nil {
			break
		}
		r.o.Observe("mark-failed", 1)
		if tries == 0 {
			r.o.Log.Error("the mark of the polling cannot be kept; it is tried again", "error", err)
		}
		if !pause(ctx, delay(tries)) {
			return false
		}
	}
	r.mark = next
	return true
}

// takeBack moves a mark that lies in the future back: until its time came
// nothing would be read, and nobody would notice. What was read already is at
// most read again.
func (r *run) takeBack(ctx context.Context, until time.Time) {
	r.o.Observe("mark-ahead", 1)
	r.o.Log.Error("the mark of the polling lies in the future, until when nothing would be read; polling goes on from now, "+
		"and what was changed before and not read is brought by: ct2fluent bulk customers --changed-since TIME",
		"project", r.o.Project, "mark", r.mark.At, "from", stamp(until))
	r.o.Reached(until)
	r.move(ctx, commercetools.Mark{At: stamp(until)})
}

// A change is a ResourceUpdated of commercetools.
type change struct {
	NotificationType string `json:"notificationType"`
	ProjectKey       string `json:"projectKey"`
	Resource         struct {
		TypeID string `json:"typeId"`
		ID     string `json:"id"`
	} `json:"resource"`
	Version    int64  `json:"version"`
	ModifiedAt string `json:"modifiedAt"`
}

func (r *run) body(customers []commercetools.Customer) ([]byte, error) {
	changes := make([]change, len(customers))
	for i, c := range customers {
		n := &changes[i]
		n.NotificationType, n.ProjectKey, n.Version, n.ModifiedAt = "ResourceUpdated", r.o.Project, c.Version, c.LastModifiedAt
		n.Resource.TypeID, n.Resource.ID = "customer", c.ID
	}
	return json.Marshal(changes)
}

// reached tells of a place in the order of changes.
func (s *Source) reached(at string) {
	if t, err := time.Parse(time.RFC3339, at); err == nil {
		s.o.Reached(t)
	}
}

// delay is 1 s doubling up to the longest, less a random part of up to a half.
func delay(tries int) time.Duration {
	d := min(time.Second<<min(tries, 6), longest)
	return d - rand.N(d/2)
}

// pause is false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

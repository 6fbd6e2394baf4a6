// Package queuetest is the suite that any ct2fluent.Queue must pass.
//
// Run opens queues through a Harness and works them with a handler that the
// test plays itself: it sees each batch as it is handed out and answers it
// when it likes. The suite waits for what must happen and never for a time to
// pass; what must not happen is shown by something that comes after it.
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// The delays that a queue under test must have: Retry before a notification is
// tried again and Hold before a held project is asked, each doubling.
const (
	Retry = 20 * time.Millisecond
	Hold  = 20 * time.Millisecond
)

// Options of a queue under test.
type Options struct {
	Projects    []string
	Workers     int
	BatchSize   int
	MaxBytes    int64
	UnclearWait time.Duration
}

// A Queue is one under test.
type Queue interface {
	ct2fluent.Queue
	// Holding lists the projects that are held.
	Holding() []string
	// Close ends the queue in order.
	Close() error
	// Crash ends it so that nothing more is kept, as a kill does. What the
	// handler has at hand need not have come back.
	Crash()
}

// A Harness makes queues.
type Harness struct {
	// Open opens the queue that is kept in place, a directory of the test's.
	// After Close or Crash it is opened again.
	Open func(t *testing.T, place string, o Options) Queue
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"what is put is handed out", putAndWork},
		{"one alone goes at once, and what gathers goes together", naturalBatches},
		{"what is at hand for one resource travels together", together},
		{"no two batches hold one resource", exclusive},
		{"many callers put at once", manyCallers},
		{"live goes before bulk", liveFirst},
		{"a retried one is not overtaken", notOvertaken},
		{"a delay that was asked for is not counted", later},
		{"an unclear one comes back as Again and is passed", unclear},
		{"what is settled does not come back", settled},
		{"attempts outlive a stop and a crash", attemptsLast},
		{"Again outlives a stop", againLasts},
		{"one that is put as Again waits, is passed, and outlives a crash and a stop", putAgain},
		{"what was at hand in a crash is Again", againAfterCrash},
		{"everything put is there after a crash", thereAfterCrash},
		{"a project that is down is held, the others go on", held},
		{"a poisoned one among good ones counts", poisoned},
		{"a full queue says so and recovers", full},
		{"a handler that panics or miscounts", broken},
		{"a stop lets the batch at hand finish", stop},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, h)
		})
	}
}

var (
	errFault = errors.New("fault")
	errDown  = ct2fluent.Unavailable(errors.New("down"))
)

// note makes a notification of project p; its ID is how tests tell it apart.
func note(id, resource string) ct2fluent.Notification {
	return ct2fluent.Notification{
		ID:   id,
		Ref:  ct2fluent.Ref{Project: "p", TypeID: "customer", ID: resource},
		Name: "ResourceUpdated", Kind: "ResourceUpdated", Version: 3,
		Body:     []byte(`{"notificationType":"ResourceUpdated"}`),
		Received: time.Unix(1_700_000_000, 123_000_000).UTC(),
	}
}

func of(project string, n ct2fluent.Notification) ct2fluent.Notification {
	n.Ref.Project = project
	return n
}

func bulk(n ct2fluent.Notification) ct2fluent.Notification {
	n.Bulk = true
	return n
}

func open(t *testing.T, h Harness, place string, o Options) Queue {
	t.Helper()
	if o.Projects == nil {
		o.Projects = []string{"p", "q"}
	}
	return h.Open(t, place, o)
}

func put(t *testing.T, q Queue, ns ...ct2fluent.Notification) {
	t.Helper()
	if err := q.Put(t.Context(), ns...); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

// patience is how long something that must happen may take.
const patience = 20 * time.Second

// A desk is a handler that the test plays.
type desk struct {
	t     *testing.T
	calls chan *call
	gone  chan struct{}
	stop  context.CancelFunc
	ended chan error
}

// A call is a batch that was handed out and waits for its answer.
type call struct {
	ctx    context.Context
	batch  []ct2fluent.Notification
	at     time.Time
	answer chan []error
}

// work starts q.Work. It is ended with the test, or by end.
func work(t *testing.T, q Queue) *desk {
	ctx, stop := context.WithCancel(context.Background())
	d := &desk{t: t, calls: make(chan *call), gone: make(chan struct{}), stop: stop, ended: make(chan error, 1)}
	go func() { d.ended <- q.Work(ctx, d) }()
	t.Cleanup(func() {
		stop()
		d.drop()
	})
	return d
}

// Handle passes the batch to the test. Once the desk is gone every call ends.
func (d *desk) Handle(ctx context.Context, batch []ct2fluent.Notification) []error {
	c := &call{ctx: ctx, batch: batch, at: time.Now(), answer: make(chan []error, 1)}
	select {
	case d.calls <- c:
	case <-d.gone:
		return make([]error, len(batch))
	}
	select {
	case errs := <-c.answer:
		return errs
	case <-d.gone:
		return make([]error, len(batch))
	}
}

// drop leaves the desk: what is at hand is answered by nobody.
func (d *desk) drop() {
	select {
	case <-d.gone:
	default:
		close(d.gone)
	}
}

// end stops the work in order and waits for it.
func (d *desk) end() {
	d.t.Helper()
	d.stop()
	select {
	case err := <-d.ended:
		if err != nil {
			d.t.Fatalf("Work: %v", err)
		}
	case <-time.After(patience):
		d.t.Fatal("Work does not end")
	}
}

// next waits for the next batch.
func (d *desk) next() *call {
	d.t.Helper()
	select {
	case c := <-d.calls:
		return c
	case err := <-d.ended:
		d.t.Fatalf("Work ended: %v", err)
	case <-time.After(patience):
		d.t.Fatal("nothing is handed out")
	}
	return nil
}

// gives waits for the next batch and checks the IDs in it. A ! marks Again, *n
// the attempts.
func (d *desk) gives(want ...string) *call {
	d.t.Helper()
	c := d.next()
	if got := c.ids(); !slices.Equal(got, want) {
		d.t.Fatalf("got batch %q, want %q", got, want)
	}
	return c
}

func (c *call) ids() []string {
	var ids []string
	for _, n := range c.batch {
		id := n.ID
		if n.Again {
			id += "!"
		}
		if n.Attempts > 0 {
			id += fmt.Sprintf("*%d", n.Attempts)
		}
		ids = append(ids, id)
	}
	return ids
}

// ends answers the call; the last error stands for all that follow.
func (c *call) ends(errs ...error) time.Time {
	for len(errs) < len(c.batch) {
		errs = append(errs, errs[len(errs)-1])
	}
	c.answer <- errs
	return time.Now()
}

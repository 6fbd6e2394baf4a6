// Package queue keeps notifications safe between the inbox and the handlers.
//
// A Queue is a JetStream stream, in this process or in a cluster. Put returns
// once the notifications would outlive a crash (promise 1). Work hands them
// out in batches; all that is at hand for one resource travels together, and
// no two batches hold one resource (promise 4).
//
// The stream holds what was put and nothing else. What many callers bring at
// once goes into it as one message, a pack, which costs one sync. The
// notifications are numbered through: the number of the last is the count of
// all ever received (promise 2). The stream is divided into lanes, by class
// and project, each read by a cursor. A lane's record, in a second stream,
// says how far it was read and which of these are not settled, with their
// attempts. What is settled in all lanes is purged.
//
// The files: message.go is what is stored, put.go stores, read.go and lane.go
// bring what is stored into memory, schedule.go and outcome.go decide what is
// handed out and what becomes of it, work.go hands out, cursor.go and load.go
// keep the records, keep.go tidies up.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go/jetstream"
)

// Options of a queue.
type Options struct {
	Store *store.Store
	// Projects have a lane of their own and are held on their own. All others
	// share the lane of the strangers.
	Projects    []string
	Workers     int           // batches at hand at once; default 8
	BatchSize   int           // resources in a batch at most; default 200
	MaxBytes    int64         // of the stream; default 8 GiB
	UnclearWait time.Duration // D, for which an unclear write may still land; default 15 s
	StopTimeout time.Duration // for batches at hand when Work is to end; default 20 s
	Delays      Delays
	// Route names the route that a notification takes, for Pause. It must be
	// quick, and always say the same. Nil: there are no routes to pause.
	Route   func(n *ct2fluent.Notification) string
	Log     *slog.Logger
	Observe Observe
}

// Delays are how long the queue waits before it tries again.
type Delays struct {
	Retry    time.Duration // after the first fault of a notification, then doubling; default 1 s
	RetryMax time.Duration // default 5 min
	Hold     time.Duration // before the first probe of a held project, then doubling; default 1 s
	HoldMax  time.Duration // default 5 s
}

// Observe is called with what the queue does. Each may be nil; they must be
// quick, and safe for concurrent use.
type Observe struct {
	// Put: so many notifications went to disk by one commit.
	Put func(notifications int, took time.Duration)
	// Batch: so many notifications of a project were worked by one call of the
	// handler. The project is empty for strangers.
	Batch func(project string, bulk bool, notifications int, took time.Duration)
}

// A Hold says that a project's work waits for something that is no fault of
// the work, or that somebody has paused a project or a route. Project is empty
// for the strangers, and where Route names a paused one.
type Hold struct {
	Project string
	Route   string
	Since   time.Time
	Why     string
}

// AllProjects is the Project of the Hold that the store causes: its disk has no
// room, or its cluster is lost.
const AllProjects = "*"

// A LaneState tells of the work of one class and project. Project is empty
// for the strangers.
type LaneState struct {
	Project string
	Bulk    bool
	Waiting int  // unsettled notifications in memory
	Behind  bool // there are more in the stream
}

// A Queue is a ct2fluent.Queue that outlives crashes. All methods are safe for
// concurrent use.
type Queue struct {
	store       *store.Store
	stream      jetstream.Stream
	cursors     jetstream.Stream
	log         *slog.Logger
	observe     Observe
	delays      Delays
	stopTimeout time.Duration
	ahead       int       // how many may be handed out beyond what is at hand without saving a cursor
	opened      time.Time // the last sign of life of what was at hand before
	lanes       []*lane
	byToken     map[string][2]*lane // live and bulk
	projects    map[string]bool

	puts    chan *put
	urgent  chan struct{}
	isFull  chan struct{}
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
	workers sync.WaitGroup
	closed  sync.Once
	saving  sync.Mutex

	mu       sync.Mutex
	ready    sync.Cond // something may be ready
	covered  sync.Cond // a cursor was saved
	alarm    *time.Timer
	schedule *schedule
	tail     uint64 // the number of the newest notification, as far as is known
	end      uint64 // the stream's last message
	newest   uint64 // the last that is a pack
	shut     *Hold  // nothing can be stored
	working  bool
}

const (
	streamName  = "CT2FLUENT_QUEUE"
	cursorsName = "CT2FLUENT_CURSOR"
)

// saveEvery is how much finished work may be handed out again after a crash.
const saveEvery = 100 * time.Millisecond

var _ ct2fluent.Queue = (*Queue)(nil)

// Open opens the queue in the store and reads what is unsettled. One process
// may have it open at a time.
func Open(ctx context.Context, o Options) (*Queue, error) {
	o.defaults()
	q := &Queue{
		store:       o.Store,
		log:         o.Log,
		observe:     o.Observe,
		delays:      o.Delays,
		stopTimeout: o.StopTimeout,
		ahead:       2 * o.Workers * o.BatchSize,
		opened:      time.Now(),
		byToken:     map[string][2]*lane{},
		projects:    map[string]bool{},
		puts:        make(chan *put),
		urgent:      make(chan struct{}, 1),
		isFull:      make(chan struct{}, 1),
	}
	q.ready.L, q.covered.L = &q.mu, &q.mu
	q.schedule = newSchedule(rules{
		Workers: o.Workers, BatchSize: o.BatchSize, UnclearWait: o.UnclearWait, Delays: o.Delays, Jitter: rand.Float64, Route: o.Route,
	}, o.Projects, q.opened)
	for _, p := range o.Projects {
		q.projects[p] = true
	}
	if err := q.openStreams(ctx, o.MaxBytes); err != nil {
		return nil, err
	}
	if err := q.load(ctx); err != nil {
		return nil, err
	}
	q.watchStore(ctx)
	q.alarm = time.AfterFunc(time.Hour, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.ready.Signal()
	})
	q.closing, q.close = context.WithCancel(context.WithoutCancel(ctx))
	for _, run := range []func(context.Context){q.commits, q.keepCursors, q.keep} {
		q.running.Go(func() { run(q.closing) })
	}
	for _, l := range q.lanes {
		q.running.Go(func() { q.follow(q.closing, l) })
	}
	return q, nil
}

func (o *Options) defaults() {
	ifZero(&o.Workers, 8)
	ifZero(&o.BatchSize, 200)
	ifZero(&o.MaxBytes, 8<<30)
	ifZero(&o.UnclearWait, 15*time.Second)
	ifZero(&o.StopTimeout, 20*time.Second)
	ifZero(&o.Delays.Retry, time.Second)
	ifZero(&o.Delays.RetryMax, 5*time.Minute)
	ifZero(&o.Delays.Hold, time.Second)
	ifZero(&o.Delays.HoldMax, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe.Put == nil {
		o.Observe.Put = func(int, time.Duration) {}
	}
	if o.Observe.Batch == nil {
		o.Observe.Batch = func(string, bool, int, time.Duration) {}
	}
}

func ifZero[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (q *Queue) openStreams(ctx context.Context, maxBytes int64) (err error) {
	js := q.store.JetStream()
	q.stream, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        streamName,
		Subjects:    []string{"n.>"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew, // a full queue refuses; it never drops work
		MaxBytes:    maxBytes,
		Storage:     jetstream.FileStorage,
		Replicas:    q.store.Replicas(),
		AllowDirect: true,
		Duplicates:  store.Duplicates,
	})
	if err != nil {
		return fmt.Errorf("open stream %s: %w", streamName, err)
	}
	q.cursors, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:              cursorsName,
		Subjects:          []string{"c.>"},
		MaxMsgsPerSubject: 1,
		Storage:           jetstream.FileStorage,
		Replicas:          q.store.Replicas(),
		AllowDirect:       true,
		Duplicates:        store.Duplicates,
	})
	if err != nil {
		return fmt.Errorf("open stream %s: %w", cursorsName, err)
	}
	return nil
}

// laneOf is where n is kept. The lanes do not change while the queue is open.
func (q *Queue) laneOf(n ct2fluent.Notification) *lane {
	project := n.Ref.Project
	if !q.projects[project] {
		project = ""
	}
	pair := q.byToken[store.Token(project)]
	if n.Bulk {
		return pair[1]
	}
	return pair[0]
}

// Received is how many notifications were ever put. The error is that of
// reading the stream.
func (q *Queue) Received(ctx context.Context) (uint64, error) {
	if err := q.measure(ctx); err != nil {
		return 0, fmt.Errorf("count what was received: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tail, nil
}

// Floor is the sequence up to which every notification of a project is settled
// durably: none of them will ever be handed out again.
func (q *Queue) Floor(project string) uint64 {
	floor := ^uint64(0)
	// What was received before a project was configured is in the lane of the
	// strangers.
	for _, token := range []string{store.Token(project), store.Token("")} {
		for _, l := range q.byToken[token] {
			if l != nil {
				floor = min(floor, l.floor.Load())
			}
		}
	}
	return floor
}

// Held lists the projects whose work waits for something else, and what is
// paused. Of a paused project it tells only that.
func (q *Queue) Held() []Hold {
	q.mu.Lock()
	defer q.mu.Unlock()
	var hs []Hold
	if q.shut != nil {
		hs = append(hs, *q.shut)
	}
	hs = append(hs, q.schedule.paused.all()...)
	for _, a := range q.schedule.accounts {
		if a.held && !a.paused {
			hs = append(hs, Hold{Project: a.name, Since: a.since, Why: a.why})
		}
	}
	return hs
}

// Oldest is when the oldest waiting notification was received; false when
// none waits.
func (q *Queue) Oldest() (time.Time, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var oldest *item
	for _, l := range q.lanes {
		if len(l.items) > 0 && (oldest == nil || l.items[0].n.Seq < oldest.n.Seq) {
			oldest = l.items[0]
		}
	}
	if oldest == nil {
		return time.Time{}, false
	}
	return oldest.n.Received, true
}

// Lanes tells how much is in memory of each lane.
func (q *Queue) Lanes() []LaneState {
	q.mu.Lock()
	defer q.mu.Unlock()
	states := make([]LaneState, len(q.lanes))
	for i, l := range q.lanes {
		states[i] = LaneState{Project: l.project(), Bulk: l.bulk, Waiting: l.open, Behind: l.reading || l.last > l.read}
	}
	return states
}

// Close ends the queue: Work as if its context were done, and Put with an
// error. It returns once all that was at hand is back and saved.
func (q *Queue) Close() error {
	err := errors.New("close: the queue is closed already")
	q.closed.Do(func() {
		q.finish()
		ctx, cancel := context.WithTimeout(context.Background(), commitWithin)
		defer cancel()
		err = q.save(ctx, true, true)
	})
	return err
}

// finish stops all that runs.
func (q *Queue) finish() {
	q.mu.Lock()
	q.close() // under the lock, so that no Work begins once the workers are waited for
	q.mu.Unlock()
	q.workers.Wait()
	q.running.Wait()
	q.alarm.Stop()
}

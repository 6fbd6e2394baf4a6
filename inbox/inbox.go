package inbox

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// Options of an Inbox. Put and Projects are mandatory.
type Options struct {
	// Sources are run, each under its name.
	Sources map[string]ct2fluent.Source
	// Put keeps notifications; see [ct2fluent.Queue]. Safe for concurrent use.
	Put func(ctx context.Context, ns ...ct2fluent.Notification) error
	// Projects are the keys of the commercetools projects that have an account.
	Projects []string
	// MaxBody is the most bytes of a body that are kept; default 1 MiB. A
	// larger notification travels without its body, which is but a hint
	// (promise 5); of a larger one that cannot be read the beginning is kept.
	MaxBody int
	// Log; nil discards.
	Log *slog.Logger
	// Observe is told of each put, for metrics; nil for none. Called by
	// several goroutines at once.
	Observe func(Received)
}

// A Received is one body that a source brought.
type Received struct {
	Source        string // its name; "put" for [Inbox.Put]
	Notifications int    // in the body
	Faulty        int    // of these, how many no handler can work
	Took          time.Duration
	Err           error // nil: kept
}

// An Inbox runs the sources and puts what they bring.
type Inbox struct {
	o       Options
	failing atomic.Bool // the last Put of the queue failed
}

// New makes an Inbox.
func New(o Options) *Inbox {
	if o.MaxBody == 0 {
		o.MaxBody = 1 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Received) {}
	}
	return &Inbox{o: o}
}

// Put parses a body and puts all its notifications at once, or fails. It
// returns how many they are. A nil error means that they are safe (promise 1).
// Safe for concurrent use.
func (in *Inbox) Put(ctx context.Context, body []byte) (int, error) {
	return in.put(ctx, "put", body)
}

func (in *Inbox) put(ctx context.Context, source string, body []byte) (int, error) {
	start := time.Now()
	ns := Parse(body, start)
	Assign(ns, in.o.Projects)
	faulty := 0
	for i := range ns {
		n := &ns[i]
		if n.Fault != "" {
			faulty++
		}
		if len(n.Body) > in.o.MaxBody {
			in.shorten(n, source)
		}
	}
	err := in.o.Put(ctx, ns...)
	in.note(ctx, err)
	in.o.Observe(Received{Source: source, Notifications: len(ns), Faulty: faulty, Took: time.Since(start), Err: err})
	if err != nil {
		return 0, err
	}
	return len(ns), nil
}

// shorten makes a notification small enough to be kept. Refused, it would come
// again for ever and stop its source.
func (in *Inbox) shorten(n *ct2fluent.Notification, source string) {
	in.o.Log.Warn("body too large to be kept whole", "source", source, "bytes", len(n.Body), "limit", in.o.MaxBody, "fault", n.Fault)
	if n.Fault == "" {
		n.Body = nil
		return
	}
	n.Body = n.Body[:in.o.MaxBody]
}

// note logs when notifications can no longer be kept, and when they can again.
func (in *Inbox) note(ctx context.Context, err error) {
	switch {
	case err == nil:
		if in.failing.CompareAndSwap(true, false) {
			in.o.Log.Info("notifications are kept again")
		}
	case ctx.Err() != nil:
		// The caller gave up, which says nothing of the queue.
	case in.failing.CompareAndSwap(false, true):
		in.o.Log.Error("notifications cannot be kept; sources wait", "error", err)
	}
}

// Run runs the sources until ctx is done and returns nil then, when all have
// ended. A source that ends before is started again, after about 1 s at first and
// 1 min at last.
func (in *Inbox) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(in.o.Sources)) {
		wg.Go(func() { in.keep(ctx, name, in.o.Sources[name]) })
	}
	wg.Wait()
	return nil
}

var errEnded = errors.New("ended by itself")

// keep runs one source for as long as ctx lasts.
func (in *Inbox) keep(ctx context.Context, name string, source ct2fluent.Source) {
	log := in.o.Log.With("source", name)
	var down atomic.Pointer[string] // why it failed last, until it brings something
	put := func(ctx context.Context, body []byte) error {
		_, err := in.put(ctx, name, body)
		if err == nil && down.Swap(nil) != nil {
			log.Info("source works again")
		}
		return err
	}
	for wait := backoff(0); ; wait = wait.next() {
		began := time.Now()
		err := source.Run(ctx, put)
		if ctx.Err() != nil {
			if err != nil {
				log.Warn("source did not stop in order", "error", err)
			}
			return
		}
		if err == nil {
			err = errEnded
		}
		if time.Since(began) > longest {
			wait = 0
			down.Store(nil)
		}
		why := err.Error()
		if before := down.Swap(&why); before == nil || *before != why {
			log.Error("source failed; it is started again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait.delay()):
		}
	}
}

const longest = time.Minute

// A backoff counts failures in a row.
type backoff int

func (b backoff) next() backoff { return min(b+1, 6) }

// delay is 1 s doubling up to longest, less a random part of up to a half:
// several processes should not come back at one moment.
func (b backoff) delay() time.Duration {
	d := min(time.Second<<b, longest)
	return d - rand.N(d/2)
}

package outside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// ExecOptions of an Exec.
type ExecOptions struct {
	Name      string        // of the handler, for messages
	Command   []string      // the program and its arguments; no shell looks at it
	Timeout   time.Duration // for one notification; then its process is killed. Default 10 s
	Processes int           // processes at once, each with one notification at a time; default 1
	// MaxMemory is how many bytes a process may have, as far as the system can
	// limit that: on Linux its private writable memory (RLIMIT_DATA), elsewhere
	// nothing. 0: no limit.
	MaxMemory int64
	// Environment gives what a process has in its environment (NAME=value)
	// beside the few that every program needs. It is called at each start of
	// one. Nil: nothing.
	Environment func() ([]string, error)
	Log         *slog.Logger // nil discards
}

// How a process that dies is started again: at once when it had lived, else
// later and later.
const (
	livedLong  = 10 * time.Second
	restartMin = time.Second
	restartMax = time.Minute
)

// stopWithin is the within of an Exec.
const stopWithin = 5 * time.Second

// An Exec is a handler in processes of its own. They are started when there is
// work, kept alive, and asked one line at a time. It is safe for concurrent
// use. Close it when no call is at hand any more.
type Exec struct {
	outage
	o     ExecOptions
	log   *slog.Logger
	slots chan struct{}
	// within is how long a process may take to end when its input has ended.
	within time.Duration

	mu     sync.Mutex
	free   []*place
	closed bool
	alive  atomic.Int32 // processes
}

// A place is where one process at a time lives.
type place struct {
	child *child
	fails int       // processes that died soon, in a row
	until time.Time // none is started before
	why   string    // the last one ended
}

// NewExec checks the command; it starts nothing.
func NewExec(o ExecOptions) (*Exec, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, errors.New("no command; name the program and its arguments")
	}
	if _, err := exec.LookPath(o.Command[0]); err != nil {
		return nil, fmt.Errorf("command %q: %w; correct it, or install the program", o.Command[0], lookError(err))
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Processes == 0 {
		o.Processes = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	log := o.Log.With("handler", o.Name)
	e := &Exec{outage: outage{name: o.Name, log: log}, o: o, log: log, slots: make(chan struct{}, o.Processes), within: stopWithin}
	for range o.Processes {
		e.free = append(e.free, &place{})
	}
	return e, nil
}

// lookError drops the program that the error repeats.
func lookError(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// Handle asks the processes.
func (e *Exec) Handle(ctx context.Context, batch []ct2fluent.Notification) []error {
	return spread(ctx, e.slots, batch, e.ask)
}

// ask asks one process about one notification.
func (e *Exec) ask(ctx context.Context, n ct2fluent.Notification) error {
	q := question(n)
	line, err := q.line()
	if err != nil {
		return err
	}
	p, err := e.take()
	if err != nil {
		return ct2fluent.RetryAfter(0, err)
	}
	defer e.give(p)
	if err := e.ready(p); err != nil {
		// Nothing was asked, so this is nobody's fault.
		if e.alive.Load() > 0 {
			return ct2fluent.RetryAfter(0, fmt.Errorf("handler %s: %w", e.o.Name, err)) // by another process
		}
		return e.down(err, max(time.Until(p.until), time.Millisecond))
	}
	text, err := p.child.ask(ctx, line, e.o.Timeout)
	var a Answer
	if err == nil {
		a, err = parseAnswer(text)
	}
	if err == nil {
		err = a.of(q.Seq)
	}
	if err != nil {
		// The answer is lost: what the process says next may belong to anything.
		e.end(p, err)
		return ct2fluent.Unclear(fmt.Errorf("handler %s: %w", e.o.Name, err))
	}
	p.child.answered = true
	e.works()
	return named(e.o.Name, a.verdict())
}

// of checks that the answer is that of a question.
func (a Answer) of(seq uint64) error {
	switch {
	case a.Seq == nil:
		return wrong("no seq; repeat that of the question")
	case *a.Seq != seq:
		return wrong("its seq is of another question")
	}
	return nil
}

// named says which handler an error that is no verdict comes from.
func named(name string, err error) error {
	if _, is := err.(*wrongAnswer); is {
		return fmt.Errorf("handler %s: %w", name, err)
	}
	return err
}

// take gives a place that nobody has, if possible one with a process. There is
// one for each who holds a slot.
func (e *Exec) take() (*place, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("handler %s: is stopped", e.o.Name)
	}
	best := 0
	for i, p := range e.free {
		switch b := e.free[best]; {
		case b.child != nil:
		case p.child != nil, p.until.Before(b.until):
			best = i
		}
	}
	p := e.free[best]
	e.free = append(e.free[:best], e.free[best+1:]...)
	return p, nil
}

func (e *Exec) give(p *place) {
	e.mu.Lock()
	closed := e.closed
	e.free = append(e.free, p)
	e.mu.Unlock()
	if closed && p.child != nil {
		p.child.stop(e.within)
	}
}

// ready has a process in p that waits for a question.
func (e *Exec) ready(p *place) error {
	if p.child != nil {
		if err := p.child.idle(); err != nil {
			e.end(p, err)
		}
	}
	if p.child != nil {
		return nil
	}
	if time.Now().Before(p.until) {
		return errors.New(p.why)
	}
	c, err := e.start()
	if err != nil {
		p.fails++
		p.why, p.until = err.Error(), time.Now().Add(restartDelay(p.fails))
		e.log.Error("handler's process cannot be started", "error", err)
		return err
	}
	p.child = c
	e.alive.Add(1)
	return nil
}

// end kills the process of p, and says when the next one may start.
func (e *Exec) end(p *place, why error) {
	c := p.child
	p.child = nil
	e.alive.Add(-1)
	c.kill()
	state := c.state()
	if c.answered && time.Since(c.began) >= livedLong {
		p.fails, p.until = 0, time.Time{}
	} else {
		p.fails++
		p.until = time.Now().Add(restartDelay(p.fails))
	}
	p.why = fmt.Sprintf("%v (%s)", why, state)
	e.log.Warn("handler's process has ended", "pid", c.pid, "why", why, "state", state, "lived", time.Since(c.began).Round(time.Millisecond).String())
}

func restartDelay(fails int) time.Duration {
	if fails > 6 {
		return restartMax
	}
	return min(restartMin<<(fails-1), restartMax)
}

// Close ends the processes: their input ends, and what does not end by itself
// is killed, each by its own id.
func (e *Exec) Close() error {
	e.mu.Lock()
	e.closed = true
	free := e.free
	e.mu.Unlock()
	var ending sync.WaitGroup
	for _, p := range free {
		if c := p.child; c != nil {
			ending.Go(func() { c.stop(e.within) })
		}
	}
	ending.Wait()
	return nil
}

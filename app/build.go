package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/inbox"
	"github.com/ct2fluent/ct2fluent/job"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/queue"
	"github.com/ct2fluent/ct2fluent/route"
	"github.com/ct2fluent/ct2fluent/store"
)

// An App is the stations of one configuration, connected. Make it with New,
// run it once, then Close it.
type App struct {
	Config  *Config
	Control *control.Server
	Sources map[string]ct2fluent.Source

	log      *slog.Logger
	store    *store.Store
	queue    *queue.Queue
	ledger   *ledger.Ledger
	inbox    *inbox.Inbox
	router   *route.Router
	jobs     *job.Jobs
	watcher  *watcher
	pauses   *pauses
	mayFail  []fallible
	closing  []io.Closer
	beside   []func(context.Context) error
	accounts []Account
}

// New connects the stations: source → inbox → queue → ledger → router →
// handler. It first checks what can be checked without touching a disk, and
// asks both APIs whether they take the credentials (promise 6). Errors:
// ErrConfig, ErrSurroundings, others.
func New(ctx context.Context, s *Setup, c *Config, log *slog.Logger) (*App, error) {
	p, err := newPlan(s, c, log)
	if err != nil {
		return nil, err
	}
	if err := p.admitted(ctx); err != nil {
		return nil, err
	}
	for _, w := range p.warnings() {
		log.Warn(w.Detail, "what", w.What, "remedy", w.Remedy)
	}
	a := &App{Config: c, Sources: p.sources, log: log, accounts: p.accounts}
	a.pauses = &pauses{a: a}
	o, err := a.controls(p)
	if err != nil {
		return nil, err
	}
	if a.Control, err = control.New(o); err != nil {
		return nil, configError(c.At("control"), err)
	}
	if _, err := a.Control.Listen(); err != nil {
		return nil, surroundings(err)
	}
	for _, src := range p.sources {
		if l, ok := src.(interface{ Listen() (net.Addr, error) }); ok {
			if _, err := l.Listen(); err != nil {
				return nil, surroundings(err)
			}
		}
	}
	if err := a.open(ctx, p); err != nil {
		a.abandon()
		return nil, err
	}
	return a, nil
}

func (a *App) open(ctx context.Context, p *plan) (err error) {
	c := a.Config
	// With a cluster the directory holds the control file alone.
	if err := os.MkdirAll(c.Queue.Store, 0o700); err != nil {
		return surroundings(fmt.Errorf("make queue.store: %w; give it a directory that can be written", err))
	}
	a.store, err = store.Open(ctx, store.Options{
		Dir: storeDir(c), URL: string(c.Queue.URL), Replicas: c.Queue.Replicas, Reserve: int64(c.Queue.MinFree), Log: a.log,
	})
	if errors.Is(err, store.ErrRefused) {
		return configError(c.At("queue.url"), fmt.Errorf("queue.url: %w; %s", err, remedyOfStore(err)))
	}
	if err != nil {
		return surroundings(fmt.Errorf("%w; %s", err, remedyOfStore(err)))
	}
	a.queue, err = queue.Open(ctx, queue.Options{
		Store: a.store, Projects: projects(c), Workers: c.Queue.Workers, BatchSize: c.Queue.BatchSize,
		MaxBytes: int64(c.Queue.MaxBytes), UnclearWait: c.Fluent.UnclearWait, StopTimeout: c.StopTimeout,
		Log: a.log, Observe: p.observe.queue(), Route: p.router.RouteOf,
	})
	if err != nil {
		return surroundings(fmt.Errorf("open the queue: %w", err))
	}
	a.ledger, err = ledger.Open(ctx, ledger.Options{
		Store: a.store, MaxAttempts: c.Queue.MaxAttempts, Floor: a.queue.Floor, Put: a.again, Shared: !a.store.Embedded(),
		Log: a.log, Observe: p.observe.ledger(),
	})
	if err != nil {
		return surroundings(fmt.Errorf("open the ledger: %w", err))
	}
	p.marks.ledger.Store(a.ledger)
	if err := a.bind(ctx); err != nil {
		return err
	}
	if err := a.handlers(p); err != nil {
		return err
	}
	if err := a.pauses.restore(ctx); err != nil {
		return surroundings(err)
	}
	a.jobs, err = job.New(ctx, job.Options{Store: a.ledger, Kinds: a.kinds(p), Log: a.log})
	if err != nil {
		return surroundings(err)
	}
	a.forgetRuns(ctx)
	a.beside = append(a.beside, a.jobs.Run, a.reconcileOnTime(p.observe))
	if err := a.watchSubscriptions(p); err != nil {
		return err
	}
	a.inbox = inbox.New(inbox.Options{
		Sources: p.sources, Put: a.queue.Put, Projects: projects(c), Log: a.log, Observe: p.observe.received,
	})
	return nil
}

// handlers makes the handlers and the router over them.
func (a *App) handlers(p *plan) error {
	env := Env{Accounts: p.accounts, Ledger: a.ledger, Deletes: deletes(a.Config.Deletes), Observe: p.observe.customer(), Log: a.log}
	var registered []route.Registered
	for _, t := range p.handlers {
		h, err := t.New(env)
		if err != nil {
			return fmt.Errorf("%w: handler %s: %w", ErrConfig, t.Name, err)
		}
		if c, ok := h.(io.Closer); ok {
			a.closing = append(a.closing, c)
		}
		if d, ok := h.(interface{ Down() (time.Time, string) }); ok {
			a.mayFail = append(a.mayFail, fallible{t.Name, d.Down})
		}
		registered = append(registered, route.Registered{Name: t.Name, Priority: t.Priority, Handler: h, Description: t.Description})
	}
	router, err := route.New(p.routes(registered))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	a.router = router
	for _, r := range registered {
		if !works(router, r) {
			continue
		}
		if b, ok := r.Handler.(interface{ Run(context.Context) error }); ok {
			a.beside = append(a.beside, b.Run)
		}
	}
	return nil
}

// works tells whether a route uses this handler.
func works(router *route.Router, r route.Registered) bool {
	for _, h := range router.Handlers() {
		if h.Name == r.Name && h.Priority == r.Priority {
			return h.Active
		}
	}
	return false
}

// Run works until ctx is done, then stops in order: nothing new is received,
// the batches at hand finish. It returns nil for that.
func (a *App) Run(ctx context.Context) error {
	stop := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Control.Run(ctx) })
	g.Go(func() error { return a.inbox.Run(ctx) })
	g.Go(func() error { return a.queue.Work(ctx, a.ledger.Settle(a.router)) })
	g.Go(func() error { return a.giveBack(ctx) })
	for _, run := range a.beside {
		g.Go(func() error {
			err := run(ctx)
			if stop.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // it says that it was stopped
			}
			return err
		})
	}
	return g.Wait()
}

// Close lets go of queue, ledger, store and connections. After Run it notes the
// orderly stop.
func (a *App) Close() error {
	var errs []error
	if a.queue != nil {
		errs = append(errs, a.queue.Close())
	}
	errs = append(errs, a.closeHandlers())
	if a.ledger != nil {
		a.noteTargets()
		a.ledger.Close()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	a.closeClients()
	return errors.Join(errs...)
}

// closeHandlers ends those that hold something, such as processes. The queue is
// closed: none of them is called any more.
func (a *App) closeHandlers() error {
	var errs []error
	for _, c := range a.closing {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (a *App) closeClients() {
	a.watcher.close()
	for _, t := range a.accounts {
		t.Commercetools.Close()
		t.Fluent.Close()
	}
}

// abandon lets go of what a failed start has opened. It notes no orderly stop:
// a crash before this start would be forgotten by that, and with it what the
// ledger has to doubt (promise 3).
func (a *App) abandon() {
	if a.queue != nil {
		_ = a.queue.Close()
	}
	_ = a.closeHandlers()
	if a.ledger != nil {
		a.ledger.Close()
	}
	if a.store != nil {
		a.store.Crash()
	}
	a.closeClients()
}

func projects(c *Config) []string {
	var keys []string
	for _, a := range c.Accounts {
		keys = append(keys, a.Commercetools.ProjectKey)
	}
	return keys
}

// storeDir is where the embedded store lies; empty with a cluster.
func storeDir(c *Config) string {
	if c.Queue.URL != "" {
		return ""
	}
	return c.Queue.Store
}

// controlFile is where the verbs find a running process.
func controlFile(c *Config) string { return filepath.Join(c.Queue.Store, "control.json") }

func remedyOfStore(err error) string {
	switch {
	case errors.Is(err, store.ErrLocked):
		return "stop the other process, or give this one a queue.store of its own"
	case errors.Is(err, store.ErrNoRoom):
		return "free space, or lower queue.min-free"
	case errors.Is(err, store.ErrRefused):
		return "correct the credentials in queue.url, or what they may do"
	case errors.Is(err, store.ErrUnreachable):
		return "start the cluster, or correct queue.url"
	}
	return "see queue.store"
}

// ErrConfig and ErrSurroundings tell apart why a start failed: exit codes 2
// and 3.
var (
	ErrConfig       = errors.New("configuration")
	ErrSurroundings = errors.New("surroundings")
)

type kindError struct{ kind, err error }

func (e *kindError) Error() string   { return e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

func surroundings(err error) error { return &kindError{ErrSurroundings, err} }

func configError(at Pos, err error) error {
	return &kindError{ErrConfig, fmt.Errorf("%v: %w", at, err)}
}

// startLimit is how long the APIs may take to say whether they take the
// credentials; what does not answer is no reason not to start.
const startLimit = 10 * time.Second

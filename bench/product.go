package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/inbox"
	"github.com/ct2fluent/ct2fluent/queue"
	"github.com/ct2fluent/ct2fluent/store"
)

// patience is how long a backlog may take.
const patience = 30 * time.Minute

// A product is a directory in which the stock binary runs, time after time.
type product struct {
	binary string
	dir    string
	env    []string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process is gone; why is set then
	why    error
	log    *os.File
	http   *http.Client
	// profiles is a directory for CPU profiles; empty: none.
	profiles string
	profiled int
}

// setup is what of the configuration a case says otherwise.
type setup struct {
	Timeout     time.Duration // of a request to Fluent; default 10 s
	UnclearWait time.Duration // default: as the product has it
	Listener    string        // default: the webhook
}

const webhook = `push: { type: webhook, address: "127.0.0.1:0", token: secret }`

// configure writes a configuration between the stand-ins.
func configure(dir string, at Addresses, s setup) error {
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	more := ""
	if s.UnclearWait > 0 {
		more = fmt.Sprintf("fluent: { unclear-wait: %v }\n", s.UnclearWait)
	}
	text := fmt.Sprintf(`
fluent-connect: { listeners: { %s } }
accounts:
  - commercetools: { project-key: %s, api-url: %q, auth-url: %q, client-id: %s, client-secret: %s }
    fluent: { base-url: %q, account: %s, retailer-id: %q, client-id: %s, client-secret: %s, username: %s, password: %s, timeout: %v }
queue: { store: %q }
control: { address: "127.0.0.1:0", pprof: true }
%s`, or(s.Listener, webhook), project, at.Commercetools, at.Commercetools, clientID, clientSecret,
		at.Fluent, account, retailer, clientID, clientSecret, apiUser, apiPassword, s.Timeout, storeOf(dir), more)
	return os.WriteFile(configOf(dir), []byte(text), 0o600)
}

func configOf(dir string) string { return filepath.Join(dir, "application-connector.yml") }
func storeOf(dir string) string  { return filepath.Join(dir, "data") }

// controlOf is where a running process says how it is reached.
func controlOf(dir string) string { return filepath.Join(storeOf(dir), "control.json") }

func (b *bench) product(p *sides, s setup) (*product, error) {
	dir, err := b.dir()
	if err != nil {
		return nil, err
	}
	if err := configure(dir, p.Addresses, s); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	return &product{binary: b.stock, dir: dir, env: trusting(p.CA), log: log, http: &http.Client{}, profiles: b.profile}, nil
}

// put brings a backlog while the product does not run, as callers of its inbox
// do.
func (p *product) put(ctx context.Context, bodies [][]byte) error {
	s, err := store.Open(ctx, store.Options{Dir: storeOf(p.dir)})
	if err != nil {
		return err
	}
	q, err := queue.Open(ctx, queue.Options{Store: s, Projects: []string{project}})
	if err != nil {
		s.Crash()
		return err
	}
	in := inbox.New(inbox.Options{Put: q.Put, Projects: []string{project}})
	err = atOnce(64, len(bodies), func(i int) error { _, err := in.Put(ctx, bodies[i]); return err })
	if closing := q.Close(); err == nil {
		err = closing
	}
	if closing := s.Close(); err == nil {
		err = closing
	}
	return err
}

// atOnce calls f for 0 to n-1, in order, by so many callers, and gives the
// first error.
func atOnce(callers, n int, f func(i int) error) error {
	var next atomic.Int64
	var calling sync.WaitGroup
	var once sync.Once
	var failed error
	for range callers {
		calling.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		})
	}
	calling.Wait()
	return failed
}

// start starts the process.
func (p *product) start(ctx context.Context) error {
	// One left by a kill would lead nowhere.
	_ = os.Remove(controlOf(p.dir))
	p.cmd = exec.CommandContext(ctx, p.binary, "run", "--config", configOf(p.dir))
	p.cmd.Env, p.cmd.Stderr = p.env, p.log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func() {
		defer close(p.ended)
		p.why = p.cmd.Wait()
	}()
	return nil
}

// get asks the running process, and decodes its answer into v, or copies it
// where v is a *[]byte. False: it does not answer yet.
func (p *product) get(ctx context.Context, path string, v any) bool {
	at, err := control.ReadFile(controlOf(p.dir))
	if err != nil {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+at.Address+path, nil)
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+at.Token)
	res, err := p.http.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return false
	}
	if raw, ok := v.(*[]byte); ok {
		*raw = text
		return true
	}
	return json.Unmarshal(text, v) == nil
}

// ready waits until notifications can be accepted.
func (p *product) ready(ctx context.Context) error {
	return p.wait(ctx, "the process to be ready", 2*time.Millisecond, func() bool {
		var answer struct{ Ready bool }
		return p.get(ctx, "/readyz", &answer) && answer.Ready
	})
}

// settled waits until all that was ever put is settled.
func (p *product) settled(ctx context.Context, received int) (s control.Status, err error) {
	err = p.wait(ctx, "all to be settled", 10*time.Millisecond, func() bool {
		var now control.Status
		if !p.get(ctx, "/admin/status", &now) {
			return false
		}
		s = now
		return s.Received >= uint64(received) && s.Waiting == 0
	})
	if err != nil {
		return s, fmt.Errorf("%w; it has %+v", err, s)
	}
	return s, nil
}

func (p *product) wait(ctx context.Context, what string, every time.Duration, is func() bool) error {
	err := until(ctx, what, patience, every, func() (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("the process ended while it was waited for %s", what)
		default:
			return is(), nil
		}
	})
	if err != nil {
		text, _ := os.ReadFile(p.log.Name())
		err = fmt.Errorf("%w; the process said:\n%s", err, tail(text))
	}
	return err
}

func (p *product) usage() usage { return usageOf(p.cmd.Process.Pid) }

// stop ends the process in order.
func (p *product) stop() error {
	p.http.CloseIdleConnections()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if <-p.ended; p.why != nil {
		text, _ := os.ReadFile(p.log.Name())
		return fmt.Errorf("the process did not stop in order: %w\n%s", p.why, tail(text))
	}
	return nil
}

// kill ends the process as a loss of power would, but for the disk.
func (p *product) kill() {
	p.http.CloseIdleConnections()
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// close ends what still runs, and removes the directory.
func (p *product) close() {
	if p.cmd != nil && p.ended != nil {
		p.kill()
	}
	_ = p.log.Close()
	_ = os.RemoveAll(p.dir)
}

// backlog puts bodies, and measures how the product works them. received is
// what it has been given before.
func (p *product) backlog(ctx context.Context, s *sides, bodies [][]byte, customers, received int) (Run, control.Status, error) {
	if err := p.put(ctx, bodies); err != nil {
		return Run{}, control.Status{}, err
	}
	if err := s.ask(ctx, "POST", "/reset", nil, nil); err != nil {
		return Run{}, control.Status{}, err
	}
	before, err := s.counts(ctx)
	if err != nil {
		return Run{}, control.Status{}, err
	}
	began := time.Now()
	if err := p.start(ctx); err != nil {
		return Run{}, control.Status{}, err
	}
	profile := p.profile(ctx)
	status, err := p.settled(ctx, received+len(bodies))
	end := time.Now()
	if err != nil {
		return Run{}, status, err
	}
	used := p.usage()
	after, err := s.counts(ctx)
	if err != nil {
		return Run{}, status, err
	}
	if first := after.first(); !first.IsZero() {
		began = first
	}
	if err := <-profile; err != nil {
		return Run{}, status, err
	}
	return measured(before, after, len(bodies), customers, end.Sub(began), used), status, p.stop()
}

// profile takes a CPU profile of some seconds from now on, where one is wanted.
func (p *product) profile(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	if p.profiles == "" {
		done <- nil
		return done
	}
	p.profiled++
	file := filepath.Join(p.profiles, fmt.Sprintf("%s-%d.pprof", filepath.Base(p.dir), p.profiled))
	go func() { done <- p.profileTo(ctx, file) }()
	return done
}

func (p *product) profileTo(ctx context.Context, file string) error {
	var text []byte
	err := p.wait(ctx, "a profile", 2*time.Millisecond, func() bool {
		return p.get(ctx, "/debug/pprof/profile?seconds=5", &text)
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// first is when the first request about customers came; zero if none did.
func (c Counts) first() time.Time {
	a, b := c.Commercetools.First, c.Fluent.First
	if a == 0 || b != 0 && b < a {
		a = b
	}
	if a == 0 {
		return time.Time{}
	}
	return time.Unix(0, a)
}

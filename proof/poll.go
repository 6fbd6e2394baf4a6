package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// polled is told when commercetools has answered a question for changes.
const polled = "commercetools has told of changes"

// poll has a process keep customers equal by asking alone, and kills it while
// it asks, puts and moves its mark. What it reads is a minute old: in the short
// form commercetools' clock is behind by most of that, so that nobody waits for
// it, and queries still lag within the rest.
func poll(ctx context.Context, p *prover) error {
	customers, kills := pick(p, 1500, 10000), pick(p, 6, 10)
	over := func(d time.Duration) sandbox.Duration { return sandbox.Duration(d) }
	w := &poller{rng: rand.New(rand.NewPCG(p.seed, 77))}
	s := setup{
		polls: true, late: pick(p, 52*time.Second, 0),
		ct: sandbox.CTKnobs{
			Lag: over(2 * time.Second),
			Common: sandbox.Common{Latency: over(2 * time.Millisecond), Jitter: over(5 * time.Millisecond), Faults: []sandbox.Fault{
				{Kind: "502", Operation: "customers.query", Probability: 0.03},
				{Kind: "cut", Operation: "customers.query", Probability: 0.02},
			}},
		},
		fluent: sandbox.FluentKnobs{Common: sandbox.Common{Latency: over(2 * time.Millisecond), Jitter: over(10 * time.Millisecond)}},
		handleCT: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				counted := &counter{ResponseWriter: rw}
				next.ServeHTTP(counted, r)
				if strings.Contains(r.URL.Query().Get("where"), "lastModifiedAt") && counted.bytes > emptyPage {
					_ = http.NewResponseController(rw).Flush()
					w.tell(polled)
				}
			})
		},
	}
	var err error
	if w.world, err = p.newWorld(ctx, s); err != nil {
		return err
	}
	defer w.close()
	if err := w.create("", customers); err != nil {
		return err
	}
	if err := w.run(ctx, kills); err != nil {
		return err
	}
	h := &w.history
	p.note("%d customers of %d versions by polling alone, %d kills; %d notifications put, %d known already",
		len(h.Made), w.versions(), kills, h.Totals.Received, h.Totals.SkippedBy["known"])
	return nil
}

// emptyPage is more bytes than a page without customers has.
const emptyPage = 200

// A counter counts the bytes of an answer.
type counter struct {
	http.ResponseWriter
	bytes int
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes += n
	return n, err
}

type poller struct {
	*world
	rng *rand.Rand
}

func (w *poller) versions() (n int) {
	for _, all := range w.history.Made {
		n += len(all)
	}
	return n
}

func (w *poller) run(ctx context.Context, kills int) error {
	changing, stop := context.WithCancel(ctx)
	defer stop()
	var failed error
	var changes sync.WaitGroup
	changes.Go(func() { failed = w.keepChanging(changing) })
	if err := w.start(); err != nil {
		return err
	}
	for i := range kills {
		if err := w.whilePolling(ctx); err != nil {
			return err
		}
		w.say("kill %d of %d", i+1, kills)
		if err := w.start(); err != nil {
			return err
		}
	}
	stop()
	changes.Wait()
	if failed != nil {
		return failed
	}
	if err := w.caughtUp(); err != nil {
		return err
	}
	return w.verify(nil)
}

// whilePolling kills the process up to 30 ms after it was told of changes, for
// the first, second or third time.
func (w *poller) whilePolling(ctx context.Context) error {
	var left atomic.Int64
	left.Store(1 + w.rng.Int64N(3))
	told := make(chan struct{})
	hit := func(s string) {
		if s == polled && left.Add(-1) == 0 {
			close(told)
		}
	}
	after := time.Duration(w.rng.Int64N(int64(30 * time.Millisecond)))
	w.stage.Store(&hit)
	defer w.stage.Store(nil)
	select {
	case <-told:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Minute): // the first are a minute old
		return errors.New("it was told of no changes")
	}
	time.Sleep(after)
	w.process.kill()
	return nil
}

// keepChanging changes customers all the time, and makes some.
func (w *poller) keepChanging(ctx context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		if err := w.change(2); err != nil {
			return err
		}
		if n%20 == 0 {
			if err := w.create("", 1); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

var lagOf = regexp.MustCompile(`(?m)^ct2fluent_source_lag_seconds\{source="poll"\} (\S+)$`)

// lag is how far the process says that it is behind.
func (w *poller) lag() (time.Duration, error) {
	f, err := control.ReadFile(filepath.Join(w.store(), "control.json"))
	if err != nil {
		return 0, err
	}
	res, err := w.client.Get("http://" + f.Address + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	m := lagOf.FindSubmatch(text)
	if m == nil {
		return 0, errors.New("no lag is told")
	}
	seconds, err := strconv.ParseFloat(string(m[1]), 64)
	return time.Duration(seconds * float64(time.Second)), err
}

// caughtUp waits until the process says that it has put everything there is,
// and has worked it. From then on each customer's last version counts as put.
func (w *poller) caughtUp() error {
	last := time.Now().Add(-w.late) // by the clock of commercetools
	began := time.Now()
	if err := w.until("everything to be asked for and worked", 5*time.Minute, func() bool {
		lag, err := w.lag()
		if err != nil || !time.Now().Add(-lag).After(last) {
			return false
		}
		s, err := w.status()
		return err == nil && s.Received > 0 && s.Waiting == 0 && len(s.Held) == 0
	}); err != nil {
		return err
	}
	w.say("caught up after %v", time.Since(began).Round(time.Second))
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, versions := range w.history.Made {
		w.history.Puts = append(w.history.Puts, check.Put{ID: id, Version: versions[len(versions)-1].Number, Sent: 1, Acked: began})
	}
	w.history.Rests = append(w.history.Rests, time.Now())
	return nil
}

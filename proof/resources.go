package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/proof/check"
)

// A shortage is a resource that there is too little of, or too much.
type shortage struct {
	name string
	run  func(ctx context.Context, p *prover) error
}

// resources has each shortage befall a process.
func resources(ctx context.Context, p *prover) error {
	// This one looks at the whole of this process, so it is alone.
	if err := leaks(ctx, p); err != nil {
		return fmt.Errorf("ten restarts in one process: %w", err)
	}
	return abreast(3, []shortage{
		{"much that waits", waiting},
		{"the disk is full", func(ctx context.Context, p *prover) error { return diskFull(ctx, p, "16MiB", 0) }},
		{"the disk is full in the middle of a write", func(ctx context.Context, p *prover) error { return diskFull(ctx, p, "1B", 48<<10) }},
		{"the disk cannot be written", readOnly},
		{"few descriptors", fewDescriptors},
		{"answers without end", bigAnswers},
		{"many dead letters", manyDead},
		{"senders that do not finish", slowSenders},
	}, func(s shortage) error {
		err := s.run(ctx, p)
		if errors.Is(err, errSkipped) && !p.strict {
			p.note("%s: %v", s.name, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		return nil
	})
}

// memory is the resident memory of the process, in MiB: now, and at most.
func (w *world) memory() (now, most int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.process.pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kib := 0
		_, _ = fmt.Sscan(value, &kib)
		switch name {
		case "VmRSS":
			now = kib >> 10
		case "VmHWM":
			most = kib >> 10
		}
	}
	return now, most
}

func descriptors(pid int) int {
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(all)
}

// waiting lets so many notifications wait that are all of another customer,
// has the process killed, started and work them.
func waiting(ctx context.Context, p *prover) error {
	n := pick(p, 50_000, 1_000_000)
	w, err := p.newWorld(ctx, setup{level: "info", deliverers: 128, sample: 500})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	w.fluentServer.Down()
	begin := time.Now()
	if err := w.create("", n); err != nil {
		return err
	}
	if err := w.until("everything to be put", time.Hour, func() bool { return w.ct.Pending() == 0 }); err != nil {
		return err
	}
	put := time.Since(begin)
	s, err := w.status()
	if err != nil {
		return err
	}
	if s.Waiting < uint64(n) {
		return fmt.Errorf("%d wait, want %d", s.Waiting, n)
	}
	before, _ := w.memory()
	w.process.kill()
	begin = time.Now()
	if err := w.start(); err != nil {
		return err
	}
	started := time.Since(begin)
	if err := w.fluentServer.Up(); err != nil {
		return err
	}
	begin = time.Now()
	if err := w.rest(time.Hour); err != nil {
		return err
	}
	worked := time.Since(begin)
	_, most := w.memory()
	p.note("%d waiting: put in %v with %d MiB resident, ready %v after a kill, worked in %v with %d MiB at most",
		n, put.Round(time.Second), before, started.Round(10*time.Millisecond), worked.Round(time.Second), most)
	if limit := 300 + n/1000; max(before, most) > limit {
		return fmt.Errorf("%d MiB resident with %d waiting, want %d at most", max(before, most), n, limit)
	}
	return w.verify(nil)
}

// fewDescriptors takes nearly all descriptors of a process away for a time.
func fewDescriptors(ctx context.Context, p *prover) error {
	const most = 96
	w, err := p.newWorld(ctx, setup{command: func(argv []string) []string {
		return append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, most), "sh"}, argv...)
	}})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.create("", 20); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	var taken []net.Conn
	for range 2 * most {
		c, err := net.DialTimeout("tcp", *w.address.Load(), time.Second)
		if err != nil {
			break
		}
		taken = append(taken, c)
	}
	if err := w.change(50); err != nil {
		return err
	}
	used := 0
	for over := time.Now().Add(3 * time.Second); time.Now().Before(over); time.Sleep(50 * time.Millisecond) {
		used = max(used, descriptors(w.process.pid))
	}
	for _, c := range taken {
		c.Close()
	}
	if used < most-10 {
		return fmt.Errorf("%d descriptors were in use, so that none was lacking", used)
	}
	if err := w.rest(restWithin); err != nil {
		return fmt.Errorf("after there were descriptors again: %w\n%s", err, w.lastSaid())
	}
	p.note("%d descriptors, %d connections: went on by itself", most, len(taken))
	return w.verify(nil)
}

// bigAnswers has both sides answer with 50 MB for a time.
func bigAnswers(ctx context.Context, p *prover) error {
	var ct, fluent atomic.Bool
	big := func(on *atomic.Bool) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !on.Load() {
					h.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"data":{"customers":{"edges":[`)
				block := bytes.Repeat([]byte(`{"node":{"id":"1","username":"x"}},`), 1000)
				for n := 0; n < 50<<20; n += len(block) {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			})
		}
	}
	w, err := p.newWorld(ctx, setup{handleCT: big(&ct), handleFluent: big(&fluent)})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.create("", 50); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	before, _ := w.memory()
	for _, on := range []*atomic.Bool{&ct, &fluent} {
		on.Store(true)
		if err := w.change(100); err != nil {
			return err
		}
		time.Sleep(4 * time.Second)
		on.Store(false)
		if err := w.rest(restWithin); err != nil {
			return err
		}
	}
	_, most := w.memory()
	p.note("answers of 50 MB: %d MiB resident at most, %d before", most, before)
	// The clients read 32 MiB of an answer at most, of twenty at once.
	if most > before+20*32 {
		return fmt.Errorf("%d MiB resident at most, %d before", most, before)
	}
	return w.verify(func(h *check.History) { h.Whole, h.Blameless = true, false })
}

// manyDead lets many die, lists them, replays them, and drops them.
func manyDead(ctx context.Context, p *prover) error {
	n := pick(p, 5_000, 100_000)
	w, err := p.newWorld(ctx, setup{level: "info"})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.create("", 5); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := range n {
		g.Go(func() error {
			_, status, err := w.post(ctx, fmt.Appendf(nil, "%s is nothing that can be read %d", mark, i))
			if err == nil && status != http.StatusAccepted {
				err = fmt.Errorf("answered %d", status)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.history.Puts = append(w.history.Puts, check.Put{Sent: 1, Acked: time.Now()})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := w.rest(10 * time.Minute); err != nil {
		return err
	}
	begin := time.Now()
	letters, err := w.letters()
	if err != nil {
		return err
	}
	listed := time.Since(begin)
	if len(letters) != n {
		return fmt.Errorf("%d dead letters lie there, want %d", len(letters), n)
	}
	begin = time.Now()
	var done control.DeadResult
	if err := w.deadDo("replay", &done); err != nil {
		return err
	}
	if err := w.rest(10 * time.Minute); err != nil {
		return err
	}
	replayed := time.Since(begin)
	w.history.Replayed += uint64(done.Done)
	begin = time.Now()
	if err := w.deadDo("drop", &done); err != nil {
		return err
	}
	dropped := time.Since(begin)
	_, most := w.memory()
	p.note("%d dead letters: listed in %v, replayed in %v, dropped in %v, %d MiB resident at most",
		n, listed.Round(10*time.Millisecond), replayed.Round(100*time.Millisecond), dropped.Round(100*time.Millisecond), most)
	if done.Done != n {
		return fmt.Errorf("%d dropped, want %d", done.Done, n)
	}
	if limit := 300 + n/1000; most > limit {
		return fmt.Errorf("%d MiB resident with %d dead letters, want %d at most", most, n, limit)
	}
	return w.verify(func(h *check.History) { h.Whole = true })
}

// deadDo does something to all dead letters.
func (w *world) deadDo(what string, done *control.DeadResult) error {
	c, err := control.Dial(filepath.Join(w.store(), "control.json"), "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	return c.Do(ctx, http.MethodPost, "/admin/dead/"+what, control.DeadRequest{Selection: control.Selection{All: true}}, done)
}

// slowSenders opens many connections whose requests never end, while others
// put as always.
func slowSenders(ctx context.Context, p *prover) error {
	w, err := p.newWorld(ctx, setup{})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.create("", 20); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	before := descriptors(w.process.pid)
	const head = "POST /notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
	var slow sync.WaitGroup
	var open atomic.Int64
	for i := range 500 {
		slow.Go(func() {
			text := head // of these the head never ends
			if i%2 == 0 {
				text += "\r\n" // of these the body
			}
			c, err := net.Dial("tcp", *w.address.Load())
			if err != nil {
				return
			}
			defer c.Close()
			open.Add(1)
			defer open.Add(-1)
			_, err = io.WriteString(c, text)
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, _ = io.Copy(io.Discard, c)
			}()
			for err == nil {
				select {
				case <-gone:
					return
				case <-time.After(500 * time.Millisecond):
					_, err = io.WriteString(c, "x")
				}
			}
		})
	}
	if err := w.until("the slow senders", 20*time.Second, func() bool { return open.Load() > 200 || descriptors(w.process.pid) > before+200 }); err != nil {
		return err
	}
	most := descriptors(w.process.pid)
	if err := w.change(50); err != nil {
		return err
	}
	begin := time.Now()
	if err := w.rest(resumeWithin); err != nil {
		return fmt.Errorf("beside slow senders: %w", err)
	}
	took := time.Since(begin)
	begin = time.Now()
	ended := make(chan struct{})
	go func() { slow.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(40 * time.Second):
		return fmt.Errorf("%d slow senders are still connected after 40s", open.Load())
	}
	if err := w.until("their descriptors", 20*time.Second, func() bool { return descriptors(w.process.pid) < before+30 }); err != nil {
		return err
	}
	p.note("500 slow senders (%d descriptors): others were put and worked in %v, all were cut off within %v",
		most, took.Round(100*time.Millisecond), time.Since(begin).Round(time.Second))
	return w.verify(func(h *check.History) { h.Whole = true })
}

// leaks starts and stops ct2fluent ten times inside this process.
func leaks(ctx context.Context, p *prover) error {
	w, err := p.newWorld(ctx, setup{inside: true, level: "info"})
	if err != nil {
		return err
	}
	defer w.close()
	var ignore goleak.Option
	files := 0
	for i := range 11 {
		if i == 1 {
			// What the first run leaves is kept for good: pools, caches.
			w.client.CloseIdleConnections()
			ignore, files = goleak.IgnoreCurrent(), descriptors(os.Getpid())
		}
		if err := w.start(); err != nil {
			return err
		}
		if err := w.create("", 10); err != nil {
			return err
		}
		if err := w.change(20); err != nil {
			return err
		}
		if err := w.rest(restWithin); err != nil {
			return err
		}
		if err := w.stop(); err != nil {
			return err
		}
	}
	w.client.CloseIdleConnections()
	now := 0
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := goleak.Find(ignore)
		if now = descriptors(os.Getpid()); err == nil && now <= files {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d descriptors, %d after the first run; %.2000s", now, files, fmt.Sprint(err))
		}
	}
	p.note("ten restarts in one process leave no goroutine and no descriptor (%d)", now)
	if err := w.start(); err != nil {
		return err
	}
	if err := w.putAnew(); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	return w.verify(nil)
}

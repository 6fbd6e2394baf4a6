package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// The moments at which a process is killed.
var moments = []struct {
	name string
	kill func(k *killer) error
}{
	{"while starting", (*killer).starting},
	{"while working", (*killer).working},
	{"while stopping", (*killer).stopping},
	{"while putting", func(k *killer) error { return k.at(posting, 3*time.Millisecond) }},
	{"between Fluent's write and its answer", func(k *killer) error { return k.at(applied, 0) }},
	{"while settling", func(k *killer) error { return k.at(answered, 8*time.Millisecond) }},
	{"while replaying", (*killer).replaying},
}

// kill lets processes live for a moment each. Three of them at once, each with
// its own store: a process that starts leaves most of a machine idle.
func kill(ctx context.Context, p *prover) error {
	const abreast = 3
	kills := pick(p, 210, 2100) / abreast
	var all sync.Map
	var total, notified, regressions atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for i := range abreast {
		g.Go(func() error {
			k := &killer{rng: rand.New(rand.NewPCG(p.seed, uint64(i)))}
			var err error
			k.world, err = p.newWorld(ctx, setup{
				ct: sandbox.CTKnobs{Duplicates: 0.2, Window: sandbox.Duration(50 * time.Millisecond), Lag: sandbox.Duration(20 * time.Millisecond)},
				fluent: sandbox.FluentKnobs{Common: sandbox.Common{
					Latency: sandbox.Duration(2 * time.Millisecond), Jitter: sandbox.Duration(10 * time.Millisecond), Faults: refusing,
				}},
			})
			if err != nil {
				return err
			}
			defer k.close()
			if err := k.run(ctx, kills); err != nil {
				return err
			}
			for name, n := range k.times {
				sum, _ := all.LoadOrStore(name, new(atomic.Int64))
				sum.(*atomic.Int64).Add(int64(n))
				total.Add(int64(n))
			}
			notified.Add(int64(k.history.Totals.Received))
			regressions.Add(int64(k.history.Regressions()))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var by []string
	for _, m := range moments {
		if n, ok := all.Load(m.name); ok {
			by = append(by, fmt.Sprintf("%d %s", n.(*atomic.Int64).Load(), m.name))
		}
	}
	p.note("%d kills: %s; %d notifications received", total.Load(), strings.Join(by, ", "), notified.Load())
	p.note("an older version lay over a newer one for a moment %d times", regressions.Load())
	return nil
}

// refusing is Fluent's way with the poor: they die until that is mended.
var refusing = []sandbox.Fault{{Kind: "C0141E", Match: poor, Operation: "mutation"}}

type killer struct {
	*world
	rng   *rand.Rand
	times map[string]int
}

// between two rests a process is killed so often.
const killsPerRound = 14

// restWithin is how long everything may take to be worked after a kill.
const restWithin = time.Minute

func (k *killer) run(ctx context.Context, kills int) error {
	k.times = map[string]int{}
	if err := k.create("", 40); err != nil {
		return err
	}
	if err := k.create(poor, 4); err != nil {
		return err
	}
	for done := 0; done < kills; {
		round := min(killsPerRound, kills-done)
		changing, stop := context.WithCancel(ctx)
		var err error
		var changes sync.WaitGroup
		changes.Go(func() { err = k.keepChanging(changing) })
		for range round {
			m := moments[k.rng.IntN(len(moments))]
			if err := m.kill(k); err != nil {
				stop()
				changes.Wait()
				return fmt.Errorf("kill %d, %s: %w", done+1, m.name, err)
			}
			k.times[m.name]++
			if done++; ctx.Err() != nil {
				stop()
				changes.Wait()
				return ctx.Err()
			}
		}
		stop()
		changes.Wait()
		if err != nil {
			return err
		}
		if err := k.start(); err != nil {
			return err
		}
		if err := k.rest(restWithin); err != nil {
			return err
		}
		k.say("%d kills, at rest with %d notifications", done, k.putSoFar())
		if done < kills {
			k.process.kill()
		}
	}
	return k.mended()
}

// mended mends what the poor were refused for, replays them, and checks all.
func (k *killer) mended() error {
	if err := k.mend(); err != nil {
		return err
	}
	if err := k.rest(restWithin); err != nil {
		return err
	}
	return k.verify(func(h *check.History) {
		if h.Totals.DeadLetters > 0 {
			k.say("%d dead letters are left", h.Totals.DeadLetters)
		}
	})
}

// keepChanging changes customers all the time.
func (k *killer) keepChanging(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := k.change(1); err != nil {
			return err
		}
		if len(k.known()) < 400 {
			kind := ""
			if k.rngInt(12) == 0 {
				kind = poor
			}
			if err := k.create(kind, k.rngInt(2)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(8 * time.Millisecond):
		}
	}
	return nil
}

func (w *world) rngInt(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) putSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.history.Puts)
}

func (k *killer) upTo(d time.Duration) time.Duration {
	return time.Duration(k.rng.Int64N(int64(d) + 1))
}

// end kills the process after a while.
func (k *killer) end(after time.Duration) {
	time.Sleep(after)
	k.address.Store(nil)
	k.process.kill()
}

func (k *killer) starting() error {
	if err := k.launch(); err != nil {
		return err
	}
	k.end(k.upTo(400 * time.Millisecond))
	return nil
}

func (k *killer) working() error {
	if err := k.start(); err != nil {
		return err
	}
	k.end(k.upTo(1500 * time.Millisecond))
	return nil
}

func (k *killer) stopping() error {
	if err := k.start(); err != nil {
		return err
	}
	time.Sleep(k.upTo(300 * time.Millisecond))
	_ = k.process.signal(syscall.SIGTERM)
	k.end(k.upTo(60 * time.Millisecond))
	return nil
}

// at kills the process at a stage of its work, the third or so that it
// reaches, and a little later.
func (k *killer) at(stage string, later time.Duration) error {
	var left atomic.Int64
	left.Store(1 + k.rng.Int64N(6))
	reached := make(chan struct{})
	after := k.upTo(later)
	victim := atomic.Pointer[process]{}
	hit := func(s string) {
		if p := victim.Load(); p != nil && s == stage && left.Add(-1) == 0 {
			// Here and now: the stand-in has not answered yet.
			time.Sleep(after)
			_ = p.signal(os.Kill)
			close(reached)
		}
	}
	if err := k.start(); err != nil {
		return err
	}
	victim.Store(k.process)
	k.stage.Store(&hit)
	defer k.stage.Store(nil)
	select {
	case <-reached:
	case <-time.After(5 * time.Second): // the few that wait for D may be all there is
	}
	k.end(0)
	return nil
}

// replaying kills the process while dead letters are put again, or makes some.
func (k *killer) replaying() error {
	if err := k.start(); err != nil {
		return err
	}
	ids := k.known()
	poorly := slices.DeleteFunc(ids, func(id string) bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return !k.history.Refused[id]
	})
	for _, id := range poorly {
		if err := k.changeOne(id); err != nil {
			return err
		}
	}
	if err := k.until("dead letters", 20*time.Second, func() bool {
		s, err := k.status()
		return err == nil && s.DeadLetters > 0
	}); err != nil {
		return err
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_ = k.ask(http.MethodPost, "/admin/dead/replay", control.DeadRequest{Selection: control.Selection{All: true}}, nil)
	}()
	k.end(k.upTo(25 * time.Millisecond))
	<-asked
	return nil
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// power has a process traced while it works, and asks of the trace two things:
// whether what was acknowledged had been synced before, and what a loss of
// power at any moment would have left, from which a process is started.
func power(ctx context.Context, p *prover) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return skip("strace is not installed")
	}
	trace := p.dir + "/trace"
	w, err := p.newWorld(ctx, setup{
		sameEmails: true,
		ct:         sandbox.CTKnobs{Duplicates: 0.1},
		fluent:     sandbox.FluentKnobs{Common: sandbox.Common{Faults: refusing}},
		command: func(argv []string) []string {
			return append(append(append([]string{"strace"}, straceFlags...), "-o", trace, "--"), argv...)
		},
	})
	if err != nil {
		return err
	}
	defer w.close()
	pid, err := w.work(pick(p, 1, 5))
	if err != nil {
		return err
	}
	calls, err := readTrace(trace, pid)
	if err != nil {
		return err
	}
	h, err := follow(calls, w.store())
	if err != nil {
		return err
	}
	p.note("%d system calls, %d syncs", len(calls), len(h.disk.syncs))
	if err := h.inOrder(p); err != nil {
		return err
	}
	if err := w.cuts(ctx, h, pick(p, 30, 600)); err != nil {
		return err
	}
	if p.device {
		return deviceCut(ctx, p)
	}
	return nil
}

// work has a process do everything that it does with its disk.
func (w *world) work(rounds int) (pid int, err error) {
	if err := w.start(); err != nil {
		return 0, err
	}
	pid = w.process.pid
	for range rounds {
		if err := w.everything(); err != nil {
			return pid, err
		}
	}
	return pid, w.stop()
}

func (w *world) everything() error {
	if err := w.create("", 30); err != nil {
		return err
	}
	if err := w.create(poor, 2); err != nil {
		return err
	}
	for range 10 {
		if err := w.change(6); err != nil {
			return err
		}
		time.Sleep(30 * time.Millisecond) // changes come over some time
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	if err := w.mend(); err != nil {
		return err
	}
	return w.rest(restWithin)
}

// mend has Fluent refuse nobody any more, and replays the dead letters.
func (w *world) mend() error {
	knobs := w.fluent.Knobs()
	knobs.Faults = nil
	if err := w.fluent.SetKnobs(knobs); err != nil {
		return err
	}
	var done control.DeadResult
	err := w.ask(http.MethodPost, "/admin/dead/replay", control.DeadRequest{Selection: control.Selection{All: true}}, &done)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.Replayed += uint64(done.Done)
	return err
}

// readTrace reads a trace once the tracer, which outlives the process, is done.
func readTrace(name string, pid int) ([]*sysCall, error) {
	end := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +\+\+\+`, pid))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if end.Match(text) {
			return parseTrace(bytes.NewReader(text))
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s does not end", name)
		}
	}
}

// A tracked is what the trace tells of the process's promises.
type tracked struct {
	disk  *disk
	acks  []ack
	sends []send
}

// An ack is the answer 2xx to a notification.
type ack struct {
	begin   int // line
	id      string
	version int64
}

// A send is a mutation on its way to Fluent.
type send struct {
	begin int
	text  string
}

var (
	resourceIn = regexp.MustCompile(`"resource":\{"id":"([0-9a-f-]{36})","typeId":"customer"\}`)
	versionIn  = regexp.MustCompile(`"version":(\d+)`)
)

// follow goes through a trace.
func follow(calls []*sysCall, store string) (*tracked, error) {
	t := &tracked{disk: newDisk(store)}
	asked := map[int]string{} // read from a connection since the last answer
	for _, c := range calls {
		if err := t.disk.do(c); err != nil {
			return nil, fmt.Errorf("line %d: %w", c.begin+1, err)
		}
		n, path := fd(c.arg(0))
		if !isSocket(path) {
			continue
		}
		switch c.name {
		case "read", "readv":
			if c.result > 0 {
				asked[n] += c.bytes()
			}
		case "write", "writev":
			text := c.bytes()
			if len(text) > 12 && text[:10] == "HTTP/1.1 2" {
				if id := resourceIn.FindStringSubmatch(asked[n]); id != nil {
					version, err := strconv.ParseInt(versionIn.FindStringSubmatch(asked[n])[1], 10, 64)
					if err != nil {
						return nil, err
					}
					t.acks = append(t.acks, ack{c.begin, id[1], version})
				}
			}
			delete(asked, n)
			if bytes.Contains([]byte(text), []byte("createCustomer")) {
				t.sends = append(t.sends, send{c.begin, text})
			}
		}
	}
	return t, nil
}

func isSocket(path string) bool {
	return len(path) > 7 && path[:7] == "socket:" || len(path) > 4 && path[:4] == "TCP:"
}

// inOrder checks that a write which holds what was promised had been synced
// before it was promised.
func (t *tracked) inOrder(p *prover) error {
	for _, a := range t.acks {
		if !t.synced(a.begin, []byte(a.id), []byte(`"version":`+strconv.FormatInt(a.version, 10))) {
			return fmt.Errorf("promise 1: line %d of the trace acknowledges version %d of customer %s, which no write that was synced before holds", a.begin+1, a.version, a.id)
		}
	}
	created := 0
	for _, s := range t.sends {
		for _, id := range uuidIn.FindAllString(s.text, -1) {
			created++
			if !t.synced(s.begin, []byte(id), []byte(`"username":"1_`)) {
				return fmt.Errorf("rule 6: line %d of the trace sends the create of customer %s, whose username no write that was synced before holds", s.begin+1, id)
			}
		}
	}
	if len(t.acks) == 0 || created == 0 {
		return fmt.Errorf("the trace shows %d acknowledgements and %d creates: it is misread", len(t.acks), created)
	}
	p.note("%d acknowledgements and %d creates came after the sync of what they promise", len(t.acks), created)
	return nil
}

var uuidIn = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// synced tells whether a write with all these texts was certain at a line.
func (t *tracked) synced(cut int, texts ...[]byte) bool {
	for _, f := range t.disk.files {
		for _, w := range f.writes {
			if w.end >= cut {
				break
			}
			holds := !slices.ContainsFunc(texts, func(text []byte) bool { return !bytes.Contains(w.data, text) })
			if holds && (w.durable || t.disk.covered(f, w.end, cut)) {
				return true
			}
		}
	}
	return false
}

// cuts starts a process on what losses of power would have left, half of them
// strict and just after something was promised or synced, half at any moment
// with what was not certain there at random.
func (w *world) cuts(ctx context.Context, t *tracked, n int) error {
	last := 0
	for _, s := range t.disk.syncs {
		last = max(last, s.end)
	}
	rng := rand.New(rand.NewPCG(w.seed, 3))
	var strict, random atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(3)
	for i := range n {
		var cut int
		var dice *rand.Rand
		switch i % 4 {
		case 0:
			cut = t.acks[rng.IntN(len(t.acks))].begin + 1
		case 1:
			cut = t.disk.syncs[rng.IntN(len(t.disk.syncs))].end + 1
		default:
			cut, dice = rng.IntN(last), rand.New(rand.NewPCG(w.seed, uint64(i)))
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if dice == nil {
				strict.Add(1)
			} else {
				random.Add(1)
			}
			if err := w.cut(t, cut, dice); err != nil {
				return fmt.Errorf("power is lost at line %d of the trace: %w", cut+1, err)
			}
			return nil
		})
	}
	err := g.Wait()
	w.note("started from %d losses of power that left only what is certain, and %d that left the rest at random", strict.Load(), random.Load())
	return err
}

// cut starts a process on what a loss of power left, and checks that all that
// had been acknowledged is there.
func (w *world) cut(t *tracked, cut int, dice *rand.Rand) error {
	v, err := w.beside()
	if err != nil {
		return err
	}
	if err := t.disk.leave(cut, dice, v.store()); err != nil {
		return err
	}
	for _, a := range t.acks {
		if a.begin < cut {
			v.history.Puts = append(v.history.Puts, check.Put{ID: a.id, Version: a.version, Sent: 1, Acked: time.Now()})
		}
	}
	if err := v.recovers(); err != nil {
		return err
	}
	return os.RemoveAll(v.dir)
}

// recovers starts a process on a store that is there, and has checked that
// what had been put is.
func (w *world) recovers() error {
	if err := w.start(); err != nil {
		w.kept()
		return err
	}
	defer func() {
		if w.process != nil {
			w.process.kill()
		}
	}()
	// Something must be received, or nothing tells that it works.
	if err := w.putAnew(); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		w.kept()
		return err
	}
	totals, err := w.read()
	if err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	return w.judge(totals, nil)
}

// beside is a world with the same stand-ins and customers and another store.
func (w *world) beside() (*world, error) {
	dir, err := os.MkdirTemp(w.prover.dir, "world-*")
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	v := &world{
		prover: w.prover, setup: w.setup, dir: dir, ct: w.ct, fluent: w.fluent, ctServer: w.ctServer, fluentServer: w.fluentServer,
		client: w.client, rng: w.rng, ids: w.ids,
	}
	v.command = nil
	v.history = check.History{
		Made: w.history.Made, Timelines: map[string]check.Timeline{}, Refused: w.history.Refused,
		Marks: w.history.Marks, Texts: map[string][]byte{},
	}
	return v, v.configure()
}

// putAnew brings a notification of a customer's last version.
func (w *world) putAnew() error {
	id := w.ids[0]
	made := w.history.Made[id]
	version := made[len(made)-1].Number
	body := fmt.Sprintf(`{"notificationType":"ResourceUpdated","projectKey":"shop","resource":{"typeId":"customer","id":%q},"version":%d}`, id, version)
	return w.until("a notification to be put", restWithin, func() bool {
		_, status, err := w.post(context.Background(), []byte(body))
		return err == nil && status == http.StatusAccepted
	})
}

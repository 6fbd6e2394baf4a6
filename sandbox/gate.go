package sandbox

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A gate is what a request passes before and after it is worked: latency, the
// rate limit, the faults, the counters.
type gate struct {
	now func() time.Time

	mu        sync.Mutex
	rng       *rand.Rand
	common    Common
	downUntil time.Time
	limiter   *rate.Limiter
	calls     map[string]map[string]int
}

func newGate(seed uint64, now func() time.Time) *gate {
	if now == nil {
		now = time.Now
	}
	return &gate{now: now, rng: rand.New(rand.NewPCG(seed, 1)), calls: map[string]map[string]int{}}
}

func (g *gate) set(c Common) {
	c.Faults, c.Denied = slices.Clone(c.Faults), slices.Clone(c.Denied)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.common = c
	g.downUntil = g.now().Add(time.Duration(c.Down))
	g.limiter = nil
	if c.Rate > 0 {
		g.limiter = rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate)))
	}
}

// get returns the knobs with what is left of Down and of the faults' counts.
func (g *gate) get() Common {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.common
	c.Down = Duration(max(0, g.downUntil.Sub(g.now())))
	c.Faults, c.Denied = slices.Clone(c.Faults), slices.Clone(c.Denied)
	return c
}

func (g *gate) inject(fs ...Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.common.Faults = append(g.common.Faults, fs...)
}

func (g *gate) denied(names ...string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(g.common.Denied, n) })
}

// chance is true with the probability p.
func (g *gate) chance(p float64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return p > 0 && g.rng.Float64() < p
}

// spread is a random part of d.
func (g *gate) spread(d Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Duration(g.rng.Int64N(int64(d)))
}

func (g *gate) count(operation, status string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[operation] == nil {
		g.calls[operation] = map[string]int{}
	}
	g.calls[operation][status]++
}

func (g *gate) counted() map[string]map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[string]map[string]int, len(g.calls))
	for op, by := range g.calls {
		all[op] = maps.Clone(by)
	}
	return all
}

func (g *gate) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.calls)
}

// draw finds the first fault that fits and whose dice fall so, and counts it
// down.
func (g *gate) draw(fits func(Fault) bool) (Fault, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, f := range g.common.Faults {
		if !fits(f) || f.Probability > 0 && f.Probability < 1 && g.rng.Float64() >= f.Probability {
			continue
		}
		if f.Count == 1 {
			g.common.Faults = slices.Delete(g.common.Faults, i, i+1)
		} else if f.Count > 1 {
			g.common.Faults[i].Count--
		}
		return f, true
	}
	return Fault{}, false
}

// on tells whether the fault is meant for one of the operations.
func (f Fault) on(operations ...string) bool {
	if f.Operation == "" {
		return !slices.Contains(operations, "token")
	}
	return slices.Contains(operations, f.Operation)
}

// An answer of a stand-in.
type answer struct {
	status int
	header map[string]string
	body   []byte
}

// A request as a gate sees it.
type request struct {
	operations []string             // the first is the one that is counted
	body       []byte               // as it was sent
	work       func() answer        // what the faithful stand-in does
	fail       func(f Fault) answer // the answer to a fault that is an HTTP status
	write      func(w http.ResponseWriter, a answer)
}

// serve works a request, and has happen to it what the knobs say.
func (g *gate) serve(w http.ResponseWriter, r *http.Request, q request) {
	g.mu.Lock()
	down := g.now().Before(g.downUntil)
	limited := g.limiter != nil && !g.limiter.AllowN(g.now(), 1)
	latency := g.common.Latency
	jitter := g.common.Jitter
	g.mu.Unlock()
	if down {
		g.count(q.operations[0], "down")
		cut(w)
		return
	}
	half := (time.Duration(latency) + g.spread(jitter)) / 2
	if !pause(r.Context(), half) {
		return
	}
	answered := func(a answer) {
		g.count(q.operations[0], strconv.Itoa(a.status))
		if pause(r.Context(), half) {
			q.write(w, a)
		}
	}
	if limited {
		answered(q.fail(Fault{Kind: "429"}))
		return
	}
	f, faulty := g.draw(func(f Fault) bool {
		return !f.ofAlias() && f.on(q.operations...) &&
			(f.Match == "" || strings.Contains(r.URL.String(), f.Match) || strings.Contains(string(q.body), f.Match))
	})
	switch {
	case !faulty:
		answered(q.work())
	case f.Kind == "slow":
		g.count(q.operations[0], f.Kind)
		q.write(&slowWriter{ResponseWriter: w, ctx: r.Context(), hold: or(f.Hold, 3*time.Second)}, q.work())
	case f.Kind == "cut" || f.Kind == "timeout":
		g.count(q.operations[0], f.Kind)
		g.lose(w, r.Context(), f, q.work)
	default:
		if f.Apply {
			q.work()
		}
		answered(q.fail(f))
	}
}

// lose works a request, or does not, whose answer never arrives.
func (g *gate) lose(w http.ResponseWriter, ctx context.Context, f Fault, work func() answer) {
	if f.Apply && f.Late == 0 {
		work()
	}
	conn := hijack(w)
	defer conn.Close()
	if f.Kind == "cut" {
		conn.Close()
	}
	// The connection is ours: ctx ends with the server now, not with the caller.
	if f.Late > 0 && pause(ctx, time.Duration(f.Late)) {
		work()
	}
	if f.Kind == "timeout" {
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		// Deadlines of connections know real time only.
		_ = conn.SetReadDeadline(time.Now().Add(or(f.Hold, 30*time.Second)))
		_, _ = io.Copy(io.Discard, conn)
	}
}

// cut closes the connection without an answer.
func cut(w http.ResponseWriter) { hijack(w).Close() }

func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // net/http's own word for a cut
	}
	return conn
}

// pause is false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func or(d Duration, def time.Duration) time.Duration {
	if d > 0 {
		return time.Duration(d)
	}
	return def
}

// A slowWriter spreads a body over a time.
type slowWriter struct {
	http.ResponseWriter
	ctx  context.Context
	hold time.Duration
}

const slowSteps = 10

func (s *slowWriter) Write(p []byte) (int, error) {
	size := len(p)/slowSteps + 1
	done := 0
	for part := range slices.Chunk(p, size) {
		if !pause(s.ctx, s.hold/slowSteps) {
			return done, s.ctx.Err()
		}
		n, err := s.ResponseWriter.Write(part)
		done += n
		if err == nil {
			err = http.NewResponseController(s.ResponseWriter).Flush()
		}
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			return done, err
		}
	}
	return done, nil
}

// retryAfter is the header of a fault, in whole seconds.
func (f Fault) retryAfter() map[string]string {
	d := or(f.RetryAfter, time.Second)
	return map[string]string{"Retry-After": strconv.Itoa(int((d + time.Second - 1) / time.Second))}
}

// gatewayPage is what a proxy says of its own accord: HTML, whatever was asked
// for.
func gatewayPage(status int) answer {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	return answer{status: status, header: map[string]string{"Content-Type": "text/html"},
		body: []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n</body>\r\n</html>\r\n")}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"sync"
	"time"
)

// A trickle brings notifications at their times, whatever becomes of them.
type trickle struct {
	url  string
	http *http.Client

	mu     sync.Mutex
	posted map[string]time.Time // by customer
	failed error
}

// steps of the trickle: one customer each, and every so manyth a group.
const (
	step       = 20 * time.Millisecond
	groupEvery = 10
)

func (t *trickle) post(ctx context.Context, bodies [][]byte) {
	began := time.Now()
	body := bodies[0]
	if len(bodies) > 1 {
		body = append(append([]byte("["), bytes.Join(bodies, []byte(","))...), ']')
	}
	err := t.send(ctx, body)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range bodies {
		t.posted[resource(b)] = began
	}
	t.failed = errors.Join(t.failed, err)
}

func (t *trickle) send(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, "POST", t.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer secret")
	res, err := t.http.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("webhook: %s", res.Status)
	}
	return nil
}

// resource is the customer of a notification.
func resource(body []byte) string {
	var n struct{ Resource struct{ ID string } }
	_ = json.Unmarshal(body, &n) // the stand-in wrote it
	return n.Resource.ID
}

// run posts all of bodies, the group of a number at the same time as the
// others', and gives the customers of that group.
func (t *trickle) run(ctx context.Context, bodies [][]byte, group, which int) (of []string, err error) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	var posting sync.WaitGroup
	groups := 0
	for i := 0; len(bodies) > 0; i++ {
		n := 1
		if i%groupEvery == groupEvery-1 {
			n = min(group, len(bodies))
			if groups == which {
				for _, b := range bodies[:n] {
					of = append(of, resource(b))
				}
			}
			groups++
		}
		some := bodies[:n]
		bodies = bodies[n:]
		posting.Go(func() { t.post(ctx, some) })
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	posting.Wait()
	return of, t.failed
}

// took gives the times from the post until Fluent had a customer.
func (t *trickle) took(bodies [][]byte, arrived map[string]time.Time, but map[string]bool) Times {
	t.mu.Lock()
	defer t.mu.Unlock()
	var took []time.Duration
	for _, b := range bodies {
		if id := resource(b); !but[id] {
			took = append(took, arrived[id].Sub(t.posted[id]))
		}
	}
	return timesOf(took)
}

var listens = regexp.MustCompile(`"webhook listens".*"address":"([^"]+)"`)

// slow: the call about one customer hangs; the others do not wait for it.
func (b *bench) slow(ctx context.Context) error {
	const name = "slow"
	n, group := b.of(100, 1000), b.of(4, 20)
	how := setup{Timeout: time.Second, UnclearWait: 1500 * time.Millisecond}
	switch {
	case b.long:
		how = setup{Timeout: 10 * time.Second}
	case !b.short:
		how = setup{Timeout: 3 * time.Second, UnclearWait: 4 * time.Second}
	}
	s, err := b.sides(ctx, Scene{Customers: 3 * n, Latency: latency})
	if err != nil {
		return err
	}
	defer s.close()
	p, err := b.product(s, how)
	if err != nil {
		return err
	}
	defer p.close()
	bodies, err := s.take(ctx)
	if err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		return err
	}
	var at []byte
	err = p.wait(ctx, "the webhook", 5*time.Millisecond, func() bool {
		text, _ := os.ReadFile(p.log.Name())
		if found := listens.FindSubmatch(text); found != nil {
			at = found[1]
		}
		return at != nil
	})
	if err != nil {
		return err
	}
	t := &trickle{url: "http://" + string(at) + "/notifications", http: &http.Client{}, posted: map[string]time.Time{}}
	warming, usual, hanging := bodies[:n], bodies[n:2*n], bodies[2*n:]
	for _, some := range [][][]byte{warming, usual} {
		if _, err := t.run(ctx, some, group, -1); err != nil {
			return err
		}
	}
	if _, err := p.settled(ctx, 2*n); err != nil {
		return err
	}
	// The group in the first quarter has the slow one, its last.
	groups := n / (groupEvery - 1 + group)
	which := groups / 4
	slowest := resource(hanging[(which+1)*(groupEvery-1+group)-1])
	if err := s.ask(ctx, "PUT", "/knobs", Knobs{Latency: latency, Hang: slowest, HangFor: how.Timeout}, nil); err != nil {
		return err
	}
	mates, err := t.run(ctx, hanging, group, which)
	if err != nil {
		return err
	}
	var arrived map[string]time.Time
	err = p.wait(ctx, "all but the slow one to arrive", 250*time.Millisecond, func() bool {
		arrived = map[string]time.Time{}
		return s.ask(ctx, "GET", "/arrivals", nil, &arrived) == nil && len(arrived) >= len(bodies)-1
	})
	if err != nil {
		return err
	}
	// It is still hanging: what has arrived was sent without it.
	if !arrived[slowest].IsZero() {
		b.report.wrong("slow: the one that hangs has arrived")
	}
	but, last := map[string]bool{}, time.Duration(0)
	for _, id := range mates {
		but[id] = true
		if id != slowest {
			last = max(last, arrived[id].Sub(t.posted[id]))
		}
	}
	before, with := t.took(usual, arrived, nil), t.took(hanging, arrived, but)
	r := b.report
	r.figure(name, "p99 of a customer's way, nothing hangs", ms(before.P99), "ms", nil)
	r.figure(name, fmt.Sprintf("p99 of those in other batches while a call hangs %v", how.Timeout), ms(with.P99), "ms", nil)
	r.figure(name, "the p99 moves by", ms(with.P99-before.P99), "ms", atMost(20))
	r.figure(name, "p50, nothing hangs", ms(before.P50), "ms", nil)
	r.figure(name, "p50 while it hangs", ms(with.P50), "ms", nil)
	r.figure(name, fmt.Sprintf("the last of its %d mates is there, it hangs on, after", len(mates)-1), last.Seconds(), "s", nil)

	if err := s.ask(ctx, "PUT", "/knobs", Knobs{Latency: latency}, nil); err != nil {
		return err
	}
	status, err := p.settled(ctx, len(bodies))
	if err != nil {
		return err
	}
	b.sum(name, status, len(bodies))
	var v Verdict
	if err := s.ask(ctx, "GET", "/verdict", nil, &v); err != nil {
		return err
	}
	b.judge(name, v, len(bodies))
	return p.stop()
}

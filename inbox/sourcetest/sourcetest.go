// Package sourcetest is the suite that every source must pass.
//
// A driver's test gives [Test] a ct-queue that it can watch: a stand-in for
// the service, reached over a [Listener]. The suite runs sources on it with a
// put of its own, which works, fails or takes its time, and sees what the
// source acknowledges. Each test runs in a bubble of testing/synctest: hours
// pass in no time, and "nothing more happens" is a fact, not a guess. So
// neither the source nor its ct-queue may use a real network or wait in any
// way that such a bubble cannot see.
//
// What the suite holds a source to is the contract of [ct2fluent.Source].
package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A Harness is a ct-queue and the sources that receive from it.
type Harness struct {
	// Source makes a source that receives from the ct-queue, like a process
	// that starts. The suite runs one at a time.
	Source func() ct2fluent.Source

	// Send has the ct-queue bring body until it is acknowledged. It does not
	// wait for that.
	Send func(body []byte)

	// Taken is how often the ct-queue handed out a body. Nil for a source that
	// cannot choose: to which bodies are pushed.
	Taken func() int

	// Slow is how long a put may take without its body being brought a second
	// time. It should exceed every time limit of the ct-queue that the source
	// can have extended.
	Slow time.Duration
}

// Test runs the suite. Each test opens a harness in its bubble. The ct-queue
// calls acknowledged with each body that a source has acknowledged, before the
// source learns that it was; from any goroutine.
func Test(t *testing.T, open func(t *testing.T, acknowledged func(body []byte)) Harness) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"bodies are put as they were sent", testBodies},
		{"a body is acknowledged only after put returned nil", testAcknowledgesAfterPut},
		{"several puts run at once", testConcurrent},
		{"a body whose put fails is kept and put again", testPutFails},
		{"nothing more is received while put fails", testStopsReceiving},
		{"a slow put's body is not brought a second time", testSlow},
		{"a stop ends an idle source", testStopIdle},
		{"a source started after the stop ends", testStartStopped},
		{"a put under way at the stop is finished and acknowledged", testStopFinishes},
		{"a put without end does not hold up the stop", testStopGivesUp},
		{"what could not be put before the stop comes after the start", testStopWhileFailing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bench{t: t}
				b.Harness = open(t, b.shelf.acknowledge(t))
				tt.test(t, b)
			})
		})
	}
}

// How long, in the bubble's time, a source may take: for what it should do at
// once, to end, and to find out that put works again.
const (
	atOnce   = 5 * time.Second
	stopping = time.Minute
	recovery = 10 * time.Minute
	long     = 15 * time.Minute // for what should not happen to show
)

func testBodies(t *testing.T, b *bench) {
	bodies := []string{
		`{"notificationType":"Message"}`, "[]", "no JSON at all", "Zoë \U0001F600 \"\\/\r\n\t<>&",
		`"` + strings.Repeat("x", 200_000) + `"`,
	}
	b.run(b.shelf.put)
	for _, s := range bodies {
		b.Send([]byte(s))
	}
	b.await(len(bodies), atOnce)
	b.stop()
	for _, s := range bodies {
		if n := b.shelf.kept(s); n != 1 {
			t.Errorf("%d bytes %.40q were put %d times, want 1", len(s), s, n)
		}
	}
}

func testAcknowledgesAfterPut(t *testing.T, b *bench) {
	const bodies = 5
	release := make(chan struct{})
	b.run(func(ctx context.Context, body []byte) error {
		<-release
		return b.shelf.put(ctx, body)
	})
	b.send(bodies)
	time.Sleep(atOnce)
	if n := b.shelf.acknowledged(); n > 0 {
		t.Errorf("%d bodies acknowledged while put had not returned", n)
	}
	close(release)
	b.await(bodies, atOnce)
	b.stop()
}

func testConcurrent(t *testing.T, b *bench) {
	const bodies = 10
	inside, release := make(chan struct{}, bodies), make(chan struct{})
	b.run(func(ctx context.Context, body []byte) error {
		inside <- struct{}{}
		<-release
		return b.shelf.put(ctx, body)
	})
	b.send(bodies)
	time.Sleep(atOnce)
	if len(inside) < 2 {
		t.Errorf("%d put under way with %d bodies waiting", len(inside), bodies)
	}
	close(release)
	b.await(bodies, atOnce)
	b.stop()
}

func testPutFails(t *testing.T, b *bench) {
	const bodies, failures = 20, 3
	b.run(func(ctx context.Context, got []byte) error {
		// Every third one fails: what was kept beside it need not be put again.
		for i := 0; i < bodies; i += 3 {
			if string(got) == body(i) && b.shelf.tried(body(i)) <= failures {
				return errFull
			}
		}
		return b.shelf.put(ctx, got)
	})
	b.send(bodies)
	b.await(bodies, recovery)
	b.stop()
	for i := range bodies {
		if n := b.shelf.kept(body(i)); n != 1 {
			t.Errorf("%s was kept %d times, want 1", body(i), n)
		}
	}
}

func testStopsReceiving(t *testing.T, b *bench) {
	const before, after = 3, 50
	b.shelf.fail(errFull)
	b.run(b.shelf.put)
	b.send(before)
	// What was asked for before the first failure may still arrive.
	time.Sleep(time.Minute)
	taken := b.taken()
	b.send(after)
	time.Sleep(long)
	if n := b.taken() - taken; n > 0 {
		t.Errorf("%d more bodies received while put failed", n)
	}
	if n := b.shelf.acknowledged(); n > 0 {
		t.Errorf("%d bodies acknowledged while put failed", n)
	}
	b.shelf.fail(nil)
	b.await(before+after, recovery)
	b.stop()
}

func testSlow(t *testing.T, b *bench) {
	const bodies = 3
	b.run(func(ctx context.Context, body []byte) error {
		b.shelf.tried(string(body))
		time.Sleep(b.Slow)
		return b.shelf.put(ctx, body)
	})
	b.send(bodies)
	b.await(bodies, b.Slow+atOnce)
	time.Sleep(b.Slow)
	b.stop()
	for i := range bodies {
		if n := b.shelf.tried(body(i)) - 1; n != 1 {
			t.Errorf("%s was put %d times, want 1", body(i), n)
		}
	}
}

func testStopIdle(t *testing.T, b *bench) {
	b.run(b.shelf.put)
	b.send(1)
	b.await(1, atOnce)
	time.Sleep(long)
	start := time.Now()
	b.stop()
	if took := time.Since(start); took > atOnce {
		t.Errorf("took %s, want at most %s", took, atOnce)
	}
}

func testStartStopped(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Source().Run(ctx, b.shelf.put); err != nil {
		t.Errorf("Run: %v, want nil", err)
	}
}

func testStopFinishes(t *testing.T, b *bench) {
	const bodies = 5
	b.run(func(ctx context.Context, body []byte) error {
		time.Sleep(time.Second)
		if err := ctx.Err(); err != nil {
			t.Errorf("the context of a put ended with Run's: %v", err)
		}
		return b.shelf.put(ctx, body)
	})
	b.send(bodies)
	time.Sleep(time.Second / 2)
	b.stop()
	b.settle()
	if kept, acked := b.shelf.keptAll(), b.shelf.acknowledged(); kept == 0 || acked != kept {
		t.Errorf("%d put, %d acknowledged, want as many, and some", kept, acked)
	}
}

func testStopGivesUp(t *testing.T, b *bench) {
	const bodies = 2
	var running atomic.Int32
	b.run(func(ctx context.Context, _ []byte) error {
		running.Add(1)
		defer running.Add(-1)
		<-ctx.Done()
		time.Sleep(atOnce)
		return ctx.Err()
	})
	b.send(bodies)
	time.Sleep(time.Second)
	b.stop()
	// What put uses is closed once Run has returned.
	if n := running.Load(); n > 0 {
		t.Errorf("%d put still under way after Run", n)
	}
	b.settle()
	if n := b.shelf.acknowledged(); n > 0 {
		t.Errorf("%d bodies acknowledged that were not put", n)
	}
	b.run(b.shelf.put)
	b.await(bodies, recovery)
	b.stop()
}

func testStopWhileFailing(t *testing.T, b *bench) {
	const bodies = 20
	b.shelf.fail(errFull)
	b.run(b.shelf.put)
	b.send(bodies)
	time.Sleep(long)
	b.stop()
	if n := b.shelf.acknowledged(); n > 0 {
		t.Errorf("%d bodies acknowledged while put failed", n)
	}
	b.shelf.fail(nil)
	b.run(b.shelf.put)
	b.await(bodies, recovery)
	b.stop()
}

var errFull = errors.New("full, for the test")

func body(i int) string { return fmt.Sprintf(`{"body":%d}`, i) }

// A bench is a harness with a source that runs.
type bench struct {
	Harness
	t     *testing.T
	shelf shelf
	sent  int
	end   func()
	ended chan error
}

func (b *bench) run(put func(ctx context.Context, body []byte) error) {
	ctx, cancel := context.WithCancel(b.t.Context())
	source, ended := b.Source(), make(chan error, 1)
	b.end, b.ended = cancel, ended
	go func() {
		ended <- source.Run(ctx, func(ctx context.Context, body []byte) error { return put(ctx, bytes.Clone(body)) })
	}()
	synctest.Wait()
}

// stop ends the source, which must return nil.
func (b *bench) stop() {
	b.t.Helper()
	b.end()
	select {
	case err := <-b.ended:
		if err != nil {
			b.t.Errorf("Run: %v, want nil after the stop", err)
		}
	case <-time.After(stopping):
		b.t.Fatalf("Run did not return within %s of the stop", stopping)
	}
}

// settle lets acknowledgements arrive that are on their way to the ct-queue.
func (b *bench) settle() { synctest.Wait() }

func (b *bench) send(n int) {
	for range n {
		b.Send([]byte(body(b.sent)))
		b.sent++
	}
}

func (b *bench) taken() int {
	if b.Taken == nil {
		return 0
	}
	return b.Taken()
}

// await waits until n bodies have been acknowledged, and for what else happens
// then and should not.
func (b *bench) await(n int, limit time.Duration) {
	b.t.Helper()
	deadline := time.Now().Add(limit)
	for b.shelf.acknowledged() < n {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d of %d bodies acknowledged after %s; %d were put", b.shelf.acknowledged(), n, limit, b.shelf.keptAll())
		}
		time.Sleep(time.Second / 10)
	}
	b.settle()
}

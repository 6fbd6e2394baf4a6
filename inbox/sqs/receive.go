package sqs

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	visibility = time.Minute      // of what has been received, extended while it is at hand
	stopLimit  = 10 * time.Second // for the puts under way at the stop
	callLimit  = 10 * time.Second // for one request, besides the wait for messages
	longest    = 30 * time.Second // delay between two tries
)

// A run is one Run of a source.
type run struct {
	*Source
	client  Client
	queue   string
	put     func(ctx context.Context, body []byte) error
	work    context.Context // of the puts
	gate    gate            // shut while put fails
	failing atomic.Bool     // the last poll failed
}

// receive is one receiver. An error is a refusal.
func (r *run) receive(ctx context.Context) error {
	for tries := 0; r.gate.pass(ctx); {
		out, err := r.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl:            &r.queue,
			MaxNumberOfMessages: 10,
			WaitTimeSeconds:     int32(r.o.Wait / time.Second),
			VisibilityTimeout:   int32(visibility / time.Second),
		})
		if err != nil {
			if err := r.failed(ctx, err); err != nil {
				return err
			}
			pause(ctx, delay(tries))
			tries++
			continue
		}
		tries = 0
		if r.failing.CompareAndSwap(true, false) {
			r.o.Log.Info("queue answers again", "queue", r.o.Name)
		}
		// What was received is worked also when ctx is done by now.
		if err := r.handle(ctx, out.Messages); err != nil {
			return err
		}
	}
	return nil
}

// failed judges a poll that failed: an error is a refusal.
func (r *run) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	r.o.Observe("receive-failed", 1)
	explained := r.explain("receive from", err)
	if _, refused := refusal(err); refused {
		return explained
	}
	if r.failing.CompareAndSwap(false, true) {
		r.o.Log.Warn("queue does not answer; it is asked again", "error", explained)
	}
	return nil
}

// handle puts messages until all are kept, and deletes them. At the stop it
// gives back what could not be kept. An error is a refusal.
func (r *run) handle(ctx context.Context, messages []types.Message) error {
	if len(messages) == 0 {
		return nil
	}
	r.o.Observe("received", len(messages))
	h := r.hold(messages)
	defer h.letGo()
	for tries := 0; ; tries++ {
		kept, failed := r.putAll(messages)
		h.drop(kept)
		if err := r.delete(ctx, kept); err != nil {
			h.drop(failed)
			r.release(ctx, failed)
			return err
		}
		if len(failed) == 0 {
			return nil
		}
		r.o.Observe("put-failed", len(failed))
		if tries == 0 {
			r.gate.shut()
			defer r.gate.open()
		}
		pause(ctx, delay(tries))
		if ctx.Err() != nil {
			h.drop(failed)
			r.release(ctx, failed)
			return nil
		}
		messages = failed
	}
}

// putAll puts messages at once, so that they can share one write to the disk.
func (r *run) putAll(messages []types.Message) (kept, failed []types.Message) {
	errs := make([]error, len(messages))
	var wg sync.WaitGroup
	for i, m := range messages {
		wg.Go(func() { errs[i] = r.put(r.work, []byte(aws.ToString(m.Body))) })
	}
	wg.Wait()
	for i, m := range messages {
		if errs[i] == nil {
			kept = append(kept, m)
		} else {
			failed = append(failed, m)
		}
	}
	return kept, failed
}

// delay grows from 1 s to longest, less a random part of up to a half.
func delay(tries int) time.Duration {
	d := min(time.Second<<min(tries, 10), longest)
	return d - rand.N(d/2)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// A gate keeps the receivers from receiving while the put of any of them
// fails.
type gate struct {
	mu      sync.Mutex
	failing int
	opened  chan struct{}
}

// pass waits until the gate is open; false once ctx is done.
func (g *gate) pass(ctx context.Context) bool {
	for ctx.Err() == nil {
		g.mu.Lock()
		failing, opened := g.failing, g.opened
		g.mu.Unlock()
		if failing == 0 {
			return true
		}
		select {
		case <-ctx.Done():
		case <-opened:
		}
	}
	return false
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failing == 0 {
		g.opened = make(chan struct{})
	}
	g.failing++
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failing--
	if g.failing == 0 {
		close(g.opened)
	}
}

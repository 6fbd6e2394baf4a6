package sqs

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// delete acknowledges messages. One that cannot be deleted is left: it comes
// again. An error is a refusal, after which all would come again for ever.
func (r *run) delete(ctx context.Context, messages []types.Message) error {
	const most = 3
	for try := 0; len(messages) > 0; try++ {
		out, err := r.deleteOnce(ctx, messages)
		if err != nil {
			r.o.Observe("delete-failed", len(messages))
			explained := r.explain("delete from", err)
			if _, refused := refusal(err); refused {
				return explained
			}
			r.o.Log.Warn("messages that are kept will come again", "messages", len(messages), "error", explained)
			return nil
		}
		r.o.Observe("acknowledged", len(messages)-len(out.Failed))
		var again []types.Message
		for _, f := range out.Failed {
			i, err := strconv.Atoi(aws.ToString(f.Id))
			if err == nil && i < len(messages) && !f.SenderFault && try < most-1 {
				again = append(again, messages[i])
				continue
			}
			r.o.Observe("delete-failed", 1)
			r.o.Log.Warn("a message that is kept will come again", "queue", r.o.Name, "code", aws.ToString(f.Code))
		}
		if len(again) > 0 {
			time.Sleep(time.Second / 5)
		}
		messages = again
	}
	return nil
}

func (r *run) deleteOnce(ctx context.Context, messages []types.Message) (*sqs.DeleteMessageBatchOutput, error) {
	entries := make([]types.DeleteMessageBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle}
	}
	// What is on disk is acknowledged also after the stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	return r.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &r.queue, Entries: entries})
}

// release gives messages back, so that another process need not wait for
// their visibility to end.
func (r *run) release(ctx context.Context, messages []types.Message) {
	if len(messages) == 0 {
		return
	}
	failed, err := r.hide(ctx, messages, time.Second)
	if err != nil {
		r.o.Log.Warn("messages come again later only", "messages", len(messages), "after", visibility, "error", r.explain("release to", err))
		return
	}
	r.o.Observe("released", len(messages)-len(failed))
}

// hide sets for how long nobody else gets messages. It returns the indexes of
// those that SQS refused.
func (r *run) hide(ctx context.Context, messages []types.Message, d time.Duration) (failed []int, err error) {
	entries := make([]types.ChangeMessageVisibilityBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: int32(d / time.Second),
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	out, err := r.client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &r.queue, Entries: entries})
	if err != nil {
		return nil, err
	}
	for _, f := range out.Failed {
		if i, err := strconv.Atoi(aws.ToString(f.Id)); err == nil {
			failed = append(failed, i)
		}
	}
	return failed, nil
}

// A hold keeps messages hidden from others while they are at hand.
type hold struct {
	mu       sync.Mutex // held while extending: what was dropped is not hidden any more
	messages []types.Message
	letGo    func()
}

// hold begins to extend the visibility of messages. letGo ends it.
func (r *run) hold(messages []types.Message) *hold {
	h := &hold{messages: slices.Clone(messages)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(visibility / 3)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				r.extend(h)
			}
		}
	})
	h.letGo = func() {
		close(stop)
		wg.Wait()
	}
	return h
}

// extend keeps h's messages hidden for longer. One that SQS no longer counts
// as ours, after twelve hours at the latest, comes again; put twice, it does
// no harm.
func (r *run) extend(h *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.messages) == 0 {
		return
	}
	failed, err := r.hide(r.work, h.messages, visibility)
	if err != nil {
		r.o.Observe("extend-failed", len(h.messages))
		r.o.Log.Warn("messages at hand may come a second time", "messages", len(h.messages), "error", r.explain("extend in", err))
		return
	}
	r.o.Observe("extended", len(h.messages)-len(failed))
	r.o.Observe("extend-failed", len(failed))
	for _, i := range slices.Backward(slices.Sorted(slices.Values(failed))) {
		if i < len(h.messages) {
			h.messages = slices.Delete(h.messages, i, i+1)
		}
	}
}

// drop ends the hold of some messages.
func (h *hold) drop(messages []types.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = slices.DeleteFunc(h.messages, func(m types.Message) bool {
		return slices.ContainsFunc(messages, func(d types.Message) bool {
			return aws.ToString(d.ReceiptHandle) == aws.ToString(m.ReceiptHandle)
		})
	})
}

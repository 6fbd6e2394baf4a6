package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// follow keeps a lane at the end of the stream until ctx is done. A lane that
// is there gets what is put at once, from Put; this reads what Put could not
// hand over: what was there at the start, what came while the lane was full,
// and what was stored though Put was not told so.
func (q *Queue) follow(ctx context.Context, l *lane) {
	failing := false
	for {
		q.mu.Lock()
		behind := l.reading || l.check || l.last > l.read
		l.reading = behind
		q.mu.Unlock()
		if !behind {
			select {
			case <-ctx.Done():
				return
			case <-l.wake:
			}
			continue
		}
		err := q.catchUp(ctx, l)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failing {
				q.log.Error("the queue cannot be read; tried again", "lane", l.messages(), "error", err)
			}
			failing = true
			select {
			case <-ctx.Done():
				return
			case <-time.After(q.delays.Retry):
			}
		case failing:
			failing = false
			q.log.Info("the queue can be read again", "lane", l.messages())
		}
	}
}

// What a lane lets the server send ahead.
const (
	pullMessages = 1000
	pullBytes    = 16 << 20
	stalled      = 10 * time.Second
)

// catchUp reads from where the lane is to the end of the stream.
func (q *Queue) catchUp(ctx context.Context, l *lane) error {
	q.mu.Lock()
	l.check = false
	at, tail, end := l.at, q.tail, q.end
	q.mu.Unlock()

	consumer, err := q.store.JetStream().OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{l.messages()},
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       at + 1,
		InactiveThreshold: 2 * stalled,
	})
	if err != nil {
		return q.recheck(l, fmt.Errorf("open a consumer: %w", err))
	}
	defer func() {
		// It would go by itself; what it costs until then is not worth an error.
		_ = q.store.JetStream().DeleteConsumer(ctx, streamName, consumer.CachedInfo().Name)
	}()
	if consumer.CachedInfo().NumPending == 0 {
		q.caughtUp(l, tail, end)
		return nil
	}
	msgs, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes))
	if err != nil {
		return q.recheck(l, fmt.Errorf("read: %w", err))
	}
	defer msgs.Stop()
	defer context.AfterFunc(ctx, msgs.Stop)()
	for {
		if !q.waitForRoom(ctx, l) {
			return nil
		}
		msg, err := msgs.Next(jetstream.NextMaxWait(stalled))
		if err != nil {
			return q.recheck(l, fmt.Errorf("read: %w", err))
		}
		meta, err := msg.Metadata()
		if err != nil {
			return q.recheck(l, fmt.Errorf("read: %w", err))
		}
		if q.took(l, msg.Data(), meta) {
			return nil
		}
	}
}

// recheck has the lane read again after err. Only a read that came to its end
// tells that the lane is at the end of the stream.
func (q *Queue) recheck(l *lane, err error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.check = true
	return err
}

// caughtUp notes that all of the lane up to a sequence, in a message of the
// stream, was taken in.
func (q *Queue) caughtUp(l *lane, to, at uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if at > l.at {
		l.read, l.at, l.moved = max(l.read, to), at, true
	}
	q.arrive(l)
}

// arrive ends the reading of a lane that has all that is known of. What Put
// stores from now on it hands over. Queue.mu is held.
func (q *Queue) arrive(l *lane) {
	if l.reading = l.check || l.last > l.read; l.reading {
		return
	}
	if q.end > l.at {
		l.read, l.at, l.moved = q.tail, q.end, true
	}
}

// took takes in a message that was read, and tells whether it was the last.
func (q *Queue) took(l *lane, data []byte, meta *jetstream.MsgMetadata) bool {
	at, now := meta.Sequence.Stream, time.Now()
	first, pieces, err := unpack(data)
	if err != nil {
		q.log.Error("the queue's stream holds what ct2fluent did not put there; it is passed over", "stream", streamName, "message", at, "error", err)
	}
	items := make([]*item, len(pieces))
	for i := range pieces {
		items[i] = read(first, pieces, placeOf(at, i))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if at <= l.at {
		return false
	}
	for _, it := range items {
		if it.n.Seq <= l.again {
			it.mayHaveWritten(q.opened.Add(q.schedule.UnclearWait))
		}
		q.take(l, it, false, now)
	}
	l.at, l.changed = at, true
	if meta.NumPending > 0 {
		return false
	}
	q.arrive(l)
	// With check there may be more than this consumer knew of.
	return !l.reading || l.check
}

// take brings an item into its lane and into the schedule. Queue.mu is held.
func (q *Queue) take(l *lane, it *item, alone bool, now time.Time) {
	it.comes(now.Add(q.schedule.UnclearWait))
	it.tried = it.tried || q.schedule.parked(&it.n)
	it.n.Received = onThisClock(it.n.Received, now)
	l.take(it)
	q.schedule.add(it, alone, now)
	q.ready.Signal()
}

// onThisClock is the time received with the reading of now's monotonic clock:
// how long ago that is stays right when the system's clock is set. What was
// received later than now, by a clock that has been set back since, was
// received now: it would be young for as long as the clock went back.
func onThisClock(received, now time.Time) time.Time {
	if received.IsZero() {
		return received
	}
	return now.Add(-max(0, now.Sub(received))) // UTC would take the reading away
}

// waitForRoom returns once the lane may hold more; false when ctx was done
// before.
func (q *Queue) waitForRoom(ctx context.Context, l *lane) bool {
	for {
		q.mu.Lock()
		full := l.full()
		q.mu.Unlock()
		if !full {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-l.wake:
		}
	}
}

// get reads one message of the stream; nil when it is not there any more.
func (q *Queue) get(ctx context.Context, seq uint64) ([]byte, error) {
	msg, err := q.stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read message %d of the queue: %w", seq, err)
	}
	return msg.Data, nil
}

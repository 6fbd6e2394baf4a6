package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The bounds of what goes into the stream by one commit.
const (
	groupMessages = store.MaxBatch
	groupBytes    = 4 << 20
)

// commitWithin is how long a commit may take. It does not end with the caller:
// others are in the same group.
const commitWithin = 10 * time.Second

var errClosed = errors.New("queue is closed")

// A put is what one call of Put brings, or a thousand notifications of it.
type put struct {
	msgs  []*nats.Msg
	ns    []ct2fluent.Notification
	lanes []*lane
	bytes int
	done  chan error // has room for the answer
}

// Put returns nil once the notifications are on disk (promise 1). Up to
// store.MaxBatch notifications are stored all or none; more go in several
// parts, so that an error may leave some of them stored. The error is
// ct2fluent.ErrFull while there is no room. Another error leaves open whether
// they were stored: put them again, what comes twice is known by its ID. Safe
// for concurrent use.
func (q *Queue) Put(ctx context.Context, ns ...ct2fluent.Notification) error {
	for len(ns) > 0 {
		part := ns[:min(len(ns), groupMessages)]
		if err := q.put(ctx, part); err != nil {
			return err
		}
		ns = ns[len(part):]
	}
	return nil
}

func (q *Queue) put(ctx context.Context, ns []ct2fluent.Notification) error {
	p := &put{
		msgs:  make([]*nats.Msg, len(ns)),
		ns:    make([]ct2fluent.Notification, len(ns)),
		lanes: make([]*lane, len(ns)),
		done:  make(chan error, 1),
	}
	for i, n := range ns {
		l := q.laneOf(n)
		msg, kept, err := encode(n, l.token)
		if err != nil {
			return err
		}
		if most := q.store.JetStream().Conn().MaxPayload() - headerRoom; int64(len(msg.Data)) > most {
			return fmt.Errorf("put a notification of %d bytes: the store takes %d", len(msg.Data), most)
		}
		p.msgs[i], p.ns[i], p.lanes[i] = msg, kept, l
		p.bytes += len(msg.Data)
	}
	select {
	case q.puts <- p:
	case <-ctx.Done():
		return ctx.Err()
	case <-q.closing.Done():
		return errClosed
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// headerRoom is kept free for the headers that make a batch of messages.
const headerRoom = 1024

// commits stores what callers bring until ctx is done. It takes what is there
// and never waits for more: one alone goes at once, and while a commit is
// under way the next group gathers.
func (q *Queue) commits(ctx context.Context) {
	var next *put
	for {
		group := []*put{next}
		if next == nil {
			select {
			case <-ctx.Done():
				return
			case group[0] = <-q.puts:
			}
		}
		group, next = q.gather(group)
		q.commit(ctx, group)
	}
}

// gather adds to the group what fits. What did not begins the next one.
func (q *Queue) gather(group []*put) (_ []*put, next *put) {
	messages, bytes := len(group[0].msgs), group[0].bytes
	for {
		select {
		case p := <-q.puts:
			messages, bytes = messages+len(p.msgs), bytes+p.bytes
			if messages > groupMessages || bytes > groupBytes {
				return group, p
			}
			group = append(group, p)
		default:
			return group, nil
		}
	}
}

// few is how many puts of one notification each go one after the other rather
// than as a batch. A batch makes, syncs and removes a store of its own: that
// costs about as much as syncing so many.
const few = 24

func (q *Queue) commit(ctx context.Context, group []*put) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
	defer cancel()
	if err := q.store.Room(); err != nil {
		answer(group, fmt.Errorf("%w: %w", ct2fluent.ErrFull, err))
		return
	}
	if n := count(group); n <= few && n == len(group) {
		q.publish(ctx, group)
		return
	}
	err := q.append(ctx, group)
	if len(group) == 1 || !refused(err) {
		answer(group, err)
		return
	}
	// One that is refused must not fail the others of its group.
	for _, p := range group {
		p.done <- q.append(ctx, []*put{p})
	}
}

func answer(group []*put, err error) {
	for _, p := range group {
		p.done <- err
	}
}

func count(group []*put) int {
	n := 0
	for _, p := range group {
		n += len(p.msgs)
	}
	return n
}

// publish stores puts of one notification each, each on its own: the next is
// under way while the server syncs the one before.
func (q *Queue) publish(ctx context.Context, group []*put) {
	begin := time.Now()
	acks := make([]jetstream.PubAckFuture, len(group))
	for i, p := range group {
		ack, err := q.store.JetStream().PublishMsgAsync(p.msgs[0])
		if err != nil {
			p.done <- q.notStored(err)
			continue
		}
		acks[i] = ack
	}
	n := 0
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		p := group[i]
		select {
		case ok := <-ack.Ok():
			q.stored([]*put{p}, ok.Sequence, ok.Sequence)
			p.done <- nil
			n++
		case err := <-ack.Err():
			p.done <- q.notStored(err)
		case <-ctx.Done():
			p.done <- q.notStored(ctx.Err())
		}
	}
	if n > 0 {
		q.observe.Put(n, time.Since(begin))
	}
}

// append stores a group, all or none, and hands it over to its lanes.
func (q *Queue) append(ctx context.Context, group []*put) error {
	msgs := make([]*nats.Msg, 0, count(group))
	for _, p := range group {
		for _, m := range p.msgs {
			m.Header, m.Reply = nil, "" // what an earlier batch has written there
			msgs = append(msgs, m)
		}
	}
	begin := time.Now()
	last, err := q.store.Append(ctx, msgs...)
	if err != nil {
		return q.notStored(err)
	}
	q.observe.Put(len(msgs), time.Since(begin))
	q.stored(group, last-uint64(len(msgs))+1, last)
	return nil
}

// storeFailed is JetStream's code for a full stream and a full disk alike.
const storeFailed jetstream.ErrorCode = 10077

// The codes for a server or an account that may hold no more.
const (
	noResources        jetstream.ErrorCode = 10023
	noStorageResources jetstream.ErrorCode = 10047
	accountExceeded    jetstream.ErrorCode = 10002
)

// refused tells whether the server said no: then nothing is stored.
func refused(err error) bool {
	return errors.Is(err, ct2fluent.ErrFull) || code(err) != 0
}

func code(err error) jetstream.ErrorCode {
	var e jetstream.JetStreamError
	if errors.As(err, &e) && e.APIError() != nil {
		return e.APIError().ErrorCode
	}
	return 0
}

// notStored says what a failed commit means for the callers.
func (q *Queue) notStored(err error) error {
	switch code(err) {
	case storeFailed, noResources, noStorageResources, accountExceeded:
		q.makeRoom()
		return fmt.Errorf("%w: %w", ct2fluent.ErrFull, err)
	case 0:
		// They may be stored all the same. The source brings them again, but
		// these must not lie there unseen until it does.
		q.mu.Lock()
		q.checkAll()
		q.mu.Unlock()
	}
	return fmt.Errorf("store notifications: %w", err)
}

// checkAll has all lanes look for what was stored without our knowing.
// Queue.mu is held.
func (q *Queue) checkAll() {
	for _, l := range q.lanes {
		l.check = true
		l.kick()
	}
}

// stored hands what lies in the stream from first to last over to its lanes.
// A lane that was at the end of the stream is there again; any other reads.
func (q *Queue) stored(group []*put, first, last uint64) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if first > q.tail+1 {
		q.checkAll()
	}
	q.tail = max(q.tail, last)
	seq := first
	for _, p := range group {
		for i, n := range p.ns {
			l := p.lanes[i]
			l.last = seq
			if seq > l.read && l.read+1 >= first && !l.reading && !l.check && !l.full() {
				n.Seq = seq
				q.take(l, &item{n: n}, false, now)
			}
			seq++
		}
	}
	for _, l := range q.lanes {
		switch {
		case l.reading:
		case l.check || l.last > l.read:
			l.kick()
		case l.read < last:
			l.read, l.moved = last, true
		}
	}
}

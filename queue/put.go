package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The bounds of what goes to disk by one commit.
const (
	groupMessages = 1000
	groupBytes    = 4 << 20
)

// headRoom is what the head of a full pack takes, and the headers of its
// message.
const headRoom = 16 << 10

// commitWithin is how long a commit may take. It does not end with the caller:
// others are in the same group.
const commitWithin = 10 * time.Second

var errClosed = errors.New("queue is closed")

// A put is what one call of Put brings, or a thousand notifications of it.
type put struct {
	parts []part // one for each lane
	count int
	bytes int
	err   error
	done  chan error // has room for the answer
}

// A part is what goes into one lane.
type part struct {
	lane   *lane
	ns     []ct2fluent.Notification
	pieces [][]byte
}

// Put returns nil once the notifications are on disk (promise 1). Up to a
// thousand of one project and class, of 1 MiB together, are stored all or
// none; more go in several parts, so that an error may leave some of them
// stored. Each project and class is numbered in this order. The error is
// ct2fluent.ErrFull while there is no room. Another error leaves open whether
// they were stored: put them again, what comes twice is known by its ID. Safe
// for concurrent use.
func (q *Queue) Put(ctx context.Context, ns ...ct2fluent.Notification) error {
	most := int(q.store.JetStream().Conn().MaxPayload()) - headRoom
	p := &put{}
	for _, n := range ns {
		data, kept, err := encode(n)
		if err != nil {
			return err
		}
		if len(data) > most {
			return fmt.Errorf("put a notification of %d bytes: the store takes %d", len(data), most)
		}
		if p.count == groupMessages || p.count > 0 && p.bytes+len(data) > min(most, groupBytes) {
			if err := q.put(ctx, p); err != nil {
				return err
			}
			p = &put{}
		}
		p.add(q.laneOf(n), kept, data)
	}
	if p.count == 0 {
		return nil
	}
	return q.put(ctx, p)
}

func (p *put) add(l *lane, n ct2fluent.Notification, data []byte) {
	p.count++
	p.bytes += len(data)
	for i := range p.parts {
		if at := &p.parts[i]; at.lane == l {
			at.ns, at.pieces = append(at.ns, n), append(at.pieces, data)
			return
		}
	}
	p.parts = append(p.parts, part{l, []ct2fluent.Notification{n}, [][]byte{data}})
}

func (q *Queue) put(ctx context.Context, p *put) error {
	p.done = make(chan error, 1)
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

// gather adds to the group what fits. What did not begins the next one. Those
// whom the last commit has just answered are about to bring the next: they get
// the processor before, so that groups are not small and large by turns.
func (q *Queue) gather(group []*put) (_ []*put, next *put) {
	most := min(groupBytes, int(q.store.JetStream().Conn().MaxPayload())-headRoom)
	count, bytes := group[0].count, group[0].bytes
	for yielded := false; ; {
		select {
		case p := <-q.puts:
			count, bytes = count+p.count, bytes+p.bytes
			if count > groupMessages || bytes > most {
				return group, p
			}
			group, yielded = append(group, p), false
		default:
			if yielded {
				return group, nil
			}
			runtime.Gosched()
			yielded = true
		}
	}
}

// commit stores a group by one message for each lane, and answers it.
func (q *Queue) commit(ctx context.Context, group []*put) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
	defer cancel()
	if err := q.store.Room(); err != nil {
		for _, p := range group {
			p.done <- fmt.Errorf("%w: %w", ct2fluent.ErrFull, err)
		}
		return
	}
	var lanes []*lane
	for _, p := range group {
		for _, at := range p.parts {
			if !slices.Contains(lanes, at.lane) {
				lanes = append(lanes, at.lane)
			}
		}
	}
	for _, l := range lanes {
		err := q.append(ctx, l, group)
		for _, p := range group {
			if at := p.part(l); at == nil || err == nil {
				continue
			} else if len(group) > 1 && refused(err) {
				// One that is refused must not fail the others of its group.
				p.err = cmp.Or(p.err, q.append(ctx, l, []*put{p}))
			} else {
				p.err = cmp.Or(p.err, err)
			}
		}
	}
	for _, p := range group {
		p.done <- p.err
	}
}

func (p *put) part(l *lane) *part {
	for i := range p.parts {
		if p.parts[i].lane == l {
			return &p.parts[i]
		}
	}
	return nil
}

// tries is how often a pack is numbered anew because the stream was longer
// than known.
const tries = 3

// append stores what the group has for one lane, all or none, and hands it
// over to the lane.
func (q *Queue) append(ctx context.Context, l *lane, group []*put) error {
	var ns []ct2fluent.Notification
	var pieces [][]byte
	for _, p := range group {
		if at := p.part(l); at != nil {
			ns, pieces = append(ns, at.ns...), append(pieces, at.pieces...)
		}
	}
	begin := time.Now()
	for try := 1; ; try++ {
		q.mu.Lock()
		first, end := q.tail+1, q.end
		q.mu.Unlock()
		data, err := pack(first, pieces)
		if err != nil {
			return err
		}
		// The numbers are right only if nobody has stored anything meanwhile.
		at, err := q.store.Append(ctx, &nats.Msg{Subject: l.messages(), Data: data, Header: nats.Header{
			jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(end, 10)},
		}})
		switch {
		case err == nil:
			q.observe.Put(len(ns), time.Since(begin))
			q.stored(l, ns, first, at)
			return nil
		case errors.Is(err, store.ErrOvertaken) && try < tries:
			if err := q.measure(ctx); err != nil {
				return q.notStored(err)
			}
		default:
			return q.notStored(err)
		}
	}
}

// measure reads how long the stream is and how many notifications were put
// into it. Where that is more than was known, the lanes look for them.
func (q *Queue) measure(ctx context.Context) error {
	info, err := q.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the state of %s: %w", streamName, err)
	}
	end := info.State.LastSeq
	q.mu.Lock()
	known := q.end
	q.mu.Unlock()
	if end == known {
		return nil
	}
	var tail, newest uint64
	for seq := end; seq > known; seq-- {
		data, err := q.get(ctx, seq)
		if err != nil {
			return err
		}
		if data == nil {
			return fmt.Errorf("message %d of the stream %s, which says how many notifications were received, was removed by somebody else", seq, streamName)
		}
		if first, pieces, err := unpack(data); err == nil {
			tail, newest = first+uint64(len(pieces))-1, seq
			break
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end, q.tail, q.newest = max(q.end, end), max(q.tail, tail), max(q.newest, newest)
	q.checkAll()
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

// stored hands a pack that lies in the stream over to its lane. A lane that
// was at the end of the stream is there again; any other reads.
func (q *Queue) stored(l *lane, ns []ct2fluent.Notification, first, at uint64) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if at > q.end+1 {
		q.checkAll()
	}
	q.end, q.tail, q.newest = max(q.end, at), max(q.tail, first+uint64(len(ns))-1), max(q.newest, at)
	l.last = q.tail
	if l.read+1 == first && !l.reading && !l.check && !l.full() {
		for i, n := range ns {
			n.Seq = first + uint64(i)
			q.take(l, &item{n: n, place: placeOf(at, i)}, false, now)
		}
	}
	for _, l := range q.lanes {
		switch {
		case l.reading:
		case l.check || l.last > l.read:
			l.kick()
		case l.read < q.tail || l.at < q.end:
			l.read, l.at, l.moved = q.tail, q.end, true
		}
	}
}

package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// waitForRoom returns once more may be appended.
func (j *logged) waitForRoom(ctx context.Context) error {
	for {
		j.mu.Lock()
		full, moved := j.pending > pendingMost || j.bytes > bytesMost, j.moved
		j.mu.Unlock()
		if !full {
			return nil
		}
		go j.moveSome()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the ledger's log is full: %w", ctx.Err())
		}
	}
}

// moveSome moves until half of what may wait is left; moveAll moves all.
func (j *logged) moveSome() { j.moveDown(pendingHigh/2, bytesHigh/2) }
func (j *logged) moveAll()  { j.moveDown(0, 0) }

// moveWithin is how long one of these goes on.
const moveWithin = time.Minute

func (j *logged) moveDown(messages, bytes int) {
	select {
	case j.moving <- struct{}{}:
	default:
		return // who moves now looks again at its end
	}
	ctx, cancel := context.WithTimeout(context.Background(), moveWithin)
	defer cancel()
	err := j.move(ctx, func() bool { return j.pending <= messages && j.bytes <= bytes })
	<-j.moving
	j.mu.Lock()
	defer j.mu.Unlock()
	first := err != nil && !j.failing
	j.failing = err != nil
	if j.closed {
		return
	}
	if first {
		j.warn.Warn("the ledger's log cannot be moved to its place; tried again", "error", err)
	}
	if j.pending > 0 {
		j.idle.Reset(movePause)
	}
}

// closeWithin is how long Close moves what is left. The log keeps the rest.
const closeWithin = 3 * time.Second

// Close moves what it can, so that the next start has less to read. The store
// may be closed after it.
func (j *logged) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	err := j.flush(ctx)
	j.mu.Lock()
	j.closed = true // a mover ends after the batch at hand
	j.idle.Stop()
	j.mu.Unlock()
	if err == nil {
		err = j.hold(ctx)
	}
	if err != nil {
		j.warn.Debug("the ledger's log is moved at the next start", "error", err)
	}
}

// hold waits until nobody moves, and keeps others from it.
func (j *logged) hold(ctx context.Context) error {
	select {
	case j.moving <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("move the ledger's log: %w", ctx.Err())
	}
}

// flush moves all that was appended before.
func (j *logged) flush(ctx context.Context) error {
	if err := j.syncUnsure(ctx); err != nil {
		return err
	}
	j.mu.Lock()
	end, pending := j.end, j.pending
	j.mu.Unlock()
	if pending == 0 {
		return nil
	}
	if err := j.hold(ctx); err != nil {
		return err
	}
	defer func() { <-j.moving }()
	return j.move(ctx, func() bool { return j.packs[0].at > end })
}

// move moves the oldest messages to the index until enough says so, which is
// called with mu held. The caller holds moving.
func (j *logged) move(ctx context.Context, enough func() bool) error {
	for {
		j.mu.Lock()
		if len(j.packs) == 0 || j.closed || enough() {
			j.mu.Unlock()
			return nil
		}
		n, ms := j.next()
		doubtful := j.doubtful
		j.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("move the ledger's log: %w", err)
		}
		if err := j.toIndex(ctx, ms, doubtful); err != nil {
			return err
		}
		j.mu.Lock()
		for n > 0 {
			p := &j.packs[0]
			k := min(n, len(p.messages))
			for _, m := range p.messages[:k] {
				j.settled(m)
			}
			p.messages, n = p.messages[k:], n-k
			if len(p.messages) == 0 {
				j.packs = j.packs[1:]
			}
		}
		j.evict()
		close(j.moved)
		j.moved = make(chan struct{})
		j.mu.Unlock()
		if err := j.purge(ctx); err != nil {
			// The index has them; what is left in the log is left out at the start.
			j.warn.Debug("what was moved is not purged yet", "error", err)
		}
	}
}

// toIndex writes messages into the index, which is not to end early: where it
// is not known whether they are there, the next call looks before it writes
// them again. Promise 2: a dead letter that lay there twice would count twice.
func (j *logged) toIndex(ctx context.Context, ms []logMessage, doubtful bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	if doubtful {
		names := make([]string, len(ms))
		for i, m := range ms {
			names[i] = m.Subject
		}
		there, err := j.indexed(ctx, names)
		if err != nil {
			return err
		}
		ms = slices.DeleteFunc(ms, func(m logMessage) bool { return m.Seq <= there[m.Subject].Seq })
	}
	var msgs, singles []*nats.Msg
	for _, m := range ms {
		data := strconv.AppendUint(make([]byte, 0, 21+len(m.Data)), m.Seq, 10)
		data = append(append(data, '\n'), m.Data...)
		if single(m.Subject) {
			singles = append(singles, &nats.Msg{Subject: marksPrefix + m.Subject, Data: data})
		} else {
			msgs = append(msgs, &nats.Msg{Subject: m.Subject, Data: data})
		}
	}
	var err error
	for _, msgs := range [][]*nats.Msg{msgs, singles} {
		if len(msgs) > 0 && err == nil {
			_, err = j.store.Append(ctx, msgs...)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.doubtful = err != nil
	return err
}

// next chooses the oldest messages for an atomic batch, and says how many these
// are with those that were written over. mu is held.
func (j *logged) next() (n int, ms []logMessage) {
	size := 0
	for _, p := range j.packs {
		for _, m := range p.messages {
			if newest := j.subjects[m.Subject].newest.Seq; m.Seq < newest && (m.passing || !strings.HasPrefix(m.Subject, resources)) {
				n++
				continue
			}
			if size += len(m.Data); len(ms) == moveMost || len(ms) > 0 && size > moveBytes {
				return n, ms
			}
			ms = append(ms, m)
			n++
		}
	}
	return n, ms
}

// settled accounts for a message that is moved. mu is held.
func (j *logged) settled(m logMessage) {
	j.pending--
	j.bytes -= len(m.Data)
	s := j.subjects[m.Subject]
	if s.waiting--; s.waiting == 0 && s.readers == 0 && !cached(m.Subject) {
		delete(j.subjects, m.Subject)
	}
}

// purge removes from the log what is moved, but for its last message: the next
// sequence must be higher than all before.
func (j *logged) purge(ctx context.Context) error {
	j.mu.Lock()
	to := j.end
	if len(j.packs) > 0 {
		to = min(to, j.packs[0].at)
	}
	j.mu.Unlock()
	if err := j.log.js.Purge(ctx, jetstream.WithPurgeSequence(to)); err != nil {
		return fmt.Errorf("purge the ledger's log: %w", err)
	}
	return nil
}

package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What one atomic batch holds at most: JetStream's own limit, with a place for
// the totals, and a size that no pipe chokes on.
const (
	maxMessages = store.MaxBatch - 1
	maxBytes    = 4 << 20
)

// tries is how often a group is written anew after it was overtaken.
const tries = 5

// A part is what is written of one resource: all of it or nothing.
type part struct {
	subject string
	after   uint64 // the sequence of the entry that was read; 0 for none
	data    []byte // the new entry
	passing bool   // it is of no use once there is a newer one
	yields  bool   // it is of bulk work
	letters []letter
	counts  Totals
	runs    map[string]Totals

	call *call
	seq  uint64 // where the entry is, once it is written
	err  error  // errOvertaken, or why it is not known to be written
}

type letter struct {
	subject string
	data    []byte
}

func (p *part) messages() int { return 1 + len(p.letters) }

func (p *part) bytes() int {
	n := len(p.data)
	for _, d := range p.letters {
		n += len(d.data)
	}
	return n
}

// A call waits for its parts.
type call struct {
	left int
	done chan struct{}
}

// errOvertaken says that another entry was written meanwhile.
var errOvertaken = errors.New("overtaken by another worker")

// A committer writes the parts of all workers of this process, grouped into
// atomic batches. Nobody waits for a group to fill: who has the turn writes
// what is there, and what comes meanwhile is the next group.
type committer struct {
	journal Journal
	observe func(n int, took time.Duration)
	turn    chan struct{} // holds one token while a group is written

	mu      sync.Mutex
	waiting []*part
	passed  int // groups that went before bulk work that waited
	totals  record
	at      uint64 // the sequence of the totals
	lying   uint64 // dead letters here now
	dirty   bool   // the doubt is not written yet
}

// A record is what the totals' message holds.
type record struct {
	Totals
	// Doubt is the sequence of the stream up to which no entry's hash proves
	// anything.
	Doubt uint64 `json:"doubt,omitempty"`
	// Runs are the totals of the runs that have not ended.
	Runs map[string]Totals `json:"runs,omitempty"`
}

// count takes in what a part counts.
func (r record) count(p *part) record {
	r.Totals = r.plus(p.counts)
	if len(p.runs) > 0 {
		r.Runs = maps.Clone(r.Runs)
		if r.Runs == nil {
			r.Runs = map[string]Totals{}
		}
		for run, t := range p.runs {
			r.Runs[run] = r.Runs[run].plus(t)
		}
	}
	return r
}

// commit writes parts, and returns once each has its seq or its err. It does
// not end early: what was handed out must be written down also while stopping.
func (c *committer) commit(parts []*part) {
	if len(parts) == 0 {
		return
	}
	w := &call{left: len(parts), done: make(chan struct{})}
	c.mu.Lock()
	for _, p := range parts {
		p.call = w
	}
	c.waiting = append(c.waiting, parts...)
	c.mu.Unlock()
	for {
		select {
		case <-w.done:
			return
		case c.turn <- struct{}{}:
			c.write(c.take())
			<-c.turn
		}
	}
}

// mostPassed is how many groups go before bulk work that waits.
const mostPassed = 8

// take gives the next group: what is waiting, up to what one batch holds. What
// is live goes before bulk work, and without it, as a small group is soon
// written; but not for ever.
func (c *committer) take() []*part {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := func(p *part) bool { return !p.yields }
	apart := c.passed < mostPassed && slices.ContainsFunc(c.waiting, live) && !allOf(c.waiting, live)
	if apart {
		c.passed++
		slices.SortStableFunc(c.waiting, func(a, b *part) int { return rank(a.yields) - rank(b.yields) })
	} else {
		c.passed = 0
	}
	n, messages, size := 0, 0, 0
	subjects := map[string]bool{}
	for _, p := range c.waiting {
		messages += p.messages()
		size += p.bytes()
		// Two parts of one resource were read at the same state: only one of
		// them may be written on top of it (promise 4).
		if n > 0 && (messages > maxMessages || size > maxBytes || subjects[p.subject] || apart && p.yields) {
			break
		}
		subjects[p.subject] = true
		n++
	}
	group := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	return group
}

func allOf(parts []*part, is func(*part) bool) bool {
	return !slices.ContainsFunc(parts, func(p *part) bool { return !is(p) })
}

func rank(yields bool) int {
	if yields {
		return 1
	}
	return 0
}

// write writes a group and ends each of its parts.
func (c *committer) write(group []*part) {
	if len(group) == 0 {
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	n := len(group)
	for try := 1; len(group) > 0; try++ {
		msgs, next, err := c.messages(group)
		if err != nil {
			c.fail(group, err)
			break
		}
		last, err := c.journal.Append(ctx, msgs...)
		if err == nil {
			c.accept(group, msgs, last, next)
			break
		}
		if errors.Is(err, store.ErrOvertaken) && try < tries {
			if group, err = c.withoutOvertaken(ctx, group); err == nil {
				continue
			}
		} else if c.landed(group) {
			break
		}
		c.fail(group, err)
		break
	}
	if c.observe != nil {
		c.observe(n, time.Since(start))
	}
}

// messages makes the atomic batch of a group: entries, dead letters, and the
// totals they move.
func (c *committer) messages(group []*part) ([]*nats.Msg, record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, dirty := c.totals, c.dirty
	var msgs []*nats.Msg
	for _, p := range group {
		if p.counts.Settled() > 0 {
			next, dirty = next.count(p), true
		}
		m := expecting(p.subject, p.data, p.after)
		if p.passing {
			m.Header.Set(passing, "1")
		}
		msgs = append(msgs, m)
		for _, d := range p.letters {
			msgs = append(msgs, &nats.Msg{Subject: d.subject, Data: d.data})
		}
	}
	if !dirty {
		return msgs, next, nil
	}
	data, err := json.Marshal(next)
	if err != nil {
		return nil, next, fmt.Errorf("write the totals: %w", err)
	}
	return append(msgs, expecting(totalsSubject, data, c.at)), next, nil
}

func expecting(subject string, data []byte, after uint64) *nats.Msg {
	return &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: []string{strconv.FormatUint(after, 10)},
	}}
}

// accept ends a group that is on disk, its last message at sequence last. An
// atomic batch has consecutive sequences.
func (c *committer) accept(group []*part, msgs []*nats.Msg, last uint64, next record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := last - uint64(len(msgs)) + 1
	for _, p := range group {
		p.seq = at
		at += uint64(p.messages())
		c.lying += uint64(len(p.letters))
		p.end(nil)
	}
	if msgs[len(msgs)-1].Subject == totalsSubject {
		c.totals, c.at, c.dirty = next, last, false
	}
}

// fail ends parts of which it is not known whether they are written. What
// their resources held before is in doubt from now on.
func (c *committer) fail(group []*part, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range group {
		if p.after > c.totals.Doubt {
			c.totals.Doubt, c.dirty = p.after, true
		}
		p.end(fmt.Errorf("write the ledger: %w", err))
	}
}

func (p *part) end(err error) {
	p.err = err
	if p.call.left--; p.call.left == 0 {
		close(p.call.done)
	}
}

// withoutOvertaken parts those that were overtaken from the rest, which the
// server's error does not tell, and reads the totals again.
func (c *committer) withoutOvertaken(ctx context.Context, group []*part) ([]*part, error) {
	if err := c.reload(ctx); err != nil {
		return group, err
	}
	subjects := make([]string, len(group))
	for i, p := range group {
		subjects[i] = p.subject
	}
	newest, err := c.journal.Newest(ctx, subjects...)
	if err != nil {
		return group, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var rest []*part
	for _, p := range group {
		if newest[p.subject].Seq == p.after {
			rest = append(rest, p)
			continue
		}
		p.end(errOvertaken)
	}
	return rest, nil
}

// landed finds out whether a group is there although its answer was lost. The
// batch is atomic: where one entry is, all are.
func (c *committer) landed(group []*part) bool {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	subjects := make([]string, len(group))
	for i, p := range group {
		subjects[i] = p.subject
	}
	newest, err := c.journal.Newest(ctx, subjects...)
	if err != nil {
		return false
	}
	for _, p := range group {
		// An entry written over ours since would not be equal; then the doubt is
		// noted, and what comes again finds its sequence there.
		if m := newest[p.subject]; m.Seq <= p.after || !bytes.Equal(m.Data, p.data) {
			return false
		}
	}
	if c.reload(ctx) != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range group {
		p.seq = newest[p.subject].Seq
		c.lying += uint64(len(p.letters))
		p.end(nil)
	}
	return true
}

// reload reads the totals.
func (c *committer) reload(ctx context.Context) error {
	newest, err := c.journal.Newest(ctx, totalsSubject)
	if err != nil {
		return err
	}
	var read record
	m, found := newest[totalsSubject]
	if found {
		if err := json.Unmarshal(m.Data, &read); err != nil {
			return fmt.Errorf("read the totals: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.totals.Doubt > read.Doubt {
		read.Doubt, c.dirty = c.totals.Doubt, true
	}
	c.totals, c.at = read, m.Seq
	return nil
}

// doubtUpTo notes durably that no hash up to a sequence proves anything.
func (c *committer) doubtUpTo(ctx context.Context, seq uint64) error {
	c.mu.Lock()
	next := c.totals
	next.Doubt = seq
	at := c.at
	c.mu.Unlock()
	return c.setTotals(ctx, next, at)
}

// doubts tells whether the hash of the entry at a sequence proves nothing.
func (c *committer) doubts(seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return seq <= c.totals.Doubt
}

func (c *committer) read() Totals {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.totals.clone()
	t.DeadLetters = c.lying
	return t
}

func (c *committer) removed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lying -= min(c.lying, 1)
}

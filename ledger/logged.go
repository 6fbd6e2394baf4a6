package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A logged is the journal of an embedded store. What is appended together goes
// to disk as one message of a log: one write and one sync, all or none. From
// memory it is moved later into the stream that has a subject for each
// resource, which costs JetStream far more; what was written over by then need
// not be moved. The log is read at the start, and purged of what was moved.
//
// Only one process can have the store, and only one logged may be in it.
type logged struct {
	store Store
	log   *stream
	index *stream
	warn  *slog.Logger

	writing sync.Mutex    // held while the log is written
	moving  chan struct{} // holds one token while messages are moved
	idle    *time.Timer

	mu       sync.Mutex
	subjects map[string]*subject // the newest of each that was read or written of late
	order    []string            // of these, the oldest first
	packs    []logPack           // what is not yet moved, oldest first
	pending  int                 // messages in packs
	bytes    int                 // of these
	moved    chan struct{}       // closed when there are fewer
	end      uint64              // the log's last message
	letters  bool                // there are dead letters in it
	unsure   bool                // the log may go on beyond end
	doubtful bool                // what was moved last may be in the index
	failing  bool
	closed   bool
}

const (
	logName    = "CT2FLUENT_LEDGER_LOG"
	logSubject = "ll"
)

// How much the memory holds of what is moved and of what is not, in messages
// and bytes, and after what pause all is moved.
const (
	cachedMost  = 16 << 10
	pendingHigh = 16 << 10
	pendingMost = 2 * pendingHigh
	bytesHigh   = 32 << 20
	bytesMost   = 2 * bytesHigh
	moveMost    = 900
	moveBytes   = 4 << 20
	movePause   = 200 * time.Millisecond
)

// A subject's newest message. Sequences are places in the log.
type subject struct {
	newest  Message // Seq 0: there is none
	waiting int     // messages that are not yet moved
	readers int     // calls that are reading it from the index
	unknown bool    // what the index has is being read
}

// A logPack is what is left to move of one message of the log.
type logPack struct {
	at       uint64
	messages []logMessage
}

type logMessage struct {
	Message
	passing bool
}

// passing marks a message of Append that is of no use once there is a newer
// one of its subject.
const passing = "Ct2fluent-Passing"

// placeBits part a sequence into the log's message and the place in it.
const placeBits = 10

func placeOf(at uint64, i int) uint64 { return at<<placeBits | uint64(i) }

// openLogged opens the journal and takes in what was not yet moved.
func openLogged(ctx context.Context, s Store, log *slog.Logger) (*logged, error) {
	index, err := openStream(ctx, s)
	if err != nil {
		return nil, err
	}
	js, err := s.JetStream().CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: logName, Subjects: []string{logSubject}, Storage: jetstream.FileStorage, AllowDirect: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", logName, err)
	}
	j := &logged{
		store: s, index: index, log: &stream{Store: s, js: js, name: logName}, warn: log,
		subjects: map[string]*subject{}, moving: make(chan struct{}, 1), moved: make(chan struct{}), unsure: true,
	}
	j.idle = time.AfterFunc(time.Hour, j.moveAll)
	j.idle.Stop()
	if err := j.sync(ctx); err != nil {
		return nil, err
	}
	return j, j.dropMoved(ctx)
}

// dropMoved forgets what was moved before the last stop, though the log has it
// still.
func (j *logged) dropMoved(ctx context.Context) error {
	names := make([]string, 0, len(j.subjects))
	for name := range j.subjects {
		names = append(names, name)
	}
	there, err := j.indexed(ctx, names)
	if err != nil {
		return err
	}
	for i := range j.packs {
		p := &j.packs[i]
		p.messages = slices.DeleteFunc(p.messages, func(m logMessage) bool {
			gone := m.Seq <= there[m.Subject].Seq
			if gone {
				j.settled(m)
			}
			return gone
		})
	}
	j.packs = slices.DeleteFunc(j.packs, func(p logPack) bool { return len(p.messages) == 0 })
	j.evict()
	if len(j.packs) > 0 {
		j.idle.Reset(movePause)
	}
	return nil
}

// Append stores all messages or none.
func (j *logged) Append(ctx context.Context, msgs ...*nats.Msg) (last uint64, err error) {
	if err := j.waitForRoom(ctx); err != nil {
		return 0, err
	}
	data, err := packLog(msgs)
	if err != nil {
		return 0, err
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	for again := false; ; again = true {
		if err := j.sync(ctx); err != nil {
			return 0, err
		}
		if err := j.check(ctx, msgs); err != nil {
			return 0, err
		}
		at, err := j.write(ctx, data)
		if err == nil {
			j.mu.Lock()
			j.apply(at, messagesOf(at, msgs))
			most := j.pending > pendingHigh || j.bytes > bytesHigh
			j.mu.Unlock()
			j.idle.Reset(movePause)
			if most {
				go j.moveSome()
			}
			return placeOf(at, len(msgs)-1), nil
		}
		j.mu.Lock()
		j.unsure = true
		j.mu.Unlock()
		if !errors.Is(err, store.ErrOvertaken) || again {
			return 0, err
		}
	}
}

// write appends to the log where it ends, as far as is known.
func (j *logged) write(ctx context.Context, data []byte) (at uint64, err error) {
	return j.store.Append(ctx, &nats.Msg{Subject: logSubject, Data: data, Header: nats.Header{
		jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(j.end, 10)},
	}})
}

// check compares the sequences that the messages expect with those there are.
func (j *logged) check(ctx context.Context, msgs []*nats.Msg) error {
	var names []string
	for _, m := range msgs {
		if m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) != "" {
			names = append(names, m.Subject)
		}
	}
	newest, err := j.newest(ctx, names)
	if err != nil {
		return err
	}
	if twice(msgs) {
		return fmt.Errorf("%w: two messages expect the same of one subject", store.ErrOvertaken)
	}
	for _, m := range msgs {
		want := m.Header.Get(jetstream.ExpectedLastSubjSeqHeader)
		if is := newest[m.Subject].Seq; want != "" && want != strconv.FormatUint(is, 10) {
			return fmt.Errorf("%w: %s is at %d", store.ErrOvertaken, m.Subject, is)
		}
	}
	return nil
}

// twice tells whether two messages expect something of one subject: the second
// cannot find what it expects.
func twice(msgs []*nats.Msg) bool {
	seen := make(map[string]bool, len(msgs))
	for _, m := range msgs {
		if m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) == "" {
			continue
		}
		if seen[m.Subject] {
			return true
		}
		seen[m.Subject] = true
	}
	return false
}

// apply takes in a message of the log. mu is held.
func (j *logged) apply(at uint64, ms []logMessage) {
	j.end = at
	j.letters = false
	for _, m := range ms {
		j.letters = j.letters || strings.HasPrefix(m.Subject, letters)
		s := j.subjects[m.Subject]
		if s == nil {
			s = &subject{}
			j.subjects[m.Subject] = s
			j.order = append(j.order, m.Subject)
		}
		s.newest, s.unknown = m.Message, false
		s.waiting++
		j.bytes += len(m.Data)
	}
	if len(ms) > 0 {
		j.packs = append(j.packs, logPack{at, ms})
		j.pending += len(ms)
	}
	j.evict()
}

// evictTries bounds how long evict looks for what it may forget.
const evictTries = 2048

// evict forgets what was read or written longest ago. mu is held.
func (j *logged) evict() {
	for n := min(len(j.order), evictTries); n > 0 && len(j.order) > cachedMost; n-- {
		name := j.order[0]
		j.order = j.order[1:]
		switch s := j.subjects[name]; {
		case s == nil:
		case s.waiting > 0 || s.readers > 0:
			j.order = append(j.order, name)
		default:
			delete(j.subjects, name)
		}
	}
}

// sync reads what the log has beyond what is known: at the start, and after a
// write of which nobody knows whether it was done. writing is held, or nobody
// has j yet.
func (j *logged) sync(ctx context.Context) error {
	j.mu.Lock()
	unsure, from := j.unsure, j.end+1
	j.mu.Unlock()
	if !unsure {
		return nil
	}
	for {
		p, err := j.log.Page(ctx, logSubject, from, pageMessages)
		if err != nil {
			return fmt.Errorf("read the ledger's log: %w", err)
		}
		j.mu.Lock()
		for _, m := range p.Messages {
			ms, err := unpackLog(m)
			if err != nil {
				j.mu.Unlock()
				return err
			}
			j.apply(m.Seq, ms)
			from = m.Seq + 1
		}
		if p.Pending == 0 {
			j.unsure = false
			j.mu.Unlock()
			return nil
		}
		j.mu.Unlock()
	}
}

// cached tells whether the newest of a subject is kept in memory: of resources,
// totals and marks, but not of dead letters, of which each is read once.
func cached(subject string) bool {
	return !strings.HasPrefix(subject, letters) && !strings.ContainsAny(subject, "*>")
}

// Newest gives the last message of each subject that has one. Of dead letters,
// and of subjects with wildcards, Seq is the place that Page and Remove know.
func (j *logged) Newest(ctx context.Context, subjects ...string) (map[string]Message, error) {
	if slices.ContainsFunc(subjects, func(s string) bool { return !cached(s) }) {
		if err := j.flush(ctx); err != nil {
			return nil, err
		}
		found, err := j.index.Newest(ctx, subjects...)
		for name, m := range found {
			_, m.Data = indexedAt(m.Data)
			found[name] = m
		}
		return found, err
	}
	if err := j.syncUnsure(ctx); err != nil {
		return nil, err
	}
	return j.newest(ctx, subjects)
}

// syncUnsure is sync for those who do not hold writing.
func (j *logged) syncUnsure(ctx context.Context) error {
	j.mu.Lock()
	unsure := j.unsure
	j.mu.Unlock()
	if !unsure {
		return nil
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	return j.sync(ctx)
}

// newest gives the newest of cached subjects, from memory or from the index.
func (j *logged) newest(ctx context.Context, subjects []string) (map[string]Message, error) {
	found := make(map[string]Message, len(subjects))
	var missing []string
	j.mu.Lock()
	for _, name := range subjects {
		s := j.subjects[name]
		if s == nil {
			s = &subject{unknown: true}
			j.subjects[name] = s
			j.order = append(j.order, name)
		}
		if s.unknown {
			s.readers++
			missing = append(missing, name)
		} else if s.newest.Seq > 0 {
			found[name] = s.newest
		}
	}
	j.mu.Unlock()
	if len(missing) == 0 {
		return found, nil
	}
	there, err := j.indexed(ctx, missing)
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, name := range missing {
		s := j.subjects[name]
		s.readers--
		switch {
		case s.unknown && err == nil:
			s.newest, s.unknown = there[name], false
		case s.unknown && s.readers == 0:
			delete(j.subjects, name)
		}
		if err == nil && s.newest.Seq > 0 {
			found[name] = s.newest
		}
	}
	j.evict()
	return found, err
}

// indexed gives what the index has of subjects, at their places in the log.
func (j *logged) indexed(ctx context.Context, subjects []string) (map[string]Message, error) {
	found, err := j.index.Newest(ctx, subjects...)
	for name, m := range found {
		m.Seq, m.Data = indexedAt(m.Data)
		found[name] = m
	}
	return found, err
}

// Page gives messages of the index; their Seq is their place there.
func (j *logged) Page(ctx context.Context, filter string, from uint64, n int) (Page, error) {
	if err := j.flush(ctx); err != nil {
		return Page{}, err
	}
	p, err := j.index.Page(ctx, filter, from, n)
	for i := range p.Messages {
		_, p.Messages[i].Data = indexedAt(p.Messages[i].Data)
	}
	return p, err
}

// Remove deletes a message at its place in the index. The log must not bring it
// back at the next start.
func (j *logged) Remove(ctx context.Context, seq uint64) error {
	if err := j.flush(ctx); err != nil {
		return err
	}
	if err := j.passLetters(ctx); err != nil {
		return fmt.Errorf("write the ledger's log: %w", err)
	}
	return j.index.Remove(ctx, seq)
}

// passLetters ends the log with a message without dead letters, for its last
// message always stays.
func (j *logged) passLetters(ctx context.Context) error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.sync(ctx); err != nil {
		return err
	}
	j.mu.Lock()
	letters := j.letters
	j.mu.Unlock()
	if letters {
		data, err := packLog(nil)
		if err != nil {
			return err
		}
		at, err := j.write(ctx, data)
		j.mu.Lock()
		if err == nil {
			j.apply(at, nil)
		} else {
			j.unsure = true
		}
		j.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return j.purge(ctx)
}

// Last is the highest sequence ever given.
func (j *logged) Last(ctx context.Context) (uint64, error) {
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.sync(ctx); err != nil {
		return 0, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return placeOf(j.end, 1<<placeBits-1), nil
}

// Clean tells that the run before this one ended in order.
func (j *logged) Clean() bool { return j.store.Clean() }

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
	msgs := make([]*nats.Msg, len(ms))
	for i, m := range ms {
		data := strconv.AppendUint(make([]byte, 0, 21+len(m.Data)), m.Seq, 10)
		msgs[i] = &nats.Msg{Subject: m.Subject, Data: append(append(data, '\n'), m.Data...)}
	}
	var err error
	if len(msgs) > 0 {
		_, err = j.store.Append(ctx, msgs...)
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

// indexedAt parts a message of the index into its place in the log and its
// data.
func indexedAt(data []byte) (seq uint64, rest []byte) {
	line, rest, _ := bytes.Cut(data, []byte{'\n'})
	seq, _ = strconv.ParseUint(string(line), 10, 64)
	return seq, rest
}

// A logHead is the first line of a message of the log; the data follow it.
type logHead struct {
	Subject string `json:"s"`
	Size    int    `json:"n"`
	Passing bool   `json:"p,omitempty"`
}

func packLog(msgs []*nats.Msg) ([]byte, error) {
	heads, size := make([]logHead, len(msgs)), 0
	for i, m := range msgs {
		heads[i] = logHead{m.Subject, len(m.Data), m.Header.Get(passing) != ""}
		size += len(m.Data)
	}
	line, err := json.Marshal(heads)
	if err != nil {
		return nil, fmt.Errorf("write the ledger's log: %w", err)
	}
	data := append(slices.Grow(line, 1+size), '\n')
	for _, m := range msgs {
		data = append(data, m.Data...)
	}
	return data, nil
}

func messagesOf(at uint64, msgs []*nats.Msg) []logMessage {
	ms := make([]logMessage, len(msgs))
	for i, m := range msgs {
		ms[i] = logMessage{Message{m.Subject, placeOf(at, i), m.Data}, m.Header.Get(passing) != ""}
	}
	return ms
}

func unpackLog(m Message) ([]logMessage, error) {
	line, rest, _ := bytes.Cut(m.Data, []byte{'\n'})
	var heads []logHead
	if err := json.Unmarshal(line, &heads); err != nil {
		return nil, fmt.Errorf("read message %d of the ledger's log: %w", m.Seq, err)
	}
	ms := make([]logMessage, len(heads))
	for i, h := range heads {
		if h.Size < 0 || h.Size > len(rest) {
			return nil, fmt.Errorf("read message %d of the ledger's log: it is cut off", m.Seq)
		}
		ms[i] = logMessage{Message{h.Subject, placeOf(m.Seq, i), rest[:h.Size:h.Size]}, h.Passing}
		rest = rest[h.Size:]
	}
	return ms, nil
}

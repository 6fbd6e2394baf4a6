package ledger

import (
	"context"
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
// Marks and totals, which come anew with every move, are moved into a stream
// that keeps one of each. Among the resources the older ones would lie in blocks
// of long ago, and JetStream reads a whole block to take one message out.
//
// Only one process can have the store, and only one logged may be in it.
//
// The files: logged.go writes the log, logged_read.go reads what was written,
// logged_move.go moves it, logged_pack.go is what a message of the log holds.
type logged struct {
	store Store
	log   *stream
	index *stream // resources, dead letters, acts
	marks *stream // marks and totals
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

	marksName   = "CT2FLUENT_LEDGER_MARKS"
	marksPrefix = "lm."
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
	marks, err := openNamed(ctx, s, marksName, marksPrefix+">", 1)
	if err != nil {
		return nil, err
	}
	js, err := s.JetStream().CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: logName, Subjects: []string{logSubject}, Storage: jetstream.FileStorage, AllowDirect: true,
		Duplicates: store.Duplicates,
	})
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", logName, err)
	}
	j := &logged{
		store: s, index: index, marks: marks, log: &stream{Store: s, js: js, name: logName}, warn: log,
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

package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const streamName = "CT2FLUENT_LEDGER"

// perSubject is how many entries are kept of a resource: its timeline.
const perSubject = 8

// requestTimeout limits one exchange with JetStream.
const requestTimeout = 10 * time.Second

// A Journal is the stream of messages that a ledger is kept in: of each subject
// the last few, of marks and totals at least the last. All methods are called
// by several goroutines at once.
type Journal interface {
	// Append stores all messages or none, nil once they are on disk, at
	// consecutive sequences that end with last. A message may carry the
	// sequence its subject is expected at (jetstream.ExpectedLastSubjSeqHeader);
	// where one is wrong the error is store.ErrOvertaken and nothing is stored.
	// Of another error it is not known which.
	Append(ctx context.Context, msgs ...*nats.Msg) (last uint64, err error)
	// Newest gives the last message of each subject that has one. A subject may
	// hold wildcards, as long as it stands for few; then, and of dead letters and
	// acts, Seq is the one that Page and Remove know, which may be another.
	Newest(ctx context.Context, subjects ...string) (map[string]Message, error)
	// Page gives at most n messages of a subject filter from a sequence on, in
	// the order of the stream.
	Page(ctx context.Context, filter string, from uint64, n int) (Page, error)
	// Remove deletes one message.
	Remove(ctx context.Context, seq uint64) error
	// Last is the highest sequence ever given.
	Last(ctx context.Context) (uint64, error)
	// Clean tells that who had it before ended in order.
	Clean() bool
}

// A Message of a Journal.
type Message struct {
	Subject string
	Seq     uint64
	Data    []byte
}

// A Page of a Journal, and how many messages there are beyond.
type Page struct {
	Messages []Message
	Pending  uint64
}

// A Store is what a Ledger needs of a *store.Store.
type Store interface {
	JetStream() jetstream.JetStream
	// Append stores all messages or none. Of an error other than
	// store.ErrOvertaken it is not known which.
	Append(ctx context.Context, msgs ...*nats.Msg) (last uint64, err error)
	// Clean tells that the run before this one ended in order.
	Clean() bool
	Replicas() int
	// Embedded tells that only this process can have the store.
	Embedded() bool
}

var _ Store = (*store.Store)(nil)

// openJournal opens the journal in the store.
func openJournal(ctx context.Context, s Store, log *slog.Logger) (Journal, error) {
	if s.Embedded() {
		return openLogged(ctx, s, log)
	}
	return openStream(ctx, s)
}

// A stream is the journal of a cluster: a stream of JetStream with a subject
// for each resource.
type stream struct {
	Store
	js   jetstream.Stream
	name string
}

func openStream(ctx context.Context, s Store) (*stream, error) {
	return openNamed(ctx, s, streamName, "l.>", perSubject)
}

// openNamed opens a stream that keeps so many messages of each subject.
func openNamed(ctx context.Context, s Store, name, subjects string, most int64) (*stream, error) {
	js, err := s.JetStream().CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:               name,
		Subjects:           []string{subjects},
		Storage:            jetstream.FileStorage,
		Replicas:           s.Replicas(),
		MaxMsgsPerSubject:  most,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		Duplicates:         store.Duplicates,
	})
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", name, err)
	}
	return &stream{s, js, name}, nil
}

func (s *stream) Remove(ctx context.Context, seq uint64) error {
	return s.js.DeleteMsg(ctx, seq)
}

func (s *stream) Last(ctx context.Context) (uint64, error) {
	info, err := s.js.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the state of stream %s: %w", s.name, err)
	}
	return info.State.LastSeq, nil
}

// subjectsAtOnce is how many subjects are asked for in one request. The server
// answers for at most 1024.
const subjectsAtOnce = 500

// errCut says that an answer of several messages has not come in full.
var errCut = errors.New("the answer of JetStream was cut off")

// Newest: in a cluster a replica may answer that has not heard the last. Who
// builds on that is refused as overtaken, by Intend before anything is created.
func (s *stream) Newest(ctx context.Context, subjects ...string) (map[string]Message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	found := make(map[string]Message, len(subjects))
	for len(subjects) > 0 {
		n := min(len(subjects), subjectsAtOnce)
		msgs, err := s.newestOf(ctx, subjects[:n])
		if err != nil {
			return nil, fmt.Errorf("read %d subjects of the ledger: %w", n, err)
		}
		for _, m := range msgs {
			found[m.Subject] = m
		}
		subjects = subjects[n:]
	}
	return found, nil
}

func (s *stream) newestOf(ctx context.Context, subjects []string) ([]Message, error) {
	if len(subjects) == 1 && !strings.Contains(subjects[0], "*") {
		// A request for several costs the client a subscription and its buffers.
		m, err := s.js.GetLastMsgForSubject(ctx, subjects[0])
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []Message{{m.Subject, m.Sequence, m.Data}}, nil
	}
	msgs, err := jetstreamext.GetLastMsgsFor(ctx, s.JetStream(), s.name, subjects)
	if err != nil {
		return nil, err
	}
	return whole(collect(msgs))
}

// whole is an answer that has to have come in full.
func whole(p Page, err error) ([]Message, error) {
	if err == nil && p.Pending > 0 {
		err = errCut
	}
	return p.Messages, err
}

// collect reads an answer of several messages. The library ends it at a
// timeout as if that were its end, so what is pending has to be looked at: a
// resource left out would be taken for a new one (promise 4).
func collect(msgs iter.Seq2[*jetstream.RawStreamMsg, error]) (Page, error) {
	var p Page
	for m, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) && len(p.Messages) == 0 {
			return p, nil
		}
		if err != nil {
			return p, err
		}
		if p.Pending, err = strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64); err != nil {
			return p, fmt.Errorf("read how many messages follow: %w", err)
		}
		p.Messages = append(p.Messages, Message{m.Subject, m.Sequence, m.Data})
	}
	if len(p.Messages) == 0 {
		return p, errCut
	}
	return p, nil
}

// Page reads at most n messages of a subject filter from a sequence on.
func (s *stream) Page(ctx context.Context, filter string, from uint64, n int) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	msgs, err := jetstreamext.GetBatch(ctx, s.JetStream(), s.name, n,
		jetstreamext.GetBatchSubject(filter), jetstreamext.GetBatchSeq(from), jetstreamext.GetBatchMaxBytes(pageBytes))
	if err != nil {
		return Page{}, err
	}
	return collect(msgs)
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/ct2fluent/ct2fluent"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// A message is one of the stream's.
type message struct {
	subject string
	seq     uint64
	data    []byte
}

// How much is asked for in one request. The server answers for at most 1024
// subjects.
const (
	subjectsAtOnce = 500
	pageMessages   = 200
	pageBytes      = 4 << 20
)

// errCut says that an answer of several messages has not come in full.
var errCut = errors.New("the answer of JetStream was cut off")

// newest gives the last message of each subject that has one. A subject may
// hold wildcards, as long as it stands for few. In a cluster a replica may
// answer that has not heard the last: who builds on that is refused as
// overtaken, by Intend before anything is created.
func (l *Ledger) newest(ctx context.Context, subjects ...string) (map[string]message, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	found := make(map[string]message, len(subjects))
	for len(subjects) > 0 {
		n := min(len(subjects), subjectsAtOnce)
		msgs, err := l.newestOf(ctx, subjects[:n])
		if err != nil {
			return nil, fmt.Errorf("read %d subjects of the ledger: %w", n, err)
		}
		for _, m := range msgs {
			found[m.subject] = m
		}
		subjects = subjects[n:]
	}
	return found, nil
}

func (l *Ledger) newestOf(ctx context.Context, subjects []string) ([]message, error) {
	if len(subjects) == 1 && !strings.Contains(subjects[0], "*") {
		// A request for several costs the client half a MiB of buffers.
		m, err := l.stream.GetLastMsgForSubject(ctx, subjects[0])
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []message{{m.Subject, m.Sequence, m.Data}}, nil
	}
	msgs, err := jetstreamext.GetLastMsgsFor(ctx, l.o.Store.JetStream(), streamName, subjects)
	if err != nil {
		return nil, err
	}
	return whole(collect(msgs))
}

// whole is an answer that has to have come in full.
func whole(p page, err error) ([]message, error) {
	if err == nil && p.pending > 0 {
		err = errCut
	}
	return p.messages, err
}

// A page is an answer of several messages, and how many there are beyond.
type page struct {
	messages []message
	pending  uint64
}

// collect reads an answer of several messages. The library ends it at a
// timeout as if that were its end, so what is pending has to be looked at: a
// resource left out would be taken for a new one (promise 4).
func collect(msgs iter.Seq2[*jetstream.RawStreamMsg, error]) (page, error) {
	var p page
	for m, err := range msgs {
		if errors.Is(err, jetstreamext.ErrNoMessages) && len(p.messages) == 0 {
			return p, nil
		}
		if err != nil {
			return p, err
		}
		if p.pending, err = strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64); err != nil {
			return p, fmt.Errorf("read how many messages follow: %w", err)
		}
		p.messages = append(p.messages, message{subject: m.Subject, seq: m.Sequence, data: m.Data})
	}
	if len(p.messages) == 0 {
		return p, errCut
	}
	return p, nil
}

// page reads at most n messages of a subject filter from a sequence on.
func (l *Ledger) page(ctx context.Context, filter string, from uint64, n int) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	msgs, err := jetstreamext.GetBatch(ctx, l.o.Store.JetStream(), streamName, n,
		jetstreamext.GetBatchSubject(filter), jetstreamext.GetBatchSeq(from), jetstreamext.GetBatchMaxBytes(pageBytes))
	if err != nil {
		return page{}, err
	}
	return collect(msgs)
}

// scan gives the messages of a subject filter from a sequence on, in the order
// of the stream, a page at a time.
func (l *Ledger) scan(ctx context.Context, filter string, from uint64) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		for from := max(from, 1); ; {
			p, err := l.page(ctx, filter, from, pageMessages)
			if err != nil {
				yield(message{}, fmt.Errorf("read the ledger: %w", err))
				return
			}
			for _, m := range p.messages {
				from = m.seq + 1
				if !yield(m, nil) {
					return
				}
			}
			if p.pending == 0 {
				return
			}
		}
	}
}

// A kept entry is the newest of a resource and where it is: 0 for none.
type kept struct {
	Entry
	seq uint64
}

// load reads the newest entries of resources, without the hashes that prove
// nothing.
func (l *Ledger) load(ctx context.Context, refs []ct2fluent.Ref) (map[ct2fluent.Ref]kept, error) {
	subjects := make([]string, len(refs))
	for i, r := range refs {
		subjects[i] = subjectOf(r)
	}
	newest, err := l.newest(ctx, subjects...)
	if err != nil {
		return nil, err
	}
	found := make(map[ct2fluent.Ref]kept, len(newest))
	for i, r := range refs {
		m, ok := newest[subjects[i]]
		if !ok {
			continue
		}
		e, err := decodeEntry(m.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r, err)
		}
		if l.commits.doubts(m.seq) {
			e.Memory = forgetHash(e.Memory)
		}
		found[r] = kept{e, m.seq}
	}
	return found, nil
}

// Timeline gives what was noted of a resource, newest first: the last few
// entries. It is empty for a resource that is not known.
func (l *Ledger) Timeline(ctx context.Context, ref ct2fluent.Ref) ([]Entry, error) {
	var entries []Entry
	for m, err := range l.scan(ctx, subjectOf(ref), 0) {
		if err != nil {
			return nil, err
		}
		e, err := decodeEntry(m.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		entries = append([]Entry{e}, entries...)
	}
	return entries, nil
}

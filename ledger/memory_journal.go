package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A MemoryJournal is a Journal that keeps nothing over the end of the process:
// for tests that need the whole ledger without its disk. The zero value is
// empty, and clean.
type MemoryJournal struct {
	mu       sync.Mutex
	messages []Message
	last     uint64
	unclean  bool
}

// Reopened says how who had the journal before ended, for the next Open.
func (j *MemoryJournal) Reopened(clean bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unclean = !clean
}

// Clean tells what Reopened said last.
func (j *MemoryJournal) Clean() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.unclean
}

// Append stores all messages or none.
func (j *MemoryJournal) Append(_ context.Context, msgs ...*nats.Msg) (last uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if twice(msgs) {
		return 0, fmt.Errorf("%w: two messages expect the same of one subject", store.ErrOvertaken)
	}
	for _, m := range msgs {
		want := m.Header.Get(jetstream.ExpectedLastSubjSeqHeader)
		if want == "" {
			continue
		}
		newest := uint64(0)
		if i := j.newest(m.Subject); i >= 0 {
			newest = j.messages[i].Seq
		}
		if want != strconv.FormatUint(newest, 10) {
			return 0, fmt.Errorf("%w: %s is at %d", store.ErrOvertaken, m.Subject, newest)
		}
	}
	for _, m := range msgs {
		j.last++
		j.messages = append(j.messages, Message{m.Subject, j.last, slices.Clone(m.Data)})
		j.forget(m.Subject)
	}
	return j.last, nil
}

// newest is where the newest message of a subject is, or -1.
func (j *MemoryJournal) newest(subject string) int {
	for i, m := range slices.Backward(j.messages) {
		if m.Subject == subject {
			return i
		}
	}
	return -1
}

// forget drops the oldest of a subject that has too many.
func (j *MemoryJournal) forget(subject string) {
	n, oldest := 0, 0
	for i, m := range slices.Backward(j.messages) {
		if m.Subject == subject {
			n, oldest = n+1, i
		}
	}
	if n > perSubject {
		j.messages = slices.Delete(j.messages, oldest, oldest+1)
	}
}

// Newest gives the last message of each subject that has one.
func (j *MemoryJournal) Newest(_ context.Context, subjects ...string) (map[string]Message, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	found := map[string]Message{}
	for _, m := range j.messages {
		if slices.ContainsFunc(subjects, func(filter string) bool { return matches(filter, m.Subject) }) {
			found[m.Subject] = m
		}
	}
	return found, nil
}

// Page gives at most n messages of a subject filter from a sequence on.
func (j *MemoryJournal) Page(_ context.Context, filter string, from uint64, n int) (Page, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var p Page
	for _, m := range j.messages {
		switch {
		case m.Seq < from || !matches(filter, m.Subject):
		case len(p.Messages) == n:
			p.Pending++
		default:
			p.Messages = append(p.Messages, m)
		}
	}
	return p, nil
}

// Remove deletes one message.
func (j *MemoryJournal) Remove(_ context.Context, seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.messages, func(m Message) bool { return m.Seq == seq })
	if i < 0 {
		return fmt.Errorf("message %d: %w", seq, jetstream.ErrMsgNotFound)
	}
	j.messages = slices.Delete(j.messages, i, i+1)
	return nil
}

// Last is the highest sequence ever given.
func (j *MemoryJournal) Last(context.Context) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last, nil
}

// matches tells whether a subject is one of a filter: * is one token, > all
// that follow.
func matches(filter, subject string) bool {
	for {
		f, frest, fmore := strings.Cut(filter, ".")
		s, srest, smore := strings.Cut(subject, ".")
		switch {
		case f == ">":
			return true
		case f != "*" && f != s || fmore != smore:
			return false
		case !fmore:
			return true
		}
		filter, subject = frest, srest
	}
}

var _ Journal = (*MemoryJournal)(nil)

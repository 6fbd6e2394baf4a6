package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A session is what one call of Settle holds while the inner handler works. It
// travels in the context, where Recall, Remember and Intend find it.
type session struct {
	mu      sync.Mutex
	working bool // the inner handler is being called
	held    map[ct2fluent.Ref]*resource
}

// A resource is one of the batch. No other call holds it (promise 4).
type resource struct {
	ref  ct2fluent.Ref
	last kept
	told *ct2fluent.Memory // what is to be remembered with the outcomes

	yields bool // nothing of it is live

	answers []answer
	at      []int // where the answers belong in the batch
	tries   int   // how often it was overtaken and settled anew
}

type sessionKey struct{}

// sessionOf gives the session of the handler that was called with ctx; nil
// where there is none, or no longer.
func sessionOf(ctx context.Context) *session {
	s, _ := ctx.Value(sessionKey{}).(*session)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.working {
		return nil
	}
	return s
}

// Recall gives the memories of those resources that have an entry. Inside
// Handle, those of the batch's resources are at hand and cost nothing; all
// others are read now.
func (l *Ledger) Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error) {
	memories := make(map[ct2fluent.Ref]ct2fluent.Memory, len(refs))
	var others []ct2fluent.Ref
	if s := sessionOf(ctx); s != nil {
		s.mu.Lock()
		for _, ref := range refs {
			switch r := s.held[ref]; {
			case r == nil:
				others = append(others, ref)
			case r.told != nil:
				memories[ref] = *r.told
			case r.last.seq > 0:
				memories[ref] = r.last.Memory
			}
		}
		s.mu.Unlock()
	} else {
		others = refs
	}
	if len(others) == 0 {
		return memories, nil
	}
	found, err := l.load(ctx, others)
	if err != nil {
		return nil, err
	}
	for ref, k := range found {
		memories[ref] = k.Memory
	}
	return memories, nil
}

// Remember has m written together with the batch's outcomes. It is for the
// resources of the batch, inside Handle; anything else is not held by the
// caller and is refused with a line in the log. Of a resource whose
// notifications did not settle only what claims nothing about Fluent is kept:
// the floor and the username.
func (l *Ledger) Remember(ctx context.Context, ref ct2fluent.Ref, m ct2fluent.Memory) {
	if s := sessionOf(ctx); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r := s.held[ref]; r != nil {
			r.told = &m
			return
		}
	}
	l.log.Error("a handler wanted something remembered of a resource that it does not hold", "ref", ref)
}

// Intend writes memories of the batch's resources now, inside Handle: nil says
// that they are on disk (rule 6). They may claim less of Fluent than what was
// remembered before, never more. After an error, an overtaken resource among
// the reasons, any number of them is written.
func (l *Ledger) Intend(ctx context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error {
	s := sessionOf(ctx)
	var parts []*part
	var intended []*resource
	var entries []Entry
	for ref, m := range ms {
		var r *resource
		if s != nil {
			s.mu.Lock()
			r = s.held[ref]
			s.mu.Unlock()
		}
		if r == nil {
			return fmt.Errorf("remember %s: it is not in the batch that is being worked", ref)
		}
		e := Entry{
			When:   time.Now().UTC(),
			Memory: lay(r.last.Memory, weaker(r.last.Memory, m)),
			Open:   above(l.o.Floor(ref.Project), r.last.Open),
			Floor:  r.last.Floor,
			Runs:   r.last.Runs,

			Passing: true,
		}
		if r.last.seq > 0 && sameMemory(e.Memory, r.last.Memory) {
			continue
		}
		p, err := newPart(ref, r.last.seq, conclusion{entry: e})
		if err != nil {
			return err
		}
		p.passing, p.yields = true, r.yields
		parts, intended, entries = append(parts, p), append(intended, r), append(entries, e)
	}
	if len(parts) == 0 {
		return nil
	}
	l.commits.commit(parts)
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for i, p := range parts {
		if p.err != nil {
			failed = fmt.Errorf("remember %s: %w", intended[i].ref, p.err)
			continue
		}
		intended[i].last = kept{entries[i], p.seq}
	}
	return failed
}

// newPart makes what is written of a resource.
func newPart(ref ct2fluent.Ref, after uint64, c conclusion) (*part, error) {
	data, err := c.entry.encode()
	if err != nil {
		return nil, err
	}
	p := &part{subject: subjectOf(ref), after: after, data: data, counts: c.counts, runs: c.runs}
	for _, d := range c.letters {
		data, err := d.encode()
		if err != nil {
			return nil, err
		}
		p.letters = append(p.letters, letter{letterSubject(d.Notification.Seq), data})
	}
	return p, nil
}

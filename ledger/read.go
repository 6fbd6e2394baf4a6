package ledger

import (
	"context"
	"fmt"
	"iter"

	"github.com/ct2fluent/ct2fluent"
)

// How much is read in one page.
const (
	pageMessages = 200
	pageBytes    = 4 << 20
)

// scan gives the messages of a subject filter from a sequence on, in the order
// of the stream, a page at a time.
func (l *Ledger) scan(ctx context.Context, filter string, from uint64) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for from := max(from, 1); ; {
			p, err := l.o.Journal.Page(ctx, filter, from, pageMessages)
			if err != nil {
				yield(Message{}, fmt.Errorf("read the ledger: %w", err))
				return
			}
			for _, m := range p.Messages {
				from = m.Seq + 1
				if !yield(m, nil) {
					return
				}
			}
			if p.Pending == 0 {
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
	newest, err := l.o.Journal.Newest(ctx, subjects...)
	if err != nil {
		return nil, err
	}
	found := make(map[ct2fluent.Ref]kept, len(newest))
	for i, r := range refs {
		m, ok := newest[subjects[i]]
		if !ok {
			continue
		}
		e, err := decodeEntry(m.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r, err)
		}
		if l.commits.doubts(m.Seq) {
			e.Memory = doubtHash(e.Memory)
		}
		found[r] = kept{e, m.Seq}
	}
	return found, nil
}

// Newest gives the newest entry of each resource that has one.
func (l *Ledger) Newest(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]Entry, error) {
	entries := make(map[ct2fluent.Ref]Entry, len(refs))
	for len(refs) > 0 {
		n := min(len(refs), subjectsAtOnce)
		found, err := l.load(ctx, refs[:n])
		if err != nil {
			return nil, err
		}
		for ref, k := range found {
			entries[ref] = k.Entry
		}
		refs = refs[n:]
	}
	return entries, nil
}

// Timeline gives what was noted of a resource, newest first: the last few
// entries. It is empty for a resource that is not known. Of those that are
// passing it has the newest only: whether an older one is still kept is chance.
func (l *Ledger) Timeline(ctx context.Context, ref ct2fluent.Ref) ([]Entry, error) {
	var entries []Entry
	for m, err := range l.scan(ctx, subjectOf(ref), 0) {
		if err != nil {
			return nil, err
		}
		e, err := decodeEntry(m.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		if len(entries) > 0 && entries[0].Passing {
			entries = entries[1:]
		}
		entries = append([]Entry{e}, entries...)
	}
	return entries, nil
}

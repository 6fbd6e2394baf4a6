package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
)

// Adopt gives memories to resources that have no username yet, outside
// Handle; all others are left alone. nil says that they are on disk. After an
// error any number of them is written.
func (l *Ledger) Adopt(ctx context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error {
	var left []ct2fluent.Ref
	for ref := range ms {
		left = append(left, ref)
	}
	for try := 0; len(left) > 0; try++ {
		var overtaken []ct2fluent.Ref
		for rest := left; len(rest) > 0; {
			n := min(len(rest), subjectsAtOnce)
			again, err := l.adopt(ctx, rest[:n], ms)
			if err != nil {
				return err
			}
			overtaken, rest = append(overtaken, again...), rest[n:]
		}
		if try == tries && len(overtaken) > 0 {
			return fmt.Errorf("adopt %d resources: %w", len(overtaken), errOvertaken)
		}
		left = overtaken
	}
	return nil
}

func (l *Ledger) adopt(ctx context.Context, refs []ct2fluent.Ref, ms map[ct2fluent.Ref]ct2fluent.Memory) (overtaken []ct2fluent.Ref, err error) {
	entries, err := l.load(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("adopt %d resources: %w", len(refs), err)
	}
	var parts []*part
	var of []ct2fluent.Ref
	for _, ref := range refs {
		last := entries[ref]
		if last.Memory.Username != "" {
			continue
		}
		p, err := newPart(ref, last.seq, conclusion{entry: Entry{
			When:   time.Now().UTC(),
			Memory: lay(last.Memory, ms[ref]),
			Open:   above(l.o.Floor(ref.Project), last.Open),
			Runs:   last.Runs,
		}})
		if err != nil {
			return nil, err
		}
		parts, of = append(parts, p), append(of, ref)
	}
	l.commits.commit(parts)
	for i, p := range parts {
		switch {
		case errors.Is(p.err, errOvertaken):
			overtaken = append(overtaken, of[i])
		case p.err != nil:
			return nil, fmt.Errorf("adopt %d resources: %w", len(parts), p.err)
		}
	}
	return overtaken, nil
}

// Known tells whether the username of any customer of a project is remembered.
// An entry without one, of a notification that had no work here, is no memory:
// a ledger that was lost would be taken for a whole one (promise 4).
func (l *Ledger) Known(ctx context.Context, project string) (bool, error) {
	for m, err := range l.scan(ctx, resources+token(project)+".customer.*", 0) {
		if err != nil {
			return false, err
		}
		e, err := decodeEntry(m.Data)
		if err != nil {
			return false, err
		}
		if e.Memory.Username != "" {
			return true, nil
		}
	}
	return false, nil
}

// Find gives the resources of a type that have an entry and this id, one per
// project at most, for someone who does not name the project.
func (l *Ledger) Find(ctx context.Context, typeID, id string) ([]ct2fluent.Ref, error) {
	newest, err := l.o.Journal.Newest(ctx, resources+"*."+token(typeID)+"."+token(id))
	if err != nil {
		return nil, err
	}
	var refs []ct2fluent.Ref
	for subject := range newest {
		project, _, _ := strings.Cut(strings.TrimPrefix(subject, resources), ".")
		refs = append(refs, ct2fluent.Ref{Project: store.Untoken(project), TypeID: typeID, ID: id})
	}
	return refs, nil
}

// Mark gives the durable note of a name, empty where there is none.
func (l *Ledger) Mark(ctx context.Context, name string) (string, error) {
	subject := marks + token(name)
	newest, err := l.o.Journal.Newest(ctx, subject)
	if err != nil {
		return "", err
	}
	return string(newest[subject].Data), nil
}

// SetMark writes the note of a name. nil says that it is on disk.
func (l *Ledger) SetMark(ctx context.Context, name, value string) error {
	if _, err := l.o.Journal.Append(ctx, &nats.Msg{Subject: marks + token(name), Data: []byte(value)}); err != nil {
		return fmt.Errorf("note %s: %w", name, err)
	}
	return nil
}

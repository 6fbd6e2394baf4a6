package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// cached tells whether the newest of a subject is kept in memory: of resources,
// totals and marks, but not of dead letters and acts, of which each is read
// once.
func cached(subject string) bool {
	return !strings.HasPrefix(subject, letters) && !strings.HasPrefix(subject, acts) && !strings.ContainsAny(subject, "*>")
}

// Newest gives the last message of each subject that has one. Of dead letters,
// of acts, and of subjects with wildcards, Seq is the place that Page and Remove
// know.
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

// single tells whether only the newest message of a subject is kept: of totals
// and marks.
func single(subject string) bool {
	return subject == totalsSubject || strings.HasPrefix(subject, marks)
}

// indexed gives what was moved of subjects, at its places in the log. Of marks
// and totals the index may have some that an earlier version kept there: the
// later one counts.
func (j *logged) indexed(ctx context.Context, subjects []string) (map[string]Message, error) {
	var singles []string
	for _, name := range subjects {
		if single(name) {
			singles = append(singles, marksPrefix+name)
		}
	}
	found, err := j.index.Newest(ctx, subjects...)
	if err != nil {
		return nil, err
	}
	kept, err := j.marks.Newest(ctx, singles...)
	if err != nil {
		return nil, err
	}
	there := make(map[string]Message, len(found)+len(kept))
	for _, from := range []map[string]Message{found, kept} {
		for name, m := range from {
			m.Subject = strings.TrimPrefix(name, marksPrefix)
			m.Seq, m.Data = indexedAt(m.Data)
			if m.Seq >= there[m.Subject].Seq {
				there[m.Subject] = m
			}
		}
	}
	return there, nil
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

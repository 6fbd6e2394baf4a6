package ledger

import (
	"context"
	"fmt"
	"strings"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// EachMemory calls each for what was remembered of the resources of a type, in
// the order in which it was noted: where a memory has changed, the last one
// that comes holds. It reads the whole ledger from its beginning, which takes
// far less than to ask for each resource, and keeps nothing of it. An error of
// each ends it and is returned.
func (l *Ledger) EachMemory(ctx context.Context, project, typeID string, each func(ref ct2fluent.Ref, m ct2fluent.Memory) error) error {
	prefix := resources + token(project) + "." + token(typeID) + "."
	for m, err := range l.scan(ctx, prefix+"*", 0) {
		if err != nil {
			return err
		}
		id := strings.TrimPrefix(m.Subject, prefix)
		if len(id) == hashedToken && id[0] == '=' {
			continue // of an id that is longer than any of commercetools
		}
		ref := ct2fluent.Ref{Project: project, TypeID: typeID, ID: store.Untoken(id)}
		e, err := decodeEntry(m.Data)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		if err := each(ref, e.Memory); err != nil {
			return err
		}
	}
	return nil
}

package app

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/ct2fluent/ct2fluent/ledger"
)

// A shelf leads sources, which are made before a disk is touched, to the
// ledger that is opened after them.
type shelf struct{ ledger atomic.Pointer[ledger.Ledger] }

// of gives the marks of one type of listener.
func (s *shelf) of(kind string) Marks { return sourceMarks{s, "source/" + kind + "/"} }

type sourceMarks struct {
	shelf  *shelf
	prefix string
}

var errNoLedger = errors.New("the ledger is not open")

func (m sourceMarks) Mark(ctx context.Context, name string) (string, error) {
	l := m.shelf.ledger.Load()
	if l == nil {
		return "", errNoLedger
	}
	return l.Mark(ctx, m.prefix+name)
}

func (m sourceMarks) SetMark(ctx context.Context, name, value string) error {
	l := m.shelf.ledger.Load()
	if l == nil {
		return errNoLedger
	}
	return l.SetMark(ctx, m.prefix+name, value)
}

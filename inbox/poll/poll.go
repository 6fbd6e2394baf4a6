// Package poll is a source that asks commercetools itself which customers have
// changed: for those who have no queue yet, and beside one as a safety net.
//
// It reads in the order of changes (lastModifiedAt, id), from a mark on up to
// a minute ago: a customer can become visible to queries a little after the
// time that it bears. Each page is put as one body, an array of
// ResourceUpdated such as commercetools would send. A deleted customer shows in
// no query.
//
// # Acknowledgement
//
// The ct-queue of this source is the order of changes, and to acknowledge is
// to move the mark. The mark is moved past a page when put has returned nil for
// it (promise 1), so that what a kill leaves behind is read again. A customer
// that changes while pages are read moves on in the order, and is met there.
//
// # Stop
//
// A page that is being put is finished within ten seconds, its mark included.
package poll

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

const (
	margin    = time.Minute      // how old a change is when it is read
	pageSize  = 500              // commercetools gives no more at once, and a body holds no more than 1,000
	stopLimit = 10 * time.Second // for the page at hand at the stop
	longest   = time.Minute      // between two tries
)

// A Reader reads the changes of customers; see
// [commercetools.Client.Changes].
type Reader interface {
	Changes(ctx context.Context, s commercetools.Selection, after commercetools.Mark, until string, limit int) (*commercetools.Page, error)
}

// Marks keeps small texts on disk. SetMark returning nil says that it is there.
type Marks interface {
	Mark(ctx context.Context, name string) (string, error)
	SetMark(ctx context.Context, name, value string) error
}

// Options of a Source. Project, Reader and Marks are mandatory.
type Options struct {
	Name    string // of the listener, for people
	Project string // key of the project that Reader reads
	Reader  Reader
	Marks   Marks
	// Every is how long to wait when all has been read; default 30 s.
	Every time.Duration
	// From is where to begin when there is no mark yet, and lies in the past; the
	// zero time is a minute before the source was first made, since commercetools'
	// clock may be another one. A From that has changed since and lies before the
	// mark takes the mark back.
	From time.Time
	// Log; nil discards.
	Log *slog.Logger
	// Observe is told of pages, of the customers in them, and of read-failed,
	// put-failed and mark-failed, for metrics; nil for none.
	Observe func(event string, n int)
	// Reached is told up to when all changes have been put; nil for none.
	Reached func(upTo time.Time)
}

// A Source asks one project for its changes. Make it with New.
type Source struct {
	o    Options
	made time.Time
}

// New checks the options. It does no I/O.
func New(o Options) (*Source, error) {
	if o.Project == "" || o.Reader == nil || o.Marks == nil {
		return nil, errors.New("poll: no project to read, or nowhere to keep the mark")
	}
	o.Every = cmp.Or(o.Every, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, int) {}
	}
	if o.Reached == nil {
		o.Reached = func(time.Time) {}
	}
	made := time.Now()
	if o.From.After(made) {
		return nil, fmt.Errorf("poll: from lies in the future: until %s nothing would be read", stamp(o.From))
	}
	return &Source{o, made}, nil
}

// Join refuses a second source of one project: they would share a mark.
func (s *Source) Join(earlier ...*Source) error {
	for _, e := range earlier {
		if e.o.Project == s.o.Project {
			return fmt.Errorf("poll: project %q is asked by listener %q already: take one of them out", s.o.Project, e.o.Name)
		}
	}
	return nil
}

// Check asks whether changes can be read.
func (s *Source) Check(ctx context.Context) error {
	_, err := s.o.Reader.Changes(ctx, commercetools.Selection{}, commercetools.Mark{At: stamp(beginning)}, stamp(time.Now().Add(-margin)), 1)
	if err != nil {
		return s.explain(commercetools.Mark{}, err)
	}
	return nil
}

// A note is what is kept as the mark.
type note struct {
	commercetools.Mark
	From string `json:"from,omitempty"` // what Options said when it was made; empty: now
}

// beginning is before every change.
var beginning = time.Unix(0, 0)

// stamp is a time as commercetools writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// begin finds the mark, or makes it. One that is made is kept at once: what
// changes before the first page must not be lost by a restart.
func (s *Source) begin(ctx context.Context) (note, error) {
	from := ""
	if !s.o.From.IsZero() {
		from = stamp(s.o.From)
	}
	text, err := s.o.Marks.Mark(ctx, s.o.Project)
	if err != nil {
		return note{}, fmt.Errorf("poll: read the mark: %w", err)
	}
	first := note{commercetools.Mark{At: cmp.Or(from, stamp(s.made.Add(-margin)))}, from}
	if text == "" {
		s.o.Log.Info("polling begins", "project", s.o.Project, "from", first.At)
		return first, s.keep(ctx, first)
	}
	var n note
	at := time.Time{}
	if json.Unmarshal([]byte(text), &n) == nil {
		at, err = time.Parse(time.RFC3339, n.At)
	}
	if err != nil || at.IsZero() {
		return note{}, errors.New("poll: the mark in the ledger cannot be read")
	}
	if from == n.From {
		return n, nil
	}
	if from != "" && s.o.From.Before(at) {
		s.o.Log.Info("polling begins anew, from has changed", "project", s.o.Project, "from", first.At)
		return first, s.keep(ctx, first)
	}
	// The other way it would leave out what has not been read.
	n.From = from
	return n, s.keep(ctx, n)
}

func (s *Source) keep(ctx context.Context, n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := s.o.Marks.SetMark(ctx, s.o.Project, string(text)); err != nil {
		return fmt.Errorf("poll: keep the mark: %w", err)
	}
	return nil
}

// explain says what to do about an error of commercetools.
func (s *Source) explain(after commercetools.Mark, err error) error {
	var ct *commercetools.Error
	if errors.As(err, &ct) && ct.Code == "unordered" {
		return fmt.Errorf("poll: project %q: %w: the answer is not in the order that was asked for, and going on would lose changes; nothing was left out, the mark stays at %s: see whether a proxy stands between that answers from a cache or drops the parameter sort", s.o.Project, err, cmp.Or(after.At, "its place"))
	}
	return fmt.Errorf("poll: project %q: %w", s.o.Project, err)
}

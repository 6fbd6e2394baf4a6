package queue

import (
	"fmt"
	"sync/atomic"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// A lane is the notifications of one class and one project, in the order of
// the stream. Each has a cursor of its own, so that live ones do not wait
// behind bulk ones, nor a project behind one that is held.
//
// Queue.mu guards what is not said to be constant.
type lane struct {
	token string // constant: of the project
	bulk  bool   // constant
	wake  chan struct{}

	read    uint64  // all of the lane up to here was taken in
	at      uint64  // the message of the stream that read lies in
	last    uint64  // the highest sequence of the lane that is known of
	check   bool    // there may be ones that were stored without our knowing
	reading bool    // they come from the stream now, not from Put
	items   []*item // taken in, in order; the first is unsettled
	open    int     // of items that are unsettled
	fresh   int     // of these: never came back
	bytes   int     // of the bodies of these

	// Convergence rule 5. Nothing is handed out beyond mark before a record
	// with a higher one is on disk; after a crash all up to mark may have been.
	mark   uint64
	handed uint64 // the highest that was to be handed out by this process
	again  uint64 // what is read up to here may have been, by an earlier one

	changed bool // there is something to save
	moved   bool // nothing but read is to be saved

	floor   atomic.Uint64 // all of the lane up to here are settled, durably
	floorAt atomic.Uint64 // and all messages of the stream up to here
	purged  uint64        // used by the keeper only
}

func newLane(token string, bulk bool) *lane {
	return &lane{token: token, bulk: bulk, wake: make(chan struct{}, 1)}
}

// messages is the subject of the lane's packs.
func (l *lane) messages() string { return fmt.Sprintf("n.%s.%s", class(l.bulk), l.token) }

// subject is that of the lane's cursor record.
func (l *lane) subject() string { return fmt.Sprintf("c.%s.%s", class(l.bulk), l.token) }

func (l *lane) project() string { return store.Untoken(l.token) }

func (l *lane) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// The bounds of what a lane holds in memory. Those that came back and wait
// for their time, and those of a paused route, have a bound of their own, so
// that many of them do not stop the lane.
const (
	windowFresh = 8192
	windowOpen  = 8 * windowFresh
	windowBytes = 64 << 20
)

func (l *lane) full() bool {
	return l.fresh >= windowFresh || l.open >= windowOpen || l.bytes >= windowBytes
}

// take takes in an item that was read or put.
func (l *lane) take(it *item) {
	it.lane = l
	l.items = append(l.items, it)
	l.open++
	l.bytes += len(it.n.Body)
	if !it.tried {
		l.fresh++
	}
	l.read = max(l.read, it.n.Seq)
	l.changed = true
}

// back accounts for an item that was handed out and came back; fresh tells
// whether that was its first time.
func (l *lane) back(it *item, fresh bool) {
	l.changed = true
	if fresh && (it.settled || it.tried) {
		l.fresh--
	}
	if !it.settled {
		return
	}
	l.open--
	l.bytes -= len(it.n.Body)
	it.n.Body = nil
	drop := 0
	for drop < len(l.items) && l.items[drop].settled {
		l.items[drop] = nil
		drop++
	}
	l.items = l.items[drop:]
	if len(l.items) <= 2*l.open+64 {
		return
	}
	left := make([]*item, 0, l.open)
	for _, it := range l.items {
		if !it.settled {
			left = append(left, it)
		}
	}
	l.items = left
}

// park accounts for what came to take a paused route. Queue.mu is held.
func (l *lane) park(parked func(*ct2fluent.Notification) bool) {
	for _, it := range l.items {
		if !it.settled && !it.tried && parked(&it.n) {
			it.tried = true
			l.fresh--
		}
	}
	if l.reading {
		l.kick()
	}
}

// settledTo is the sequence up to which all of the lane are settled, and the
// message up to which all are.
func (l *lane) settledTo() (seq, message uint64) {
	if len(l.items) > 0 {
		return l.items[0].n.Seq - 1, l.items[0].place.message() - 1
	}
	return l.read, l.at
}

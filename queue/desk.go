package queue

import (
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A Desk is what a queue decides, without disk, goroutines or clock: which
// notifications are handed out next, and what becomes of those that come back.
// Memory is a queue around it, and a model checker can take its steps one by
// one. It is not safe for concurrent use.
type Desk struct {
	schedule *schedule
	items    map[uint64]*item
	atHand   map[*item]bool
}

// An Item is an unsettled notification of a Desk. It holds all that is to be
// known of it by another Desk.
type Item struct {
	Notification ct2fluent.Notification // with its Seq, Attempts and Again
	NotBefore    time.Time              // not to be handed out before
	Blocks       bool                   // until then its whole resource waits
	Alone        bool                   // its resource goes in a batch of its own
	Tried        bool                   // it came back unsettled at least once
	AtHand       bool                   // a batch holds it
}

// A Batch is what one worker is given.
type Batch struct{ batch *batch }

// Notifications are what is to be worked, by resource, oldest first.
func (b *Batch) Notifications() []ct2fluent.Notification { return b.batch.notifications() }

// NewDesk makes a desk on which items lie. Of the options, those of the store
// play no part. jitter is what is added to delays, in [0, 1); nil: nothing.
func NewDesk(o Options, jitter func() float64, now time.Time, items ...Item) *Desk {
	o.defaults()
	if jitter == nil {
		jitter = func() float64 { return 0 }
	}
	d := &Desk{items: map[uint64]*item{}, atHand: map[*item]bool{}, schedule: newSchedule(rules{
		Workers: o.Workers, BatchSize: o.BatchSize, UnclearWait: o.UnclearWait, Delays: o.Delays, Jitter: jitter, Route: o.Route,
	}, o.Projects, now)}
	for _, it := range items {
		d.add(&item{n: it.Notification, notBefore: it.NotBefore, blocks: it.Blocks, tried: it.Tried}, it.Alone, now)
	}
	return d
}

func (d *Desk) add(it *item, alone bool, now time.Time) {
	d.items[it.n.Seq] = it
	d.schedule.add(it, alone, now)
}

// Put lays notifications on the desk. Each has a Seq of its own, higher than
// any before.
func (d *Desk) Put(now time.Time, ns ...ct2fluent.Notification) {
	for _, n := range ns {
		it := &item{n: n}
		it.comes(now.Add(d.schedule.UnclearWait))
		d.add(it, false, now)
	}
}

// Next gives the batch that is to be worked now; nil when there is none.
func (d *Desk) Next(now time.Time) *Batch {
	b := d.schedule.next(now)
	if b == nil {
		return nil
	}
	for _, it := range b.items {
		d.atHand[it] = true
	}
	return &Batch{b}
}

// Done takes a batch back with what the handler said of each notification.
func (d *Desk) Done(b *Batch, errs []error, now time.Time) {
	d.schedule.done(b.batch, errs, now)
	for _, it := range b.batch.items {
		delete(d.atHand, it)
		if it.settled {
			delete(d.items, it.n.Seq)
		}
	}
}

// Due is when Next has to be asked again though nothing happens; zero when
// nothing waits for a time.
func (d *Desk) Due(now time.Time) time.Time { return d.schedule.due(now) }

// Items are what is unsettled, oldest first.
func (d *Desk) Items() []Item {
	items := make([]Item, 0, len(d.items))
	for _, it := range d.items {
		i := it.seen()
		i.AtHand = d.atHand[it]
		items = append(items, i)
	}
	slices.SortFunc(items, func(a, b Item) int { return int(a.Notification.Seq) - int(b.Notification.Seq) })
	return items
}

func (it *item) seen() Item {
	return Item{Notification: it.n, NotBefore: it.notBefore, Blocks: it.blocks, Alone: it.of.alone, Tried: it.tried}
}

// Held are the projects that wait for something else; empty for the strangers.
func (d *Desk) Held() []string {
	var ps []string
	for _, a := range d.schedule.accounts {
		if a.held {
			ps = append(ps, a.name)
		}
	}
	return ps
}

// Crashed is what a start makes of an item that a crash has left. One that was
// at hand may have written, and may still: convergence rules 5 and 3, with
// until as D after the crash.
func (i Item) Crashed(until time.Time) Item {
	if !i.AtHand {
		return i
	}
	it := &item{n: i.Notification, notBefore: i.NotBefore, blocks: i.Blocks, of: &resource{alone: i.Alone}}
	it.mayHaveWritten(until)
	return it.seen()
}

package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// load makes the lanes and takes in what their records say is unsettled.
func (q *Queue) load(ctx context.Context) error {
	if err := q.measure(ctx); err != nil {
		return err
	}
	kept, err := q.cursors.Info(ctx, jetstream.WithSubjectFilter("c.>"))
	if err != nil {
		return fmt.Errorf("read the state of %s: %w", cursorsName, err)
	}
	tokens := []string{store.Token("")}
	for p := range q.projects {
		tokens = append(tokens, store.Token(p))
	}
	// A project that is configured no longer may have work left.
	for subject := range kept.State.Subjects {
		tokens = append(tokens, subject[strings.LastIndexByte(subject, '.')+1:])
	}
	for _, token := range tokens {
		if _, known := q.byToken[token]; known {
			continue
		}
		pair := [2]*lane{newLane(token, false), newLane(token, true)}
		q.byToken[token] = pair
		q.lanes = append(q.lanes, pair[0], pair[1])
	}
	for _, l := range q.lanes {
		if err := q.restore(ctx, l); err != nil {
			return err
		}
		behind := l.read < q.tail
		l.check, l.reading = behind, behind
	}
	// A lane must have a record before something is put into it: the records
	// are how a project that is configured no longer is found.
	return q.save(ctx, false, false)
}

// restore brings a lane back to where its record left it.
func (q *Queue) restore(ctx context.Context, l *lane) error {
	msg, err := q.cursors.GetLastMsgForSubject(ctx, l.subject())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		l.changed = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the cursor of %s: %w", l.subject(), err)
	}
	var rec record
	if err := json.Unmarshal(msg.Data, &rec); err != nil {
		return fmt.Errorf("read the cursor of %s: %w", l.subject(), err)
	}
	l.again = rec.Again
	if !rec.Stopped {
		// Convergence rule 5: any of these may have been at hand.
		l.again = max(l.again, min(rec.Mark, q.tail))
	}
	items, err := q.fetch(ctx, l, rec)
	if err != nil {
		return err
	}
	before := map[uint64]tried{}
	for _, t := range rec.Tried {
		before[t.Seq] = t
	}
	for _, it := range items {
		t := before[it.n.Seq]
		it.n.Attempts, it.n.Again = t.Attempts, it.n.Again || t.Again
		it.tried = t.Attempts > 0 || t.Again || t.Wait > 0
		if t.Wait > 0 {
			// From now on, and not from when it was written: between the two the
			// clock may have been set, and D must not become shorter by that
			// (convergence rule 3).
			it.wait(q.opened.Add(time.Duration(t.Wait)*time.Millisecond), t.Blocks)
		}
		if !rec.Stopped && it.n.Seq <= rec.Mark {
			it.mayHaveWritten(q.opened.Add(q.schedule.UnclearWait))
		}
		q.take(l, it, t.Alone, q.opened)
	}
	l.read, l.at = rec.Read, rec.At
	floor, floorAt := l.settledTo()
	l.floor.Store(floor)
	l.floorAt.Store(floorAt)
	return nil
}

// fetchers is how many packs are read at once.
const fetchers = 16

// fetch reads what the record says is unsettled, pack by pack: these may be
// few and far apart.
func (q *Queue) fetch(ctx context.Context, l *lane, rec record) ([]*item, error) {
	items := make([]*item, len(rec.Waiting))
	var spoilt atomic.Int64 // notifications whose packs are there and cannot be read
	places := make([]place, len(rec.Waiting))
	last := place(0)
	for i, distance := range rec.Waiting {
		last += distance
		places[i] = last
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetchers)
	for from := 0; from < len(places); {
		to := from
		for to < len(places) && places[to].message() == places[from].message() {
			to++
		}
		places, items := places[from:to], items[from:to]
		group.Go(func() error {
			data, err := q.get(ctx, places[0].message())
			if data == nil {
				return err
			}
			first, pieces, err := unpack(data)
			lost := 0
			for i, p := range places {
				if err == nil && p.index() < len(pieces) {
					items[i] = read(first, pieces, p)
				} else {
					lost++
				}
			}
			if lost > 0 {
				if err == nil {
					err = fmt.Errorf("it has %d notifications, and more are to be in it", len(pieces))
				}
				q.log.Error("a pack of the queue's stream cannot be read: its notifications are lost", "stream", streamName,
					"lane", l.messages(), "message", places[0].message(), "count", lost, "error", err)
				spoilt.Add(int64(lost))
			}
			return nil
		})
		from = to
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	there := items[:0]
	for _, it := range items {
		if it != nil {
			there = append(there, it)
		}
	}
	if gone := len(items) - len(there) - int(spoilt.Load()); gone > 0 {
		q.log.Error("notifications were removed from the queue's stream by somebody else", "lane", l.messages(), "count", gone)
	}
	return there, nil
}

// read makes the item at p of a pack. It does not keep the pack in memory.
func read(first uint64, pieces [][]byte, p place) *item {
	i := p.index()
	return &item{n: decode(bytes.Clone(pieces[i]), first+uint64(i)), place: p}
}

package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// A record is what is kept of a lane beside the stream: how far it was read,
// and of that the few that are not settled. Acknowledgements of the last
// moments before a crash may be missing in it: that work is handed out again,
// and the ledger knows it.
type record struct {
	Read    uint64  `json:"read"`              // the lane was read up to here
	At      uint64  `json:"at"`                // in this message of the stream
	Mark    uint64  `json:"mark,omitempty"`    // and handed out up to here at most
	Again   uint64  `json:"again,omitempty"`   // beyond Read: Again up to here
	Stopped bool    `json:"stopped,omitempty"` // nothing was at hand any more
	Waiting []place `json:"waiting,omitempty"` // unsettled up to Read; each as the distance to the one before
	Tried   []tried `json:"tried,omitempty"`   // of these, those that came back
}

type tried struct {
	Seq      uint64 `json:"s"`
	Attempts int    `json:"n,omitempty"`
	Wait     int64  `json:"w,omitempty"` // ms from when the record was written; no clock is asked how late it is
	Again    bool   `json:"a,omitempty"`
	Blocks   bool   `json:"b,omitempty"`
	Alone    bool   `json:"o,omitempty"`
}

// record makes the lane's. ahead is how many more may be handed out before
// the next one has to be saved.
func (q *Queue) record(l *lane, stopped bool) record {
	rec := record{Read: l.read, At: l.at, Stopped: stopped}
	if l.again > l.read {
		rec.Again = l.again
	}
	beyond, before, now := 0, place(0), time.Now()
	if l.handed > 0 {
		rec.Mark = max(l.mark, l.read+uint64(q.ahead))
	}
	for _, it := range l.items {
		if it.settled {
			continue
		}
		rec.Waiting = append(rec.Waiting, it.place-before)
		before = it.place
		if l.handed > 0 && it.n.Seq > l.handed {
			if beyond++; beyond == q.ahead {
				rec.Mark = max(l.mark, it.n.Seq)
			}
		}
		alone := it.of.alone
		if it.n.Attempts == 0 && !it.n.Again && !alone && it.notBefore.IsZero() {
			continue
		}
		t := tried{Seq: it.n.Seq, Attempts: it.n.Attempts, Again: it.n.Again, Blocks: it.blocks, Alone: alone}
		if !it.notBefore.IsZero() {
			t.Wait = max(1, it.notBefore.Sub(now).Milliseconds())
		}
		rec.Tried = append(rec.Tried, t)
	}
	return rec
}

// keepCursors saves the records until ctx is done: those that changed ten
// times a second, and at once when a worker waits for one.
func (q *Queue) keepCursors(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	failing := false
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-q.urgent:
		case <-tick.C:
		}
		err := q.save(ctx, n%10 == 0, false)
		switch {
		case err != nil && ctx.Err() == nil:
			if !failing {
				q.log.Error("the queue's cursors cannot be saved; nothing new is handed out until they can", "error", err)
			}
			failing = true
			select {
			case <-ctx.Done():
			case <-time.After(saveEvery):
			}
		case err == nil && failing:
			failing = false
			q.log.Info("the queue's cursors can be saved again")
		}
	}
}

// save writes the records of the lanes that changed, with moved also of those
// of which nothing changed but how far they were read. With stopped it writes
// all, for good. One save goes at a time: an older record never replaces a
// newer one.
func (q *Queue) save(ctx context.Context, moved, stopped bool) error {
	q.saving.Lock()
	defer q.saving.Unlock()
	for _, l := range q.lanes {
		q.mu.Lock()
		if !l.changed && !(moved && l.moved) && !stopped {
			q.mu.Unlock()
			continue
		}
		rec := q.record(l, stopped)
		floor, floorAt := l.settledTo()
		l.changed, l.moved = false, false
		q.mu.Unlock()

		data, err := json.Marshal(rec)
		if err == nil {
			_, err = q.store.Append(ctx, &nats.Msg{Subject: l.subject(), Data: data})
		}
		q.mu.Lock()
		if err != nil {
			l.changed = true
			q.mu.Unlock()
			return fmt.Errorf("save the cursor of %s: %w", l.subject(), err)
		}
		l.mark = max(l.mark, rec.Mark)
		l.floor.Store(floor)
		l.floorAt.Store(floorAt)
		q.covered.Broadcast()
		q.mu.Unlock()
	}
	return nil
}

// cover returns once it is on disk that b may be handed out; false when ctx
// was done before.
func (q *Queue) cover(ctx context.Context, b *batch) bool {
	for _, it := range b.items {
		it.lane.handed = max(it.lane.handed, it.n.Seq)
	}
	for {
		covered := true
		for _, it := range b.items {
			if it.n.Seq > it.lane.mark {
				it.lane.changed = true
				covered = false
			}
		}
		if covered || ctx.Err() != nil {
			return covered
		}
		select {
		case q.urgent <- struct{}{}:
		default:
		}
		q.covered.Wait()
	}
}

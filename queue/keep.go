package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go/jetstream"
)

// How often the keeper looks, and what is worth a purge.
const (
	lookEvery    = 500 * time.Millisecond
	compareEvery = 4 // looks
	purgePacks   = 1000
	purgeEvery   = 30 * time.Second
	probeWithin  = 2 * time.Second
)

// keep does what has to be done now and then, until ctx is done: it removes
// what is settled from the stream, stops handing out while the disk has no room
// or the cluster is lost, and finds what lies in the stream without our knowing.
func (q *Queue) keep(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	p := &keeper{}
	for n := 1; ; n++ {
		full := false
		select {
		case <-ctx.Done():
			return
		case <-q.isFull:
			full = true
		case <-tick.C:
		}
		q.watchStore(ctx)
		if n%compareEvery == 0 {
			q.compare(ctx, p)
		}
		if err := q.purge(ctx, p, full); err != nil && ctx.Err() == nil && !p.failing {
			p.failing = true
			q.log.Warn("what is settled cannot be removed from the queue", "error", err)
		} else if err == nil {
			p.failing = false
		}
	}
}

// makeRoom has what is settled purged soon.
func (q *Queue) makeRoom() {
	select {
	case q.isFull <- struct{}{}:
	default:
	}
}

// watchStore holds back all hand-outs while the ledger could not be written.
func (q *Queue) watchStore(ctx context.Context) {
	err := q.store.Ready()
	if errors.Is(err, store.ErrUnreachable) {
		probing, done := context.WithTimeout(ctx, probeWithin)
		err = q.store.Probe(probing)
		done()
	}
	q.mu.Lock()
	before := q.shut
	switch {
	case err == nil:
		q.shut = nil
	case before == nil:
		q.shut = &Hold{Project: AllProjects, Since: time.Now(), Why: err.Error()}
	}
	q.ready.Signal()
	q.mu.Unlock()
	switch {
	case err != nil && before == nil:
		q.log.Error("nothing can be stored; nothing is handed out until it can", "error", err)
	case err == nil && before != nil:
		q.log.Info("the store can be written again", "after", time.Since(before.Since))
	}
}

// compare has the lanes read when the stream is longer than Put knows, and was
// so the last time: a commit that is under way is no reason.
func (q *Queue) compare(ctx context.Context, p *keeper) {
	info, err := q.stream.Info(ctx)
	if err != nil {
		return // who puts or reads meets it as well, and says so
	}
	q.mu.Lock()
	longer := p.longer > q.end
	q.mu.Unlock()
	if longer {
		err = q.measure(ctx)
	}
	if err == nil {
		p.longer = info.State.LastSeq
	}
}

// A keeper remembers what it saw and did last.
type keeper struct {
	longer  uint64 // the stream's last message
	to      uint64 // the stream was purged up to this message
	at      time.Time
	failing bool
}

// purge removes what is settled durably in all lanes, once that is worth it or
// the stream is full. Where one lane is far behind, because its project is
// held, the lanes that are ahead are purged on their own: they must not fill
// the disk. The newest pack always stays, so that the count of the received
// cannot be lost with it.
func (q *Queue) purge(ctx context.Context, p *keeper, full bool) error {
	q.mu.Lock()
	end, newest := q.end, q.newest
	q.mu.Unlock()
	least := end
	for _, l := range q.lanes {
		least = min(least, l.floorAt.Load())
	}
	late := p.at.Add(purgeEvery).Before(time.Now())
	if least > p.to && (full || late || least-p.to >= purgePacks) {
		if err := q.stream.Purge(ctx, jetstream.WithPurgeSequence(min(least+1, newest))); err != nil {
			return fmt.Errorf("purge up to %d: %w", least, err)
		}
		p.to, p.at = least, time.Now()
	}
	for _, l := range q.lanes {
		floor, done := l.floorAt.Load(), max(p.to, l.purged)
		if floor < done+purgePacks && !(full && floor > done) {
			continue
		}
		err := q.stream.Purge(ctx, jetstream.WithPurgeSubject(l.messages()), jetstream.WithPurgeSequence(min(floor+1, newest)))
		if err != nil {
			return fmt.Errorf("purge %s up to %d: %w", l.messages(), floor, err)
		}
		l.purged = floor
	}
	return nil
}

package queue

import (
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// bare is a queue without a store, of one live lane.
func bare() (*Queue, *lane) {
	l := newLane("p", false)
	q := &Queue{
		lanes:    []*lane{l},
		ahead:    10,
		opened:   time.Unix(1_000_000, 0),
		schedule: newSchedule(rules{Workers: 1, BatchSize: 10}, []string{"p"}, time.Unix(1_000_000, 0)),
	}
	q.ready.L, q.covered.L = &q.mu, &q.mu
	return q, l
}

// taken puts one notification at seq and tells whether the lane took it.
func taken(q *Queue, l *lane, seq uint64) bool {
	open := l.open
	q.stored(l, []ct2fluent.Notification{note("p", "1")}, seq, seq)
	return l.open > open
}

// What Put cannot hand over is between what the lane has and what comes next:
// taking the next one would lose it.
func TestALaneThatIsBehindTakesNothingFromPut(t *testing.T) {
	t.Parallel()
	q, l := bare()
	if !taken(q, l, 1) {
		t.Error("a lane at the end of the stream did not take the next one")
	}
	l.fresh = windowFresh
	if taken(q, l, 2) {
		t.Error("a full lane took one")
	}
	l.fresh = 0
	if taken(q, l, 3) || l.read != 1 {
		t.Errorf("a lane that lacks one took the next; it is at %d", l.read)
	}
	l.reading = true
	q.caughtUp(l, 3, 3)
	if l.reading || !taken(q, l, 4) {
		t.Error("a lane that has caught up did not take the next one")
	}
	if taken(q, l, 6) || !l.check {
		t.Error("a lane did not see the gap")
	}
}

func TestALaneThatHasNothingIsAtTheEnd(t *testing.T) {
	t.Parallel()
	q, l := bare()
	l.reading = true
	q.tail, q.end = 7, 7 // others were put while the lane was read up to 3
	q.caughtUp(l, 3, 3)
	if l.read != 7 || l.reading {
		t.Errorf("the lane is at %d, reading %v; want 7 and done", l.read, l.reading)
	}
}

func TestAgainIsRememberedUntilAllOfItIsRead(t *testing.T) {
	t.Parallel()
	q, l := bare()
	l.read, l.again = 5, 10
	if got := q.record(l, true).Again; got != 10 {
		t.Errorf("Again up to %d, want 10", got)
	}
	l.read = 10
	if got := q.record(l, true).Again; got != 0 {
		t.Errorf("Again up to %d, want 0", got)
	}
}

func TestWhatWasHandedOutAfterTheLastSaveIsAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Projects: []string{"p"}, UnclearWait: time.Millisecond}
	q := openKept(t, store.Options{Dir: dir}, o)
	mustPut(t, q, note("p", "1"))
	workAll(t, q, 1, written)
	q.saving.Lock() // no more saves
	defer q.saving.Unlock()
	mustPut(t, q, note("p", "2"))
	q.mu.Lock()
	b := q.schedule.next(time.Now())
	covered := q.cover(t.Context(), b)
	q.mu.Unlock()
	if !covered {
		t.Fatal("not handed out")
	}
	q.Crash()

	q = openKept(t, store.Options{Dir: dir}, o)
	if got := workAll(t, q, 1, written)[0]; got.ID != "2" || !got.Again {
		t.Errorf("got %s, Again %v; want 2, Again", got.ID, got.Again)
	}
}

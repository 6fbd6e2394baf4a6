package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/ct2fluent/ct2fluent/store/storetest"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func note(project, id string) ct2fluent.Notification {
	return ct2fluent.Notification{ID: id, Ref: ct2fluent.Ref{Project: project, TypeID: "customer", ID: id}, Received: time.Unix(1_700_000_000, 0)}
}

func notes(project string, n int) []ct2fluent.Notification {
	ns := make([]ct2fluent.Notification, n)
	for i := range ns {
		ns[i] = note(project, fmt.Sprint(i))
	}
	return ns
}

func mustPut(t *testing.T, q *kept, ns ...ct2fluent.Notification) {
	t.Helper()
	if err := q.Put(t.Context(), ns...); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// workAll works q, answering by answer, until count notifications were handed
// out.
func workAll(t *testing.T, q *kept, count int, answer func(n ct2fluent.Notification) error) []ct2fluent.Notification {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var mu sync.Mutex
	var got []ct2fluent.Notification
	err := q.Work(ctx, ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
		mu.Lock()
		defer mu.Unlock()
		errs := make([]error, len(batch))
		for i, n := range batch {
			errs[i] = answer(n)
			got = append(got, n)
		}
		if len(got) >= count {
			stop()
		}
		return errs
	}))
	if err != nil || len(got) < count {
		t.Fatalf("Work: %v after %d of %d", err, len(got), count)
	}
	return got
}

func written(ct2fluent.Notification) error { return nil }

func TestALaneThatIsFullReadsOnLater(t *testing.T) {
	t.Parallel()
	const count = windowFresh + 2500
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p"}})
	mustPut(t, q, notes("p", count)...)
	if s := q.Lanes()[2]; s.Project != "p" || s.Bulk || s.Waiting < windowFresh || s.Waiting >= windowFresh+groupMessages || !s.Behind {
		t.Errorf("lane is %+v, want it full", s)
	}
	seen := map[uint64]bool{}
	for _, n := range workAll(t, q, count, written) {
		seen[n.Seq] = true
	}
	if len(seen) != count {
		t.Errorf("%d worked, want %d", len(seen), count)
	}
	eventually(t, "the floor is at the end", func() bool { return q.Floor("p") == count })
	if _, waits := q.Oldest(); waits {
		t.Error("something waits")
	}
	q.makeRoom()
	eventually(t, "what is settled is purged", func() bool {
		info, err := q.stream.Info(t.Context())
		return err == nil && info.State.Msgs == 1
	})
	if got, err := q.Received(t.Context()); got != count {
		t.Errorf("%d received, %v; want %d", got, err, count)
	}
}

func TestLiveDoesNotWaitBehindABacklogOfBulk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Projects: []string{"p"}, Workers: 1}
	q := openKept(t, store.Options{Dir: dir}, o)
	backlog := notes("p", 3000)
	for i := range backlog {
		backlog[i].Bulk = true
	}
	mustPut(t, q, backlog...)
	mustPut(t, q, note("p", "live"))
	q.Crash()

	q = openKept(t, store.Options{Dir: dir}, o)
	eventually(t, "the live lane is read", func() bool { return q.Lanes()[2].Waiting == 1 })
	if got := workAll(t, q, 1, written); got[0].ID != "live" || got[0].Again {
		t.Errorf("got %q first, Again %v", got[0].ID, got[0].Again)
	}
}

func TestAProjectThatIsConfiguredNoLongerIsWorked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := openKept(t, store.Options{Dir: dir}, Options{Projects: []string{"p", "old"}})
	mustPut(t, q, note("old", "1"), note("stranger", "2"), note("p", "3"))
	workAll(t, q, 3, func(n ct2fluent.Notification) error {
		if n.ID == "3" {
			return nil
		}
		return ct2fluent.RetryAfter(time.Second, errFault)
	})
	mustPut(t, q, note("old", "4"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = openKept(t, store.Options{Dir: dir}, Options{Projects: []string{"p", "stranger"}})
	mustPut(t, q, note("old", "5"))
	var ids []string
	for _, n := range workAll(t, q, 4, written) {
		ids = append(ids, n.ID)
	}
	slices.Sort(ids)
	if got := strings.Join(ids, ""); got != "1245" {
		t.Errorf("worked %s, want 1245", got)
	}
	for _, p := range []string{"p", "old", "stranger", "other"} {
		eventually(t, p+" is settled", func() bool { return q.Floor(p) == 5 })
	}
}

func TestTheFloorIsWhatADiskKnows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Projects: []string{"p", "q"}}
	q := openKept(t, store.Options{Dir: dir}, o)
	mustPut(t, q, note("p", "1"))
	mustPut(t, q, note("q", "2"))
	mustPut(t, q, note("p", "3"))
	later := func(n ct2fluent.Notification) error {
		if n.ID == "2" {
			return ct2fluent.RetryAfter(time.Hour, errFault)
		}
		return nil
	}
	workAll(t, q, 3, later)
	mustPut(t, q, note("p", "4"))
	workAll(t, q, 1, later)
	if got := q.Floor("p"); got != 4 {
		t.Errorf("floor of p is %d, want 4", got)
	}
	if got := q.Floor("q"); got != 1 {
		t.Errorf("floor of q is %d, want 1", got)
	}
	if at, waits := q.Oldest(); !waits || !at.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("oldest is %v, %v", at, waits)
	}
	q.Crash()
	q = openKept(t, store.Options{Dir: dir}, o)
	if p, q := q.Floor("p"), q.Floor("q"); p != 4 || q != 1 {
		t.Errorf("after a crash the floors are %d and %d, want 4 and 1", p, q)
	}
}

func TestOnlyWhatMayHaveBeenAtHandIsAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Projects: []string{"p"}, Workers: 1, BatchSize: 1, UnclearWait: time.Millisecond}
	q := openKept(t, store.Options{Dir: dir}, o)
	mustPut(t, q, notes("p", 20)...)
	workAll(t, q, 1, func(ct2fluent.Notification) error { return ct2fluent.RetryAfter(time.Minute, errFault) })
	q.Crash()
	// A stop in between loses nothing of it, nor does a second crash.
	if err := openKept(t, store.Options{Dir: dir}, o).Close(); err != nil {
		t.Fatal(err)
	}
	openKept(t, store.Options{Dir: dir}, o).Crash()

	q = openKept(t, store.Options{Dir: dir}, o)
	again := 0
	for _, n := range workAll(t, q, 19, written) {
		if n.Again {
			again++
		} else if n.Seq <= 2 {
			t.Errorf("%d is not Again", n.Seq)
		}
	}
	if limit := 1 + q.ahead; again > limit {
		t.Errorf("%d are Again, want %d at most", again, limit)
	}
}

func TestAHeldProjectDoesNotLetTheOthersFillTheDisk(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p", "q"}, MaxBytes: 1 << 20})
	mustPut(t, q, note("p", "held"))
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		_ = q.Work(ctx, ct2fluent.Each(func(_ context.Context, n ct2fluent.Notification) error {
			if n.Ref.Project == "p" {
				return errDown
			}
			return nil
		}))
	})
	for i := range 100 {
		n := note("q", fmt.Sprint(i))
		n.Body = make([]byte, 64<<10)
		eventually(t, "there is room", func() bool {
			err := q.Put(t.Context(), n)
			if err != nil && !errors.Is(err, ct2fluent.ErrFull) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	stop()
	working.Wait()
	if q.Floor("p") != 0 {
		t.Error("the held one is gone")
	}
}

func TestWithoutRoomNothingIsTakenNorHandedOut(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(math.MaxInt64)
	q := openKept(t, store.Options{Dir: t.TempDir(), Free: func(string) (int64, error) { return free.Load(), nil }}, Options{Projects: []string{"p"}})
	mustPut(t, q, note("p", "1"))
	free.Store(0)
	if err := q.Put(t.Context(), note("p", "2")); !errors.Is(err, ct2fluent.ErrFull) || !errors.Is(err, store.ErrNoRoom) {
		t.Errorf("Put: %v", err)
	}
	eventually(t, "all is held", func() bool { return slices.Equal(q.Holding(), []string{AllProjects}) })
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		_ = q.Work(ctx, ct2fluent.Each(func(context.Context, ct2fluent.Notification) error {
			if free.Load() == 0 {
				t.Error("handed out while there was no room")
			}
			stop()
			return nil
		}))
	})
	eventually(t, "a worker waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.working })
	free.Store(math.MaxInt64)
	working.Wait()
	mustPut(t, q, note("p", "3"))
}

// What is worked while the cluster is lost could not be settled, and would be
// worked once more.
func TestWithoutTheClusterNothingIsHandedOut(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*storetest.Cluster, *kept){
		"it is away": func(one *storetest.Cluster, _ *kept) { one.Stop() },
		"it has no quorum": func(one *storetest.Cluster, q *kept) {
			one.Mute()
			if err := q.Put(t.Context(), note("p", "3")); !errors.Is(err, store.ErrUnreachable) {
				t.Errorf("Put: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := storetest.New(t, server.Options{})
			q := openKept(t, store.Options{URL: "nats://" + one.Address()}, Options{Projects: []string{"p"}})
			mustPut(t, q, note("p", "1"))
			workAll(t, q, 1, written) // more may be handed out now without a record
			mustPut(t, q, note("p", "2"))
			lose(one, q)
			eventually(t, "all is held", func() bool { return slices.Equal(q.Holding(), []string{AllProjects}) })
			var back atomic.Bool
			ctx, stop := context.WithCancel(t.Context())
			var working sync.WaitGroup
			working.Go(func() {
				_ = q.Work(ctx, ct2fluent.Each(func(context.Context, ct2fluent.Notification) error {
					if !back.Load() {
						t.Error("handed out while the cluster was lost")
					}
					stop()
					return nil
				}))
			})
			eventually(t, "a worker waits", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return q.working })
			back.Store(true)
			one.Stop()
			one.Start()
			working.Wait()
		})
	}
}

func TestWhatWasStoredUnseenIsWorked(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p"}})
	unseen := func(seq uint64, id string) {
		piece, _, err := encode(note("p", id))
		if err != nil {
			t.Fatal(err)
		}
		data, err := pack(seq, [][]byte{piece})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.store.Append(t.Context(), &nats.Msg{Subject: "n.live.p", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	unseen(1, "1")
	mustPut(t, q, note("p", "2")) // shows that there is one before it
	workAll(t, q, 2, written)
	unseen(3, "3")
	var k keeper // compares now and then
	q.compare(t.Context(), &k)
	q.compare(t.Context(), &k)
	workAll(t, q, 1, written)
	eventually(t, "the floor is at the end", func() bool { return q.Floor("p") == 3 })
}

func TestOneThatIsRefusedDoesNotFailItsGroup(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p"}})
	cfg := q.stream.CachedInfo().Config
	cfg.MaxMsgSize = 1000
	if _, err := q.store.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	const count = 10
	group := make([]*put, count)
	for i := range group {
		n := note("p", fmt.Sprint(i))
		if i == 1 {
			n.Body = make([]byte, 2000)
		}
		data, kept, err := encode(n)
		if err != nil {
			t.Fatal(err)
		}
		group[i] = &put{done: make(chan error, 1)}
		group[i].add(q.laneOf(n), kept, data)
	}
	q.commit(t.Context(), group)
	for i, p := range group {
		if err := <-p.done; (err != nil) != (i == 1) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got, err := q.Received(t.Context()); err != nil || got != count-1 {
		t.Errorf("%d received, %v; want %d", got, err, count-1)
	}
}

// What somebody else has put into the stream is no notification: it is neither
// counted nor worked, and what follows it is numbered on.
func TestWhatIsNotOursIsPassedOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := openKept(t, store.Options{Dir: dir}, Options{Projects: []string{"p"}})
	mustPut(t, q, note("p", "1"))
	if _, err := q.store.Append(t.Context(), &nats.Msg{Subject: "n.live.p", Data: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	mustPut(t, q, note("p", "2"))
	for _, n := range workAll(t, q, 2, func(ct2fluent.Notification) error { return ct2fluent.RetryAfter(time.Second, errFault) }) {
		if n.ID != fmt.Sprint(n.Seq) {
			t.Errorf("%s is number %d", n.ID, n.Seq)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = openKept(t, store.Options{Dir: dir}, Options{Projects: []string{"p"}})
	workAll(t, q, 2, written)
	if got, err := q.Received(t.Context()); err != nil || got != 2 {
		t.Errorf("%d received, %v; want 2", got, err)
	}
}

// One pack is larger than a message may be; the notifications go in several.
func TestMoreThanOneMessageHolds(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p", "q"}})
	ns := append(notes("p", 2500), notes("q", 100)...)
	for i := range ns {
		ns[i].Body = make([]byte, 5000)
	}
	mustPut(t, q, ns...)
	seen := map[uint64]bool{}
	for _, n := range workAll(t, q, len(ns), written) {
		seen[n.Seq] = true
	}
	if len(seen) != len(ns) || q.end > 10 {
		t.Errorf("%d came of %d, in %d messages", len(seen), len(ns), q.end)
	}
}

func TestLargeBodies(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p"}})
	ns := notes("p", 6)
	for i := range ns {
		ns[i].Body = make([]byte, 1<<20)
		ns[i].Ref.ID = strings.Repeat("x", i*10_000)
	}
	mustPut(t, q, ns...)
	big := note("p", "big")
	big.Body = make([]byte, store.MaxPayload)
	if err := q.Put(t.Context(), big); err == nil || errors.Is(err, ct2fluent.ErrFull) {
		t.Errorf("Put of more than the store takes: %v", err)
	}
	for _, n := range workAll(t, q, 6, written) {
		if len(n.Body) != 1<<20 {
			t.Errorf("a body of %d", len(n.Body))
		}
	}
}

func TestAStopIsNoFaultOfTheNotification(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Projects: []string{"p"}, StopTimeout: time.Millisecond, UnclearWait: 10 * time.Millisecond}
	q := openKept(t, store.Options{Dir: dir}, o)
	mustPut(t, q, note("p", "1"))
	ctx, stop := context.WithCancel(t.Context())
	err := q.Work(ctx, ct2fluent.Each(func(ctx context.Context, _ ct2fluent.Notification) error {
		stop()
		<-ctx.Done()
		return fmt.Errorf("write: %w", ctx.Err())
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = openKept(t, store.Options{Dir: dir}, o)
	if n := workAll(t, q, 1, written)[0]; n.Attempts != 0 || !n.Again {
		t.Errorf("came back with %d attempts, Again %v; want 0 and true", n.Attempts, n.Again)
	}
}

func TestTheStreamRefusesRatherThanDrops(t *testing.T) {
	t.Parallel()
	q := openKept(t, store.Options{Dir: t.TempDir()}, Options{})
	if cfg := q.stream.CachedInfo().Config; cfg.Discard != jetstream.DiscardNew || cfg.MaxBytes != 8<<30 || cfg.Retention != jetstream.LimitsPolicy {
		t.Errorf("the stream is %+v", cfg)
	}
}

// What waits, waits on after a restart: as long as was left, whatever the clock
// says by then.
func TestAWaitOutlivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Projects: []string{"p"}}
	q := openKept(t, store.Options{Dir: dir}, o)
	mustPut(t, q, note("p", "1"))
	workAll(t, q, 1, func(ct2fluent.Notification) error { return ct2fluent.RetryAfter(time.Hour, errFault) })
	msg, err := q.cursors.GetLastMsgForSubject(t.Context(), "c.live.p")
	if err != nil {
		t.Fatal(err)
	}
	var rec record
	if err := json.Unmarshal(msg.Data, &rec); err != nil || len(rec.Tried) != 1 || time.Duration(rec.Tried[0].Wait)*time.Millisecond > time.Hour {
		t.Errorf("the record is %s, %v; want what is left of the hour", msg.Data, err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = openKept(t, store.Options{Dir: dir}, o)
	q.mu.Lock()
	defer q.mu.Unlock()
	if left := q.lanes[2].items[0].notBefore.Sub(q.opened); left > time.Hour || left < 59*time.Minute {
		t.Errorf("it waits for %v, want the rest of an hour", left)
	}
}

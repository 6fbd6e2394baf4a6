package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
)

// A shelf is a logged journal in a store that can be crashed.
type shelf struct {
	*logged
	t     *testing.T
	dir   string
	store *store.Store
	lose  bool // the next append is stored, and its answer lost

	during func() // called before each append
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{t: t, dir: t.TempDir()}
	s.open()
	t.Cleanup(func() { s.store.Crash() })
	return s
}

func (s *shelf) open() {
	s.t.Helper()
	var err error
	if s.store, err = store.Open(s.t.Context(), store.Options{Dir: s.dir}); err != nil {
		s.t.Fatal(err)
	}
	if s.logged, err = openLogged(s.t.Context(), shelfStore{s.store, s}, slog.New(slog.DiscardHandler)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shelf) crash() {
	s.t.Helper()
	s.store.Crash()
	s.open()
}

type shelfStore struct {
	*store.Store
	s *shelf
}

var errLost = errors.New("the answer is lost")

func (s shelfStore) Append(ctx context.Context, msgs ...*nats.Msg) (uint64, error) {
	if s.s.during != nil {
		s.s.during()
	}
	last, err := s.Store.Append(ctx, msgs...)
	if s.s.lose {
		s.s.lose = false
		return 0, errLost
	}
	return last, err
}

func (s *shelf) add(msgs ...*nats.Msg) uint64 {
	s.t.Helper()
	last, err := s.Append(s.t.Context(), msgs...)
	if err != nil {
		s.t.Fatal(err)
	}
	return last
}

func text(subject, data string) *nats.Msg { return &nats.Msg{Subject: subject, Data: []byte(data)} }

// newest tells what the newest messages of subjects say.
func (s *shelf) newest(subjects ...string) (texts []string) {
	s.t.Helper()
	found, err := s.Newest(s.t.Context(), subjects...)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range subjects {
		texts = append(texts, string(found[name].Data))
	}
	return texts
}

func (s *shelf) wantNewest(subject, want string) {
	s.t.Helper()
	if got := s.newest(subject)[0]; got != want {
		s.t.Errorf("the newest of %s is %q, want %q", subject, got, want)
	}
}

// wantIndexed compares how many messages of all but marks and totals are moved.
func (s *shelf) wantIndexed(want int) {
	s.t.Helper()
	s.wantStream(s.index, want)
}

func (s *shelf) wantStream(one *stream, want int) {
	s.t.Helper()
	info, err := one.js.Info(s.t.Context())
	if err != nil || info.State.Msgs != uint64(want) {
		s.t.Errorf("%d messages are in %s, %v; want %d", info.State.Msgs, one.name, err, want)
	}
}

func (s *shelf) moved() {
	s.t.Helper()
	if err := s.flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func TestWhatIsInTheLogOnlyOutlivesACrash(t *testing.T) {
	s := newShelf(t)
	first := s.add(text("l.r.p.customer.a", "1"), text("l.r.p.customer.b", "1"))
	s.add(text("l.r.p.customer.a", "2"))
	for range 2 {
		s.crash()
		s.wantNewest("l.r.p.customer.a", "2")
		s.wantNewest("l.r.p.customer.b", "1")
		if last := s.add(text("l.r.p.customer.c", "1")); last <= first {
			t.Errorf("sequence %d is given again after %d", last, first)
		}
	}
}

func TestWhatIsMovedComesFromTheIndex(t *testing.T) {
	s := newShelf(t)
	a := "l.r.p.customer.a"
	s.add(text(a, "1"))
	last := s.add(text(a, "2"))
	s.moved()
	s.wantIndexed(2)
	if info, err := s.log.js.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("the log has %d messages, %v; want its last", info.State.Msgs, err)
	}
	s.crash() // the log's last message is read again, and is known to be moved
	s.moved()
	s.wantIndexed(2)
	s.wantNewest(a, "2")
	found, err := s.Newest(t.Context(), a)
	if err != nil || found[a].Seq != last {
		t.Errorf("after it was moved its sequence is %d, %v; want %d", found[a].Seq, err, last)
	}
	m := text(a, "3")
	m.Header = nats.Header{"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(last-1, 10)}}
	if _, err := s.Append(t.Context(), m); !errors.Is(err, store.ErrOvertaken) {
		t.Errorf("appended after %d though it is at %d: %v", last-1, last, err)
	}
	m.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.FormatUint(last, 10))
	s.add(m)
}

func TestWhatIsWrittenOverIsNotMoved(t *testing.T) {
	s := newShelf(t)
	passes := text("l.r.p.customer.a", "intent")
	passes.Header = nats.Header{passing: {"1"}}
	s.add(passes, text(totalsSubject, "1"), text("l.m.x", "1"))
	s.add(text("l.r.p.customer.a", "outcome"), text(totalsSubject, "2"), text("l.m.x", "2"))
	s.add(text("l.r.p.customer.a", "next"))
	s.moved()
	s.wantIndexed(2)
	s.wantStream(s.marks, 2)
	s.wantNewest("l.r.p.customer.a", "next")
	alone := text("l.r.p.customer.b", "intent")
	alone.Header = nats.Header{passing: {"1"}}
	s.add(alone)
	s.moved()
	s.wantIndexed(3)
}

func TestOfMarksAndTotalsOneIsKept(t *testing.T) {
	s := newShelf(t)
	for i := range 3 {
		s.add(text("l.m.x", strconv.Itoa(i)), text(totalsSubject, strconv.Itoa(i)), text("l.r.p.customer.a", strconv.Itoa(i)))
		s.moved()
	}
	s.wantStream(s.marks, 2)
	s.wantIndexed(3)
	s.crash()
	if got := s.newest("l.m.x", totalsSubject, "l.r.p.customer.a", "l.m.y"); !slices.Equal(got, []string{"2", "2", "2", ""}) {
		t.Errorf("after a crash the newest are %q", got)
	}
}

// Promise 2: what was kept among the resources counts until it is written anew.
func TestMarksOfAnEarlierVersionAreFound(t *testing.T) {
	s := newShelf(t)
	if _, err := s.index.Append(t.Context(), text("l.m.x", "7\nold"), text(totalsSubject, "8\nold")); err != nil {
		t.Fatal(err)
	}
	s.crash()
	s.wantNewest("l.m.x", "old")
	s.wantNewest(totalsSubject, "old")
	s.add(text("l.m.x", "new"))
	s.moved()
	s.crash()
	s.wantNewest("l.m.x", "new")
	s.wantNewest(totalsSubject, "old")
	// The earlier version has worked once more.
	s.add(text("l.r.p.customer.a", "1"))
	s.moved()
	if _, err := s.index.Append(t.Context(), text("l.m.x", fmt.Sprintf("%d\nlater", placeOf(1<<30, 0)))); err != nil {
		t.Fatal(err)
	}
	s.crash()
	s.wantNewest("l.m.x", "later")
}

// Promise 2: a batch that was moved in part is moved whole, and nothing twice.
func TestAMoveThatEndsInTheMiddle(t *testing.T) {
	for _, crash := range []bool{false, true} {
		s := newShelf(t)
		s.add(text(letterSubject(1), "letter"), text(totalsSubject, "1"), text("l.r.p.customer.a", "1"))
		appends := 0
		s.during = func() {
			appends++
			s.lose = appends == 1
		}
		if err := s.flush(t.Context()); !errors.Is(err, errLost) {
			t.Fatalf("got %v, want errLost", err)
		}
		s.wantIndexed(2)
		s.wantStream(s.marks, 0)
		if crash {
			s.crash()
		}
		s.moved()
		s.wantIndexed(2)
		s.wantStream(s.marks, 1)
		s.wantNewest(totalsSubject, "1")
	}
}

// Promise 2: a dead letter that was replayed must not come back from the log.
func TestARemovedLetterDoesNotComeBack(t *testing.T) {
	s := newShelf(t)
	for i := range 2 {
		subject := letterSubject(uint64(i + 1))
		s.add(text(subject, "letter"))
		found, err := s.Newest(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(t.Context(), found[subject].Seq); err != nil {
			t.Fatal(err)
		}
		s.crash()
		s.moved()
		s.wantIndexed(0)
	}
}

// A write whose answer was lost is found before anything is built on it.
func TestALostAnswerOfTheLog(t *testing.T) {
	s := newShelf(t)
	a := "l.r.p.customer.a"
	s.add(text(a, "1"))
	s.lose = true
	if _, err := s.Append(t.Context(), text(a, "2")); !errors.Is(err, errLost) {
		t.Fatalf("got %v, want errLost", err)
	}
	s.wantNewest(a, "2")
	s.lose = true
	if _, err := s.Append(t.Context(), text(a, "3")); !errors.Is(err, errLost) {
		t.Fatalf("got %v, want errLost", err)
	}
	s.add(text(a, "4"))
	s.moved()
	s.wantIndexed(4)
	s.wantNewest(a, "4")
}

// More than the memory holds, in more resources than the memory remembers.
func TestTheLogIsMovedAsItGrows(t *testing.T) {
	if testing.Short() {
		t.Skip("writes fifty thousand entries")
	}
	s := newShelf(t)
	const n = pendingMost + cachedMost
	for i := 0; i < n; i += 900 {
		var msgs []*nats.Msg
		for k := i; k < min(i+900, n); k++ {
			msgs = append(msgs, text(fmt.Sprintf("l.r.p.customer.%d", k), "x"))
		}
		s.add(msgs...)
		s.mu.Lock()
		if s.pending > pendingMost+900 {
			t.Fatalf("%d wait to be moved, want %d at most", s.pending, pendingMost)
		}
		s.mu.Unlock()
	}
	s.crash()
	s.wantNewest("l.r.p.customer.0", "x")
	s.moved()
	s.wantIndexed(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.subjects) > cachedMost || len(s.order) != len(s.subjects) {
		t.Errorf("%d subjects are remembered, %d in order; want %d at most", len(s.subjects), len(s.order), cachedMost)
	}
}

func TestUnpackLogRefusesWhatIsNone(t *testing.T) {
	for _, data := range []string{"", "x\n", `[{"s":"a","n":5}]` + "\nabc", `[{"s":"a","n":-1}]` + "\nabc", `{}` + "\n"} {
		if ms, err := unpackLog(Message{Data: []byte(data)}); err == nil {
			t.Errorf("%q gives %v", data, ms)
		}
	}
}

// An index write whose answer was lost is looked for before it is repeated:
// twice there, a dead letter would be counted and replayed twice.
func TestALostAnswerOfTheIndex(t *testing.T) {
	s := newShelf(t)
	for i := range 3 {
		s.add(text(letterSubject(uint64(i+1)), "letter"))
	}
	s.lose = true
	if err := s.flush(t.Context()); !errors.Is(err, errLost) {
		t.Fatalf("got %v, want errLost", err)
	}
	s.add(text(letterSubject(4), "letter"))
	s.moved()
	s.wantIndexed(4)
}

// Who stops waiting for a move does not leave it in doubt.
func TestACancelledReaderDoesNotCutAMove(t *testing.T) {
	s := newShelf(t)
	s.add(text("l.r.p.customer.a", "1"))
	ctx, cancel := context.WithCancel(t.Context())
	s.during = cancel
	if _, err := s.Page(ctx, letters+">", 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that of the context", err)
	}
	s.during = nil
	s.wantIndexed(1)
	s.moved()
	s.wantIndexed(1)
}

func TestWhatAMoverLeavesIsMovedAtRest(t *testing.T) {
	s := newShelf(t)
	s.add(text("l.r.p.customer.a", "1"))
	s.idle.Stop()
	s.moveDown(5, 1<<20) // one is not worth it
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		pending := s.pending
		s.mu.Unlock()
		if pending == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it waits for the next that is appended")
		}
	}
	s.wantIndexed(1)
}

// A dead letter's body is not kept in memory once it has its place.
func TestLettersAreNotKeptInMemory(t *testing.T) {
	s := newShelf(t)
	s.add(text(letterSubject(1), "letter"), text("l.r.p.customer.a", "1"))
	s.moved()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subjects[letterSubject(1)] != nil || s.subjects["l.r.p.customer.a"] == nil || s.bytes != 0 {
		t.Errorf("kept: %v, with %d bytes to move", s.subjects, s.bytes)
	}
}

func TestManyBytesAreMovedBeforeManyMessages(t *testing.T) {
	s := newShelf(t)
	for i := range 40 {
		s.add(text(letterSubject(uint64(i+1)), string(make([]byte, 2<<20))))
		s.mu.Lock()
		if s.bytes > bytesMost+2<<20 {
			t.Fatalf("%d bytes wait to be moved", s.bytes)
		}
		s.mu.Unlock()
	}
}

func TestTwoOfOneSubjectCannotExpectTheSame(t *testing.T) {
	s := newShelf(t)
	a := "l.r.p.customer.a"
	for _, j := range []Journal{s, &MemoryJournal{}} {
		if _, err := j.Append(t.Context(), expecting(a, []byte("1"), 0), expecting(a, []byte("2"), 0)); !errors.Is(err, store.ErrOvertaken) {
			t.Errorf("%T: %v, want ErrOvertaken", j, err)
		}
	}
}

// A fill and a batch that end at the same moment must not lose either.
func TestAGroupHoldsAResourceOnce(t *testing.T) {
	c := &committer{waiting: []*part{{subject: "a"}, {subject: "b"}, {subject: "a"}, {subject: "c"}}}
	if n := len(c.take()); n != 2 {
		t.Errorf("the first group has %d parts, want 2", n)
	}
	if n := len(c.take()); n != 2 {
		t.Errorf("the second group has %d parts, want 2", n)
	}
}

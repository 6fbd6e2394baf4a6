package queue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"pgregory.net/rapid"
)

var (
	errFault   = errors.New("fault")
	errDown    = ct2fluent.Unavailable(errors.New("down"))
	errUnclear = ct2fluent.Unclear(errors.New("no answer"))
	errSkipped = ct2fluent.Skip("known")
)

// A desk drives a schedule by hand: time goes on when it is told to.
type desk struct {
	*schedule
	t   interface{ Fatalf(string, ...any) }
	now time.Time
	seq uint64
}

func newDesk(t interface{ Fatalf(string, ...any) }, r rules, projects ...string) *desk {
	o := Options{Workers: r.Workers, BatchSize: r.BatchSize, UnclearWait: r.UnclearWait}
	o.defaults()
	now := time.Unix(1_000_000, 0)
	s := newSchedule(rules{
		Workers: o.Workers, BatchSize: o.BatchSize, UnclearWait: o.UnclearWait, Delays: o.Delays,
		Jitter: func() float64 { return 0 }, Route: func(n *ct2fluent.Notification) string { return n.Name },
	}, projects, now)
	return &desk{schedule: s, t: t, now: now}
}

// puts adds one notification for each word: project/id, with a + for bulk,
// with @ and the route that it takes.
func (d *desk) puts(words string) {
	for _, w := range strings.Fields(words) {
		w, route, _ := strings.Cut(w, "@")
		w, bulk := strings.CutSuffix(w, "+")
		project, id, _ := strings.Cut(w, "/")
		d.seq++
		d.add(&item{n: ct2fluent.Notification{
			Seq: d.seq, Name: route, Bulk: bulk, Ref: ct2fluent.Ref{Project: project, TypeID: "customer", ID: id},
		}}, false, d.now)
	}
}

// gives takes the next batch and checks what is in it: id and sequence, with
// ! for Again and attempts as *n. Empty: there is none.
func (d *desk) gives(want string) *batch {
	b := d.next(d.now)
	var got []string
	if b != nil {
		for _, n := range b.notifications() {
			w := fmt.Sprint(n.Ref.ID, n.Seq)
			if n.Again {
				w += "!"
			}
			if n.Attempts > 0 {
				w += fmt.Sprint("*", n.Attempts)
			}
			got = append(got, w)
		}
	}
	if strings.Join(got, " ") != want {
		d.t.Fatalf("got batch %q, want %q", got, want)
	}
	return b
}

// ends takes b back; the last error stands for all that follow.
func (d *desk) ends(b *batch, errs ...error) {
	for len(errs) < len(b.items) {
		errs = append(errs, errs[len(errs)-1])
	}
	d.done(b, errs, d.now)
}

func (d *desk) after(wait time.Duration) { d.now = d.now.Add(wait) }

// dueIn checks when the schedule wants to be asked again.
func (d *desk) dueIn(want time.Duration) {
	if got := d.due(d.now); got.IsZero() || got.Sub(d.now) != want {
		d.t.Fatalf("due in %v, want %v", got.Sub(d.now), want)
	}
}

func TestWhatIsReadyGoesTogether(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 3}, "p", "q")
	d.puts("p/a p/b q/c p/a+ p/d p/e")
	one := d.gives("a1 a4 b2 d5") // of one resource, both classes, side by side
	d.puts("p/a")
	two := d.gives("c3") // one project at a time, in turns
	three := d.gives("e6")
	d.gives("") // a is at hand
	d.ends(one, nil)
	d.gives("a7")
	d.ends(two, nil)
	d.ends(three, nil)
}

func TestLiveGoesBeforeBulk(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 10, Workers: 2}, "p", "q")
	d.puts("p/a+ q/b+ q/c")
	live := d.gives("c3")
	d.ends(live, nil)
	bulk := d.gives("a1")
	d.gives("") // the other worker is kept for live ones
	d.puts("q/d")
	d.ends(d.gives("d4"), nil)
	d.ends(bulk, nil)
	d.gives("b2")
}

// Beside live traffic an account has one bulk batch at hand; once there was none
// for a while it has all workers but one.
func TestBulkYieldsToLiveTraffic(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 1, Workers: 4}, "p", "q")
	d.puts("p/a+ p/b+ p/c+ p/d+ p/e+ q/f+ p/g")
	d.ends(d.gives("g7"), nil)
	one := d.gives("f6") // in turns
	two := d.gives("a1")
	d.gives("") // each account has one at hand
	d.ends(two, nil)
	two = d.gives("b2")
	d.gives("")
	d.now = d.now.Add(besideFor - time.Second)
	d.gives("")
	d.now = d.now.Add(time.Second)
	three := d.gives("c3")
	d.gives("") // one is kept for live ones
	d.puts("p/h")
	d.ends(d.gives("h8"), nil)
	d.ends(two, nil)
	d.gives("") // there is traffic again, and c is at hand
	d.ends(three, nil)
	d.ends(d.gives("d4"), nil)
	d.ends(one, nil)
}

// A lane that is behind brings what is older than what another lane brought.
func TestAnOlderOneThatComesLaterGoesFirst(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.seq = 10
	d.puts("p/a p/b")
	d.seq = 0
	d.puts("p/b+ p/a+")
	d.gives("b1 b12 a2 a11")
}

func TestAReadyBulkOneBecomesLive(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a+ p/b p/a")
	d.gives("a1 a3 b2")
}

func TestOneSlowProjectDoesNotTakeAllWorkers(t *testing.T) {
	d := newDesk(t, rules{Workers: 3, BatchSize: 1}, "p", "q")
	d.puts("p/a p/b p/c p/d")
	d.gives("a1")
	d.gives("b2")
	d.gives("")
	d.puts("q/e")
	d.gives("e5")
}

func TestAResourceWithMoreThanABatchGoesInOrder(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 1}, "p")
	d.puts("p/a p/a p/a p/a p/a p/a p/b")
	one := d.gives("a1 a2 a3 a4 a5")
	d.gives("b7")
	d.gives("")
	d.ends(one, nil)
	d.gives("a6")
}

// A burst of changes of each resource must not make more batches of it.
func TestABatchCountsResources(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 2}, "p")
	d.puts("p/a p/b p/c p/a p/b p/c p/a")
	d.gives("a1 a4 a7 b2 b5")
	d.gives("c3 c6")
}

func TestARetriedOneIsNotOvertaken(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a p/b")
	b := d.gives("a1 b2")
	d.ends(b, errFault, nil)
	d.puts("p/a p/b")
	d.gives("b4")
	d.dueIn(time.Second)
	d.after(time.Second)
	b = d.gives("a1*1 a3")
	d.ends(b, errFault, ct2fluent.Merged)
	d.dueIn(2 * time.Second)
	d.after(2 * time.Second)
	b = d.gives("a1*2")
	d.ends(b, errFault)
	d.dueIn(4 * time.Second)
	for range 10 {
		d.after(5 * time.Minute)
		d.ends(d.next(d.now), errFault)
	}
	d.dueIn(5 * time.Minute)
}

func TestADelayAskedForIsKeptAndNotCounted(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a")
	d.ends(d.gives("a1"), ct2fluent.RetryAfter(time.Hour, errFault))
	d.puts("p/a")
	d.dueIn(time.Hour)
	d.after(time.Hour)
	d.gives("a1 a2")
}

func TestAnUnclearOneWaitsAndIsPassed(t *testing.T) {
	d := newDesk(t, rules{UnclearWait: 15 * time.Second}, "p")
	d.puts("p/a")
	b := d.gives("a1")
	d.after(10 * time.Second)
	d.ends(b, errUnclear)
	d.puts("p/a")
	d.ends(d.gives("a2"), nil)
	d.gives("")
	d.dueIn(15 * time.Second)
	d.after(15 * time.Second)
	d.ends(d.gives("a1!"), errFault)
	d.after(time.Second)
	d.ends(d.gives("a1!*1"), nil) // it stays Again until it is settled
	d.gives("")
}

func TestADownProjectIsHeld(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 8}, "p", "q")
	d.puts("p/a p/b p/c q/d")
	d.ends(d.gives("a1 b2 c3"), errDown)
	p := d.byName["p"]
	if !p.held || p.why != "down" {
		t.Fatalf("held %v, why %q", p.held, p.why)
	}
	d.ends(d.gives("d4"), nil) // others go on
	// One resource at a time asks, each in turn, later and later.
	for i, id := range []string{"a1", "b2", "c3", "a1", "b2"} {
		wait := min(time.Second<<i, 5*time.Second)
		d.gives("")
		d.dueIn(wait)
		d.after(wait)
		b := d.gives(id)
		d.gives("")
		d.ends(b, errDown)
	}
	d.after(5 * time.Second)
	d.ends(d.gives("c3"), nil)
	if p.held {
		t.Fatal("held though written")
	}
	// It recovers slowly, and nothing has counted.
	d.puts("p/e p/f p/g p/h p/i p/j p/k p/l")
	d.ends(d.gives("a1"), nil)
	d.ends(d.gives("b2 e5"), nil)
	d.ends(d.gives("f6 g7 h8 i9"), nil)
	d.puts("p/m p/n p/o p/q p/r p/s")
	d.gives("j10 k11 l12 m13 n14 o15 q16 r17")
}

func TestAHoldTellsItsLatestReason(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a")
	d.ends(d.gives("a1"), errDown)
	d.after(time.Second)
	d.ends(d.gives("a1"), ct2fluent.Unavailable(errors.New("password refused")))
	if p := d.byName["p"]; !p.held || p.why != "password refused" {
		t.Errorf("held %v, why %q", p.held, p.why)
	}
}

func TestAProbeThatAsksNothingIsFollowedAtOnce(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a p/b p/c")
	d.ends(d.gives("a1 b2 c3"), errDown)
	d.after(time.Second)
	d.ends(d.gives("a1"), errSkipped)
	d.ends(d.gives("b2"), errDown)
	d.gives("")
	d.dueIn(2 * time.Second)
}

func TestAHoldThatComesBackGoesOnWhereItWas(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a p/b p/c")
	d.ends(d.gives("a1 b2 c3"), errDown)
	since := d.now
	d.after(time.Second)
	d.ends(d.gives("a1"), ct2fluent.Unchanged) // only commercetools answered
	d.ends(d.gives("b2"), errDown)
	if p := d.byName["p"]; !p.held || p.since != since {
		t.Fatalf("held %v since %v, want since %v", p.held, p.since, since)
	}
	d.dueIn(2 * time.Second)
}

func TestABatchFromBeforeTheHoldDoesNotLiftIt(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 1}, "p")
	d.puts("p/a p/b")
	a, b := d.gives("a1"), d.gives("b2")
	d.ends(a, errDown)
	d.ends(b, nil)
	if !d.byName["p"].held {
		t.Fatal("not held")
	}
	d.after(time.Second)
	d.ends(d.gives("a1"), errDown)
	d.after(2 * time.Second)
	d.gives("a1") // b was handed out before a failed: it proves nothing
}

// Everything fails whenever the poisoned one is in the batch.
func TestAPoisonedOneAmongGoodOnesCounts(t *testing.T) {
	for _, fault := range []error{errDown, errUnclear} {
		d := newDesk(t, rules{BatchSize: 50}, "p")
		var poison *item
		written := 0
		for round := 0; ; round++ {
			if round > 2000 {
				t.Fatalf("%v: the poisoned one has %d attempts after 2000 batches; %d were written", fault, poison.n.Attempts, written)
			}
			if poison != nil && poison.n.Attempts == 8 {
				break
			}
			if round < 20 {
				for i := range 10 {
					d.puts(fmt.Sprintf("p/g%d", 10*round+i))
				}
			}
			if round == 3 {
				d.puts("p/poison")
				r := d.resources[ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "poison"}]
				poison = r.items[0]
			}
			if round >= 20 && round%10 == 0 {
				d.puts(fmt.Sprintf("p/h%d", round)) // company goes on coming
			}
			b := d.next(d.now)
			if b == nil {
				d.after(max(0, d.due(d.now).Sub(d.now)))
				continue
			}
			if slices.Contains(b.items, poison) {
				d.ends(b, fault)
				continue
			}
			written += len(b.items)
			d.ends(b, nil)
		}
		for _, r := range d.resources {
			for _, it := range r.items {
				if it != poison && it.n.Attempts > 0 {
					t.Errorf("%v: %v has %d attempts", fault, it.n.Ref, it.n.Attempts)
				}
			}
		}
		if written < 200 {
			t.Errorf("%v: %d written, want at least 200", fault, written)
		}
	}
}

func TestOneFailingAliasDoesNotHoldTheProject(t *testing.T) {
	d := newDesk(t, rules{}, "p")
	d.puts("p/a p/b p/c")
	d.ends(d.gives("a1 b2 c3"), nil, errDown, nil)
	if d.byName["p"].held {
		t.Fatal("held though others were written by the same call")
	}
	d.gives("") // and it does not spin
	d.dueIn(time.Second)
}

// A whole outage of any length burns no attempts of anybody.
func TestAnOutageCountsForNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk(t, rules{Workers: rapid.IntRange(1, 4).Draw(t, "workers"), BatchSize: rapid.IntRange(1, 5).Draw(t, "size")}, "p")
		var hands []*batch
		before := map[*batch]bool{}
		outcomes := []error{nil, ct2fluent.Unchanged, errSkipped, ct2fluent.Merged}
		down := false
		step := func() {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				d.puts(fmt.Sprintf("p/%d", rapid.IntRange(0, 9).Draw(t, "id")))
			case 1:
				if d.busy < d.Workers {
					if b := d.next(d.now); b != nil {
						hands = append(hands, b)
						before[b] = !down
					}
				}
			case 2:
				if len(hands) == 0 {
					return
				}
				i := rapid.IntRange(0, len(hands)-1).Draw(t, "which")
				b := hands[i]
				hands = slices.Delete(hands, i, i+1)
				errs := make([]error, len(b.items))
				for i := range errs {
					switch {
					case !down || before[b] && rapid.Bool().Draw(t, "in time"):
						errs[i] = rapid.SampledFrom(outcomes).Draw(t, "outcome")
					default: // what commercetools alone decides goes on
						errs[i] = rapid.SampledFrom([]error{errDown, errUnclear, ct2fluent.Unchanged, errSkipped}).Draw(t, "outcome")
					}
				}
				d.ends(b, errs...)
			default:
				d.after(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			}
		}
		for range rapid.IntRange(0, 50).Draw(t, "before") {
			step()
		}
		down = true
		for range rapid.IntRange(0, 200).Draw(t, "during") {
			step()
		}
		for _, r := range d.resources {
			for _, it := range r.items {
				if it.n.Attempts > 0 {
					t.Fatalf("%v has %d attempts", it.n.Ref, it.n.Attempts)
				}
			}
		}
	})
}

// While the handler of one route is down, what other routes write proves
// nothing of it; what its own writes does.
func TestADownHandlerCountsForNobody(t *testing.T) {
	for _, fault := range []error{errDown, errUnclear} {
		d := newDesk(t, rules{UnclearWait: time.Second}, "p")
		fails := func(company string) *item {
			d.puts(company)
			var poison *item
			for b := d.next(d.now); b != nil; b = d.next(d.now) {
				errs := make([]error, len(b.items))
				for i, it := range b.items {
					if it.n.Ref.ID == "order" {
						errs[i], poison = fault, it
					}
				}
				d.ends(b, errs...)
			}
			d.after(10 * time.Minute)
			return poison
		}
		d.puts("p/order@partner")
		for round := range 10 {
			if it := fails("p/a@stock p/b@stock"); it != nil && it.n.Attempts > 0 {
				t.Fatalf("%v: round %d counted", fault, round)
			}
		}
		counted := 0
		for range 10 {
			if it := fails("p/a@partner p/b@partner"); it != nil {
				counted = it.n.Attempts
			}
		}
		if counted == 0 {
			t.Errorf("%v: does not count though others of its route were written", fault)
		}
	}
}

// Whatever handlers answer, no two batches hold one resource, its order is
// kept but for Again, and in the end all is settled.
func TestOrderAndExclusion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 6).Draw(t, "size")
		d := newDesk(t, rules{Workers: rapid.IntRange(1, 4).Draw(t, "workers"), BatchSize: size}, "p", "q")
		all := map[uint64]*item{}
		var hands []*batch
		take := func() bool {
			if d.busy >= d.Workers {
				return false
			}
			b := d.next(d.now)
			if b == nil {
				return false
			}
			if len(b.items) == 0 || b.resources() > size || len(b.items) > crowd*size {
				t.Fatalf("a batch of %d", len(b.items))
			}
			seen := map[ct2fluent.Ref]uint64{}
			for i, it := range b.items {
				ref := it.n.Ref
				if d.account(ref.Project) != b.account {
					t.Fatalf("%v in a batch of %s", ref, b.account.name)
				}
				for _, other := range hands {
					for _, o := range other.items {
						if o.n.Ref == ref {
							t.Fatalf("two batches hold %v", ref)
						}
					}
				}
				if last, ok := seen[ref]; ok && (last > it.n.Seq || b.items[i-1].n.Ref != ref) {
					t.Fatalf("%v is not side by side, oldest first", ref)
				}
				seen[ref] = it.n.Seq
				for _, older := range all {
					if older.n.Ref == ref && !older.settled && older.n.Seq < it.n.Seq && !older.n.Again && !slices.Contains(b.items, older) {
						t.Fatalf("%d of %v overtook %d", it.n.Seq, ref, older.n.Seq)
					}
				}
			}
			hands = append(hands, b)
			return true
		}
		back := func(err func() error) {
			i := rapid.IntRange(0, len(hands)-1).Draw(t, "which")
			b := hands[i]
			hands = slices.Delete(hands, i, i+1)
			errs := make([]error, len(b.items))
			for i := range errs {
				errs[i] = err()
			}
			d.ends(b, errs...)
		}
		any := rapid.SampledFrom([]error{nil, nil, errFault, errDown, errUnclear, errSkipped, ct2fluent.Merged,
			ct2fluent.Reject(errFault), ct2fluent.RetryAfter(time.Second, errFault)})
		for range rapid.IntRange(0, 150).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				w := fmt.Sprintf("%s/%d%s", rapid.SampledFrom([]string{"p", "q", "x", "y"}).Draw(t, "project"),
					rapid.IntRange(0, 4).Draw(t, "id"), rapid.SampledFrom([]string{"", "+"}).Draw(t, "class"))
				d.puts(w)
				for _, r := range d.resources {
					for _, it := range r.items {
						all[it.n.Seq] = it
					}
				}
			case 1:
				take()
			case 2:
				if len(hands) > 0 {
					back(func() error { return any.Draw(t, "outcome") })
				}
			case 3:
				d.after(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			}
		}
		for rounds := 0; len(d.resources) > 0; rounds++ {
			switch {
			case take():
			case len(hands) > 0:
				back(func() error { return nil })
			default:
				due := d.due(d.now)
				if due.IsZero() || rounds > 10_000 {
					t.Fatalf("stuck with %d resources", len(d.resources))
				}
				d.now = due
			}
		}
		for seq, it := range all {
			if !it.settled {
				t.Fatalf("%d is lost", seq)
			}
		}
	})
}

// One failure among many that go well is no reason to hold the others.
func TestAFailureThatLaterOnesContradictDoesNotHold(t *testing.T) {
	d := newDesk(t, rules{BatchSize: 1}, "p")
	d.puts("p/a p/b p/c")
	a, b := d.gives("a1"), d.gives("b2")
	d.ends(b, nil)
	d.ends(a, errDown)
	if d.byName["p"].held {
		t.Fatal("held though one that was handed out later is written")
	}
	d.ends(d.gives("c3"), errDown)
	if !d.byName["p"].held {
		t.Fatal("not held though nothing handed out since is written")
	}
}

// One customer's call that hangs takes its batch with it. The others come again
// in smaller batches, most of them without it.
func TestWhatFailedTogetherComesAgainInParts(t *testing.T) {
	d := newDesk(t, rules{Workers: 3, BatchSize: 100}, "p")
	for i := range 16 {
		d.puts(fmt.Sprintf("p/h%d", i))
	}
	hung := d.next(d.now)
	d.puts("p/x")
	d.ends(d.gives("x17"), nil)
	d.ends(hung, errUnclear)
	d.now = d.now.Add(d.UnclearWait)
	first := d.gives("h01! h12!")
	for i := 2; i < 16; i += 2 {
		d.ends(d.gives(fmt.Sprintf("h%d%d! h%d%d!", i, i+1, i+1, i+2)), nil)
	}
	d.ends(first, errUnclear) // hangs again
	d.now = d.now.Add(d.UnclearWait)
	alone := d.gives("h01!")
	d.ends(d.gives("h12!"), nil)
	d.ends(alone, nil)
	// Who succeeded goes with all others again.
	d.puts("p/h0 p/h1 p/h2")
	d.gives("h018 h119 h220")
}

package queuetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

func putAndWork(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{})
	whole := note("whole", "a")
	whole.Force, whole.Test, whole.Fault = true, true, "no-resource"
	whole.Body = []byte("line\nline\x00\xff")
	want := []ct2fluent.Notification{whole, bulk(of("q", note("bulk", "ä b.*>"))), {Fault: "unreadable", Body: []byte("?")}}
	put(t, q, want...)
	d := work(t, q)
	got := map[string]ct2fluent.Notification{}
	for range want {
		c := d.next()
		got[c.batch[0].ID] = c.batch[0]
		c.ends(nil)
	}
	for i, n := range want {
		n.Seq = uint64(i + 1)
		// The same time, but a queue may count it by its own clock.
		g := got[n.ID]
		if g.Received.Equal(n.Received) {
			g.Received = n.Received
		}
		if !reflect.DeepEqual(g, n) {
			t.Errorf("got  %+v\nwant %+v", g, n)
		}
	}
}

func naturalBatches(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Workers: 1, BatchSize: 3})
	d := work(t, q)
	put(t, q, note("1", "a"))
	c := d.gives("1")
	put(t, q, note("2", "b"), note("3", "c"), note("4", "d"), note("5", "e"))
	c.ends(nil)
	d.gives("2", "3", "4").ends(nil)
	d.gives("5").ends(nil)
}

func together(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Workers: 1})
	d := work(t, q)
	put(t, q, note("0", "z"))
	c := d.gives("0")
	put(t, q, note("1", "a"), note("2", "b"))
	put(t, q, bulk(note("3", "a")))
	put(t, q, note("4", "a"))
	put(t, q, note("5", "b"))
	c.ends(nil)
	d.gives("1", "3", "4", "2", "5").ends(nil)
}

func exclusive(t *testing.T, h Harness) {
	const resources, each = 20, 50
	q := open(t, h, t.TempDir(), Options{Workers: 8, BatchSize: 7})
	var mu sync.Mutex
	at := map[ct2fluent.Ref]bool{}
	last := map[ct2fluent.Ref]uint64{}
	settled := 0
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	var working sync.WaitGroup
	working.Go(func() {
		err := q.Work(ctx, ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
			refs := map[ct2fluent.Ref]bool{}
			errs := make([]error, len(batch))
			mu.Lock()
			defer mu.Unlock()
			for _, n := range batch {
				if at[n.Ref] && !refs[n.Ref] {
					t.Errorf("two batches hold %v", n.Ref)
				}
				if n.Seq <= last[n.Ref] {
					t.Errorf("%v: %d after %d", n.Ref, n.Seq, last[n.Ref])
				}
				at[n.Ref], refs[n.Ref], last[n.Ref] = true, true, n.Seq
			}
			mu.Unlock()
			time.Sleep(time.Millisecond) // the work that another worker must not share
			mu.Lock()
			for ref := range refs {
				delete(at, ref)
			}
			if settled += len(batch); settled == resources*each {
				stop()
			}
			return errs
		}))
		if err != nil {
			t.Error(err)
		}
	})
	for i := range each {
		ns := make([]ct2fluent.Notification, resources)
		for r := range ns {
			ns[r] = note(fmt.Sprint(i, r), fmt.Sprint(r))
		}
		put(t, q, ns...)
	}
	working.Wait()
	if settled != resources*each {
		t.Errorf("%d settled, want %d", settled, resources*each)
	}
}

func manyCallers(t *testing.T, h Harness) {
	const callers, each = 40, 5
	q := open(t, h, t.TempDir(), Options{Workers: 2})
	d := work(t, q)
	var putting sync.WaitGroup
	for i := range callers {
		putting.Go(func() {
			for j := range each {
				err := q.Put(t.Context(), note(fmt.Sprintf("%d-%d-0", i, j), fmt.Sprint(i)), note(fmt.Sprintf("%d-%d-1", i, j), fmt.Sprint(j)))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen, seqs := map[string]bool{}, map[uint64]bool{}
	for len(seen) < callers*each*2 {
		c := d.next()
		for _, n := range c.batch {
			if seen[n.ID] || seqs[n.Seq] {
				t.Fatalf("%s at %d came twice", n.ID, n.Seq)
			}
			seen[n.ID], seqs[n.Seq] = true, true
		}
		c.ends(nil)
	}
	putting.Wait()
	for seq := range uint64(callers * each * 2) {
		if !seqs[seq+1] {
			t.Fatalf("nothing has place %d", seq+1)
		}
	}
}

func liveFirst(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Projects: []string{"p"}, Workers: 2, BatchSize: 2})
	d := work(t, q)
	put(t, q, bulk(note("1", "a")), bulk(note("2", "b")), bulk(note("3", "c")), bulk(note("4", "d")))
	first := d.gives("1", "2")
	put(t, q, note("5", "e")) // the second worker was kept for it
	live := d.gives("5")
	put(t, q, note("6", "f"))
	first.ends(nil)
	d.gives("6").ends(nil)
	d.gives("3", "4").ends(nil)
	live.ends(nil)
}

func notOvertaken(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Workers: 2})
	d := work(t, q)
	put(t, q, note("1", "a"))
	c := d.gives("1")
	put(t, q, note("2", "a"), note("3", "b"))
	failed := c.ends(errFault)
	// b does not wait; a waits as a whole.
	c = d.next()
	if slices.Equal(c.ids(), []string{"3"}) {
		c.ends(nil)
		c = d.next()
	}
	if got := c.ids(); !slices.Equal(got, []string{"1*1", "2"}) && !slices.Equal(got, []string{"1*1", "2", "3"}) {
		t.Fatalf("got batch %q, want 1*1 and then 2", got)
	}
	if wait := c.at.Sub(failed); wait < Retry/2 {
		t.Errorf("tried again after %v, want %v", wait, Retry)
	}
	c.ends(nil)
}

func later(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Workers: 2})
	d := work(t, q)
	put(t, q, note("1", "a"))
	const delay = 50 * time.Millisecond
	asked := d.gives("1").ends(ct2fluent.RetryAfter(delay, errFault))
	c := d.gives("1")
	if wait := c.at.Sub(asked); wait < delay*9/10 {
		t.Errorf("came back after %v, want %v", wait, delay)
	}
	c.ends(nil)
}

func unclear(t *testing.T, h Harness) {
	const wait = 500 * time.Millisecond
	q := open(t, h, t.TempDir(), Options{Workers: 2, UnclearWait: wait})
	d := work(t, q)
	put(t, q, note("1", "a"))
	lost := d.gives("1").ends(ct2fluent.Unclear(errFault))
	put(t, q, note("2", "a"))
	d.gives("2").ends(nil)
	c := d.gives("1!")
	if got := c.at.Sub(lost); got < wait*9/10 {
		t.Errorf("came back after %v, want %v", got, wait)
	}
	c.ends(nil)
}

func held(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Workers: 2})
	d := work(t, q)
	put(t, q, note("1", "a"), note("2", "b"))
	d.gives("1", "2").ends(errDown)
	put(t, q, of("q", note("other", "o")))
	probes := map[string]bool{}
	others := 0
	for len(probes) < 2 || others == 0 {
		c := d.next()
		if len(c.batch) != 1 {
			t.Fatalf("got batch %q while the project is held", c.ids())
		}
		if c.batch[0].Ref.Project == "q" {
			others++
			c.ends(nil)
			continue
		}
		if got := q.Holding(); !slices.Equal(got, []string{"p"}) {
			t.Errorf("%q are held, want p", got)
		}
		probes[c.ids()[0]] = true
		c.ends(errDown)
	}
	if !probes["1"] || !probes["2"] {
		t.Errorf("asked with %v, want 1 and 2 in turn and no attempt counted", probes)
	}
	for range 2 {
		c := d.next()
		if len(c.batch) != 1 || c.batch[0].Attempts > 0 {
			t.Errorf("got batch %q, want one at a time and no attempt counted", c.ids())
		}
		c.ends(nil)
	}
	put(t, q, note("3", "c"))
	c := d.gives("3")
	if got := q.Holding(); len(got) > 0 {
		t.Errorf("%q are held still", got)
	}
	c.ends(nil)
}

func poisoned(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Workers: 1})
	d := work(t, q)
	good := 0
	more := func() {
		good++
		put(t, q, note(fmt.Sprint("good", good), fmt.Sprint(good)))
	}
	put(t, q, note("poison", "x"))
	more()
	for {
		c := d.next()
		i := slices.IndexFunc(c.batch, func(n ct2fluent.Notification) bool { return n.ID == "poison" })
		if i < 0 {
			for _, n := range c.batch {
				if n.Attempts > 0 {
					t.Errorf("%s has %d attempts", n.ID, n.Attempts)
				}
			}
			c.ends(nil)
			continue
		}
		if c.batch[i].Attempts == 3 {
			c.ends(ct2fluent.Reject(errFault))
			return
		}
		c.ends(errDown)
		more()
	}
}

func broken(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{Workers: 1})
	put(t, q, note("1", "a"))
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	calls := 0
	err := q.Work(ctx, ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
		if got := batch[0].Attempts; got != calls {
			t.Errorf("call %d has %d attempts", calls, got)
		}
		calls++
		switch calls {
		case 1:
			panic("oh")
		case 2:
			return nil
		}
		stop()
		return make([]error, len(batch))
	}))
	if err != nil || calls != 3 {
		t.Errorf("Work: %v after %d calls, want 3", err, calls)
	}
}

func stop(t *testing.T, h Harness) {
	place := t.TempDir()
	q := open(t, h, place, Options{Workers: 1, BatchSize: 1})
	d := work(t, q)
	put(t, q, note("1", "a"), note("2", "b"))
	c := d.gives("1")
	d.stop()
	if err := c.ctx.Err(); err != nil {
		t.Errorf("the batch at hand: %v", err)
	}
	c.ends(nil)
	d.end()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := q.Put(t.Context(), note("3", "c")); err == nil || errors.Is(err, ct2fluent.ErrFull) {
		t.Errorf("Put into a closed queue: %v", err)
	}
	work(t, open(t, h, place, Options{})).gives("2").ends(nil)
}

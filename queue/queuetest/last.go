package queuetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

func settled(t *testing.T, h Harness) {
	place := t.TempDir()
	q := open(t, h, place, Options{BatchSize: 1})
	d := work(t, q)
	ends := []error{nil, ct2fluent.Unchanged, ct2fluent.Merged, ct2fluent.Skip("known"), ct2fluent.Reject(errFault)}
	for i, err := range ends {
		put(t, q, note(fmt.Sprint(i), fmt.Sprint(i)))
		d.next().ends(err)
	}
	d.end()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, h, place, Options{})
	d = work(t, q)
	put(t, q, note("new", "new"))
	c := d.gives("new")
	if got, want := c.batch[0].Seq, uint64(len(ends)+1); got != want {
		t.Errorf("its place is %d, want %d", got, want)
	}
	c.ends(nil)
}

func attemptsLast(t *testing.T, h Harness) {
	place := t.TempDir()
	o := Options{UnclearWait: 50 * time.Millisecond}
	q := open(t, h, place, o)
	d := work(t, q)
	put(t, q, note("1", "a"))
	d.gives("1").ends(errFault)
	d.gives("1*1").ends(errFault)
	d.end()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}

	q = open(t, h, place, o)
	d = work(t, q)
	// What a crash may cost is the last moments: the third failure has to be
	// on disk by the time that many others were worked.
	d.gives("1*2").ends(ct2fluent.RetryAfter(time.Second, errFault))
	put(t, q, note("2", "b"))
	d.gives("2").ends(nil)
	d.end()
	q.Crash()

	q = open(t, h, place, o)
	d = work(t, q)
	for {
		c := d.next()
		i := slices.IndexFunc(c.batch, func(n ct2fluent.Notification) bool { return n.ID == "1" })
		if i < 0 {
			c.ends(nil)
			continue
		}
		if got := c.batch[i].Attempts; got != 2 {
			t.Errorf("%d attempts after the crash, want 2", got)
		}
		c.ends(nil)
		return
	}
}

func againLasts(t *testing.T, h Harness) {
	place := t.TempDir()
	o := Options{UnclearWait: 50 * time.Millisecond}
	q := open(t, h, place, o)
	d := work(t, q)
	put(t, q, note("1", "a"))
	d.gives("1").ends(ct2fluent.Unclear(errFault))
	d.end()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	d = work(t, open(t, h, place, o))
	d.gives("1!").ends(nil)
}

// Another hand-out of the resource, or another process, has sent what may still
// land.
func putAgain(t *testing.T, h Harness) {
	const wait = 500 * time.Millisecond
	place := t.TempDir()
	o := Options{Workers: 2, UnclearWait: wait}
	q := open(t, h, place, o)
	n := note("1", "a")
	n.Again = true
	put(t, q, n)
	q.Crash() // before any record says so
	begun := time.Now()
	q = open(t, h, place, o)
	d := work(t, q)
	put(t, q, note("2", "a"))
	d.gives("2").ends(nil)
	d.end()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	c := work(t, open(t, h, place, o)).gives("1!")
	if got := c.at.Sub(begun); got < wait*9/10 {
		t.Errorf("handed out after %v, want %v", got, wait)
	}
	c.ends(nil)
}

func againAfterCrash(t *testing.T, h Harness) {
	const wait = time.Second
	place := t.TempDir()
	o := Options{Workers: 1, BatchSize: 1, UnclearWait: wait}
	q := open(t, h, place, o)
	d := work(t, q)
	put(t, q, note("1", "a"))
	d.gives("1") // it may write, and nobody learns what became of it
	q.Crash()
	d.drop()

	before := time.Now()
	q = open(t, h, place, o)
	d = work(t, q)
	put(t, q, note("2", "b"), note("3", "a"))
	d.gives("2").ends(nil)
	d.gives("3").ends(nil)
	c := d.gives("1!")
	if got := c.at.Sub(before); got < wait {
		t.Errorf("came back after %v, want at least %v", got, wait)
	}
	c.ends(nil)
}

func thereAfterCrash(t *testing.T, h Harness) {
	const count = 300
	place := t.TempDir()
	o := Options{UnclearWait: 10 * time.Millisecond, BatchSize: 10}
	missing := map[string]bool{}
	for life := range 3 {
		q := open(t, h, place, o)
		d := work(t, q)
		ns := make([]ct2fluent.Notification, count)
		for i := range ns {
			ns[i] = note(fmt.Sprint(life, "/", i), fmt.Sprint(i))
			missing[ns[i].ID] = true
		}
		put(t, q, ns...)
		for range 10 {
			c := d.next()
			for _, n := range c.batch {
				delete(missing, n.ID)
			}
			c.ends(nil)
		}
		q.Crash()
		d.drop()
	}
	d := work(t, open(t, h, place, o))
	for len(missing) > 0 {
		c := d.next()
		for _, n := range c.batch {
			delete(missing, n.ID)
		}
		c.ends(nil)
	}
}

func full(t *testing.T, h Harness) {
	q := open(t, h, t.TempDir(), Options{MaxBytes: 1 << 20})
	n := note("", "a")
	n.Body = make([]byte, 64<<10)
	count := 0
	for {
		n.Ref.ID = fmt.Sprint(count)
		err := q.Put(t.Context(), n)
		if errors.Is(err, ct2fluent.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if count++; count > 100 {
			t.Fatal("never full")
		}
	}
	d := work(t, q)
	for got := 0; got < count; {
		c := d.next()
		got += len(c.batch)
		c.ends(nil)
	}
	deadline := time.Now().Add(patience)
	for {
		err := q.Put(t.Context(), n)
		if err == nil {
			break
		}
		if !errors.Is(err, ct2fluent.ErrFull) || time.Now().After(deadline) {
			t.Fatalf("Put after all was worked: %v", err)
		}
		time.Sleep(time.Millisecond) // as a source does that was told to wait
	}
	d.next().ends(nil)
}

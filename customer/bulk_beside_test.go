package customer

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A desk is what one of several runs over a table has: checkpoints of its own,
// and a ledger whose notes take a while to be read.
type desk struct {
	*table
	id    string
	takes time.Duration
}

func (d desk) Checkpoint(ctx context.Context, part string) (string, error) {
	return d.table.Mark(ctx, "job/"+d.id+"/"+part)
}

func (d desk) SetCheckpoint(ctx context.Context, part, value string) error {
	return d.table.SetMark(ctx, "job/"+d.id+"/"+part, value)
}

func (d desk) Mark(ctx context.Context, name string) (string, error) {
	text, err := d.table.Mark(ctx, name)
	time.Sleep(d.takes)
	return text, err
}

// A turn is a lock that a bubble of synctest waits for.
type turn chan bool

func (t turn) Lock()   { t <- true }
func (t turn) Unlock() { <-t }

// A run over changes works beside one over all customers: the confirmed moment
// is never taken back, and never passes what has no outcome.
func TestBulkBesideAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)))
		b, c := newTable(), newCrowd(9000)
		b.notes[confirmedName("shop")] = "2026-01-01T00:00:00.000Z"
		b.onConfirm = func(at string) {
			for _, p := range c.people {
				if p.LastModifiedAt < at && b.ended[p.ID] < p.Version && !t.Failed() {
					t.Errorf("%s is confirmed, and %s of %s has no outcome", at, p.ID, p.LastModifiedAt)
				}
			}
		}
		confirming := make(turn, 1)
		ended := make(chan error)
		run := func(id string, takes time.Duration, spec BulkSpec) {
			d := desk{b, id, takes}
			one := b.bulk(c)
			one.Ledger, one.Confirming = d, confirming
			ended <- one.Run(t.Context(), id, spec, d)
		}
		// Of what they confirm when all is settled, the first is written while the
		// second is between its reading and its writing.
		go run("bulk-1", 8*time.Second, BulkSpec{})
		go run("catch-up-2", 1500*time.Millisecond, BulkSpec{ChangedSince: "2026-01-01T00:00:00Z"})
		for range 8 { // the newest first
			time.Sleep(time.Minute)
			b.mu.Lock()
			slices.Reverse(b.queue)
			b.mu.Unlock()
			b.settle(600)
		}
		time.Sleep(time.Minute)
		b.settle(b.waiting())
		for range 2 {
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
		if n := len(b.confirmed); n == 0 || !slices.IsSorted(b.confirmed) || b.confirmed[n-1] != "2026-01-31T23:59:00.000Z" {
			t.Errorf("confirmed %q", b.confirmed)
		}
		for _, id := range []string{"bulk-1", "catch-up-2"} {
			if n := len(b.counted[id]); n != 9000 {
				t.Errorf("%s has counted %d of 9000", id, n)
			}
		}
	})
}

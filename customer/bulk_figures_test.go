package customer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// slowDisk is a table whose checkpoints take a while to be read.
type slowDisk struct {
	*table
	less func(p BulkProgress)
}

func (b slowDisk) Checkpoint(ctx context.Context, part string) (string, error) {
	time.Sleep(time.Second)
	return b.table.Checkpoint(ctx, part)
}

func (b slowDisk) Tell(p any) {
	b.table.Tell(p)
	b.less(p.(BulkProgress))
}

// A run that goes on after a kill tells of all that it had read, and counts it
// among what may wait.
func TestBulkGoesOnWithItsFigures(t *testing.T) {
	for _, kill := range []int{80, 150, 157, 220} {
		synctest.Test(t, func(t *testing.T) {
			b, c := newTable(), newCrowd(40_210)
			b.kill = kill
			stop := b.work(700, time.Second)
			if err := b.run(t, c, BulkSpec{}); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			stop()
			b.mu.Lock()
			waiting := len(b.queue)
			b.most, b.dead = waiting, false
			b.mu.Unlock()
			defer b.work(700, time.Second)()
			err := b.bulk(c).Run(t.Context(), "bulk-1", BulkSpec{}, slowDisk{b, func(p BulkProgress) {
				if p.settled() > p.Read && !t.Failed() {
					t.Errorf("killed at step %d: %d read, and %d of them settled", kill, p.Read, p.settled())
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			b.wantAll(t, 40_210)
			// Beside it, what was put before the kill is put again.
			if b.most > maxOutstanding+4*pageSize {
				t.Errorf("killed at step %d: %d waited at once, %d of them since before", kill, b.most, waiting)
			}
		})
	}
}

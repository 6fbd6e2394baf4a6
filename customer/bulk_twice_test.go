package customer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A customer that comes once more in a run over changes is put once more, and
// counts once. Whatever the step at which the process is killed, its newest
// version is put, and nothing is confirmed that has no outcome yet.
func TestBulkOverChangesThatComeTwice(t *testing.T) {
	for _, filtered := range []bool{false, true} {
		steps := 1
		for kill := 0; kill <= steps; kill++ {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("filtered %v, killed at %d, after it %v", filtered, kill, late), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { steps = max(steps, comeTwice(t, filtered, kill, late)) })
				})
			}
		}
		if steps < 25 {
			t.Errorf("only %d steps", steps)
		}
	}
}

// comeTwice runs over customers of whom some come again, until it is done.
func comeTwice(t *testing.T, filtered bool, kill int, late bool) (steps int) {
	time.Sleep(time.Until(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)))
	b, c := newTable(), newCrowd(1200)
	for i := range 3 {
		again := c.people[i]
		again.Version, again.LastModifiedAt = 9, fmt.Sprintf("2026-01-20T00:00:0%d.000Z", i)
		c.people = append(c.people, again)
	}
	b.notes[confirmedName("shop")] = "2026-01-01T00:00:00.000Z"
	b.filtered, b.kill, b.late = filtered, kill, late
	b.onConfirm = func(at string) {
		for _, p := range c.people {
			if p.LastModifiedAt < at && b.ended[p.ID] < p.Version && !t.Failed() {
				t.Errorf("%s is confirmed, and version %d of %s has no outcome", at, p.Version, p.ID)
			}
		}
	}
	// It works slowly, so that much waits at once.
	defer b.work(23, 500*time.Millisecond)()
	err := b.run(t, c, BulkSpec{ChangedSince: "2026-01-01T00:00:00Z"})
	if errors.Is(err, context.Canceled) {
		err = b.run(t, c, BulkSpec{ChangedSince: "2026-01-01T00:00:00Z"})
	}
	if err != nil {
		t.Fatal(err)
	}
	b.wantAll(t, 1200)
	if kill == 0 && b.put != 1203 {
		t.Errorf("%d were put", b.put)
	}
	for i := range 3 {
		if id := c.people[i].ID; b.ended[id] != 9 {
			t.Errorf("%s is at version %d", id, b.ended[id])
		}
	}
	return b.steps
}

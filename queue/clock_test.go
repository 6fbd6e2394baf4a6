package queue

import (
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// The system's clock may be set while notifications wait: how old one is does
// not become negative, nor does it change by that.
func TestTheClockMayBeSet(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name     string
		received time.Time
		age      time.Duration
	}{
		{"a moment ago", now.Add(-time.Second), time.Second},
		{"an hour ago, or the clock was put forward", now.Add(-time.Hour), time.Hour},
		{"in an hour: the clock was set back", now.Add(time.Hour), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := onThisClock(tt.received.UTC().Round(0), now)
			if age := now.Sub(got); age != tt.age {
				t.Errorf("it is %v old, want %v", age, tt.age)
			}
			// Two times that have it are told apart by the monotonic clock alone.
			if got == got.Round(0) {
				t.Errorf("%v goes by the clock that may be set", got)
			}
			if wall := got.Round(0); tt.age > 0 && !wall.Equal(tt.received) {
				t.Errorf("received at %v, want %v", wall, tt.received)
			}
		})
	}
	if got := onThisClock(time.Time{}, now); !got.IsZero() {
		t.Errorf("unknown became %v", got)
	}
}

// Put, and a start on what was put, hand out what was received by another
// clock as received by this one.
func TestHandedOutByThisClock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Projects: []string{"p"}}
	began := time.Now()
	n := note("p", "1")
	n.Received = began.Add(time.Hour)
	young := func(q *kept, how string, answer error) {
		for _, n := range workAll(t, q, 1, func(ct2fluent.Notification) error { return answer }) {
			if age := time.Since(n.Received); age < 0 || age > time.Since(began) || n.Received == n.Received.Round(0) {
				t.Errorf("%s: received %v, which is %v ago", how, n.Received, age)
			}
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	q := openKept(t, store.Options{Dir: dir}, o)
	mustPut(t, q, n)
	young(q, "put", ct2fluent.RetryAfter(time.Millisecond, errFault))
	young(openKept(t, store.Options{Dir: dir}, o), "started", nil)
}

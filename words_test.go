package ct2fluent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

func TestOutcomeOf(t *testing.T) {
	fault := errors.New("fault")
	tests := []struct {
		name    string
		err     error
		outcome ct2fluent.Outcome
		reason  string
		delay   time.Duration
		settled bool
	}{
		{"nil", nil, ct2fluent.Written, "", 0, true},
		{"unchanged", ct2fluent.Unchanged, ct2fluent.IsUnchanged, "", 0, true},
		{"merged", ct2fluent.Merged, ct2fluent.IsMerged, "", 0, true},
		{"skipped", ct2fluent.Skip("known"), ct2fluent.Skipped, "known", 0, true},
		{"rejected", ct2fluent.Reject(fault), ct2fluent.Dead, "rejected", 0, true},
		{"rejected with a reason", ct2fluent.Reject(ct2fluent.WithReason("mapping", fault)), ct2fluent.Dead, "mapping", 0, true},
		{"a reason around it", ct2fluent.WithReason("mapping", ct2fluent.Reject(fault)), ct2fluent.Dead, "mapping", 0, true},
		{"wrapped", fmt.Errorf("put: %w", ct2fluent.Reject(fault)), ct2fluent.Dead, "rejected", 0, true},
		{"after a delay", ct2fluent.RetryAfter(time.Second, fault), ct2fluent.Later, "", time.Second, false},
		{"unavailable", ct2fluent.Unavailable(fault), ct2fluent.Held, "", 0, false},
		{"unclear", ct2fluent.Unclear(fault), ct2fluent.Doubtful, "", 0, false},
		{"any other", fault, ct2fluent.Retry, "", 0, false},
		{"any other with a reason", ct2fluent.WithReason("stale-read", fault), ct2fluent.Retry, "stale-read", 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, reason, delay := ct2fluent.OutcomeOf(test.err)
			if o != test.outcome || reason != test.reason || delay != test.delay || o.Settled() != test.settled {
				t.Errorf("got %v %q %v settled %v, want %v %q %v settled %v", o, reason, delay, o.Settled(), test.outcome, test.reason, test.delay, test.settled)
			}
		})
	}
}

func note(id, resource string, version int64) ct2fluent.Notification {
	return ct2fluent.Notification{ID: id, Ref: ct2fluent.Ref{Project: "p", TypeID: "customer", ID: resource}, Version: version}
}

func TestLatest(t *testing.T) {
	fault := errors.New("fault")
	again, forced := note("a3", "a", 3), note("a4", "a", 4)
	again.Again, forced.Force = true, true
	tests := []struct {
		name   string
		batch  []ct2fluent.Notification
		answer error
		passed []int64
		want   []ct2fluent.Outcome
		flags  bool
	}{
		{"the newest passes, the others merge", []ct2fluent.Notification{note("a1", "a", 1), note("a2", "a", 2), note("b1", "b", 1)}, nil, []int64{2, 1},
			[]ct2fluent.Outcome{ct2fluent.IsMerged, ct2fluent.Written, ct2fluent.Written}, false},
		{"newest is by version, not by order", []ct2fluent.Notification{note("a5", "a", 5), note("a2", "a", 2)}, nil, []int64{5},
			[]ct2fluent.Outcome{ct2fluent.Written, ct2fluent.IsMerged}, false},
		{"twice one ID is a duplicate", []ct2fluent.Notification{note("a2", "a", 2), note("a2", "a", 2)}, nil, []int64{2},
			[]ct2fluent.Outcome{ct2fluent.Skipped, ct2fluent.Written}, false},
		{"dead together", []ct2fluent.Notification{note("a1", "a", 1), note("a2", "a", 2)}, ct2fluent.Reject(fault), []int64{2},
			[]ct2fluent.Outcome{ct2fluent.Dead, ct2fluent.Dead}, false},
		{"waiting together", []ct2fluent.Notification{note("a1", "a", 1), note("a2", "a", 2)}, ct2fluent.Unavailable(fault), []int64{2},
			[]ct2fluent.Outcome{ct2fluent.Held, ct2fluent.Held}, false},
		{"a fault of the newest is no attempt of the others", []ct2fluent.Notification{note("a1", "a", 1), note("a2", "a", 2)}, fault, []int64{2},
			[]ct2fluent.Outcome{ct2fluent.Later, ct2fluent.Retry}, false},
		{"Again and Force are not forgotten", []ct2fluent.Notification{again, forced, note("a5", "a", 5)}, nil, []int64{5},
			[]ct2fluent.Outcome{ct2fluent.IsMerged, ct2fluent.IsMerged, ct2fluent.Written}, true},
		{"one without a version has the newest worked in any case", []ct2fluent.Notification{note("a1", "a", 1), note("", "a", 0)}, nil, []int64{1},
			[]ct2fluent.Outcome{ct2fluent.Written, ct2fluent.IsMerged}, false},
		{"what has no resource is no company", []ct2fluent.Notification{{ID: "x"}, {ID: "y"}}, nil, []int64{0, 0},
			[]ct2fluent.Outcome{ct2fluent.Written, ct2fluent.Written}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var passed []ct2fluent.Notification
			h := ct2fluent.Latest(ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
				passed = append(passed, batch...)
				errs := make([]error, len(batch))
				for i := range errs {
					errs[i] = test.answer
				}
				return errs
			}))
			errs := h.Handle(t.Context(), test.batch)
			for i, err := range errs {
				if o, _, _ := ct2fluent.OutcomeOf(err); o != test.want[i] {
					t.Errorf("notification %d: %v, want %v", i, o, test.want[i])
				}
			}
			if len(passed) != len(test.passed) {
				t.Fatalf("%d passed, want %d", len(passed), len(test.passed))
			}
			for i, n := range passed {
				if n.Version != test.passed[i] {
					t.Errorf("passed version %d, want %d", n.Version, test.passed[i])
				}
				if unversioned := strings.Contains(test.name, "without a version"); n.Again != test.flags || n.Force != (test.flags || unversioned) {
					t.Errorf("passed with Again %v, Force %v; want %v", n.Again, n.Force, test.flags)
				}
			}
		})
	}
}

// A read that a notification brings along is older than what another one of its
// resource wants to be read now.
func TestLatestReadsAnew(t *testing.T) {
	with := func(n ct2fluent.Notification, change func(*ct2fluent.Notification)) ct2fluent.Notification {
		change(&n)
		return n
	}
	read := func(id string, version int64) ct2fluent.Notification {
		return with(note(id, "a", version), func(n *ct2fluent.Notification) { n.Own, n.Body = true, []byte("{}") })
	}
	force := func(n *ct2fluent.Notification) { n.Force = true }
	tests := []struct {
		name  string
		batch []ct2fluent.Notification
		want  bool // the read is passed on
	}{
		{"alone", []ct2fluent.Notification{read("r3", 3)}, true},
		{"with an older one", []ct2fluent.Notification{note("a2", "a", 2), read("r3", 3)}, true},
		{"with an older read", []ct2fluent.Notification{read("r2", 2), read("r3", 3)}, true},
		{"with a forced one", []ct2fluent.Notification{with(note("a2", "a", 2), force), read("r3", 3)}, false},
		{"with one that tells no version", []ct2fluent.Notification{read("r3", 3), note("", "a", 0)}, false},
		{"with one that comes again", []ct2fluent.Notification{with(note("a2", "a", 2), func(n *ct2fluent.Notification) { n.Again = true }), read("r3", 3)}, false},
		{"forced itself", []ct2fluent.Notification{with(read("r2", 2), force), with(read("r3", 3), force)}, true},
		{"forced itself, with a forced one", []ct2fluent.Notification{with(note("a2", "a", 2), force), note("a1", "a", 1), with(read("r3", 3), force)}, false},
		{"after a forced one and another read", []ct2fluent.Notification{with(note("a2", "a", 2), force), read("r3", 3), read("r4", 4)}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ct2fluent.Latest(ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
				if len(batch) != 1 || batch[0].HasRead() != tt.want {
					t.Errorf("passed %+v, want the read: %v", batch, tt.want)
				}
				return make([]error, len(batch))
			})).Handle(t.Context(), tt.batch)
			if last := tt.batch[len(tt.batch)-1]; last.Own && !last.HasRead() {
				t.Error("the batch itself was changed")
			}
		})
	}
}

// A delete that has the version of the last update leads, in either order: that
// one may be known, and what is merged into it is not looked at.
func TestLatestOfADelete(t *testing.T) {
	update, gone := note("a3", "a", 3), note("a3/deleted", "a", 3)
	gone.Kind, gone.Name = "ResourceDeleted", "ResourceDeleted"
	message := note("m", "a", 3)
	message.Kind, message.Name = "Message", "CustomerDeleted"
	newer := note("a4", "a", 4)
	for _, tt := range []struct {
		batch []ct2fluent.Notification
		want  string
	}{
		{[]ct2fluent.Notification{update, gone}, gone.ID},
		{[]ct2fluent.Notification{gone, update}, gone.ID},
		{[]ct2fluent.Notification{message, update}, message.ID},
		{[]ct2fluent.Notification{gone, message}, message.ID},
		{[]ct2fluent.Notification{newer, gone}, newer.ID},
	} {
		var passed []ct2fluent.Notification
		ct2fluent.Latest(ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
			passed = batch
			return make([]error, len(batch))
		})).Handle(t.Context(), tt.batch)
		if len(passed) != 1 || passed[0].ID != tt.want {
			t.Errorf("passed %v, want %s", passed, tt.want)
		}
	}
}

// Nothing of a resource overtakes one that waits.
func TestEach(t *testing.T) {
	var worked []string
	h := ct2fluent.Each(func(_ context.Context, n ct2fluent.Notification) error {
		worked = append(worked, n.ID)
		if n.ID == "a1" {
			return errors.New("fault")
		}
		return nil
	})
	errs := h.Handle(t.Context(), []ct2fluent.Notification{note("a1", "a", 1), note("a2", "a", 2), note("b1", "b", 1)})
	if o, _, _ := ct2fluent.OutcomeOf(errs[1]); fmt.Sprint(worked) != "[a1 b1]" || o != ct2fluent.Later || errs[2] != nil {
		t.Errorf("worked %v, errors %v; want a2 to wait for a1", worked, errs)
	}
}

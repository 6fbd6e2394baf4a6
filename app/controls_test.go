package app

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/inbox"
	"github.com/ct2fluent/ct2fluent/store"
)

// What is replayed is read anew as far as it could not be read.
func TestReread(t *testing.T) {
	change := `{"notificationType":"ResourceUpdated","version":3,"resource":{"typeId":"customer","id":"a"}}`
	ref := ct2fluent.Ref{Project: "other", TypeID: "customer", ID: "a"}
	tests := []struct {
		name     string
		n        ct2fluent.Notification
		projects []string
		want     string
	}{
		{"a good one stays as it is", ct2fluent.Notification{Ref: ref, Version: 2, Force: true}, []string{"shop"}, "[other/customer/a 2 true ]"},
		{"one of an unknown project keeps what its wrapping told", ct2fluent.Notification{Ref: ref, Version: 3, Fault: "unknown-project", Body: []byte(change), Force: true},
			[]string{"shop"}, "[other/customer/a 3 true unknown-project]"},
		{"and is worked once the project has an account", ct2fluent.Notification{Ref: ref, Version: 3, Fault: "unknown-project", Body: []byte(change), Force: true},
			[]string{"shop", "other"}, "[other/customer/a 3 true ]"},
		{"an unreadable one is read", ct2fluent.Notification{Fault: "unreadable", Body: []byte(change), Force: true}, []string{"shop"}, "[shop/customer/a 3 true ]"},
		{"and stays unreadable", ct2fluent.Notification{Fault: "unreadable", Body: []byte("{"), Force: true}, []string{"shop"}, "[// 0 true unreadable]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			for _, n := range reread(test.n, test.projects) {
				got += fmt.Sprintf("[%v %d %v %s]", n.Ref, n.Version, n.Force, n.Fault)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A full queue makes the process unready, but not for good: who sends nothing
// because of that would never find out that there is room again.
func TestFullForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObserver("test", &Config{})
		if err := o.full(); err != nil {
			t.Errorf("at first: %v", err)
		}
		o.received(inbox.Received{Err: fmt.Errorf("put: %w", ct2fluent.ErrFull)})
		if !errors.Is(o.full(), ct2fluent.ErrFull) {
			t.Error("after a refusal: ready")
		}
		time.Sleep(refusalCounts + time.Second)
		if err := o.full(); err != nil {
			t.Errorf("a while later: %v", err)
		}
		o.received(inbox.Received{Err: ct2fluent.ErrFull})
		o.received(inbox.Received{Notifications: 1})
		if err := o.full(); err != nil {
			t.Errorf("after one that was kept: %v", err)
		}
	})
}

// What could not be kept counts against readiness, whoever lacks: the disk, the
// queue's bound, the cluster. That a caller has gone away does not.
func TestNotReadyAfterAPutThatFailed(t *testing.T) {
	o := newObserver("", &Config{})
	for _, tt := range []struct {
		err   error
		ready bool
	}{
		{nil, true},
		{fmt.Errorf("put: %w", ct2fluent.ErrFull), false},
		{fmt.Errorf("put: %w", store.ErrUnreachable), false},
		{context.Canceled, true},
	} {
		o.received(inbox.Received{Source: "push", Err: tt.err})
		if got := o.full() == nil; got != tt.ready {
			t.Errorf("after %v: ready %t, want %t", tt.err, got, tt.ready)
		}
	}
}

package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/ct2fluent/ct2fluent/store/storetest"
	"github.com/nats-io/nats-server/v2/server"
)

// Refused credentials are told from a cluster that is not there: waiting mends
// the one and not the other.
func TestRefused(t *testing.T) {
	at := storetest.New(t, server.Options{Users: []*server.User{
		{Username: "ct2fluent", Password: "right"},
		{Username: "guest", Password: "right", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.>"}}}},
	}}).Address()
	tests := []struct {
		name, url string
		want      error
	}{
		{"right", "nats://ct2fluent:right@" + at, nil},
		{"a wrong password", "nats://ct2fluent:wrong@" + at, store.ErrRefused},
		{"none", "nats://" + at, store.ErrRefused},
		{"of one who may not use JetStream", "nats://guest:right@" + at, store.ErrRefused},
		{"nobody there", "nats://ct2fluent:right@127.0.0.1:1", store.ErrUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Who may not ask is not answered.
			ctx := t.Context()
			if tt.want == store.ErrRefused {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
			}
			var s *store.Store
			var err error
			var opening sync.WaitGroup
			opening.Go(func() { s, err = store.Open(ctx, store.Options{URL: tt.url}) })
			if err := store.Reach(ctx, tt.url); !errors.Is(err, tt.want) {
				t.Errorf("Reach: %v, want %v", err, tt.want)
			}
			opening.Wait()
			if !errors.Is(err, tt.want) {
				t.Errorf("Open: %v, want %v", err, tt.want)
			}
			for _, secret := range []string{"wrong", "right"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the password is said: %v", err)
				}
			}
			if err == nil {
				s.Close()
			}
		})
	}
}

// While the cluster is away nothing can be kept, and that is known without
// trying; it passes by itself.
func TestReady(t *testing.T) {
	one := storetest.New(t, server.Options{})
	s := open(t, store.Options{URL: "nats://" + one.Address()})
	defer s.Crash()
	stream(t, s)
	if err := s.Ready(); err != nil {
		t.Errorf("connected: %v", err)
	}
	one.Stop()
	until(t, "not ready", func() bool { return errors.Is(s.Ready(), store.ErrUnreachable) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Append(ctx, msg("t.a", "1")); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("Append: %v, want ErrUnreachable", err)
	}
	one.Start()
	until(t, "ready again", func() bool { return s.Probe(t.Context()) == nil })
	if err := s.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
	if _, err := s.Append(t.Context(), msg("t.a", "2")); err != nil {
		t.Errorf("Append: %v", err)
	}
}

// Promise 6: credentials that are refused for a while, such as while a password
// is rotated, do not end the connection for good.
func TestCredentialsRefusedForAWhile(t *testing.T) {
	t.Parallel()
	user := func(password string) *server.User { return &server.User{Username: "ct2fluent", Password: password} }
	one := storetest.New(t, server.Options{Users: []*server.User{user("right")}})
	s := open(t, store.Options{URL: "nats://ct2fluent:right@" + one.Address()})
	defer s.Crash()
	stream(t, s)
	one.Stop()
	one.SetUsers(user("another"))
	one.Start()
	// The client gives up at the second refusal unless it is told not to.
	before := one.Tries()
	until(t, "refused thrice", func() bool { return one.Tries() >= before+3 })
	if err := s.Ready(); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("Ready: %v, want ErrUnreachable", err)
	}
	one.Stop()
	one.SetUsers(user("right"))
	one.Start()
	until(t, "ready again", func() bool { return s.Ready() == nil })
	if _, err := s.Append(t.Context(), msg("t.a", "1")); err != nil {
		t.Errorf("Append: %v", err)
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

// A cluster without a quorum is connected, and nothing can be stored.
func TestReadyIfTheClusterGivesNoAnswer(t *testing.T) {
	t.Parallel()
	one := storetest.New(t, server.Options{})
	s := open(t, store.Options{URL: "nats://" + one.Address()})
	defer s.Crash()
	stream(t, s)
	one.Mute()
	if _, err := s.Append(t.Context(), msg("t.a", "1")); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("Append: %v, want ErrUnreachable", err)
	}
	if err := s.Ready(); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("Ready: %v, want ErrUnreachable", err)
	}
	if err := s.Probe(t.Context()); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("Probe: %v, want ErrUnreachable", err)
	}
	one.Stop()
	one.Start()
	until(t, "ready again", func() bool { return s.Probe(t.Context()) == nil })
	if err := s.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

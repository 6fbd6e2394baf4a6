package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// A start that fails after a crash leaves the crash to be found by the next
// one (promise 3).
func TestFailedStartForgetsNoCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Crash()

	fault := errors.New("not today")
	setup := &Setup{Handlers: []HandlerType{{Name: "FluentCustomerUpsert", New: func(Env) (ct2fluent.Handler, error) { return nil, fault }}}}
	if _, err := New(t.Context(), setup, alone(t, dir), slog.New(slog.DiscardHandler)); !errors.Is(err, fault) {
		t.Fatalf("started: %v", err)
	}

	s, err = store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Clean() {
		t.Error("the failed start has forgotten the crash before it")
	}
}

// Every stream is read at a start as far back as its duplicate window reaches.
func TestStartReadsNoMessagesForTheirIDs(t *testing.T) {
	setup := &Setup{Handlers: []HandlerType{{Name: "FluentCustomerUpsert", New: func(Env) (ct2fluent.Handler, error) {
		return beside(func(context.Context) error { return nil }), nil
	}}}}
	a, err := New(t.Context(), setup, alone(t, filepath.Join(t.TempDir(), "data")), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	names := 0
	streams := a.store.JetStream().ListStreams(t.Context())
	for info := range streams.Info() {
		names++
		if info.Config.Duplicates != store.Duplicates {
			t.Errorf("%s: %v, want %v", info.Config.Name, info.Config.Duplicates, store.Duplicates)
		}
	}
	if err := streams.Err(); err != nil || names < 5 {
		t.Errorf("%d streams, %v", names, err)
	}
}

// A signal while a process starts is a stop, not a failure.
func TestStopOfAStart(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	setup := &Setup{Handlers: []HandlerType{{Name: "FluentCustomerUpsert", New: func(Env) (ct2fluent.Handler, error) {
		return beside(func(context.Context) error { return nil }), nil
	}}}}
	c := &cli{setup: setup, err: io.Discard}
	if err := c.runConfig(ctx, alone(t, filepath.Join(t.TempDir(), "data"))); err != nil {
		t.Error(err)
	}
	// What is wrong is told all the same where nobody has stopped it.
	if err := c.runConfig(t.Context(), alone(t, "/dev/null")); err == nil {
		t.Error("started in what is no directory")
	}
}

// alone is a configuration of a process that reaches nobody.
func alone(t *testing.T, dir string) *Config {
	t.Helper()
	cfg, err := parseConfig("c.yml", fmt.Appendf(nil, `
accounts:
  - commercetools: { project-key: shop, api-url: "http://127.0.0.1:1", auth-url: "http://127.0.0.1:1", client-id: c, client-secret: s }
    fluent: { base-url: "http://127.0.0.1:1", account: A, retailer-id: "1", client-id: c, client-secret: s, username: u, password: p }
queue: { store: %q }
control: { address: "127.0.0.1:0" }
`, dir), LoadOptions{WithoutListeners: true})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// beside is a handler with work of its own.
type beside func(ctx context.Context) error

func (beside) Handle(_ context.Context, batch []ct2fluent.Notification) []error {
	return make([]error, len(batch))
}
func (b beside) Run(ctx context.Context) error { return b(ctx) }

// Work beside the queue that ends by the stop, and says so, is no failure of the
// process; what it fails at is.
func TestStopIsNoFailure(t *testing.T) {
	fault := errors.New("not today")
	tests := []struct {
		name string
		run  func(ctx context.Context, stop func()) error
		want error
	}{
		{"it says that it was stopped", func(ctx context.Context, stop func()) error {
			stop()
			<-ctx.Done()
			return fmt.Errorf("read: %w", ctx.Err())
		}, nil},
		{"it fails while it is stopped", func(ctx context.Context, stop func()) error {
			stop()
			<-ctx.Done()
			return fault
		}, fault},
		{"it says so, and nobody stops it", func(context.Context, func()) error { return context.Canceled }, context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			setup := &Setup{Handlers: []HandlerType{{Name: "FluentCustomerUpsert", New: func(Env) (ct2fluent.Handler, error) {
				return beside(func(ctx context.Context) error { return tt.run(ctx, stop) }), nil
			}}}}
			a, err := New(ctx, setup, alone(t, filepath.Join(t.TempDir(), "data")), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Run(ctx); !errors.Is(err, tt.want) {
				t.Errorf("ended with %v, want %v", err, tt.want)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

package app

import (
	"errors"
	"fmt"
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
	if _, err := New(t.Context(), setup, cfg, slog.New(slog.DiscardHandler)); !errors.Is(err, fault) {
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

package store_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"
)

func open(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stream(t *testing.T, s *store.Store) jetstream.Stream {
	t.Helper()
	st, err := s.JetStream().CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{
		Name: "T", Subjects: []string{"t.>"}, AllowAtomicPublish: true, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func msg(subject, data string) *nats.Msg { return &nats.Msg{Subject: subject, Data: []byte(data)} }

func expecting(m *nats.Msg, seq uint64) *nats.Msg {
	m.Header = nats.Header{}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(seq, 10))
	return m
}

func TestAppend(t *testing.T) {
	s := open(t, store.Options{Dir: t.TempDir()})
	defer s.Close()
	st := stream(t, s)
	ctx := t.Context()

	if _, err := s.Append(ctx, msg("t.a", "1")); err != nil {
		t.Fatal(err)
	}
	last, err := s.Append(ctx, expecting(msg("t.a", "2"), 1), msg("t.b", "3"))
	if err != nil || last != 3 {
		t.Fatalf("a batch: last %d, %v; want 3", last, err)
	}
	if _, err := s.Append(ctx, expecting(msg("t.a", "4"), 1)); !errors.Is(err, store.ErrOvertaken) {
		t.Errorf("one with a wrong sequence: %v, want ErrOvertaken", err)
	}
	if _, err := s.Append(ctx, msg("t.b", "5"), expecting(msg("t.a", "6"), 1)); !errors.Is(err, store.ErrOvertaken) {
		t.Errorf("a batch with a wrong sequence: %v, want ErrOvertaken", err)
	}
	if i, _ := st.Info(ctx); i.State.LastSeq != 3 {
		t.Errorf("last sequence %d: a refused batch left something, want 3", i.State.LastSeq)
	}
}

func TestDirectoryIsOnes(t *testing.T) {
	dir := t.TempDir()
	if store.Locked(dir) || store.Locked(dir+"/none") {
		t.Error("a directory that nobody uses looks locked")
	}
	s := open(t, store.Options{Dir: dir})
	defer s.Close()
	if _, err := store.Open(t.Context(), store.Options{Dir: dir}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second process: %v, want ErrLocked", err)
	}
	if !store.Locked(dir) {
		t.Error("the directory does not look locked")
	}
	if i, _ := os.Stat(dir); i.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %v, want 0700", i.Mode().Perm())
	}
}

// Whether the last run ended in order decides what counts as Again (rule 5).
func TestClean(t *testing.T) {
	dir := t.TempDir()
	s := open(t, store.Options{Dir: dir})
	if !s.Clean() {
		t.Error("a new store is not clean")
	}
	first := s.Start()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, store.Options{Dir: dir})
	if !s.Clean() {
		t.Error("after Close: not clean")
	}
	if s.Start() <= first {
		t.Errorf("run %d follows run %d", s.Start(), first)
	}
	s.Crash()
	s = open(t, store.Options{Dir: dir})
	defer s.Close()
	if s.Clean() {
		t.Error("after a crash: clean")
	}
}

func TestRoom(t *testing.T) {
	left := int64(1 << 40)
	s := open(t, store.Options{Dir: t.TempDir(), Free: func(string) (int64, error) { return left, nil }})
	defer s.Close()
	if err := s.Room(); err != nil {
		t.Error(err)
	}
	left = 1 << 20
	if err := s.Room(); !errors.Is(err, store.ErrNoRoom) {
		t.Errorf("1 MiB left: %v, want ErrNoRoom", err)
	}
}

// The same code runs against a cluster.
func TestURL(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	s := open(t, store.Options{URL: srv.ClientURL()})
	stream(t, s)
	if _, err := s.Append(t.Context(), msg("t.a", "1"), msg("t.a", "2")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, store.Options{URL: srv.ClientURL()})
	defer s.Close()
	if !s.Clean() {
		t.Error("after Close: not clean")
	}
}

func TestUnreachable(t *testing.T) {
	if _, err := store.Open(context.Background(), store.Options{URL: "nats://127.0.0.1:1"}); !errors.Is(err, store.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func TestToken(t *testing.T) {
	for in, want := range map[string]string{"": "-", "-": "=2D", "fluent-ct-dev": "fluent-ct-dev", "a.b *>": "a=2Eb=20=2A=3E", "é": "=C3=A9"} {
		if got := store.Token(in); got != want {
			t.Errorf("Token(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		if got := store.Untoken(store.Token(s)); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

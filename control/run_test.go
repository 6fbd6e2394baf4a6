package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run starts s and returns its stop, which waits for Run's error.
func run(t *testing.T, s *Server) (stop func() error) {
	t.Helper()
	if _, err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// dial finds a running server by its file once that is written.
func dial(t *testing.T, file string) *Client {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		c, err := Dial(file, "")
		if err == nil {
			return c
		}
		if !errors.Is(err, ErrNotRunning) {
			t.Fatal(err)
		}
	}
	t.Fatal("the file was not written")
	return nil
}

func TestRunAndTheVerbs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control.json")
	o := full()
	o.Address, o.File = "127.0.0.1:0", file
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := newServer(t, o)
	stop := run(t, s)
	c := dial(t, file)

	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	var st Status
	if err := c.Do(t.Context(), "GET", "/admin/status", nil, &st); err != nil || st.Received != 3 {
		t.Errorf("status: %+v, %v", st, err)
	}
	var put PutResult
	if err := c.Do(t.Context(), "POST", "/admin/put", strings.NewReader("{}"), &put); err != nil || put.Put != 1 {
		t.Errorf("put: %+v, %v", put, err)
	}
	var res DeadResult
	req := DeadRequest{Selection: Selection{Seqs: []uint64{1}}, DryRun: true}
	if err := c.Do(t.Context(), "POST", "/admin/dead/drop", req, &res); err != nil || res != (DeadResult{Selected: 1}) {
		t.Errorf("drop: %+v, %v", res, err)
	}
	if err := c.Do(t.Context(), "GET", "/admin/status", nil, nil); err != nil {
		t.Errorf("an answer nobody wants: %v", err)
	}

	address := strings.TrimPrefix(c.base, "http://")
	tests := []struct {
		name, where, token, path string
		want                     error
	}{
		{"the file", file, "", "/admin/status", nil},
		{"the address and the token", address, s.Token(), "/admin/status", nil},
		{"a URL and the token", "http://" + address + "/", s.Token(), "/admin/status", nil},
		{"a wrong token", address, "wrong", "/admin/status", ErrRefused},
		{"no token", address, "", "/admin/status", ErrRefused},
		{"no token, where none is needed", address, "", "/healthz", nil},
		{"a token given comes before the file's", file, "wrong", "/admin/status", ErrRefused},
		{"what nobody knows", file, "", "/admin/dead/77", ErrNotFound},
		{"what is wrong", file, "", "/admin/dead?limit=x", ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Dial(tt.where, tt.token)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Do(t.Context(), "GET", tt.path, nil, nil); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}

	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
	if _, err := Dial(file, ""); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Dial after the stop: %v", err)
	}
	if err := c.Do(t.Context(), "GET", "/admin/status", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Do after the stop: %v", err)
	}
	if strings.Contains(log.String(), s.Token()) {
		t.Errorf("the token is logged: %s", log.String())
	}
}

func TestClientSaysWhatTheProcessSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control.json")
	s := newServer(t, Options{Address: "127.0.0.1:0", File: file, Status: func(context.Context) (Status, error) {
		return Status{}, errors.New("ledger: no answer")
	}})
	run(t, s)
	c := dial(t, file)
	err := c.Do(t.Context(), "GET", "/admin/status", nil, nil)
	var e *Error
	if !errors.As(err, &e) || e.Status != 500 || err.Error() != "ledger: no answer" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Do(ctx, "GET", "/admin/status", nil, nil); !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotRunning) {
		t.Errorf("cancelled: %v", err)
	}
	if err := c.Do(t.Context(), "GET", "/admin/status", func() {}, nil); err == nil {
		t.Error("a body that cannot be JSON was sent")
	}
}

// Something else may have the port of a process that is gone.
func TestClientOfSomethingElse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	status := http.StatusBadGateway
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html>"))
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { server.Close(); <-served }()
	c, err := Dial(l.Addr().String(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), "GET", "/admin/status", nil, nil); err == nil || err.Error() != "HTTP 502 Bad Gateway" {
		t.Errorf("got %v", err)
	}
	status = http.StatusOK
	if err := c.Do(t.Context(), "GET", "/admin/status", nil, &Status{}); err == nil {
		t.Error("took HTML for an answer")
	}
}

func TestATakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "control.json")
	s := newServer(t, Options{Address: l.Addr().String(), File: file})
	if err := s.Run(t.Context()); !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file was written")
	}
}

func TestAListenerThatBreaksEndsRun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Options{Listener: l})
	l.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Error("no error")
	}
}

func TestAFileThatCannotBeWrittenEndsRun(t *testing.T) {
	s := newServer(t, Options{Address: "127.0.0.1:0", File: filepath.Join(t.TempDir(), "none", "control.json")})
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "control file") {
		t.Errorf("got %v", err)
	}
}

// A request at hand when the stop comes is answered.
func TestStopLetsRequestsFinish(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control.json")
	begun, release := make(chan bool), make(chan bool)
	s := newServer(t, Options{Address: "127.0.0.1:0", File: file, StopTimeout: time.Minute,
		Status: func(ctx context.Context) (Status, error) {
			begun <- true
			<-release
			return Status{Received: 7}, ctx.Err()
		}})
	stop := run(t, s)
	c := dial(t, file)
	answered := make(chan error, 1)
	var st Status
	go func() { answered <- c.Do(t.Context(), "GET", "/admin/status", nil, &st) }()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until nothing new is taken
		if err := c.Do(t.Context(), "GET", "/healthz", nil, nil); errors.Is(err, ErrNotRunning) {
			break
		}
	}
	close(release)
	if err := <-answered; err != nil || st.Received != 7 {
		t.Errorf("answer: %+v, %v", st, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Whoever follows something is let go at once: what is followed may go on for
// hours, and nothing is lost with it.
func TestStopDoesNotWaitForFollowers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control.json")
	follows := make(chan bool, 2)
	s := newServer(t, Options{Address: "127.0.0.1:0", File: file, StopTimeout: time.Minute,
		Jobs: endless{work{"bulk-1": {"running"}}}, Sync: endlessSync{}})
	stop := run(t, s)
	c := dial(t, file)
	ended := make(chan error, 2)
	for _, path := range []string{"/admin/jobs/bulk-1/events", "/admin/sync/sync-1/events"} {
		go func() {
			ended <- c.Lines(t.Context(), path, func(json.RawMessage) error { follows <- true; return nil })
		}()
	}
	<-follows
	<-follows
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the stop waits for who follows")
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("the follower: %v", err)
		}
	}
}

// endless is a job that runs until nobody follows it.
type endless struct{ work }

func (e endless) Follow(ctx context.Context, id string) iter.Seq[any] {
	return func(yield func(any) bool) {
		yield(state{id, "running"})
		<-ctx.Done()
	}
}

// endlessSync is a sync that waits likewise.
type endlessSync struct{ Syncs }

func (endlessSync) Follow(ctx context.Context, id string) (iter.Seq[SyncResult], error) {
	return func(yield func(SyncResult) bool) {
		yield(SyncResult{ID: "c1", Outcome: "waiting"})
		<-ctx.Done()
	}, nil
}

// One that goes on is cancelled, and one that does not hear it is cut off.
func TestStopEnds(t *testing.T) {
	for _, hears := range []bool{true, false} {
		file := filepath.Join(t.TempDir(), "control.json")
		begun, release, ended := make(chan bool), make(chan bool), make(chan bool)
		s := newServer(t, Options{Address: "127.0.0.1:0", File: file, StopTimeout: 20 * time.Millisecond,
			Status: func(ctx context.Context) (Status, error) {
				defer close(ended)
				begun <- true
				if hears {
					<-ctx.Done()
				} else {
					<-release
				}
				return Status{}, ctx.Err()
			}})
		stop := run(t, s)
		c := dial(t, file)
		answered := make(chan error, 1)
		go func() { answered <- c.Do(t.Context(), "GET", "/admin/status", nil, nil) }()
		<-begun
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		err := <-answered
		var e *Error
		if hears && (!errors.As(err, &e) || e.Status != 503) || !hears && !errors.Is(err, ErrNotRunning) {
			t.Errorf("hears %v: answer %v", hears, err)
		}
		close(release)
		<-ended
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.json")
	if _, err := ReadFile(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no file: %v", err)
	}
	if _, err := ReadFile(filepath.Dir(path)); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("a directory: %v", err)
	}
	// A readable file of before must not keep its mode.
	if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("a file of another: %v", err)
	}
	want := File{Address: "127.0.0.1:1", Token: "t"}
	if err := WriteFile(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	removeFile(path, "of a later run")
	if _, err := os.Stat(path); err != nil {
		t.Error("removed the file of another run")
	}
	removeFile(path, "t")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal("the file is left", err)
	}
	if err := WriteFile(path, want); err == nil {
		t.Error("wrote over a directory")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside: %v, %v", entries, err)
	}
}

func TestReachable(t *testing.T) {
	for listened, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "[::1]:80", "10.0.0.1:80": "10.0.0.1:80",
	} {
		a, err := net.ResolveTCPAddr("tcp", listened)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(a); got != want {
			t.Errorf("%s: %s, want %s", listened, got, want)
		}
	}
}

func TestWhatIsAnAddress(t *testing.T) {
	for where, want := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:8080": true, "[::1]:8080": true, "https://ct.example": true,
		"data/control.json": false, "./data:1/control.json": false, "control.json": false, "/abs/control.json": false,
	} {
		if got := isAddress(where); got != want {
			t.Errorf("%s: %v", where, got)
		}
	}
}

func TestStatusIsWhatTheContractSays(t *testing.T) {
	// The keys of CONTRACT's status, with the project beside the account.
	want := []string{"received", "waiting", "written", "unchanged", "merged", "skipped", "dead", "deadLetters", "skippedBy", "deadBy", "oldestWaitingSeconds", "held"}
	b, err := json.Marshal(Status{})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil || len(got) != len(want) {
		t.Errorf("keys %s", b)
	}
	for _, k := range want {
		if _, ok := got[k]; !ok {
			t.Errorf("no %s", k)
		}
	}
}

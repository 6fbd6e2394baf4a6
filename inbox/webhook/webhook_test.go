package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

func TestNew(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		err  string
	}{
		{"with a token", Options{Auth: Token(secret)}, ""},
		{"without", Options{}, "no auth"},
		{"with an empty one", Options{Auth: Token(func() (string, error) { return "", nil })}, "no token"},
		{"with one that cannot be read", Options{Auth: Token(func() (string, error) { return "", errors.New("permission denied") })}, "read the token: permission denied"},
		{"with no path", Options{Auth: Token(secret), Path: "notifications"}, "must begin with /"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.o)
			if got := fmt.Sprint(err); tt.err == "" && err != nil || !strings.Contains(got, tt.err) && tt.err != "" {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

// The table of the contract.
func TestAnswers(t *testing.T) {
	const right = "Bearer " + token
	tests := []struct {
		name   string
		method string
		path   string
		auth   string
		body   string
		put    error
		status int
		header string // "Name: value" that the answer has
		puts   int
	}{
		{"kept", "POST", "/in", right, `{"a":1}`, nil, 202, "Content-Type: text/plain; charset=utf-8", 1},
		{"an unreadable body is kept too", "POST", "/in", right, "\xff\x00", nil, 202, "", 1},
		{"the scheme in other letters", "POST", "/in", "bearer " + token, "{}", nil, 202, "", 1},
		{"a body of the most bytes", "POST", "/in", right, strings.Repeat("x", 1000), nil, 202, "", 1},
		{"an empty body", "POST", "/in", right, "", nil, 400, "", 0},
		{"a blank body", "POST", "/in", right, " \r\n", nil, 400, "", 0},
		{"no credential", "POST", "/in", "", "{}", nil, 401, "WWW-Authenticate: Bearer", 0},
		{"a wrong token", "POST", "/in", "Bearer correct hors", "{}", nil, 401, "WWW-Authenticate: Bearer", 0},
		{"an empty token", "POST", "/in", "Bearer ", "{}", nil, 401, "", 0},
		{"another scheme", "POST", "/in", "Basic " + token, "{}", nil, 401, "", 0},
		{"the bare token", "POST", "/in", token, "{}", nil, 401, "", 0},
		{"a wrong path", "POST", "/", right, "{}", nil, 404, "", 0},
		{"a path below", "POST", "/in/", right, "{}", nil, 404, "", 0},
		{"a wrong method", "GET", "/in", right, "", nil, 405, "Allow: POST", 0},
		{"a body too large", "POST", "/in", right, strings.Repeat("x", 1001), nil, 413, "", 0},
		{"a queue that is full", "POST", "/in", right, "{}", ct2fluent.ErrFull, 503, "Retry-After: 5", 1},
		{"a disk that fails", "POST", "/in", right, "{}", errors.New("input/output error"), 503, "Retry-After: 5", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				puts := 0
				b := start(t, Options{Path: "/in", MaxBody: 1000}, func(_ context.Context, body []byte) error {
					puts++
					if string(body) != tt.body {
						t.Errorf("put %q, sent %q", body, tt.body)
					}
					return tt.put
				})
				for _, chunked := range []bool{false, true} {
					puts = 0
					resp, say := b.send(t, tt.method, tt.path, tt.auth, tt.body, chunked)
					if resp.StatusCode != tt.status || puts != tt.puts {
						t.Errorf("status %d, %d puts; want %d, %d", resp.StatusCode, puts, tt.status, tt.puts)
					}
					if name, value, ok := strings.Cut(tt.header, ": "); ok && resp.Header.Get(name) != value {
						t.Errorf("%s: %q, want %q", name, resp.Header.Get(name), value)
					}
					if strings.Contains(say, "input/output") {
						t.Errorf("the answer tells of the inside: %q", say)
					}
				}
				b.stop()
				if log := b.log.String(); strings.Contains(log, token) || strings.Contains(log, `{"a":1}`) {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

// A token that is renewed holds at once, and the old one no longer.
func TestTokenRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, err := token, error(nil)
		b := start(t, Options{Auth: Token(func() (string, error) { return now, err })}, kept)
		status := func(token string) int {
			resp, _ := b.send(t, "POST", "/notifications", "Bearer "+token, "{}", false)
			return resp.StatusCode
		}
		if got := status(token); got != 202 {
			t.Errorf("before: %d", got)
		}
		now = "another"
		if got := fmt.Sprint(status(token), status("another")); got != "401 202" {
			t.Errorf("after: %s", got)
		}
		// An unreadable secret is no open door, and no fault of the sender.
		now, err = "", errors.New("no such file")
		if got := fmt.Sprint(status(token), status("")); got != "503 503" {
			t.Errorf("unreadable: %s", got)
		}
		now, err = "", nil
		if got := status(""); got != 401 {
			t.Errorf("empty: %d", got)
		}
		b.stop()
	})
}

// While it stops, new requests are told to come again and those at hand finish.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Options{}, func(context.Context, []byte) error {
			time.Sleep(5 * time.Second)
			return nil
		})
		first := make(chan int)
		go func() { first <- b.post(t) }()
		synctest.Wait()
		stopped := make(chan struct{})
		go func() {
			b.stop()
			close(stopped)
		}()
		synctest.Wait()
		resp, say := b.send(t, "POST", "/notifications", "Bearer "+token, "{}", false)
		if resp.StatusCode != 503 || say != "stopping\n" || !resp.Close {
			t.Errorf("a new request: %d %q, connection closed: %v", resp.StatusCode, say, resp.Close)
		}
		if got := <-first; got != 202 {
			t.Errorf("the one at hand: %d, want 202", got)
		}
		<-stopped
		if got := b.post(t); got != 0 {
			t.Errorf("after the stop: %d, want no answer", got)
		}
	})
}

// Neither a put without end nor a sender that dawdles holds up the stop.
func TestStopHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Options{}, func(ctx context.Context, _ []byte) error {
			<-ctx.Done()
			return ctx.Err()
		})
		status := make(chan int)
		go func() { status <- b.post(t) }()
		dawdler, err := b.network.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer dawdler.Close()
		fmt.Fprintf(dawdler, "POST /notifications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", token)
		synctest.Wait()
		begin := time.Now()
		go b.stop()
		if got := <-status; got != 503 {
			t.Errorf("status %d, want 503", got)
		}
		b.wait()
		if took, most := time.Since(begin), stopLimit+closeLimit; took > most {
			t.Errorf("took %s, want at most %s", took, most)
		}
	})
}

// Bodies in memory are bounded, and a sender that dawdles gives way.
func TestManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := start(t, Options{}, func(context.Context, []byte) error {
			<-release
			return nil
		})
		var mu sync.Mutex
		statuses := map[int]int{}
		var senders sync.WaitGroup
		for range maxRequests + 10 {
			senders.Go(func() {
				status := b.post(t)
				mu.Lock()
				defer mu.Unlock()
				statuses[status]++
			})
		}
		synctest.Wait()
		close(release)
		senders.Wait()
		if statuses[202] != maxRequests || statuses[503] != 10 {
			t.Errorf("statuses %v", statuses)
		}
		b.stop()
		if b.events["answer-202"] != maxRequests || b.events["answer-503"] != 10 {
			t.Errorf("observed %v", b.events)
		}
	})
}

// On a real network: port 0, a taken address, and another Run after the first.
func TestListen(t *testing.T) {
	s, err := New(Options{Address: "127.0.0.1:0", Auth: Token(secret)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		addr, err := s.Listen()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Listen(); err != nil || again.String() != addr.String() {
			t.Errorf("Listen is not the same twice: %v, %v, %v", addr, again, err)
		}
		other, _ := New(Options{Address: addr.String(), Auth: Token(secret)})
		if err := other.Run(t.Context(), kept); !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), addr.String()) {
			t.Errorf("taken address: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, kept) }()
		req, _ := http.NewRequest("POST", "http://"+addr.String()+"/notifications", strings.NewReader("{}"))
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 202 {
			t.Errorf("status %d", resp.StatusCode)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			t.Error("the address is still taken after Run")
		}
	}
}

func kept(context.Context, []byte) error { return nil }

// A bench runs a source on a network of its own.
type bench struct {
	network network
	client  *http.Client
	log     bytes.Buffer
	mu      sync.Mutex
	events  map[string]int
	cancel  func()
	done    chan struct{}
	err     error
}

func start(t *testing.T, o Options, put func(ctx context.Context, body []byte) error) *bench {
	b := &bench{events: map[string]int{}, done: make(chan struct{})}
	b.client = &http.Client{Transport: &http.Transport{DialContext: b.network.dial}}
	o.Listener = b.network.listen()
	o.Log = slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Observe = func(event string, n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events[event] += n
	}
	if o.Auth == nil {
		o.Auth = Token(secret)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	go func() {
		b.err = s.Run(ctx, put)
		close(b.done)
	}()
	t.Cleanup(func() {
		b.wait()
		b.client.CloseIdleConnections()
		if b.err != nil {
			t.Errorf("Run: %v", b.err)
		}
	})
	return b
}

func (b *bench) stop() {
	b.cancel()
	b.wait()
}

func (b *bench) wait() { <-b.done }

func (b *bench) post(t *testing.T) int { return post(t, b.client, []byte("{}")) }

func (b *bench) send(t *testing.T, method, path, auth, body string, chunked bool) (*http.Response, string) {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	if chunked {
		r = io.MultiReader(r)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://webhook"+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	say, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp, string(say)
}

package main

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A Side is what one stand-in has seen since the counters were set to zero.
type Side struct {
	Requests map[string]int // by operation
	First    int64          // when the first request about customers came, in ns since 1970; 0: none did
	Busy     time.Duration  // inside the stand-in, its latency included
	Sockets  int            // accepted since the start
}

// apart are operations that are not the work of notifications.
var apart = map[string]bool{"token": true, "check": true, "scan": true}

func (s Side) customers() (n int) {
	for operation, count := range s.Requests {
		if !apart[operation] {
			n += count
		}
	}
	return n
}

func (s Side) apart() (n int) {
	for operation, count := range s.Requests {
		if apart[operation] {
			n += count
		}
	}
	return n
}

// A meter stands before a stand-in and counts. Safe for concurrent use.
type meter struct {
	http.Handler
	operation func(r *http.Request, head string) string
	before    func(r *http.Request, operation string) // each request is worked

	mu       sync.Mutex
	seen     Side
	answered int           // mutations, since the start
	at       time.Time     // the last of them
	news     chan struct{} // closed with the next one
}

func newMeter(h http.Handler, operation func(*http.Request, string) string) *meter {
	return &meter{Handler: h, operation: operation, seen: Side{Requests: map[string]int{}}, news: make(chan struct{})}
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	head := &firstBytes{ReadCloser: r.Body}
	r.Body = head
	if m.before != nil {
		m.before(r, m.operation(r, ""))
	}
	// Deferred: a stand-in that cuts a connection leaves by a panic.
	defer func() {
		operation, end := m.operation(r, string(head.kept)), time.Now()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.seen.Requests[operation]++
		m.seen.Busy += end.Sub(began)
		if m.seen.First == 0 && !apart[operation] {
			m.seen.First = began.UnixNano()
		}
		if operation == "mutation" {
			m.answered++
			m.at = end
			close(m.news)
			m.news = make(chan struct{})
		}
	}()
	m.Handler.ServeHTTP(w, r)
}

// accepted is told of every connection's states.
func (m *meter) accepted(_ net.Conn, s http.ConnState) {
	if s == http.StateNew {
		m.mu.Lock()
		m.seen.Sockets++
		m.mu.Unlock()
	}
}

func (m *meter) read() Side {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.seen
	s.Requests = maps.Clone(s.Requests)
	return s
}

func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = Side{Requests: map[string]int{}, Sockets: m.seen.Sockets}
}

// An Answered tells of the last mutation.
type Answered struct {
	N    int
	At   time.Time
	Busy time.Duration // of this side, until now
}

// wait returns once more than n mutations were answered.
func (m *meter) wait(ctx context.Context, n int) (Answered, error) {
	for {
		m.mu.Lock()
		a, news := Answered{m.answered, m.at, m.seen.Busy}, m.news
		m.mu.Unlock()
		if a.N > n {
			return a, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
}

// firstBytes keeps the beginning of what is read.
type firstBytes struct {
	io.ReadCloser
	kept []byte
}

func (b *firstBytes) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if room := 256 - len(b.kept); room > 0 {
		b.kept = append(b.kept, p[:min(n, room)]...)
	}
	return n, err
}

func ofCommercetools(r *http.Request, _ string) string {
	switch {
	case strings.HasSuffix(r.URL.Path, "/oauth/token"):
		return "token"
	case !strings.HasSuffix(r.URL.Path, "/customers"):
		return "get"
	case r.URL.Query().Get("where") == "":
		return "check"
	}
	return "query"
}

// What the product calls its queries; those of others are just queries.
var operationName = regexp.MustCompile(`"(mutation)\b|"query (check|scan)\b`)

func ofFluent(r *http.Request, head string) string {
	if r.URL.Path == "/oauth/token" {
		return "token"
	}
	if found := operationName.FindStringSubmatch(head); found != nil {
		return found[1] + found[2]
	}
	return "query"
}

package api

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// secret stands for anything a server may write.
const secret = "jane@example.com"

// client makes a client of tests: its tokens are 1, 2, 3, …
func client(t *testing.T, o Options) *Client {
	t.Helper()
	var n atomic.Int64
	if o.Grant == nil {
		o.Grant = func(context.Context, bool) (*oauth2.Token, error) {
			return &oauth2.Token{AccessToken: fmt.Sprint(n.Add(1))}, nil
		}
	}
	c := New(o)
	t.Cleanup(c.transport.CloseIdleConnections)
	return c
}

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func post(url string) Request {
	return Request{Operation: "write", Method: http.MethodPost, URL: url, Body: []byte(`{"query":"mutation"}`)}
}

func wantFault(t *testing.T, err error, want Reason) *Fault {
	t.Helper()
	var f *Fault
	if !errors.As(err, &f) || f.Reason != want {
		t.Fatalf("err = %v, want %v", err, want)
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("promise 7: %q", err)
	}
	return f
}

func TestRequestAsItIsSent(t *testing.T) {
	var got *http.Request
	var body []byte
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	})
	var calls []Call
	c := client(t, Options{API: "fluent", UserAgent: "ct2fluent/1.2.3", Observe: func(c Call) { calls = append(calls, c) }})
	if _, err := c.Do(t.Context(), post(url)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Authorization": "Bearer 1", "Content-Type": "application/json", "Accept": "application/json",
		"User-Agent": "ct2fluent/1.2.3", "Accept-Encoding": "gzip",
	}
	for k, v := range want {
		if got.Header.Get(k) != v {
			t.Errorf("%s: %q, want %q", k, got.Header.Get(k), v)
		}
	}
	id := got.Header.Get("X-Correlation-Id")
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{8,256}$`).MatchString(id) {
		t.Errorf("X-Correlation-ID %q", id)
	}
	if string(body) != `{"query":"mutation"}` {
		t.Errorf("body %q", body)
	}
	if len(calls) != 1 || calls[0].API != "fluent" || calls[0].Operation != "write" || calls[0].Status != 200 || calls[0].CorrelationID != id {
		t.Errorf("observed %+v", calls)
	}
}

func TestAnswers(t *testing.T) {
	big := strings.Repeat("x", 2000)
	tests := []struct {
		name   string
		serve  http.HandlerFunc
		status int
		body   string
		wait   time.Duration
		fault  Reason
		cause  error
	}{
		{name: "plain", serve: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, status: 200, body: "hello"},
		{name: "packed", status: 200, body: "hello", serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, "hello")
			z.Close()
		}},
		{name: "an error is an answer", serve: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusConflict) }, status: 409, body: "no\n"},
		{name: "too large", fault: Lost, cause: ErrTooLarge, serve: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, big) }},
		{name: "too large, of no known length", fault: Lost, cause: ErrTooLarge, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, big)
		}},
		{name: "without end", fault: Lost, cause: ErrTooLarge, serve: func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		}},
		{name: "too large when unpacked", fault: Lost, cause: ErrTooLarge, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, big)
			z.Close()
		}},
		{name: "an error too large to read still has its status", status: 502, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(502)
			io.WriteString(w, big)
		}},
		{name: "not really packed", fault: Lost, cause: errUnusable, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, secret)
		}},
		{name: "cut in the middle", fault: Lost, cause: errCut, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, secret)
		}},
		{name: "a redirect is not followed", status: 307, serve: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/other" {
				t.Error("followed")
			}
			w.Header().Set("Location", "/other")
			w.WriteHeader(307)
		}},
		{name: "a broken Location is not looked at", status: 302, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://%zz "+secret)
			w.WriteHeader(302)
		}},
		{name: "too many, with a time", status: 429, wait: 7 * time.Second, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		}},
		{name: "too many, with none", status: 429, wait: shortPause, serve: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }},
		{name: "no service, with a time", status: 503, wait: 7 * time.Second, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, Options{MaxAnswer: 1000})
			a, err := c.Do(t.Context(), post(server(t, tt.serve)))
			if tt.fault != 0 {
				wantFault(t, err, tt.fault)
				if !errors.Is(err, tt.cause) {
					t.Errorf("err = %v, want %v", err, tt.cause)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != tt.status || string(a.Body) != tt.body || a.RetryAfter != tt.wait {
				t.Errorf("got %d %q %v", a.Status, a.Body, a.RetryAfter)
			}
		})
	}
}

func TestUnauthorized(t *testing.T) {
	tests := []struct {
		name   string
		good   string // the token that is accepted
		status int
		tokens []string
	}{
		{name: "once: another token", good: "Bearer 2", status: 200, tokens: []string{"Bearer 1", "Bearer 2"}},
		{name: "twice: no loop", good: "none", status: 401, tokens: []string{"Bearer 1", "Bearer 2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tokens []string
			url := server(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				tokens = append(tokens, r.Header.Get("Authorization"))
				if tokens[len(tokens)-1] != tt.good {
					w.WriteHeader(401)
				}
			})
			var repeats []bool
			c := client(t, Options{Observe: func(c Call) { repeats = append(repeats, c.Repeat) }})
			a, err := c.Do(t.Context(), post(url))
			if err != nil || a.Status != tt.status {
				t.Fatalf("got %+v, %v", a, err)
			}
			if fmt.Sprint(tokens) != fmt.Sprint(tt.tokens) || fmt.Sprint(repeats) != "[false true]" {
				t.Errorf("sent with %v, repeats %v", tokens, repeats)
			}
		})
	}
}

// Tokens that are taken away soon after they worked are replaced each time.
func TestUnauthorizedAgain(t *testing.T) {
	good := 1
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer %d", good) {
			w.WriteHeader(401)
		}
	})
	c := client(t, Options{})
	for ; good < 5; good++ {
		for range 2 {
			if a, err := c.Do(t.Context(), post(url)); err != nil || a.Status != 200 {
				t.Fatalf("token %d: %+v, %v", good, a, err)
			}
		}
	}
}

// A caller that goes away says nothing about the API.
func TestLimitIsNotLoweredByWhoLeaves(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	url := rawServer(t, func(_ net.Conn, r *bufio.Reader) { whole(r); <-hang })
	c := client(t, Options{Timeout: 100 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, post(url)); err == nil || limit(c.limiter) != 5 {
		t.Errorf("%v; limit %d", err, limit(c.limiter))
	}
	if _, err := c.Do(t.Context(), post(url)); err == nil || limit(c.limiter) != 2 {
		t.Errorf("no answer in time: %v; limit %d", err, limit(c.limiter))
	}
}

func TestNoTokenNoRequest(t *testing.T) {
	url := server(t, func(http.ResponseWriter, *http.Request) { t.Error("sent without a token") })
	c := client(t, Options{Grant: func(context.Context, bool) (*oauth2.Token, error) {
		return nil, &Fault{Reason: Refused, Code: "invalid_client", Status: 401}
	}})
	_, err := c.Do(t.Context(), post(url))
	if f := wantFault(t, err, Refused); f.Error() != "no token: invalid_client (HTTP 401)" {
		t.Errorf("err = %v", f)
	}
	if c.limiter.busy != 0 {
		t.Errorf("%d slots are lost", c.limiter.busy)
	}
}

// Requests for tokens are identified and observed like any other, and do not
// carry credentials to where a redirect points.
func TestTokenRequest(t *testing.T) {
	var got *http.Request
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			t.Error("followed")
		}
		got = r
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	var calls []Call
	c := client(t, Options{
		UserAgent: "ct2fluent/1", TokenHeader: http.Header{"fluent.account": {"ACME"}},
		Observe: func(c Call) { calls = append(calls, c) },
		Grant: func(ctx context.Context, _ bool) (*oauth2.Token, error) {
			conf := oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: url + "/token", AuthStyle: oauth2.AuthStyleInParams}}
			return conf.PasswordCredentialsToken(ctx, "u", "p")
		},
	})
	_, err := c.Do(t.Context(), post(url))
	wantFault(t, err, Refused)
	if got.UserAgent() != "ct2fluent/1" || got.Header.Get("fluent.account") != "ACME" || got.Header.Get("X-Correlation-ID") == "" {
		t.Errorf("sent %v", got.Header)
	}
	if len(calls) != 1 || calls[0].Operation != "token" || calls[0].Status != 307 {
		t.Errorf("observed %+v", calls)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var mu sync.Mutex
	conns := map[string]bool{}
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		mu.Unlock()
		if len(r.URL.Path) > 1 {
			w.WriteHeader(502)
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, strings.Repeat("<p>", 10000))
	})
	c := client(t, Options{MaxConcurrent: 4})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 50 {
				if _, err := c.Do(t.Context(), post(url+"/"+[]string{"", "x"}[i%2])); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// One that has just been given back may be seen too late: then another is
	// opened.
	if len(conns) > 8 {
		t.Errorf("%d connections for 200 requests, 4 at once", len(conns))
	}
}

func TestRequestsAtOnceStayUnderTheCeiling(t *testing.T) {
	var busy, most atomic.Int64
	url := server(t, func(http.ResponseWriter, *http.Request) {
		n := busy.Add(1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		busy.Add(-1)
	})
	c := client(t, Options{MaxConcurrent: 3})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 10 {
				if _, err := c.Do(t.Context(), post(url)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d requests at once", most.Load())
	}
}

func TestRetryAfter(t *testing.T) {
	date := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	tests := []struct {
		value    string
		min, max time.Duration
	}{
		{"", 0, 0}, {"7", 7 * time.Second, 7 * time.Second}, {"-7", 0, 0}, {"soon", 0, 0}, {"1e9", 0, 0},
		{"99999999999999999999", 0, 0}, {date, 59 * time.Minute, time.Hour}, {"Mon, 02 Jan 2006 15:04:05 GMT", 0, 0},
	}
	for _, tt := range tests {
		if got := RetryAfter(http.Header{"Retry-After": {tt.value}}); got < tt.min || got > tt.max {
			t.Errorf("%q: %v", tt.value, got)
		}
	}
}

func TestAddress(t *testing.T) {
	good := map[string]string{"https://h": "https://h", "http://127.0.0.1:80/": "http://127.0.0.1:80", "https://h/base/": "https://h/base"}
	for in, want := range good {
		if got, err := Address(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "h", "ftp://h", "https://", "https://u:p@h", "https://h?q", "https://h#f", "http://%zz"} {
		if _, err := Address(in); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

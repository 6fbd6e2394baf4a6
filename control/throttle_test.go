package control

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tries asks with a token from an address, and gives the status and how long
// the answer took.
func tries(s *Server, from, token string) (int, string, time.Duration) {
	r := httptest.NewRequest("GET", "/admin/status", nil)
	r.Host, r.RemoteAddr = "127.0.0.1:8080", from+":4711"
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	began := time.Now()
	s.Handler().ServeHTTP(w, r)
	return w.Code, w.Header().Get("Retry-After"), time.Since(began)
}

func guarded(t *testing.T, log *bytes.Buffer) *Server {
	return newServer(t, Options{Status: full().Status, Tokens: append(tokens("right"), Token{"long", Viewer, Static("01234567890123456789")}), Metrics: NewMetrics("1"), Log: slog.New(slog.NewTextHandler(log, nil))})
}

func TestWrongTokensAreSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := guarded(t, &log)
		want := func(what, from, token string, code int, retry string, took time.Duration) {
			t.Helper()
			c, r, d := tries(s, from, token)
			if c != code || r != retry || d != took {
				t.Errorf("%s: %d, Retry-After %q, after %v; want %d, %q, %v", what, c, r, d, code, retry, took)
			}
		}
		for i := range wrongAtOnce {
			want(fmt.Sprint("wrong one ", i+1), "10.0.0.1", "wrong", 401, "", 0)
		}
		want("one too many", "10.0.0.1", "wrong", 429, "5", heldBack)
		want("the next", "10.0.0.1", "wrong", 429, "4", heldBack)
		want("the right one of the same address", "10.0.0.1", "right", 200, "", 0)
		want("a viewer's", "10.0.0.1", "looks", 200, "", 0)
		want("a wrong one of another address", "10.0.0.2", "wrong", 401, "", 0)
		want("the right one of another address", "10.0.0.3", "right", 200, "", 0)
		time.Sleep(wrongEvery)
		want("after a while", "10.0.0.1", "wrong", 401, "", 0)
		want("and at once", "10.0.0.1", "wrong", 429, "3", heldBack)
		time.Sleep(time.Hour)
		for range wrongAtOnce {
			want("after an hour", "10.0.0.1", "wrong", 401, "", 0)
		}
		want("but no more", "10.0.0.1", "wrong", 429, "5", heldBack)
		if n := strings.Count(log.String(), "many wrong tokens"); n != 3 || !strings.Contains(log.String(), "from=10.0.0.1") || strings.Contains(log.String(), "wrong\"") {
			t.Errorf("said %d times: %s", n, log.String())
		}
	})
}

// Who sends faster than answers leave finds out nothing more of a short token;
// who has been right from there comes in all the same, and so does who has a
// long one, and everybody from elsewhere.
func TestAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guarded(t, &bytes.Buffer{})
		const shared = "10.0.0.1"
		if c, _, _ := tries(s, shared, "looks"); c != 200 {
			t.Fatalf("before: %d", c)
		}
		for range wrongAtOnce {
			tries(s, shared, "wrong")
		}
		began := time.Now()
		answers := make(chan time.Duration, 100)
		for range 100 {
			go func() {
				c, r, d := tries(s, shared, "wrong")
				if c != 429 || r == "" {
					t.Errorf("flooding: %d, %q", c, r)
				}
				answers <- d
			}()
		}
		synctest.Wait() // four are held back, the others are answered
		for token, want := range map[string]int{"looks": 200, s.Token(): 200, "01234567890123456789": 200, "right": 429, "wrong": 429} {
			if c, _, d := tries(s, shared, token); c != want || d != 0 {
				t.Errorf("%s of the same address: %d after %v, want %d", token, c, d, want)
			}
		}
		if c, _, _ := tries(s, "10.0.0.2", "right"); c != 200 {
			t.Errorf("another address: %d", c)
		}
		held := 0
		for range 100 {
			if <-answers > 0 {
				held++
			}
		}
		if held != heldOfOne || time.Since(began) != heldBack {
			t.Errorf("%d were held back, for %v", held, time.Since(began))
		}
		// So many guesses are looked at in a minute, whatever is sent.
		if c, _, _ := tries(s, shared, "right"); c != 200 {
			t.Errorf("after the flood: %d", c)
		}
	})
}

// Many addresses together use up the budget of all; then a wrong token is
// answered late from everywhere, and a right one is not.
func TestManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guarded(t, &bytes.Buffer{})
		address := func(i int) string { return fmt.Sprintf("10.1.%d.%d", i/250, i%250) }
		for i := range allWrongAtOnce {
			if c, _, d := tries(s, address(i), "wrong"); c != 401 || d != 0 {
				t.Fatalf("%d: %d after %v", i, c, d)
			}
		}
		if c, r, d := tries(s, "10.2.0.1", "wrong"); c != 429 || r != "1" || d != heldBack {
			t.Errorf("a wrong one: %d, %q, after %v", c, r, d)
		}
		if c, _, d := tries(s, "10.2.0.2", "right"); c != 200 || d != 0 {
			t.Errorf("a right one: %d after %v", c, d)
		}
	})
}

func TestAThrottleIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := guarded(t, &bytes.Buffer{})
		for i := range visitorsMost + 500 {
			tries(s, fmt.Sprintf("10.%d.%d.1", i/250, i%250), "right")
		}
		if n, m := len(s.guard.slow.visitors), s.guard.slow.order.Len(); n != visitorsMost || m != n {
			t.Errorf("%d addresses remembered, %d in order", n, m)
		}
	})
}

// A request that is given up, or a stop, does not wait.
func TestTheHeldBackEndWithTheirRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range wrongAtOnce + 1 {
			began := time.Now()
			th.knock(addressOf(&http.Request{RemoteAddr: "10.0.0.1:1"}, false)).wrong(ctx)
			if time.Since(began) > 0 {
				t.Error("waited")
			}
		}
		if th.held != 0 {
			t.Errorf("%d places are left taken", th.held)
		}
	})
}

func TestWhereARequestComesFrom(t *testing.T) {
	for _, tt := range []struct {
		remote    string
		forwarded []string
		proxied   bool
		want      string
	}{
		{"10.0.0.1:5", nil, false, "10.0.0.1/32"},
		{"[::ffff:10.0.0.1]:5", nil, false, "10.0.0.1/32"},
		{"[2001:db8:1:2:3:4:5:6]:5", nil, false, "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:5", nil, false, "fe80::/64"},
		{"10.0.0.1:5", []string{"192.0.2.1"}, false, "10.0.0.1/32"},
		{"10.0.0.1:5", []string{"192.0.2.1"}, true, "192.0.2.1/32"},
		{"10.0.0.1:5", []string{"6.6.6.6, 192.0.2.1"}, true, "192.0.2.1/32"},
		{"10.0.0.1:5", []string{"6.6.6.6", "192.0.2.1"}, true, "192.0.2.1/32"},
		{"10.0.0.1:5", []string{"nonsense"}, true, "10.0.0.1/32"},
		{"10.0.0.1:5", nil, true, "10.0.0.1/32"},
		{"@", nil, false, "invalid Prefix"},
	} {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
		if got := addressOf(r, tt.proxied).String(); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

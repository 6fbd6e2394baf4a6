package control

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
)

// Every route × credential × Host × Origin, on loopback and off it: who gets
// in is decided by the table of routes, before a route does anything. The table
// is the router's own: a route that is added is tried here.
func TestWhoGetsIn(t *testing.T) {
	type header struct{ name, value string }
	credentials := []struct {
		header
		is Access // whose it is; Anyone: nobody's
	}{
		{header{"none", ""}, Anyone},
		{header{"wrong", "Bearer wrong"}, Anyone},
		{header{"no token", "Bearer "}, Anyone},
		{header{"another scheme", "Basic configured"}, Anyone},
		{header{"a token without a scheme", "configured"}, Anyone},
		{header{"one more letter", "Bearer configuredx"}, Anyone},
		{header{"a viewer's", "Bearer looks"}, Viewer},
		{header{"made", "Bearer MADE"}, Operator},
		{header{"configured", "Bearer configured"}, Operator},
		{header{"a scheme in small letters", "bearer configured"}, Operator},
	}
	hosts := []struct {
		header
		right bool
	}{
		{header{"loopback", "127.0.0.1:8080"}, true},
		{header{"a name of the user's", "ct2fluent.example"}, true},
		{header{"rebound", "evil.example:8080"}, false},
	}
	origins := []struct {
		header
		right bool
	}{
		{header{"none", ""}, true},
		{header{"the same", "http://HOST"}, true},
		{header{"another", "https://evil.example"}, false},
	}
	// Nobody waits for the answer: a profile is not recorded for long.
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, place := range []struct {
		name, address string
		loopback      bool
	}{{"on loopback", "127.0.0.1:8080", true}, {"off loopback", "0.0.0.0:8080", false}} {
		o := full()
		o.Address, o.Tokens, o.Hosts = place.address, tokens("configured"), []string{"CT2Fluent.example"}
		o.Dead, o.BehindProxy = letters{}, !place.loopback
		s := newServer(t, o)
		for _, route := range s.Routes() {
			path := strings.NewReplacer("{typeId}", "customer", "{id}", "1", "{seq}", "1").Replace(route.Path)
			for _, c := range credentials {
				for _, h := range hosts {
					for _, or := range origins {
						if c.is == Operator && h.right && or.right && path == "/debug/pprof/profile" {
							continue // takes a fifth of a second to begin and end
						}
						r := httptest.NewRequestWithContext(gone, route.Method, path, strings.NewReader("{}"))
						r.Host = h.value
						set := func(name, value string) {
							if value != "" {
								r.Header.Set(name, value)
							}
						}
						set("Authorization", strings.Replace(c.value, "MADE", s.Token(), 1))
						set("Origin", strings.Replace(or.value, "HOST", h.value, 1))
						w := httptest.NewRecorder()
						s.guard.slow = newThrottle() // TestWrongTokensAreSlowed
						s.Handler().ServeHTTP(w, r)
						open := route.Access == Anyone || route.Access == OnLoopback && place.loopback
						want := 0 // whatever the route says
						switch {
						case !h.right || !or.right:
							want = 403
						case open:
						case c.is == Anyone:
							want = 401
						case c.is == Viewer && route.Access == Operator:
							want = 403
						}
						if in := w.Code != 401 && w.Code != 403; in != (want == 0) || want != 0 && w.Code != want {
							t.Errorf("%s, %s %s, credential %s, host %s, origin %s: %d, want %d", place.name, route.Method, path, c.name, h.name, or.name, w.Code, want)
						}
						if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
							t.Errorf("%s: without security headers", path)
						}
						if want == 403 && h.right && or.right && !strings.Contains(w.Body.String(), "this needs one of the role operator") {
							t.Errorf("%s: 403 does not say which role is needed: %s", path, w.Body)
						}
						if w.Code == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" {
							t.Errorf("%s: 401 without WWW-Authenticate", path)
						}
					}
				}
			}
		}
	}
}

// The admin API, the profile and nothing else need the token on loopback.
func TestTheTableNamesWhatNeedsTheToken(t *testing.T) {
	changes := map[string]bool{"POST /admin/put": true, "POST /admin/dead/replay": true, "POST /admin/dead/drop": true, "POST /admin/pause": true, "POST /admin/resume": true,
		"POST /admin/sync": true, "POST /admin/jobs": true, "POST /admin/jobs/{id}/stop": true, "POST /admin/jobs/{id}/resume": true}
	for _, r := range newServer(t, full()).Routes() {
		want := OnLoopback
		switch {
		case r.Path == "/healthz" || r.Path == "/readyz":
			want = Anyone
		case strings.HasPrefix(r.Path, "/debug/"), strings.HasPrefix(r.Path, "/admin/") && changes[r.Method+" "+r.Path]:
			want = Operator
		case strings.HasPrefix(r.Path, "/admin/"):
			want = Viewer
		}
		if r.Access != want {
			t.Errorf("%s %s: access %d, want %d", r.Method, r.Path, r.Access, want)
		}
	}
}

func TestHosts(t *testing.T) {
	const loopback, all, named = "127.0.0.1:8080", ":8080", "ct.internal:8080"
	tests := []struct {
		address, host string
		want          bool
	}{
		{loopback, "localhost", true},
		{loopback, "LOCALHOST:9", true},
		{loopback, "127.0.0.1", true},
		{loopback, "127.9.9.9:1", true},
		{loopback, "[::1]:8080", true},
		{loopback, "::1", false}, // no Host of HTTP
		{loopback, "", false},
		{loopback, "evil.example", false},
		{loopback, "localhost.evil.example", false},
		{loopback, "127.0.0.1.evil.example", false},
		{loopback, "10.0.0.1:8080", false},
		{all, "10.0.0.1:8080", true}, // how a cluster's probes ask
		{all, "[fd00::1]:8080", true},
		{all, "localhost", true},
		{all, "evil.example:8080", false},
		{"10.0.0.1:8080", "10.0.0.1:8080", true},
		{"10.0.0.1:8080", "10.0.0.2:8080", false},
		{named, "CT.internal", true},
		{named, "internal", false},
	}
	for _, tt := range tests {
		s := newServer(t, Options{Address: tt.address, Tokens: tokens("t"), BehindProxy: true})
		if got := s.guard.knows(tt.host); got != tt.want {
			t.Errorf("listening on %s, Host %q: %v", tt.address, tt.host, got)
		}
	}
}

func TestOrigins(t *testing.T) {
	tests := []struct {
		host   string
		origin []string
		want   bool
	}{
		{"localhost:8080", nil, true},
		{"localhost:8080", []string{"http://localhost:8080"}, true},
		{"localhost:8080", []string{"http://localhost:3000"}, false}, // another program of this machine
		{"localhost:8080", []string{"http://localhost"}, false},
		{"localhost:8080", []string{"null"}, false},
		{"localhost:8080", []string{""}, false},
		{"localhost:8080", []string{"file://localhost:8080"}, false},
		{"localhost:8080", []string{"http://%zz"}, false},
		{"localhost:8080", []string{"http://localhost:8080", "https://evil.example"}, false},
		{"localhost:8080", []string{"https://proxy.example"}, true}, // of Hosts: a proxy with a Host of its own
		{"localhost:8080", []string{"https://proxy.example:444"}, false},
		{"proxy.example", []string{"https://proxy.example"}, true},
	}
	s := newServer(t, Options{Hosts: []string{"proxy.example"}})
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/healthz", nil)
		r.Host = tt.host
		r.Header["Origin"] = tt.origin
		if got := s.guard.sameSite(r); got != tt.want {
			t.Errorf("Host %s, Origin %q: %v", tt.host, tt.origin, got)
		}
	}
}

func TestTokensDiffer(t *testing.T) {
	a, b := newServer(t, Options{}).Token(), newServer(t, Options{}).Token()
	if a == b || len(a) < 26 {
		t.Errorf("tokens %q and %q", a, b)
	}
}

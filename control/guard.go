package control

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// A guard decides who may ask what.
type guard struct {
	loopback bool            // only this machine reaches it
	anyIP    bool            // listens on all addresses of the machine
	named    map[string]bool // names given by the user
	hosts    map[string]bool // these, and those the address gives
	keys     *keyring
	slow     *throttle
	proxied  bool // a proxy stands before it
	tell     func(from string)
}

func newGuard(host string, hosts []string, proxied bool, keys *keyring) *guard {
	ip, err := netip.ParseAddr(host)
	g := &guard{
		loopback: isLoopback(host) && !proxied,
		anyIP:    host == "" || err == nil && ip.IsUnspecified(),
		named:    map[string]bool{},
		hosts:    map[string]bool{"localhost": true, strings.ToLower(host): true},
		keys:     keys,
		slow:     newThrottle(),
		proxied:  proxied,
		tell:     func(string) {},
	}
	for _, h := range hosts {
		g.named[strings.ToLower(h)] = true
		g.hosts[strings.ToLower(h)] = true
	}
	delete(g.hosts, "")
	return g
}

// wrap checks Host and Origin before anything else, and sets the headers that
// keep a browser from making more of an answer than it is.
func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		if !g.knows(r.Host) {
			writeError(w, http.StatusForbidden, "this host name is not served; add it to control.hosts")
			return
		}
		if !g.sameSite(r) {
			writeError(w, http.StatusForbidden, "requests from other sites are refused")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows checks a Host header. A web page that has its own name resolve to this
// machine (DNS rebinding) sends that name; a literal IP address cannot be one.
func (g *guard) knows(hostport string) bool {
	host := (&url.URL{Host: hostport}).Hostname()
	if g.hosts[strings.ToLower(host)] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (g.anyIP || ip.Unmap().IsLoopback())
}

// sameSite checks an Origin header, which browsers send with what a page asks.
func (g *guard) sameSite(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	if len(origins) > 1 || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	// A proxy may send a Host of its own beside the browser's Origin.
	return strings.EqualFold(u.Host, r.Host) || u.Port() == "" && g.named[strings.ToLower(u.Hostname())]
}

// A refusal is why a request does not get in.
type refusal struct {
	status int
	text   string
	after  time.Duration // of 429
}

// admit decides about a request: who it is, or why it is refused. Without a
// token it is nobody, whom only some routes let in.
func (g *guard) admit(a Access, r *http.Request) (identity, *refusal) {
	if a == Anyone || a == OnLoopback && g.loopback {
		return identity{}, nil
	}
	given, brought := bearer(r)
	if !brought {
		return identity{}, &refusal{status: http.StatusUnauthorized, text: "no token; this needs one: Authorization: Bearer TOKEN"}
	}
	from := addressOf(r, g.proxied)
	k := g.slow.knock(from)
	who, found := g.keys.find(given, k.mayBe)
	if !found {
		after, first := k.wrong(r.Context())
		if first {
			g.tell(from.Addr().String())
		}
		if after > 0 {
			return identity{}, &refusal{http.StatusTooManyRequests, "too many wrong tokens; a right one is taken at any time", after}
		}
		return identity{}, &refusal{status: http.StatusUnauthorized, text: "wrong token"}
	}
	k.right(who.name)
	if a == Operator && who.access != Operator {
		return who, &refusal{status: http.StatusForbidden, text: fmt.Sprintf("the token %q is of the role viewer, which only reads; this needs one of the role operator", who.name)}
	}
	return who, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// reachable is the address under which a process of this machine reaches a
// listener.
func reachable(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String()
	}
	ip := net.IPv4(127, 0, 0, 1)
	if t.IP.To4() == nil {
		ip = net.IPv6loopback
	}
	return (&net.TCPAddr{IP: ip, Port: t.Port}).String()
}

package control

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A guard decides who may ask what.
type guard struct {
	loopback bool            // listens on loopback only
	anyIP    bool            // listens on all addresses of the machine
	named    map[string]bool // names given by the user
	hosts    map[string]bool // these, and those the address gives
	tokens   [][sha256.Size]byte
}

func newGuard(host string, hosts []string, tokens ...string) *guard {
	ip, err := netip.ParseAddr(host)
	g := &guard{
		loopback: isLoopback(host),
		anyIP:    host == "" || err == nil && ip.IsUnspecified(),
		named:    map[string]bool{},
		hosts:    map[string]bool{"localhost": true, strings.ToLower(host): true},
	}
	for _, h := range hosts {
		g.named[strings.ToLower(h)] = true
		g.hosts[strings.ToLower(h)] = true
	}
	delete(g.hosts, "")
	for _, t := range tokens {
		if t != "" {
			g.tokens = append(g.tokens, sha256.Sum256([]byte(t)))
		}
	}
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

func (g *guard) admits(a Access, r *http.Request) bool {
	return a == Anyone || a == OnLoopback && g.loopback || g.hasToken(r)
}

// hasToken compares hashes, all of them, in a time that tells nothing of the
// tokens.
func (g *guard) hasToken(r *http.Request) bool {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(given))
	found := 0
	for i := range g.tokens {
		found |= subtle.ConstantTimeCompare(sum[:], g.tokens[i][:])
	}
	return found == 1 && strings.EqualFold(scheme, "Bearer")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// newToken makes 130 bits nobody can guess.
func newToken() string { return rand.Text() }

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

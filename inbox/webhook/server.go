package webhook

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/keypair"
)

// A server is what the sources of one address share: the listener, and an HTTP
// server that is there while one of them runs.
type server struct {
	address string
	tls     *keypair.Pair // nil: none
	log     *slog.Logger
	observe func(event string, n int) // of what is for none of the sources
	paths   map[string]string         // of the sources, with their names

	turn     turn // for the two below
	listener net.Listener
	round    *round
}

// A round is one time of serving, from the first source that runs to the last.
type round struct {
	server   *server
	http     *http.Server
	addr     net.Addr
	users    int
	ended    chan struct{}
	err      error // once ended
	mu       sync.RWMutex
	handlers map[string]*handler // by path
}

// listen takes the address, if that has not been done.
func (s *server) listen() (net.Addr, error) {
	if err := s.turn.take(context.Background()); err != nil {
		return nil, err
	}
	defer s.turn.give()
	return s.take()
}

// take is listen for who has the turn.
func (s *server) take() (net.Addr, error) {
	if s.round.alive() {
		return s.round.addr, nil
	}
	if s.listener == nil {
		l, err := net.Listen("tcp", s.address)
		if err != nil {
			return nil, fmt.Errorf("webhook: address %q %w: %w", s.address, ErrAddress, err)
		}
		s.listener = l
	}
	return s.listener.Addr(), nil
}

func (r *round) alive() bool {
	if r == nil {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// enter has the requests of a path led to h, and begins to serve if nobody
// else has.
func (s *server) enter(path string, h *handler) (*round, error) {
	if err := s.turn.take(context.Background()); err != nil {
		return nil, err
	}
	defer s.turn.give()
	addr, err := s.take()
	if err != nil {
		return nil, err
	}
	if !s.round.alive() {
		s.round = s.serve(addr, path, h)
		return s.round, nil
	}
	r := s.round
	r.users++
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handlers[path] = h
	return r, nil
}

// serve begins a round on the listener, with its first handler: a connection
// may wait there already.
func (s *server) serve(addr net.Addr, path string, h *handler) *round {
	r := &round{server: s, addr: addr, users: 1, ended: make(chan struct{}), handlers: map[string]*handler{path: h}}
	// HTTP/1.1 alone: its limits are those below, and no sender needs more.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	r.http = &http.Server{
		Handler:           r,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerLimit, // of a TLS handshake as well
		ReadTimeout:       readLimit,
		WriteTimeout:      readLimit + putLimit + 5*time.Second,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(&occasional{log: s.log}, "", 0),
	}
	listener := s.listener
	s.listener = nil
	go func() {
		defer close(r.ended)
		if s.tls == nil {
			r.err = r.http.Serve(listener)
			return
		}
		r.http.TLSConfig = s.tls.Config()
		r.err = r.http.ServeTLS(listener, "", "")
	}()
	return r
}

// occasional takes what net/http has to say of connections: anyone can have it
// say much, such as of a TLS handshake that failed. Once a minute it is told.
type occasional struct {
	log  *slog.Logger
	mu   sync.Mutex
	told time.Time
}

// Write is of io.Writer.
func (o *occasional) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	level := slog.LevelDebug
	if now := time.Now(); now.Sub(o.told) >= tellEvery {
		o.told, level = now, slog.LevelWarn
	}
	o.log.Log(context.Background(), level, "webhook: a connection failed", "why", strings.TrimSpace(string(line)))
	return len(line), nil
}

// leave ends the round with the last of its sources. Answers may still be on
// their way; a connection that was opened and never used must not hold up the
// stop.
func (s *server) leave(ctx context.Context, r *round) {
	if err := s.turn.take(context.Background()); err != nil {
		return
	}
	defer s.turn.give()
	if r.users--; r.users > 0 {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	_ = r.http.Shutdown(last)
	<-r.ended
	_ = r.http.Close()
	if s.round == r {
		s.round = nil
	}
}

// ServeHTTP leads a request to the source of its path.
func (r *round) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.RLock()
	h := r.handlers[req.URL.Path]
	r.mu.RUnlock()
	if h != nil {
		h.ServeHTTP(w, req)
		return
	}
	no := &reply{status: http.StatusNotFound, say: "not found"}
	if _, later := r.server.paths[req.URL.Path]; later {
		no = notReady("")
	}
	r.server.observe("answer-"+strconv.Itoa(no.status), 1)
	no.write(w)
}

// write answers.
func (a *reply) write(w http.ResponseWriter) {
	h := w.Header()
	for name, value := range a.header {
		h.Set(name, value)
	}
	if a.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	kind := "text/plain; charset=utf-8"
	if a.json {
		kind = "application/json"
	}
	h.Set("Content-Type", kind)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.say+"\n")
}

// Join has s share the address of an earlier source, where both name one. An
// error says that they cannot: one path of one address, or two that overlap.
// Call it before Listen and Run.
func (s *Source) Join(earlier ...*Source) error {
	for _, e := range earlier {
		switch relation(s.o.Address, e.o.Address) {
		case apart:
			continue
		case overlapping:
			return &OptionError{"address", fmt.Errorf("webhook: address %q overlaps %q of listener %q: write both alike, or give them ports of their own", s.o.Address, e.o.Address, e.o.Name)}
		}
		if s.o.CertFile != e.o.CertFile || s.o.KeyFile != e.o.KeyFile {
			return &OptionError{"tls-cert", fmt.Errorf("webhook: address %q is listener %q's, too, with other TLS files: give both the same", s.o.Address, e.o.Name)}
		}
		if name, taken := e.server.paths[s.o.Path]; taken && s.server != e.server {
			return &OptionError{"path", fmt.Errorf("webhook: path %s of address %q is listener %q's: give each a path of its own", s.o.Path, s.o.Address, name)}
		}
		s.server = e.server
		s.server.paths[s.o.Path] = s.o.Name
	}
	return nil
}

// Overlaps tells whether this address and another cannot both be listened on.
func (s *Source) Overlaps(address string) bool { return relation(s.o.Address, address) != apart }

// How two addresses lie to each other.
type kinship int

const (
	apart kinship = iota
	one
	overlapping
)

func relation(a, b string) kinship {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || isZero(portA) {
		return apart
	}
	hostA, hostB = bare(hostA), bare(hostB)
	switch {
	case hostA == hostB:
		return one
	case hostA == "" || hostB == "":
		return overlapping
	}
	return apart
}

// isZero: each listener gets a free port of its own.
func isZero(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n == 0
}

// bare is empty for all addresses of the machine.
func bare(host string) string {
	ip := net.ParseIP(host)
	switch {
	case ip != nil && ip.IsUnspecified():
		return ""
	case strings.EqualFold(host, "localhost"):
		return "127.0.0.1"
	case ip != nil:
		return ip.String()
	}
	return strings.ToLower(host)
}

// Warnings are what is right and deserves a thought: what it is, and what to
// do about it.
func (s *Source) Warnings() [][2]string {
	host, _, err := net.SplitHostPort(s.o.Address)
	ip := net.ParseIP(host)
	if s.server.tls != nil || err == nil && (strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return [][2]string{{
		fmt.Sprintf("listens on %s, which others than this machine can reach, without TLS", s.o.Address),
		"give it tls-cert and tls-key, unless a proxy that has TLS stands before it",
	}}
}

// Package webhook is a source to which notifications are pushed over HTTP.
//
// Senders are Pub/Sub push, SNS, EventBridge API destinations, Event Grid, and
// whoever knows the bearer token. There is no anonymous access, on loopback
// neither: whoever may post may write into the queue.
//
// # Acknowledgement
//
// 202 says that all notifications of the body are on disk (promise 1). Any
// other answer leaves the body with its sender: 400 for an empty body, 401
// without the token, 404 and 405, 413 for a body that is too large, 503 with
// Retry-After when it cannot be kept now. A body that cannot be read is kept
// too and ends as a dead letter.
//
// # Stop
//
// New requests are answered 503, those at hand are finished within ten
// seconds, then the address is let go.
package webhook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// ErrAddress says that the address cannot be listened on: taken, or not of
// this machine.
var ErrAddress = errors.New("cannot be listened on")

const (
	maxRequests = 128              // bodies in memory at once
	maxHeader   = 16 << 10         // bytes
	headerLimit = 5 * time.Second  // for a sender to send its headers
	readLimit   = 15 * time.Second // for it to send all
	putLimit    = 25 * time.Second // senders wait 30 s or more
	stopLimit   = 10 * time.Second // for the requests at hand at the stop
	closeLimit  = 2 * time.Second  // for their answers to be read
	idleLimit   = 2 * time.Minute  // longer than the load balancers' 60 s
)

// Options of a Source. Token is mandatory.
type Options struct {
	// Address to listen on; port 0 takes a free one. Default 127.0.0.1:8081.
	Address string
	// Listener, if set, is used instead of Address by the first Run.
	Listener net.Listener
	// Path to which notifications are posted; default /notifications.
	Path string
	// Token tells the bearer token that senders must bring. It is asked at
	// each request, so that a renewed secret holds at once.
	Token func() (string, error)
	// MaxBody is the most bytes a body may have; default 1 MiB.
	MaxBody int64
	// Log; nil discards.
	Log *slog.Logger
	// Observe is told of each answer, as "answer-202" and the like, for
	// metrics; nil for none. Called by several goroutines at once.
	Observe func(event string, n int)
}

// A Source is an HTTP server for notifications. Make it with New.
type Source struct{ o Options }

// New checks the options. It does not listen yet.
func New(o Options) (*Source, error) {
	o.Address = cmp.Or(o.Address, "127.0.0.1:8081")
	o.Path = cmp.Or(o.Path, "/notifications")
	o.MaxBody = cmp.Or(o.MaxBody, 1<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, int) {}
	}
	if !strings.HasPrefix(o.Path, "/") {
		return nil, fmt.Errorf("webhook: path %q: must begin with /", o.Path)
	}
	if o.Token == nil {
		return nil, errNoToken
	}
	token, err := o.Token()
	if err != nil {
		return nil, fmt.Errorf("webhook: read the token: %w", err)
	}
	if token == "" {
		return nil, errNoToken
	}
	return &Source{o}, nil
}

var errNoToken = errors.New("webhook: no token: set one that senders bring as Authorization: Bearer …")

// Listen takes the address, if that has not been done, and returns the one in
// use. An error is an ErrAddress. Run calls it; calling it before finds a
// taken address early. Not for concurrent use, nor while Run runs.
func (s *Source) Listen() (net.Addr, error) {
	if s.o.Listener == nil {
		l, err := net.Listen("tcp", s.o.Address)
		if err != nil {
			return nil, fmt.Errorf("webhook: address %q %w: %w", s.o.Address, ErrAddress, err)
		}
		s.o.Listener = l
	}
	return s.o.Listener.Addr(), nil
}

// Run serves until ctx is done. One call at a time.
func (s *Source) Run(ctx context.Context, put func(ctx context.Context, body []byte) error) error {
	addr, err := s.Listen()
	if err != nil {
		return err
	}
	listener := s.o.Listener
	s.o.Listener = nil
	// Requests at hand outlive ctx, up to the limit of the stop.
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	h := &handler{Options: s.o, put: put, work: work, places: make(chan struct{}, maxRequests)}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerLimit,
		ReadTimeout:       readLimit,
		WriteTimeout:      readLimit + putLimit + 5*time.Second,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.o.Log.Info("webhook listens", "address", addr.String(), "path", s.o.Path)

	select {
	case err = <-served:
		err = fmt.Errorf("webhook: serve %s: %w", addr, err)
		giveUp()
	case <-ctx.Done():
		h.stopping.Store(true)
		h.idle(stopLimit)
		giveUp()
		// Answers may still be on their way; a connection that was opened and
		// never used must not hold up the stop.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
		defer cancel()
		_ = server.Shutdown(last)
		<-served
	}
	_ = server.Close()
	h.idle(forever)
	return err
}

// authorized compares in constant time, whatever the lengths.
func authorized(r *http.Request, token string) bool {
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && strings.EqualFold(scheme, "Bearer") && token != ""
}

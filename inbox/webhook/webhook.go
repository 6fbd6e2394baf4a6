// Package webhook is a source to which notifications are pushed over HTTP.
//
// Senders are EventBridge API destinations, SNS, Pub/Sub push, Event Grid, and
// whoever knows a token. An [Auth] says which of them; there is no anonymous
// access, on loopback neither: whoever may post may write into the queue.
// Sources of one address and different paths share a listener; see
// [Source.Join].
//
// # Acknowledgement
//
// 202 says that all notifications of the body are on disk (promise 1). Any
// other answer leaves the body with its sender: 400 for an empty body, 401
// without the right credential, 404 and 405, 413 for a body that is too large,
// 503 with Retry-After when it cannot be kept now. A body that cannot be read
// is kept too and ends as a dead letter. 200 answers what a sender asks before
// it sends, and keeps nothing.
//
// # Stop
//
// New requests are answered 503, those at hand are finished within ten
// seconds, then the address is let go.
package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/keypair"
)

// ErrAddress says that the address cannot be listened on: taken, or not of
// this machine.
var ErrAddress = errors.New("cannot be listened on")

const (
	maxRequests = 128              // bodies in memory at once, of one source
	maxHeader   = 16 << 10         // bytes
	headerLimit = 5 * time.Second  // for a sender to send its headers
	readLimit   = 15 * time.Second // for it to send all
	putLimit    = 25 * time.Second // senders wait 30 s or more
	stopLimit   = 10 * time.Second // for the requests at hand at the stop
	closeLimit  = 2 * time.Second  // for their answers to be read
	idleLimit   = 2 * time.Minute  // longer than the load balancers' 60 s
)

// Options of a Source. Auth is mandatory.
type Options struct {
	// Name of the source, for people.
	Name string
	// Address to listen on; port 0 takes a free one. Default 127.0.0.1:8081.
	Address string
	// Listener, if set, is used instead of Address by the first Run.
	Listener net.Listener
	// CertFile and KeyFile are a TLS certificate and its key, as PEM; they are
	// read again when they change. Default: no TLS.
	CertFile, KeyFile string
	// Path to which notifications are posted; default /notifications.
	Path string
	// Auth says who may post.
	Auth Auth
	// MaxBody is the most bytes a body may have; default 1 MiB.
	MaxBody int64
	// Log; nil discards.
	Log *slog.Logger
	// Observe is told of each answer, as "answer-202" and the like, for
	// metrics; nil for none. Called by several goroutines at once.
	Observe func(event string, n int)
}

// A Source is an HTTP server for notifications. Make it with New.
type Source struct {
	o      Options
	server *server
}

// An OptionError is an error of one option, by its key in the configuration.
type OptionError struct {
	key string
	err error
}

func (e *OptionError) Error() string { return e.err.Error() }
func (e *OptionError) Unwrap() error { return e.err }

// Key is that of the configuration.
func (e *OptionError) Key() string { return e.key }

// New checks the options and reads secrets and TLS files. It does not listen
// yet.
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
	if o.Auth == nil {
		return nil, errors.New("webhook: no auth: say who may post")
	}
	if err := o.Auth.check(); err != nil {
		return nil, fmt.Errorf("webhook: auth %s: %w", o.Auth.Kind(), err)
	}
	s := &Source{o: o, server: &server{
		address: o.Address, log: o.Log, observe: o.Observe, paths: map[string]string{o.Path: o.Name},
		turn: newTurn(), listener: o.Listener,
	}}
	if o.CertFile != "" || o.KeyFile != "" {
		pair, err := keypair.Load(o.CertFile, o.KeyFile, o.Log)
		if err != nil {
			return nil, &OptionError{"tls-cert", fmt.Errorf("webhook: %w", err)}
		}
		s.server.tls = pair
	}
	return s, nil
}

// Address is the one that it is to listen on, as it was configured.
func (s *Source) Address() string { return s.server.address }

// Listen takes the address, if that has not been done, and returns the one in
// use. An error is an ErrAddress. Run calls it; calling it before finds a
// taken address early. Sources that share an address have it once.
func (s *Source) Listen() (net.Addr, error) { return s.server.listen() }

// Run serves until ctx is done. One call at a time.
func (s *Source) Run(ctx context.Context, put func(ctx context.Context, body []byte) error) error {
	// Requests at hand outlive ctx, up to the limit of the stop.
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	h := &handler{Options: s.o, put: put, work: work, places: make(chan struct{}, maxRequests)}
	r, err := s.server.enter(s.o.Path, h)
	if err != nil {
		return err
	}
	s.o.Log.Info("webhook listens", "address", r.addr.String(), "path", s.o.Path, "auth", s.o.Auth.Kind(), "tls", s.server.tls != nil)

	select {
	case <-r.ended:
		err = fmt.Errorf("webhook: serve %s: %w", r.addr, r.err)
		giveUp()
	case <-ctx.Done():
		h.stopping.Store(true)
		h.idle(stopLimit)
		giveUp()
	}
	s.server.leave(ctx, r)
	h.idle(forever)
	return err
}

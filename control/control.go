// Package control is the HTTP side of a running process: health, metrics and
// the admin API that the command line's verbs use.
//
// A [Server] is built from the functions in its [Options]; it knows no other
// station. All its routes stand in one table ([Server.Routes]). Health is for
// anyone. Metrics and listings are for anyone on loopback, and need a token
// off loopback. The admin API always needs one: a viewer's reads, an operator's
// works, too, and what an operator does is kept in an audit trail. One made at
// the start is an operator's and stands, with the address in use, in a file
// that only the owner can read, where [Dial] finds it. Host and Origin are
// checked on every request, so that no web page can reach a process on loopback
// through a browser. Wrong tokens are slowed down. Off loopback TLS is served, or
// a proxy is said to do so.
//
// Promise 7: metrics, errors and logs hold identifiers, codes and reasons; what
// may be personal (a dead letter's body, a mapped customer) is given only to
// who has the token and asks for it.
package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// Options of a Server. A route whose function is nil does not exist.
type Options struct {
	Address  string       // host:port to listen on; default 127.0.0.1:8080, port 0 takes a free one
	Listener net.Listener // listened on instead of Address; the Server closes it
	Tokens   []Token      // accepted besides the one made at the start; off loopback there must be one
	// TLS is served, if set. Off loopback it has to be, unless BehindProxy says
	// that a proxy does so.
	TLS *tls.Config
	// BehindProxy says that a proxy stands before the address: it brings TLS to
	// the outside, and X-Forwarded-For. Then nobody counts as on loopback.
	BehindProxy bool
	Hosts       []string // further names under which requests may come, such as a proxy's; without port
	File        string   // written with address and token while the Server runs; empty: none
	Profile     bool     // serve /debug/pprof to who has the token; default false
	MaxBody     int64    // bytes of a request's body, or of one value of a put; default 1 MiB
	// StopTimeout is how long requests at hand may go on after ctx is done;
	// then they are cancelled. Those that follow something are at once. Default
	// 3 s.
	StopTimeout time.Duration
	Log         *slog.Logger // nil discards

	// Ready returns nil when notifications can be accepted and kept, else the
	// reason. Nil: always.
	Ready func(ctx context.Context) error
	// Held lists what is held now; it is told beside health. Nil: nothing.
	Held func() []Held
	// Subscriptions says how those that are watched are; it is told beside
	// health, and no reason not to be ready. Nil: nothing.
	Subscriptions func() any
	// Metrics are served, with the figures of Status beside them.
	Metrics *Metrics

	// Routes and Handlers list what is active and inactive. What they return,
	// and what Resource, Explain and Map return, is answered as JSON.
	Routes, Handlers func() any

	Status func(ctx context.Context) (Status, error)
	// Put puts one body and says how many notifications it was: an array of
	// several is several, all or none. ct2fluent.ErrFull: not now.
	Put func(ctx context.Context, body []byte) (int, error)
	// Resource is the timeline of a resource. Project is empty when the one
	// who asks named none. ErrNotFound: nothing is known of it.
	Resource func(ctx context.Context, project, typeID, id string) (any, error)
	// Explain says which handler would work the notification in body.
	Explain func(ctx context.Context, body []byte) (any, error)
	// Map previews what Fluent would get.
	Map func(ctx context.Context, r MapRequest) (any, error)
	// Dead lists and works dead letters. Nil: no such routes.
	Dead Dead
	// Sync has customers worked now. Nil: no such routes.
	Sync Syncs
	// Jobs starts and follows long work. Nil: no such routes.
	Jobs Jobs
	// Found opens what a job has found: a line of JSON for each thing.
	// ErrNotFound: it has no such list. Nil: no such route.
	Found func(id string) (io.ReadCloser, error)
	// Subscribing works the Subscriptions of the configuration. Nil: no such
	// routes.
	Subscribing Subscribing
	// Pauses stops work and lets it go on. Nil: no such routes.
	Pauses Pauses
	// Audit keeps what operators do. Nil: it is logged only.
	Audit Audit
}

// Errors that functions of Options return to choose the answer, and that a
// [Client] returns for it.
var (
	ErrNotFound = errors.New("not found")       // 404
	ErrInvalid  = errors.New("invalid request") // 400
)

// ErrAddress is returned when the address cannot be listened on.
var ErrAddress = errors.New("cannot listen")

// A Status is the ledger's totals, as CONTRACT says. Received is exactly the
// sum of the settled and the waiting (promise 2).
type Status struct {
	Received             uint64            `json:"received"`
	Waiting              uint64            `json:"waiting"`
	Written              uint64            `json:"written"`
	Unchanged            uint64            `json:"unchanged"`
	Merged               uint64            `json:"merged"`
	Skipped              uint64            `json:"skipped"`
	Dead                 uint64            `json:"dead"`                 // ever
	DeadLetters          uint64            `json:"deadLetters"`          // lying now
	SkippedBy            map[string]uint64 `json:"skippedBy"`            // by reason
	DeadBy               map[string]uint64 `json:"deadBy"`               // by reason
	OldestWaitingSeconds int64             `json:"oldestWaitingSeconds"` // 0 when nothing waits
	Held                 []Held            `json:"held"`
}

// Held says that the work of an account is held, or that somebody has paused
// an account or a route.
type Held struct {
	Account string    `json:"account"`         // Fluent's; "all" of a route, and of a full disk
	Project string    `json:"project"`         // commercetools project key; "*" of these
	Route   string    `json:"route,omitempty"` // one that is paused, or whose handler is down
	Since   time.Time `json:"since"`
	Why     string    `json:"why"`
}

// A MapRequest asks what Fluent would get: for the customer ID, or for the
// customer in Document.
type MapRequest struct {
	Project  string // empty: the one who asks named none
	ID       string
	Document []byte
	Diff     bool // and how it differs from what Fluent has
}

// Dead is where dead letters lie. All methods may be called at once.
type Dead interface {
	// List gives at most limit letters, without bodies, in the order in which
	// they died: those after the Place of one, which need not lie there any
	// more; 0 from the first. Reason "" is any.
	List(ctx context.Context, reason string, after uint64, limit int) ([]DeadLetter, error)
	// Show gives one with its body, or ErrNotFound.
	Show(ctx context.Context, seq uint64) (DeadLetter, error)
	// Count says how many a selection has.
	Count(ctx context.Context, s Selection) (int, error)
	// Replay puts them into the queue again and says how many; Drop removes
	// them. After an error the number is what was done until then.
	Replay(ctx context.Context, s Selection) (int, error)
	Drop(ctx context.Context, s Selection) (int, error)
}

// A DeadLetter is a notification that never will be worked as it is.
type DeadLetter struct {
	Seq      uint64    `json:"seq"`
	Project  string    `json:"project"`
	TypeID   string    `json:"typeId"`
	ID       string    `json:"id"` // of the resource
	Version  int64     `json:"version"`
	Name     string    `json:"name"` // message type or notificationType
	Reason   string    `json:"reason"`
	Why      string    `json:"why"` // codes and field names, no values
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`             // when it died
	Body     []byte    `json:"body,omitempty"` // of Show only
	Place    uint64    `json:"-"`              // in a list
}

// A Selection of dead letters: exactly one of its fields is set.
type Selection struct {
	Seqs   []uint64 `json:"seqs,omitempty"`
	Reason string   `json:"reason,omitempty"`
	All    bool     `json:"all,omitempty"`
}

// A Server serves the routes. Make it with New.
type Server struct {
	o           Options
	log         *slog.Logger
	token       string // made for this run
	tls         *tls.Config
	certificate string // of tls, for the verbs
	guard       *guard
	table       []Route
	handler     http.Handler
	// following is done when those who follow something are to be let go.
	following context.Context
	letGo     context.CancelFunc
}

// New builds a Server. It fails where the options would open the admin API to
// a network without a token of the user's choice (promise 6).
func New(o Options) (*Server, error) {
	if o.Listener != nil {
		o.Address = o.Listener.Addr().String()
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:8080"
	}
	if o.MaxBody == 0 {
		o.MaxBody = 1 << 20
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func(context.Context) error { return nil }
	}
	if o.Subscriptions == nil {
		o.Subscriptions = func() any { return nil }
	}
	if o.Held == nil {
		o.Held = func() []Held { return nil }
	}
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("control address %q: %w; write it as host:port", o.Address, err)
	}
	if len(o.Tokens) == 0 && !isLoopback(host) {
		return nil, fmt.Errorf("control address %q is not on loopback: set a control token, or listen on 127.0.0.1", o.Address)
	}
	if o.TLS == nil && !o.BehindProxy && !isLoopback(host) {
		return nil, fmt.Errorf("control address %q is not on loopback and without TLS, where tokens could be read by others: set control.tls, or control.behind-proxy where a proxy brings TLS, or listen on 127.0.0.1", o.Address)
	}
	if err := checkTokens(o.Tokens); err != nil {
		return nil, err
	}
	s := &Server{o: o, log: o.Log, token: newToken()}
	if o.TLS != nil {
		local, text, err := localCertificate()
		if err != nil {
			return nil, err
		}
		s.tls, s.certificate = withLocal(o.TLS, local), text
	}
	s.guard = newGuard(host, o.Hosts, o.BehindProxy, newKeyring(s.token, o.Tokens, o.Log))
	s.guard.tell = s.tellWrong
	if o.Metrics != nil && o.Status != nil {
		if err := o.Metrics.watch(o.Status); err != nil {
			return nil, fmt.Errorf("control metrics: %w", err)
		}
	}
	s.following, s.letGo = context.WithCancel(context.Background())
	s.table = s.routes()
	s.handler = s.guard.wrap(s.mux())
	return s, nil
}

// tellWrong says that wrong tokens of an address are slowed down from now on.
func (s *Server) tellWrong(from string) {
	if s.o.Metrics != nil {
		s.o.Metrics.Warn("wrong-tokens")
	}
	s.log.Warn("control is asked with many wrong tokens; further ones are slowed down", "from", from)
}

// Handler serves the routes as Run does, for tests and embedding.
func (s *Server) Handler() http.Handler { return s.handler }

// Token is the token made for this run.
func (s *Server) Token() string { return s.token }

// invalid is an ErrInvalid with its reason.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// retryAfter is what a sender is asked to wait when there is no room.
const retryAfter = "5"

func statusOf(err error) int {
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, ct2fluent.ErrFull), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

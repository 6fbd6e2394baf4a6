package sandbox

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// CTOptions say what a stand-in of commercetools is.
type CTOptions struct {
	ProjectKey    string        // default "sandbox"
	ClientID      string        // default "client"
	ClientSecret  string        // default "secret"
	Scopes        []string      // of the client; default view_customers, manage_customers, manage_subscriptions
	TokenLifetime time.Duration // default 48 h
	// Deliver puts a notification into the queue that the destination of its
	// subscription names. An error has it delivered again. It is called by
	// several goroutines of Run at once. Nil: notifications go nowhere.
	Deliver    func(ctx context.Context, destination map[string]any, body []byte) error
	Deliverers int // calls of Deliver at once; default 8
	Knobs      CTKnobs
	Seed       uint64           // of ids, jumps of versions and dice
	Now        func() time.Time // default time.Now
	Log        *slog.Logger     // one debug line a request; default none
}

// CommerceTools is a stand-in of one project of commercetools: an http.Handler
// that serves /oauth/token, /{project}/customers, the reads of customers under
// /{project}/in-store/key={store}, /{project}/subscriptions and the routes under /_sandbox. All methods may be called at once.
type CommerceTools struct {
	o      CTOptions
	gate   *gate
	tokens *tokens
	admin  *http.ServeMux
	outbox *outbox
	packer *packer
	zips   sync.Pool // of *gzip.Writer

	mu            sync.RWMutex
	rng           *rand.Rand
	knobs         CTKnobs // but for Common, which the gate has
	fresh         map[uuid]*customer
	emails, keys  map[string]uuid
	seen          shelf    // what queries see
	unseen        []change // what they do not see yet, oldest first
	subscriptions []*subscription
	history       []note
}

// NewCommerceTools makes a stand-in without customers. Knobs that cannot be
// are an error.
func NewCommerceTools(o CTOptions) (*CommerceTools, error) {
	o.ProjectKey = cmp.Or(o.ProjectKey, "sandbox")
	o.ClientID = cmp.Or(o.ClientID, "client")
	o.ClientSecret = cmp.Or(o.ClientSecret, "secret")
	o.TokenLifetime = cmp.Or(o.TokenLifetime, 48*time.Hour)
	o.Deliverers = cmp.Or(o.Deliverers, 8)
	if o.Scopes == nil {
		o.Scopes = []string{"view_customers", "manage_customers", "manage_subscriptions"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &CommerceTools{
		o: o, gate: newGate(o.Seed, o.Now), tokens: newTokens(), outbox: newOutbox(), packer: newPacker(),
		rng:   rand.New(rand.NewPCG(o.Seed, 2)),
		fresh: map[uuid]*customer{}, emails: map[string]uuid{}, keys: map[string]uuid{}, seen: newShelf(),
	}
	if err := s.SetKnobs(o.Knobs); err != nil {
		return nil, err
	}
	s.admin = admin(s.gate, s.tokens, func() any { return s.Knobs() }, s.changeKnobs, func(f func([]byte)) {
		for _, c := range s.all() {
			f(s.json(nil, c))
		}
	})
	s.admin.HandleFunc("PUT /_sandbox/subscriptions/{name}", s.putStatus)
	s.admin.HandleFunc("POST /_sandbox/redeliver", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, map[string]int{"redelivered": s.Redeliver()})
	})
	return s, nil
}

// Knobs returns the knobs as they stand: faults counted down, Down as what is
// left of it.
func (s *CommerceTools) Knobs() CTKnobs {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k := s.knobs
	k.Common = s.gate.get()
	return k
}

// SetKnobs replaces the knobs.
func (s *CommerceTools) SetKnobs(k CTKnobs) error {
	if err := k.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knobs = k
	s.gate.set(k.Common)
	return nil
}

// Inject adds faults to those that are there.
func (s *CommerceTools) Inject(fs ...Fault) error {
	if err := (Common{Faults: fs}).check(false); err != nil {
		return err
	}
	s.gate.inject(fs...)
	return nil
}

func (s *CommerceTools) changeKnobs(body []byte, patch bool) error {
	var k CTKnobs
	if patch {
		k = s.Knobs()
	}
	if err := decodeKnobs(body, &k, &k.Common); err != nil {
		return err
	}
	return s.SetKnobs(k)
}

// Calls counts the requests by operation and answer: an HTTP status, or what
// was done instead ("cut", "timeout", "slow", "down"). Operation "deliver"
// counts notifications.
func (s *CommerceTools) Calls() map[string]map[string]int { return s.gate.counted() }

// ResetCalls sets the counters to zero.
func (s *CommerceTools) ResetCalls() { s.gate.reset() }

// InvalidateTokens invalidates every token given out.
func (s *CommerceTools) InvalidateTokens() { s.tokens.revokeAll() }

// maxHead is the size of URL and headers that the proxy before commercetools
// lets through.
const maxHead = 15 << 10

var correlationID = regexp.MustCompile(`^[A-Za-z0-9_-]{8,256}$`)

// ServeHTTP serves the API of the project.
func (s *CommerceTools) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sandbox/") {
		s.admin.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	operation := s.operation(r)
	id := r.Header.Get("X-Correlation-ID")
	s.gate.serve(w, r, request{
		operations: []string{operation},
		body:       body,
		work:       func() answer { return s.answer(r, operation, body) },
		fail:       func(f Fault) answer { return s.fail(r, operation, f) },
		write: func(w http.ResponseWriter, a answer) {
			if correlationID.MatchString(id) {
				w.Header().Set("X-Correlation-ID", id)
			}
			s.o.Log.Debug("commercetools", "operation", operation, "status", a.status)
			s.write(w, r, a)
		},
	})
}

// parts are those of the path under the project: a resource and a name. store
// is that of /{project}/in-store/key={store}/…; project is false for a path of
// another one.
func (s *CommerceTools) parts(r *http.Request) (path []string, store string, project bool) {
	path = strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(path) < 2 || path[0] != s.o.ProjectKey {
		return []string{""}, "", false
	}
	path = path[1:]
	if len(path) >= 3 && path[0] == "in-store" && path[2] == "customers" {
		if key, ok := strings.CutPrefix(path[1], "key="); ok && key != "" {
			return path[2:], key, true
		}
	}
	return path, "", true
}

// operation names what a request asks for, as Fault.Operation has it.
func (s *CommerceTools) operation(r *http.Request) string {
	if p := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); len(p) >= 2 && p[len(p)-2] == "oauth" {
		return "token"
	}
	path, store, ok := s.parts(r)
	if !ok || len(path) > 2 || path[0] != "customers" && path[0] != "subscriptions" {
		return "unknown"
	}
	verb := map[string]string{http.MethodGet: "query", http.MethodPost: "create"}
	if len(path) == 2 {
		verb = map[string]string{http.MethodGet: "get", http.MethodPost: "update", http.MethodDelete: "delete"}
		if path[0] == "customers" && strings.HasPrefix(path[1], "key=") {
			verb = map[string]string{http.MethodGet: "key"}
		}
	}
	if verb[r.Method] == "" || store != "" && r.Method != http.MethodGet {
		return "unknown"
	}
	return path[0] + "." + verb[r.Method]
}

// answer is that of the faithful stand-in.
func (s *CommerceTools) answer(r *http.Request, operation string, body []byte) answer {
	if headSize(r) > maxHead {
		return gatewayPage(http.StatusRequestURITooLong)
	}
	if operation == "token" {
		return s.token(r, body)
	}
	if err := s.allowed(r, operation); err != nil {
		return failed(err)
	}
	path, store, _ := s.parts(r)
	resource, name := path[0], strings.Join(path[1:], "/")
	var status int
	var v any
	var err error
	switch {
	case operation == "unknown":
		err = &ctError{Status: 404, Code: "ResourceNotFound", Message: "URI not found"}
	case resource == "subscriptions":
		status, v, err = s.serveSubscriptions(r, name, body)
	default:
		status, v, err = s.serveCustomers(r, operation, store, name, body)
	}
	if err != nil {
		return failed(err)
	}
	raw, ok := v.(json.RawMessage)
	if !ok {
		raw = encode(v)
	}
	return answer{status: status, body: raw}
}

func headSize(r *http.Request) int {
	n := len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// allowed checks token and scope.
func (s *CommerceTools) allowed(r *http.Request, operation string) error {
	g, ok := s.tokens.check(r, s.gate.now())
	if !ok {
		return &ctError{Status: 401, Code: "invalid_token", Message: "invalid_token"}
	}
	scopes := []string{"manage_customers"}
	switch resource, verb, _ := strings.Cut(operation, "."); {
	case resource == "unknown":
		return nil
	case resource == "subscriptions":
		scopes = []string{"manage_subscriptions"}
	case verb == "get" || verb == "key" || verb == "query":
		scopes = append(scopes, "view_customers")
	}
	for _, scope := range append(scopes, "manage_project") {
		if slices.Contains(g.scopes, scope) && !s.gate.denied(scope) {
			return nil
		}
	}
	return insufficientScope
}

func (s *CommerceTools) token(r *http.Request, body []byte) answer {
	id, secret, ok := r.BasicAuth()
	if !ok || r.Method != http.MethodPost || id != s.o.ClientID || secret != s.o.ClientSecret {
		return failed(invalidClient)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("grant_type") != "client_credentials" {
		return failed(&ctError{Status: 400, Code: "unsupported_grant_type", Message: "unsupported grant_type"})
	}
	g := grant{until: s.gate.now().Add(s.o.TokenLifetime)}
	names := strings.Fields(form.Get("scope"))
	for _, name := range names {
		scope, project, _ := strings.Cut(name, ":")
		if project != s.o.ProjectKey || !slices.Contains(s.o.Scopes, scope) {
			return failed(&ctError{Status: 400, Code: "invalid_scope", Message: "a scope is malformed or not the client's"})
		}
		g.scopes = append(g.scopes, scope)
	}
	if len(names) == 0 {
		g.scopes = s.o.Scopes
		for _, scope := range g.scopes {
			names = append(names, scope+":"+s.o.ProjectKey)
		}
	}
	return answer{status: http.StatusOK, header: map[string]string{"Cache-Control": "no-store"}, body: encode(map[string]any{
		"access_token": s.tokens.give(g), "token_type": "Bearer",
		"expires_in": int(s.o.TokenLifetime / time.Second), "scope": strings.Join(names, " "),
	})}
}

// fail is the answer to a fault that is an HTTP status.
func (s *CommerceTools) fail(r *http.Request, operation string, f Fault) answer {
	switch f.Kind {
	case "401":
		if operation == "token" {
			return failed(invalidClient)
		}
		s.tokens.revoke(r)
		return failed(&ctError{Status: 401, Code: "invalid_token", Message: "invalid_token"})
	case "403":
		return failed(insufficientScope)
	case "502":
		return gatewayPage(http.StatusBadGateway)
	}
	status, _ := strconv.Atoi(f.Kind)
	a := failed(&ctError{Status: status, Code: strings.ReplaceAll(http.StatusText(status), " ", ""), Message: http.StatusText(status)})
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		a.header = f.retryAfter()
	}
	return a
}

func (s *CommerceTools) write(w http.ResponseWriter, r *http.Request, a answer) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	for name, v := range a.header {
		h.Set(name, v)
	}
	s.mu.RLock()
	plain := s.knobs.Plain
	s.mu.RUnlock()
	if plain || len(a.body) < 1<<10 || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
		return
	}
	var b bytes.Buffer
	z, ok := s.zips.Get().(*gzip.Writer)
	if !ok {
		z, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a known one
	}
	defer s.zips.Put(z)
	z.Reset(&b)
	_, _ = z.Write(a.body)
	_ = z.Close()
	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(a.status)
	_, _ = w.Write(b.Bytes())
}

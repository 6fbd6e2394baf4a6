package sandbox

import (
	"bytes"
	"cmp"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FluentOptions say what a stand-in of Fluent is.
type FluentOptions struct {
	Account       string        // default "SANDBOX"
	RetailerIDs   []string      // default "1"
	ClientID      string        // default "SANDBOX"
	ClientSecret  string        // default "secret"
	Username      string        // of the API user; default "user"
	Password      string        // default "password"
	TokenLifetime time.Duration // default 24 h
	Refresh       bool          // tokens come with a refresh token, as on some accounts
	Remember      int           // mutations kept for Writes; default 1,000,000
	Knobs         FluentKnobs
	Seed          uint64           // of dice
	Now           func() time.Time // default time.Now
	Log           *slog.Logger     // one debug line a request; default none
}

// Fluent is a stand-in of one account of Fluent: an http.Handler that serves
// /oauth/token, /graphql and the routes under /_sandbox. All methods may be
// called at once.
type Fluent struct {
	o         FluentOptions
	gate      *gate
	tokens    *tokens
	admin     *http.ServeMux
	documents *documents
	retailers map[string]*record

	mu     sync.RWMutex
	knobs  FluentKnobs // but for Common, which the gate has
	people []*person   // by id, which is the place plus firstID
	byName map[string]int
	writes []Write
	stats  FluentStats
	// removed counts the places of people that are empty.
	removed int
}

// NewFluent makes a stand-in without customers. Knobs that cannot be are an
// error.
func NewFluent(o FluentOptions) (*Fluent, error) {
	o.Account = cmp.Or(o.Account, "SANDBOX")
	o.ClientID = cmp.Or(o.ClientID, "SANDBOX")
	o.ClientSecret = cmp.Or(o.ClientSecret, "secret")
	o.Username = cmp.Or(o.Username, "user")
	o.Password = cmp.Or(o.Password, "password")
	o.TokenLifetime = cmp.Or(o.TokenLifetime, 24*time.Hour)
	o.Remember = cmp.Or(o.Remember, 1_000_000)
	if len(o.RetailerIDs) == 0 {
		o.RetailerIDs = []string{"1"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Fluent{
		o: o, gate: newGate(o.Seed, o.Now), tokens: newTokens(), documents: newDocuments(),
		retailers: map[string]*record{}, byName: map[string]int{},
	}
	for _, id := range o.RetailerIDs {
		s.retailers[id] = &record{"Retailer", map[string]any{
			"id": id, "ref": "RETAILER_" + id, "status": "ACTIVE", "tradingName": "Retailer " + id,
			"primaryEmail": "retailer" + id + "@example.com", "createdOn": stamp(s.gate.now()), "updatedOn": stamp(s.gate.now()),
		}}
	}
	if err := s.SetKnobs(o.Knobs); err != nil {
		return nil, err
	}
	s.admin = admin(s.gate, s.tokens, func() any { return s.Knobs() }, s.changeKnobs, func(f func([]byte)) {
		s.Each(func(doc map[string]any) { f(encode(doc)) })
	})
	s.admin.HandleFunc("GET /_sandbox/writes", func(w http.ResponseWriter, r *http.Request) {
		writeLines(w, func(f func([]byte)) {
			for _, one := range s.Writes() {
				f(encode(one))
			}
		})
	})
	s.planting()
	return s, nil
}

// Knobs returns the knobs as they stand: faults counted down, Down as what is
// left of it.
func (s *Fluent) Knobs() FluentKnobs {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k := s.knobs
	k.Common = s.gate.get()
	return k
}

// SetKnobs replaces the knobs.
func (s *Fluent) SetKnobs(k FluentKnobs) error {
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
func (s *Fluent) Inject(fs ...Fault) error {
	if err := (Common{Faults: fs}).check(true); err != nil {
		return err
	}
	s.gate.inject(fs...)
	return nil
}

func (s *Fluent) changeKnobs(body []byte, patch bool) error {
	var k FluentKnobs
	if patch {
		k = s.Knobs()
	}
	if err := decodeKnobs(body, &k, &k.Common); err != nil {
		return err
	}
	return s.SetKnobs(k)
}

// Calls counts the requests "token", "query" and "mutation" by HTTP status, or
// what was done instead ("cut", "timeout", "slow", "down"), and the root fields
// worked, such as "createCustomer", by "ok", "null" or the code of their error.
func (s *Fluent) Calls() map[string]map[string]int { return s.gate.counted() }

// ResetCalls sets the counters to zero.
func (s *Fluent) ResetCalls() { s.gate.reset() }

// InvalidateTokens invalidates every token given out, but for refresh tokens.
func (s *Fluent) InvalidateTokens() { s.tokens.revokeAll() }

// maxRequest is the size above which a request gets 413.
const maxRequest = 2_000_000

// ServeHTTP serves the API of the account.
func (s *Fluent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sandbox/") {
		s.admin.ServeHTTP(w, r)
		return
	}
	// What is too large is read on a while: a caller still sending would not
	// see the answer.
	var body bytes.Buffer
	if _, err := io.Copy(&body, io.LimitReader(r.Body, 8*maxRequest)); err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	q := request{operations: []string{"unknown"}, body: body.Bytes(), work: func() answer { return plain(http.StatusNotFound) }}
	switch {
	case body.Len() > maxRequest:
		q.work = func() answer { return gatewayPage(http.StatusRequestEntityTooLarge) }
	case r.Method != http.MethodPost:
		q.work = func() answer { return plain(http.StatusMethodNotAllowed) }
	case r.URL.Path == "/oauth/token":
		q.operations = []string{"token"}
		q.work = func() answer { return s.token(r, body.String()) }
	case r.URL.Path == "/graphql":
		c, ok := s.documents.readCall(body.Bytes())
		if !ok {
			q.work = func() answer { return plain(http.StatusBadRequest) }
			break
		}
		q.operations = c.operations()
		q.work = func() answer { return s.answer(r, c, q) }
	}
	q.fail = func(f Fault) answer { return s.fail(r, q.operations[0], f) }
	q.write = func(w http.ResponseWriter, a answer) {
		s.o.Log.Debug("fluent", "operation", q.operations[0], "status", a.status)
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		for name, v := range a.header {
			w.Header().Set(name, v)
		}
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	}
	s.gate.serve(w, r, q)
}

// answer is that to a GraphQL request.
func (s *Fluent) answer(r *http.Request, c *call, q request) answer {
	if _, ok := s.tokens.check(r, s.gate.now()); !ok {
		return refused(http.StatusUnauthorized, "invalid_token")
	}
	if len(c.errs) > 0 {
		return s.refuse(c.errs...)
	}
	whole, faulty := s.gate.draw(func(f Fault) bool {
		return f.Whole && f.ofAlias() && f.on(q.operations...) && strings.Contains(string(q.body), f.Match)
	})
	if faulty {
		if whole.Apply {
			s.execute(c)
		}
		return s.refuse(fluentFault(whole.Kind, "Injected"))
	}
	return s.execute(c)
}

// token gives tokens by the password and the refresh grant.
func (s *Fluent) token(r *http.Request, body string) answer {
	form, err := url.ParseQuery(body)
	if err != nil {
		return refused(http.StatusBadRequest, "invalid_request")
	}
	if account := r.Header.Get("fluent.account"); account != "" && account != s.o.Account {
		return refused(http.StatusUnauthorized, "invalid_client")
	}
	if form.Get("client_id") != s.o.ClientID || form.Get("client_secret") != s.o.ClientSecret {
		return refused(http.StatusUnauthorized, "invalid_client")
	}
	switch form.Get("grant_type") {
	case "password":
		if form.Get("username") != s.o.Username || form.Get("password") != s.o.Password {
			return refused(http.StatusBadRequest, "invalid_grant")
		}
		if form.Get("scope") != "api" {
			return refused(http.StatusBadRequest, "invalid_scope")
		}
	case "refresh_token":
		if !s.tokens.useRefresh(form.Get("refresh_token")) {
			return refused(http.StatusBadRequest, "invalid_grant")
		}
	default:
		return refused(http.StatusBadRequest, "unsupported_grant_type")
	}
	doc := map[string]any{
		"access_token": s.tokens.give(grant{until: s.gate.now().Add(s.o.TokenLifetime)}),
		"token_type":   "bearer", "expires_in": int(s.o.TokenLifetime / time.Second), "scope": "api",
		"Retailer_id": s.o.RetailerIDs[0], "FirstName": "Sandbox", "LastName": "User", "Roles": []any{},
	}
	if s.o.Refresh {
		doc["refresh_token"] = s.tokens.giveRefresh()
	}
	return answer{status: http.StatusOK, body: encode(doc)}
}

// fail is the answer to a fault that is an HTTP status.
func (s *Fluent) fail(r *http.Request, operation string, f Fault) answer {
	status, _ := strconv.Atoi(f.Kind)
	switch f.Kind {
	case "401":
		if operation == "token" {
			return refused(http.StatusBadRequest, "invalid_grant")
		}
		s.tokens.revoke(r)
		return refused(status, "invalid_token")
	case "403":
		return refused(status, "access_denied")
	case "502":
		return gatewayPage(status)
	case "429":
		a := s.refuse(fluentFault("C0011E", "The rate limit is exceeded"))
		a.status, a.header = status, f.retryAfter()
		return a
	case "503":
		a := plain(status)
		a.header = f.retryAfter()
		return a
	}
	return plain(status)
}

func refused(status int, code string) answer {
	return answer{status: status, body: encode(map[string]any{"error": code, "error_description": code})}
}

func plain(status int) answer {
	return answer{status: status, body: encode(map[string]any{"status": status, "error": http.StatusText(status)})}
}

func (s *Fluent) retailer(id string) any {
	if s == nil || s.retailers[id] == nil {
		return nil
	}
	return s.retailers[id]
}

// Customer returns the document of a customer: every field of the schema.
func (s *Fluent) Customer(username string) (map[string]any, bool) {
	p := s.named(username)
	if p == nil {
		return nil, false
	}
	return p.document(), true
}

// Each calls f with the document of every customer, in the order of their
// making.
func (s *Fluent) Each(f func(doc map[string]any)) {
	s.mu.RLock()
	people := slices.Clone(s.people)
	s.mu.RUnlock()
	for _, p := range people {
		if !p.removed {
			f(p.document())
		}
	}
}

// Len is the number of customers.
func (s *Fluent) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.people) - s.removed
}

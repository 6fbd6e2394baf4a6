package control

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// letters are dead letters by sequence.
type letters map[uint64]DeadLetter

func (l letters) selected(s Selection) (seqs []uint64) {
	for seq := range uint64(1000) {
		d, ok := l[seq]
		match := s.All || s.Reason != "" && d.Reason == s.Reason
		for _, one := range s.Seqs {
			match = match || one == seq
		}
		if ok && match {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

func (l letters) List(_ context.Context, reason string, after uint64, limit int) (ds []DeadLetter, _ error) {
	for seq := after + 1; seq < 1000 && len(ds) < limit; seq++ {
		if d, ok := l[seq]; ok && (reason == "" || d.Reason == reason) {
			d.Body, d.Place = nil, seq
			ds = append(ds, d)
		}
	}
	return ds, nil
}

func (l letters) Show(_ context.Context, seq uint64) (DeadLetter, error) {
	d, ok := l[seq]
	if !ok {
		return d, fmt.Errorf("dead letter %d: %w", seq, ErrNotFound)
	}
	return d, nil
}

func (l letters) Count(_ context.Context, s Selection) (int, error) { return len(l.selected(s)), nil }

func (l letters) Replay(_ context.Context, s Selection) (int, error) {
	for i, seq := range l.selected(s) {
		if l[seq].Reason == "stuck" {
			return i, ct2fluent.ErrFull
		}
		delete(l, seq)
	}
	return 0, nil
}

func (l letters) Drop(_ context.Context, s Selection) (int, error) {
	seqs := l.selected(s)
	for _, seq := range seqs {
		delete(l, seq)
	}
	return len(seqs), nil
}

// tokens are an operator's and a viewer's.
func tokens(operator string) []Token {
	return []Token{{"ann", Operator, Static(operator)}, {"val", Viewer, Static("looks")}}
}

// trail is an Audit in memory.
type trail struct {
	mu   sync.Mutex
	acts []Act
	err  error // of Begin
}

func (t *trail) Begin(_ context.Context, who, what string) (Act, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return Act{}, t.err
	}
	begun := Act{Number: uint64(len(t.acts) + 1), When: time.Unix(1_800_000_000, 0).UTC(), Who: who, What: what, Outcome: "begun"}
	t.acts = append(t.acts, begun)
	return begun, nil
}

func (t *trail) End(_ context.Context, a Act) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acts[a.Number-1] = a
	return nil
}

func (t *trail) List(_ context.Context, before uint64, limit int) (page []Act, _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range slices.Backward(t.acts) {
		if (before == 0 || a.Number < before) && len(page) < limit {
			page = append(page, a)
		}
	}
	return page, nil
}

// stoppers are Pauses that know the account shop and the route up.
type stoppers struct{ paused map[string]string }

func (st stoppers) Pause(_ context.Context, p Pause) (PauseResult, error) {
	if p.Account != "shop" && p.Route != "up" {
		return PauseResult{}, fmt.Errorf("%w: no account is named so", ErrNotFound)
	}
	st.paused[p.Account+p.Route] = p.Reason + " by " + p.By
	res := PauseResult{Route: p.Route, AtHand: 2}
	if p.Account != "" {
		res.Projects = []string{"shop"}
	}
	return res, nil
}

func (st stoppers) Resume(_ context.Context, p Pause) (PauseResult, error) {
	delete(st.paused, p.Account+p.Route)
	return PauseResult{Route: p.Route}, nil
}

// full has every route there is.
func full() Options {
	return Options{
		Profile: true,
		Metrics: NewMetrics("1.2.3", "shop"),
		Held: func() []Held {
			return []Held{{Account: "ACME", Project: "shop", Since: time.Unix(0, 0).UTC(), Why: "fluent: C0020E"}}
		},
		Routes:   func() any { return []string{"a route"} },
		Handlers: func() any { return []string{"a handler"} },
		Status:   func(context.Context) (Status, error) { return Status{Received: 3, Waiting: 1, Written: 2}, nil },
		Put:      func(context.Context, []byte) (int, error) { return 1, nil },
		Resource: func(_ context.Context, project, typeID, id string) (any, error) {
			if id == "unknown" {
				return nil, fmt.Errorf("%s/%s: %w", typeID, id, ErrNotFound)
			}
			return []string{project, typeID, id}, nil
		},
		Explain: func(_ context.Context, body []byte) (any, error) { return "explained " + string(body), nil },
		Map:     func(_ context.Context, r MapRequest) (any, error) { return r, nil },
		Dead: letters{
			1: {Seq: 1, Reason: "no-email", ID: "c1", Body: []byte(`{"email":""}`)},
			2: {Seq: 2, Reason: "refused", Why: "C0141E"},
			5: {Seq: 5, Reason: "refused", Why: "C0140E"},
		},
		Pauses: stoppers{map[string]string{}},
		Audit:  &trail{},
	}
}

func newServer(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request as one who has the token.
func ask(s *Server, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8080"
	r.Header.Set("Authorization", "Bearer "+s.Token())
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// flat is JSON on one line.
func flat(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNewRefuses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	tests := []struct {
		name string
		o    Options
		want string // a part of the error; "" for none
	}{
		{"the default", Options{}, ""},
		{"loopback", Options{Address: "127.0.0.9:0"}, ""},
		{"loopback of IPv6", Options{Address: "[::1]:0"}, ""},
		{"localhost", Options{Address: "LocalHost:0"}, ""},
		{"a listener on loopback", Options{Listener: listener}, ""},
		{"all addresses without a token", Options{Address: ":8080"}, "not on loopback: set a control token"},
		{"all addresses of IPv4 without a token", Options{Address: "0.0.0.0:8080"}, "not on loopback"},
		{"another address without a token", Options{Address: "10.0.0.1:8080"}, "not on loopback"},
		{"a name that only begins like loopback", Options{Address: "127.0.0.1.example.com:8080"}, "not on loopback"},
		{"all addresses with a token", Options{Address: ":8080", Tokens: []Token{{"t", Operator, Static("t")}}}, "is not on loopback and without TLS, where tokens could be read by others: set control.tls, or control.behind-proxy"},
		{"all addresses with a token and TLS", Options{Address: ":8080", Tokens: []Token{{"t", Operator, Static("t")}}, TLS: &tls.Config{}}, ""},
		{"all addresses behind a proxy", Options{Address: ":8080", Tokens: []Token{{"t", Operator, Static("t")}}, BehindProxy: true}, ""},
		{"all addresses with TLS and no token", Options{Address: ":8080", TLS: &tls.Config{}}, "not on loopback: set a control token"},
		{"no port", Options{Address: "localhost"}, "write it as host:port"},
		{"a viewer's token alone", Options{Address: ":8080", Tokens: []Token{{"t", Viewer, Static("t")}}, BehindProxy: true}, ""},
		{"an empty token", Options{Tokens: []Token{{"t", Operator, Static("")}}}, "control token \"t\": is empty"},
		{"a token without a name", Options{Tokens: []Token{{"", Operator, Static("secret")}}}, "has no name"},
		{"a token of no role", Options{Tokens: []Token{{"t", Anyone, Static("secret")}}}, "neither a viewer's nor an operator's"},
		{"two of one name", Options{Tokens: []Token{{"t", Operator, Static("secret")}, {"t", Viewer, Static("secret2")}}}, "two control tokens are named \"t\""},
		{"one that is named as the one made here", Options{Tokens: []Token{{"local", Viewer, Static("secret")}}}, "two control tokens are named \"local\""},
		{"two of one value", Options{Tokens: []Token{{"a", Operator, Static("secret")}, {"b", Viewer, Static("secret")}}}, "control tokens \"a\" and \"b\" are the same"},
		{"a token that cannot be read", Options{Tokens: []Token{{"t", Viewer, func() (string, error) { return "", errors.New("no such file") }}}}, "control token \"t\": no such file"},
		{"a token with a line end", Options{Tokens: []Token{{"t", Operator, Static("secret\n")}}}, "control token \"t\": holds a space, a line end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.o)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
	t.Run("metrics of another server", func(t *testing.T) {
		o := full()
		newServer(t, o)
		if _, err := New(o); err == nil {
			t.Error("want an error")
		}
	})
}

func TestRoutesWithoutAFunctionDoNotExist(t *testing.T) {
	s := newServer(t, Options{})
	if got := len(s.Routes()); got != 3 {
		t.Errorf("%d routes, want health only: %+v", got, s.Routes())
	}
	if got := len(newServer(t, full()).Routes()); got != 22 {
		t.Errorf("%d routes with all functions", got)
	}
}

func TestHealth(t *testing.T) {
	down := func(o *Options) { o.Ready = func(context.Context) error { return errors.New("disk is full") } }
	off := func(o *Options) { o.Address, o.Tokens, o.BehindProxy = ":8080", tokens("configured"), true }
	tests := []struct {
		name, path string
		with       func(*Options)
		anonymous  bool
		code       int
		want       string
	}{
		{"alive", "/healthz", nil, true, 200, `{"alive":true}`},
		{"alive when not ready", "/healthz", down, true, 200, `{"alive":true}`},
		{"a target down is told, and no reason to stop sending", "/readyz", nil, true, 200,
			`{"held":[{"account":"ACME","project":"shop","since":"1970-01-01T00:00:00Z","why":"fluent: C0020E"}],"ready":true}`},
		{"nothing held", "/readyz", func(o *Options) { o.Held = nil }, true, 200, `{"ready":true}`},
		{"not ready", "/readyz", func(o *Options) { down(o); o.Held = nil }, true, 503, `{"ready":false,"reason":"disk is full"}`},
		{"off loopback anyone learns whether", "/readyz", func(o *Options) { down(o); off(o) }, true, 503, `{"ready":false}`},
		{"off loopback the token learns why", "/readyz", func(o *Options) { down(o); off(o); o.Held = nil }, false, 503, `{"ready":false,"reason":"disk is full"}`},
		{"actuator", "/actuator/health", nil, true, 200,
			`{"components":{"account:shop":{"details":{"reason":"fluent: C0020E","since":"1970-01-01T00:00:00Z"},"status":"OUT_OF_SERVICE"},"intake":{"status":"UP"}},"status":"UP"}`},
		{"actuator when not ready", "/actuator/health", func(o *Options) { down(o); o.Held = nil }, true, 503,
			`{"components":{"intake":{"details":{"reason":"disk is full"},"status":"DOWN"}},"status":"DOWN"}`},
		{"actuator routes", "/actuator/routes", nil, true, 200, `["a route"]`},
		{"actuator handlers", "/actuator/handlers", nil, true, 200, `["a handler"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := full()
			if tt.with != nil {
				tt.with(&o)
			}
			s := newServer(t, o)
			r := httptest.NewRequest("GET", tt.path, nil)
			r.Host = "localhost:8080"
			if !tt.anonymous {
				r.Header.Set("Authorization", "Bearer "+s.Token())
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if w.Code != tt.code || flat(t, w) != tt.want {
				t.Errorf("got %d %s\nwant %d %s", w.Code, flat(t, w), tt.code, tt.want)
			}
		})
	}
}

func TestAdmin(t *testing.T) {
	const (
		c1 = `{"at":"0001-01-01T00:00:00Z","attempts":0,"id":"c1","name":"","project":"","reason":"no-email","seq":1,"typeId":"","version":0,"why":""}`
		d2 = `{"at":"0001-01-01T00:00:00Z","attempts":0,"id":"","name":"","project":"","reason":"refused","seq":2,"typeId":"","version":0,"why":"C0141E"}`
		d5 = `{"at":"0001-01-01T00:00:00Z","attempts":0,"id":"","name":"","project":"","reason":"refused","seq":5,"typeId":"","version":0,"why":"C0140E"}`
	)
	tests := []struct {
		name, method, target, body string
		code                       int
		want                       string
	}{
		{"status has all keys, always", "GET", "/admin/status", "", 200,
			`{"dead":0,"deadBy":{},"deadLetters":0,"held":[],"merged":0,"oldestWaitingSeconds":0,"received":3,"skipped":0,"skippedBy":{},"unchanged":0,"waiting":1,"written":2}`},
		{"a timeline", "GET", "/admin/resources/customer/c1?project=shop", "", 200, `["shop","customer","c1"]`},
		{"an id that is no plain word", "GET", "/admin/resources/customer/a%2Fb", "", 200, `["","customer","a/b"]`},
		{"a resource nobody knows", "GET", "/admin/resources/customer/unknown", "", 404, `{"error":"customer/unknown: not found"}`},
		{"which route", "POST", "/admin/route", `{}`, 200, `"explained {}"`},
		{"which route, of nothing", "POST", "/admin/route", ``, 400, `{"error":"invalid request: empty body"}`},
		{"which route, too large", "POST", "/admin/route", strings.Repeat(" ", 1<<20+1), 413, `{"error":"invalid request: body: http: request body too large"}`},
		{"a preview by id", "GET", "/admin/map/c1?diff=true", "", 200, `{"Diff":true,"Document":null,"ID":"c1","Project":""}`},
		{"a preview of a document", "POST", "/admin/map?project=shop", "{}", 200, `{"Diff":false,"Document":"e30=","ID":"","Project":"shop"}`},
		{"a preview with a wrong flag", "POST", "/admin/map?diff=maybe", "{}", 400, `{"error":"invalid request: diff is true or false"}`},
		{"a preview by id with a wrong flag", "GET", "/admin/map/c1?diff=maybe", "", 400, `{"error":"invalid request: diff is true or false"}`},
		{"a preview of nothing", "POST", "/admin/map", "", 400, `{"error":"invalid request: empty body"}`},

		{"dead letters, without bodies", "GET", "/admin/dead", "", 200, `{"after":0,"letters":[` + c1 + `,` + d2 + `,` + d5 + `]}`},
		{"by reason", "GET", "/admin/dead?reason=no-email", "", 200, `{"after":0,"letters":[` + c1 + `]}`},
		{"a page", "GET", "/admin/dead?limit=2", "", 200, `{"after":2,"letters":[` + c1 + `,` + d2 + `]}`},
		{"the next page", "GET", "/admin/dead?limit=2&after=2", "", 200, `{"after":0,"letters":[` + d5 + `]}`},
		{"none", "GET", "/admin/dead?reason=mapping", "", 200, `{"after":0,"letters":[]}`},
		{"a page too large", "GET", "/admin/dead?limit=1001", "", 400, `{"error":"invalid request: limit is 1 to 1000"}`},
		{"a page of nothing", "GET", "/admin/dead?limit=0", "", 400, `{"error":"invalid request: limit is 1 to 1000"}`},
		{"a page that is no number", "GET", "/admin/dead?limit=x", "", 400, `{"error":"invalid request: limit is a whole number"}`},
		{"a place that is no number", "GET", "/admin/dead?after=-1", "", 400, `{"error":"invalid request: after is a whole number"}`},
		{"one, with its body", "GET", "/admin/dead/1", "", 200, strings.Replace(c1, `"attempts":0`, `"attempts":0,"body":"eyJlbWFpbCI6IiJ9"`, 1)},
		{"one that is not there", "GET", "/admin/dead/3", "", 404, `{"error":"dead letter 3: not found"}`},
		{"one that is no number", "GET", "/admin/dead/x", "", 400, `{"error":"invalid request: the sequence of a dead letter is a number"}`},

		{"drop by sequence", "POST", "/admin/dead/drop", `{"seqs":[1,5,9]}`, 200, `{"done":2,"selected":2}`},
		{"drop by reason", "POST", "/admin/dead/drop", `{"reason":"refused"}`, 200, `{"done":2,"selected":2}`},
		{"drop all", "POST", "/admin/dead/drop", `{"all":true}`, 200, `{"done":3,"selected":3}`},
		{"count what would be dropped", "POST", "/admin/dead/drop", `{"all":true,"dryRun":true}`, 200, `{"done":0,"selected":3}`},
		{"count what would be replayed", "POST", "/admin/dead/replay", `{"reason":"no-email","dryRun":true}`, 200, `{"done":0,"selected":1}`},
		{"nothing named", "POST", "/admin/dead/drop", `{}`, 400, `{"error":"invalid request: give one of seqs, reason and all"}`},
		{"no sequences", "POST", "/admin/dead/drop", `{"seqs":[]}`, 400, `{"error":"invalid request: give one of seqs, reason and all"}`},
		{"two ways named", "POST", "/admin/dead/drop", `{"seqs":[1],"all":true}`, 400, `{"error":"invalid request: give one of seqs, reason and all"}`},
		{"a misspelt key", "POST", "/admin/dead/drop", `{"all":true,"dryrun2":true}`, 400,
			`{"error":"invalid request: want {\"seqs\":[…]}, {\"reason\":\"…\"} or {\"all\":true}, and \"dryRun\": json: unknown field \"dryrun2\""}`},
		{"two requests in one", "POST", "/admin/dead/drop", `{"all":true}{}`, 400, `{"error":"invalid request: more than one JSON value"}`},

		{"no such path", "GET", "/admin", "", 404, `{"error":"not found"}`},
		{"no such method", "DELETE", "/admin/dead", "", 405, `{"error":"method not allowed"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(newServer(t, full()), tt.method, tt.target, tt.body)
			if w.Code != tt.code || flat(t, w) != tt.want {
				t.Errorf("got %d %s\nwant %d %s", w.Code, flat(t, w), tt.code, tt.want)
			}
			if allow := w.Header().Get("Allow"); (tt.code == 405) != (allow != "") {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	dead := letters{1: {Seq: 1}}
	s := newServer(t, Options{Dead: dead})
	for _, verb := range []string{"replay", "drop"} {
		ask(s, "POST", "/admin/dead/"+verb, `{"all":true,"dryRun":true}`)
		if len(dead) != 1 {
			t.Errorf("%s: changed", verb)
		}
	}
}

func TestAReplayThatBreaksOffSaysHowFarItCame(t *testing.T) {
	s := newServer(t, Options{Dead: letters{1: {Seq: 1}, 2: {Seq: 2, Reason: "stuck"}, 3: {Seq: 3}}})
	w := ask(s, "POST", "/admin/dead/replay", `{"all":true}`)
	if w.Code != 503 || flat(t, w) != `{"error":"queue is full; 1 of 3 done before"}` || w.Header().Get("Retry-After") != "5" {
		t.Errorf("got %d %s", w.Code, flat(t, w))
	}
}

func TestErrorsOfTheFunctions(t *testing.T) {
	tests := []struct {
		name string
		err  error
		code int
	}{
		{"anything", errors.New("cause"), 500},
		{"not found", fmt.Errorf("x: %w", ErrNotFound), 404},
		{"invalid", fmt.Errorf("x: %w", ErrInvalid), 400},
		{"full", fmt.Errorf("x: %w", ct2fluent.ErrFull), 503},
		{"stopping", context.Canceled, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t, Options{
				Status:  func(context.Context) (Status, error) { return Status{}, tt.err },
				Explain: func(context.Context, []byte) (any, error) { return nil, tt.err },
				Dead:    broken{err: tt.err},
			})
			for _, to := range []string{"GET /admin/status", "POST /admin/route", "GET /admin/dead"} {
				method, path, _ := strings.Cut(to, " ")
				w := ask(s, method, path, "{}")
				if w.Code != tt.code || flat(t, w) != `{"error":"`+tt.err.Error()+`"}` {
					t.Errorf("%s: got %d %s, want %d", to, w.Code, w.Body, tt.code)
				}
			}
		})
	}
	t.Run("what cannot be JSON", func(t *testing.T) {
		s := newServer(t, Options{Routes: func() any { return func() {} }})
		if w := ask(s, "GET", "/actuator/routes", ""); w.Code != 500 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
}

// broken fails where letters do not.
type broken struct {
	letters
	err error
}

func (b broken) List(context.Context, string, uint64, int) ([]DeadLetter, error) { return nil, b.err }

func TestMetricsAndProfileAreServed(t *testing.T) {
	s := newServer(t, full())
	for path, want := range map[string]string{
		"/metrics":                       `ct2fluent_waiting 1`,
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/":                  "heap",
	} {
		w := ask(s, "GET", path, "")
		body, _ := io.ReadAll(w.Body)
		if w.Code != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d, without %q", path, w.Code, want)
		}
	}
	if w := ask(newServer(t, Options{}), "GET", "/debug/pprof/", ""); w.Code != 404 {
		t.Errorf("profile without the option: %d", w.Code)
	}
}

// deadlines is an answer on a connection with deadlines.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = append(d.read, t); return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = append(d.write, t); return nil }

// A long replay is not cut off, and a put only when its sender pauses.
func TestSlowRoutesHaveNoDeadline(t *testing.T) {
	for path, puts := range map[string]bool{"/admin/dead/replay": false, "/admin/put": true} {
		s := newServer(t, full())
		r := httptest.NewRequest("POST", path, strings.NewReader(`{"all":true}`))
		r.Host = "localhost"
		r.Header.Set("Authorization", "Bearer "+s.Token())
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		s.Handler().ServeHTTP(w, r)
		if len(w.read) == 0 || !w.read[0].IsZero() || len(w.write) != 1 || !w.write[0].IsZero() {
			t.Errorf("%s: deadlines to read %v, to write %v", path, w.read, w.write)
		}
		if rolling := len(w.read) > 1; rolling != puts {
			t.Errorf("%s: deadlines to read %v", path, w.read)
		}
	}
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	newServer(t, full()).Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/healthz", nil))
	if len(w.read)+len(w.write) != 0 {
		t.Error("a quick route lost the server's deadlines")
	}
}

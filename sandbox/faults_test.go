package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// Each fault, as a caller of commercetools meets it: what it is answered, and
// whether its update was applied.
func TestCTFaults(t *testing.T) {
	lost := 0
	tests := []struct {
		fault   sandbox.Fault
		status  int // lost: no answer
		body    string
		applied bool
	}{
		{sandbox.Fault{Kind: "401", Count: 1}, 401, `"error":"invalid_token"`, false},
		{sandbox.Fault{Kind: "403"}, 403, `"insufficient_scope"`, false},
		{sandbox.Fault{Kind: "429", RetryAfter: sandbox.Duration(1500 * time.Millisecond)}, 429, `"statusCode":429`, false},
		{sandbox.Fault{Kind: "500"}, 500, `"statusCode":500`, false},
		{sandbox.Fault{Kind: "500", Apply: true}, 500, `"statusCode":500`, true},
		{sandbox.Fault{Kind: "502"}, 502, `<html>`, false},
		{sandbox.Fault{Kind: "503"}, 503, `"statusCode":503`, false},
		{sandbox.Fault{Kind: "504", Apply: true}, 504, `"statusCode":504`, true},
		{sandbox.Fault{Kind: "cut"}, lost, "", false},
		{sandbox.Fault{Kind: "cut", Apply: true}, lost, "", true},
		{sandbox.Fault{Kind: "cut", Late: sandbox.Duration(time.Millisecond)}, lost, "", true},
		{sandbox.Fault{Kind: "timeout"}, lost, "", false},
		{sandbox.Fault{Kind: "timeout", Apply: true}, lost, "", true},
		{sandbox.Fault{Kind: "timeout", Late: sandbox.Duration(time.Millisecond)}, lost, "", true},
		{sandbox.Fault{Kind: "timeout", Hold: sandbox.Duration(time.Millisecond)}, lost, "", false},
		{sandbox.Fault{Kind: "slow", Hold: sandbox.Duration(20 * time.Millisecond)}, 200, `"title":"Dr."`, true},
		{sandbox.Fault{Kind: "500", Operation: "customers.get"}, 200, `"title":"Dr."`, true},
		{sandbox.Fault{Kind: "500", Operation: "customers.update"}, 500, ``, false},
		{sandbox.Fault{Kind: "500", Match: "other"}, 200, ``, true},
		{sandbox.Fault{Kind: "500", Match: "setTitle"}, 500, ``, false},
	}
	for _, test := range tests {
		t.Run(toJSON(t, test.fault), func(t *testing.T) {
			s := newCT(t, sandbox.CTOptions{})
			id := create(t, s, obj{"email": "a@x"})["id"].(string)
			token := ctToken(t, s)
			server := start(t, s)
			if err := s.Inject(test.fault); err != nil {
				t.Fatal(err)
			}
			c := client(t, 100*time.Millisecond)
			r, _ := http.NewRequest("POST", server.URL+"/sandbox/customers/"+id, strings.NewReader(`{"version":1,"actions":[{"action":"setTitle","title":"Dr."}]}`))
			r.Header.Set("Authorization", "Bearer "+token)
			status, body := lost, ""
			if resp, err := c.Do(r); err == nil {
				b, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Errorf("body: %v", err)
				}
				status, body = resp.StatusCode, string(b)
				if got := resp.Header.Get("Retry-After"); status == 429 && got != "2" {
					t.Errorf("Retry-After %q", got)
				}
				resp.Body.Close()
			}
			if test.fault.Late > 0 {
				eventually(t, func() bool { return changed(s, id) })
			}
			if status != test.status || !strings.Contains(body, test.body) {
				t.Errorf("answered %d %s, want %d %s", status, body, test.status, test.body)
			}
			if changed(s, id) != test.applied {
				t.Errorf("applied %v, want %v", !test.applied, test.applied)
			}
			if test.fault.Kind == "401" {
				if w, _ := ask(t, s, "GET", "/sandbox/customers", token, ""); w.Code != 401 {
					t.Error("the token is still good")
				}
			}
		})
	}
}

func changed(s *sandbox.CommerceTools, id string) bool {
	c, _ := s.Customer(id)
	return c["title"] != nil
}

// A request whose connection was cut is applied after that, not before.
func TestLate(t *testing.T) {
	f := newFluent(t, sandbox.FluentOptions{})
	token := fluentToken(t, f)
	server := start(t, f)
	if err := f.Inject(sandbox.Fault{Kind: "cut", Late: sandbox.Duration(50 * time.Millisecond), Operation: "mutation"}); err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequest("POST", server.URL+"/graphql", strings.NewReader(toJSON(t, obj{"query": createJo})))
	r.Header.Set("Authorization", "Bearer "+token)
	if resp, err := client(t, time.Second).Do(r); err == nil {
		t.Fatalf("answered %s", resp.Status)
	}
	if f.Len() != 0 {
		t.Error("applied before its time")
	}
	eventually(t, func() bool { return f.Len() == 1 })
}

// What happens to single aliases of Fluent, and to whole requests.
func TestFluentFaults(t *testing.T) {
	const query = `mutation { a: updateCustomer(input: {username: "jo", country: "DE"}) { country } b: updateCustomer(input: {username: "al", country: "DE"}) { country } }`
	const ok = `{"data":{"a":{"country":"DE"},"b":{"country":"DE"}}}`
	tests := []struct {
		name   string
		knobs  sandbox.FluentKnobs
		status int
		want   string
		jo, al bool // applied
	}{
		{"none", sandbox.FluentKnobs{}, 200, ok, true, true},
		{"one alias by its username", faults(sandbox.Fault{Kind: "S0002E", Match: "al"}), 200,
			`{"data":{"a":{"country":"DE"},"b":null},"errors":[{"extensions":{"code":"S0002E"},"message":"Injected","path":["b"]}]}`, true, false},
		{"the first one", faults(sandbox.Fault{Kind: "C0011E", Count: 1}), 200,
			`{"data":{"a":null,"b":{"country":"DE"}},"errors":[{"extensions":{"code":"C0011E"},"message":"Injected","path":["a"]}]}`, false, true},
		{"all", faults(sandbox.Fault{Kind: "S0002E"}), 200,
			`{"data":{"a":null,"b":null},"errors":[{"extensions":{"code":"S0002E"},"message":"Injected","path":["a"]},{"extensions":{"code":"S0002E"},"message":"Injected","path":["b"]}]}`, false, false},
		{"null without an error", faults(sandbox.Fault{Kind: "null", Match: "jo"}), 200, `{"data":{"a":null,"b":{"country":"DE"}}}`, false, true},
		{"null, but applied", faults(sandbox.Fault{Kind: "null", Match: "jo", Apply: true}), 200, `{"data":{"a":null,"b":{"country":"DE"}}}`, true, true},
		{"the whole request", faults(sandbox.Fault{Kind: "S0002E", Whole: true}), 200, `{"errors":[{"extensions":{"code":"S0002E"},"message":"Injected"}]}`, false, false},
		{"the whole request, but applied", faults(sandbox.Fault{Kind: "T0001E", Whole: true, Apply: true}), 200, `{"errors":[{"extensions":{"code":"T0001E"},"message":"Injected"}]}`, true, true},
		{"the whole request of one customer", faults(sandbox.Fault{Kind: "S0002E", Whole: true, Match: "somebody else"}), 200, ok, true, true},
		{"of another operation", faults(sandbox.Fault{Kind: "S0002E", Operation: "createCustomer"}), 200, ok, true, true},
		{"of queries", faults(sandbox.Fault{Kind: "S0002E", Operation: "query"}), 200, ok, true, true},
		{"of mutations", faults(sandbox.Fault{Kind: "503", Operation: "mutation"}), 503, `{"error":"Service Unavailable","status":503}`, false, false},
		{"rate", faults(sandbox.Fault{Kind: "429"}), 429, `{"errors":[{"extensions":{"code":"C0011E"},"message":"The rate limit is exceeded"}]}`, false, false},
		{"502", faults(sandbox.Fault{Kind: "502", Apply: true}), 502, `<html>`, true, true},
		{"403", faults(sandbox.Fault{Kind: "403"}), 403, `{"error":"access_denied"`, false, false},
		{"401", faults(sandbox.Fault{Kind: "401"}), 401, `{"error":"invalid_token"`, false, false},
		{"undo", undo(sandbox.Fault{Kind: "S0002E", Match: "al"}), 200, `{"data":null,"errors":[{"extensions":{"code":"S0002E"},"message":"Injected","path":["b"]}]}`, false, false},
		{"undo, nothing failing", undo(), 200, ok, true, true},
		{"a code in the text only", sandbox.FluentKnobs{CodeInText: true, Common: sandbox.Common{Faults: []sandbox.Fault{{Kind: "S0002E", Match: "al"}}}}, 200,
			`{"data":{"a":{"country":"DE"},"b":null},"errors":[{"message":"S0002E: Injected","path":["b"]}]}`, true, false},
		{"a permission taken away", sandbox.FluentKnobs{Common: sandbox.Common{Denied: []string{"CUSTOMER_UPDATE"}}}, 200, `{"data":{"a":null,"b":null},"errors":[{"extensions":{"code":"C0020E"}`, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newFluent(t, sandbox.FluentOptions{})
			graphql(t, s, createJo, nil)
			graphql(t, s, strings.ReplaceAll(createJo, `"jo"`, `"al"`), nil)
			token := fluentToken(t, s)
			before := s.Stats()
			if err := s.SetKnobs(test.knobs); err != nil {
				t.Fatal(err)
			}
			w, _ := ask(t, s, "POST", "/graphql", token, toJSON(t, obj{"query": query}))
			if got := strings.TrimSpace(w.Body.String()); w.Code != test.status || !strings.HasPrefix(got, test.want) {
				t.Errorf("got  %d %s\nwant %d %s", w.Code, got, test.status, test.want)
			}
			applied := 0
			for name, want := range map[string]bool{"jo": test.jo, "al": test.al} {
				c, _ := s.Customer(name)
				if got := c["country"] == "DE"; got != want {
					t.Errorf("%s: applied %v, want %v", name, got, want)
				}
				if want {
					applied++
				}
			}
			if got := s.Stats().Updated - before.Updated; got != applied || len(s.Writes()) != 2+applied {
				t.Errorf("the books have %d updates and %d writes", got, len(s.Writes()))
			}
		})
	}
}

func faults(fs ...sandbox.Fault) sandbox.FluentKnobs {
	return sandbox.FluentKnobs{Common: sandbox.Common{Faults: fs}}
}

func undo(fs ...sandbox.Fault) sandbox.FluentKnobs {
	k := faults(fs...)
	k.Undo = true
	return k
}

// A fault of whole requests spoils no single alias.
func TestWhole(t *testing.T) {
	s := newFluent(t, sandbox.FluentOptions{Knobs: faults(sandbox.Fault{Kind: "S0002E", Whole: true, Probability: 0.5})})
	seen := map[string]int{}
	for range 50 {
		seen[graphql(t, s, `{ customer(ref: "jo") { id } }`, nil)]++
	}
	if len(seen) != 2 || seen[`{"data":{"customer":null}}`] == 0 {
		t.Errorf("answers %v", seen)
	}
}

// A create that is undone leaves nothing behind.
func TestUndoCreate(t *testing.T) {
	s := newFluent(t, sandbox.FluentOptions{Knobs: undo()})
	two := strings.Replace(createJo, "createCustomer", "a: createCustomer", 1)
	two = strings.TrimSuffix(two, "}") + strings.TrimPrefix(strings.Replace(two, "a: ", "b: ", 1), "mutation {")
	if got := graphql(t, s, two, nil); !strings.HasPrefix(got, `{"data":null,"errors":[{"extensions":{"code":"C0121E"}`) {
		t.Fatal(got)
	}
	if s.Len() != 0 || s.Stats() != (sandbox.FluentStats{}) {
		t.Errorf("%d customers, %+v", s.Len(), s.Stats())
	}
	if got := graphql(t, s, createJo, nil); got != `{"data":{"createCustomer":{"id":"1001"}}}` {
		t.Error(got)
	}
}

// A nested entity needs a permission of its own.
func TestNestedPermission(t *testing.T) {
	s := newFluent(t, sandbox.FluentOptions{})
	graphql(t, s, createJo, nil)
	if err := s.SetKnobs(sandbox.FluentKnobs{Common: sandbox.Common{Denied: []string{"RETAILER_VIEW"}}}); err != nil {
		t.Fatal(err)
	}
	got := graphql(t, s, `{ customers(username: ["jo"]) { edges { node { id retailer { id } } } } }`, nil)
	want := `{"data":{"customers":{"edges":[{"node":{"id":"1001","retailer":null}}]}},"errors":[{"extensions":{"code":"C0020E"},"message":"You do not have the permission RETAILER_VIEW","path":["customers","edges",0,"node","retailer"]}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Token requests fail only when asked to.
func TestTokenFaults(t *testing.T) {
	f := newFluent(t, sandbox.FluentOptions{Knobs: faults(sandbox.Fault{Kind: "500"})})
	fluentToken(t, f)
	ct := newCT(t, sandbox.CTOptions{Knobs: sandbox.CTKnobs{Common: sandbox.Common{Faults: []sandbox.Fault{{Kind: "500"}}}}})
	ctToken(t, ct)
	wrong := sandbox.Fault{Kind: "401", Operation: "token"}
	if err := errors.Join(f.Inject(wrong), ct.Inject(wrong)); err != nil {
		t.Fatal(err)
	}
	if w, doc := ask(t, f, "POST", "/oauth/token", "", passwordForm); w.Code != 400 || doc["error"] != "invalid_grant" {
		t.Errorf("Fluent: %d %s", w.Code, w.Body)
	}
	if w, doc := ask(t, ct, "POST", "/oauth/token", "", "grant_type=client_credentials", "Authorization", basic); w.Code != 401 || errorCode(doc) != "invalid_client" {
		t.Errorf("commercetools: %d %s", w.Code, w.Body)
	}
}

// A fault happens as often as it is meant to, and the same seed throws the
// same dice.
func TestDice(t *testing.T) {
	run := func(seed uint64, f sandbox.Fault) string {
		s := newCT(t, sandbox.CTOptions{Seed: seed})
		token := ctToken(t, s)
		if err := s.Inject(f); err != nil {
			t.Fatal(err)
		}
		got := ""
		for range 400 {
			w, _ := ask(t, s, "GET", "/sandbox/customers", token, "")
			got += fmt.Sprint(w.Code / 500)
		}
		return got
	}
	half := sandbox.Fault{Kind: "500", Probability: 0.5}
	if n := strings.Count(run(1, half), "1"); n < 150 || n > 250 {
		t.Errorf("with probability 0.5 it happened %d times of 400", n)
	}
	if first, again := run(1, half), run(1, half); first != again || first == run(2, half) {
		t.Error("the dice do not follow the seed")
	}
	if got := run(1, sandbox.Fault{Kind: "500", Count: 3}); got != "111"+strings.Repeat("0", 397) {
		t.Errorf("three times: %.20s", got)
	}
	if n := strings.Count(run(1, sandbox.Fault{Kind: "500", Count: 3, Probability: 0.5}), "1"); n != 3 {
		t.Errorf("three times at random: %d", n)
	}
}

// Latency and jitter take their time, half of it before the work.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCT(t, sandbox.CTOptions{Knobs: sandbox.CTKnobs{Common: sandbox.Common{Latency: sandbox.Duration(time.Second), Jitter: sandbox.Duration(time.Second)}}})
		begin := time.Now()
		token := ctToken(t, s)
		if took := time.Since(begin); took < time.Second || took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		go ask(t, s, "POST", "/sandbox/customers", token, `{"email":"a@x"}`)
		time.Sleep(400 * time.Millisecond)
		if s.Len() != 0 {
			t.Error("worked at once")
		}
		time.Sleep(1600 * time.Millisecond)
		synctest.Wait()
		if s.Len() != 1 {
			t.Error("not worked")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, _ := http.NewRequestWithContext(ctx, "POST", "/oauth/token", http.NoBody)
		s.ServeHTTP(nil, r) // a caller that left is not answered
	})
}

// Above the rate, requests are refused and not worked.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFluent(t, sandbox.FluentOptions{})
		token := fluentToken(t, s)
		if err := s.SetKnobs(sandbox.FluentKnobs{Common: sandbox.Common{Rate: 5}}); err != nil {
			t.Fatal(err)
		}
		count := func() (ok int) {
			for range 20 {
				w, _ := ask(t, s, "POST", "/graphql", token, `{"query":"{customer(ref:\"a\"){id}}"}`)
				switch {
				case w.Code == 200:
					ok++
				case w.Code != 429 || w.Header().Get("Retry-After") != "1":
					t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
				}
			}
			return ok
		}
		if got := count(); got != 5 {
			t.Errorf("%d of 20 passed at 5 a second", got)
		}
		time.Sleep(time.Second)
		if got := count(); got != 5 {
			t.Errorf("a second later %d of 20 passed", got)
		}
	})
}

// Down, by the knob connections are cut; by the server they are refused. Both
// come back.
func TestDown(t *testing.T) {
	clock := make(chan time.Time, 1)
	clock <- time.Now()
	s := newCT(t, sandbox.CTOptions{Now: func() time.Time { now := <-clock; clock <- now; return now }})
	server := start(t, s)
	c := client(t, time.Second)
	reach := func() bool {
		resp, err := c.Get(server.URL + "/sandbox/customers")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	}
	if err := s.SetKnobs(sandbox.CTKnobs{Common: sandbox.Common{Down: sandbox.Duration(time.Minute)}}); err != nil {
		t.Fatal(err)
	}
	if reach() {
		t.Error("reached while it is down")
	}
	clock <- (<-clock).Add(59 * time.Second)
	if got := s.Knobs().Down; got != sandbox.Duration(time.Second) {
		t.Errorf("%v are left", time.Duration(got))
	}
	clock <- (<-clock).Add(time.Second)
	if !reach() {
		t.Error("not reached after a minute")
	}
	url := server.URL
	server.Down()
	server.Down()
	if reach() {
		t.Error("reached while nothing listens")
	}
	if err := errors.Join(server.Up(), server.Up()); err != nil {
		t.Fatal(err)
	}
	if server.URL != url || !reach() {
		t.Errorf("up again at %s, was %s", server.URL, url)
	}
	server.Close()
	if reach() || server.Up() == nil {
		t.Error("a closed server came up again")
	}
}

// While a server is down, no connection of this machine may be given its port:
// it could not come up again.
func TestDownKeepsTheAddress(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the address is not kept there")
	}
	other := start(t, http.NotFoundHandler())
	s := start(t, http.NotFoundHandler())
	s.Down()
	own, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	from := net.Dialer{LocalAddr: own}
	if c, err := from.DialContext(t.Context(), "tcp", strings.TrimPrefix(other.URL, "http://")); err == nil {
		c.Close()
		t.Error("a connection was given the port")
	}
	if err := s.Up(); err != nil {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	first := start(t, http.NotFoundHandler())
	if _, err := sandbox.Start(t.Context(), strings.TrimPrefix(first.URL, "http://"), http.NotFoundHandler()); err == nil {
		t.Error("two servers have one address")
	}
}

// A server ends with its context.
func TestStartEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := sandbox.Start(ctx, "", http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	s.Close()
	if _, err := client(t, time.Second).Get(s.URL); err == nil {
		t.Error("still there")
	}
}

// Close waits for the requests at hand.
func TestCloseWaits(t *testing.T) {
	entered, ended := make(chan struct{}), false
	server := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		ended = true
	}))
	c := client(t, time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := c.Get(server.URL); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	server.Close()
	if !ended {
		t.Error("a request was still at work")
	}
	<-done
}

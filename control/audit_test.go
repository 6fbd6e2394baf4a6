package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ct2fluent/ct2fluent"
)

// askAs sends a request with a token.
func askAs(s *Server, token, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8080"
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// What operators do is noted with who, what, of how many and the outcome; what
// is only read, or was refused for the role, is not.
func TestAuditLines(t *testing.T) {
	tests := []struct {
		name, token, method, target, body string
		want                              string // the line; "" for none
	}{
		{"a drop", "ann-token", "POST", "/admin/dead/drop", `{"seqs":[1,5]}`, "ann dead drop (sequences 1 5) 2 done"},
		{"a drop of all by the verbs", "MADE", "POST", "/admin/dead/drop", `{"all":true}`, "local dead drop (all) 3 done"},
		{"a drop by reason", "ann-token", "POST", "/admin/dead/drop", `{"reason":"refused"}`, "ann dead drop (reason refused) 2 done"},
		{"a dry run", "ann-token", "POST", "/admin/dead/replay", `{"all":true,"dryRun":true}`, "ann dead replay (all, only counted: 3) 0 done"},
		{"a reason that may be any text", "ann-token", "POST", "/admin/dead/drop", `{"reason":"jane@example.com"}`, "ann dead drop (a reason that none has) 0 done"},
		{"what cannot be understood", "ann-token", "POST", "/admin/dead/drop", `{"jane@example.com":1}`, "ann dead drop () 0 refused"},
		{"a put", "ann-token", "POST", "/admin/put", `1 2 3`, "ann put () 3 done"},
		{"a put that breaks off", "ann-token", "POST", "/admin/put", `1 2 full 3`, "ann put () 2 refused"},
		{"a job", "ann-token", "POST", "/admin/jobs", `{"kind":"bulk"}`, "ann jobs (bulk-1 project shop) 1 done"},
		{"a kind of job that may be any text", "ann-token", "POST", "/admin/jobs", `{"kind":"jane@example.com"}`, "ann jobs () 0 refused"},
		{"a job's stop", "ann-token", "POST", "/admin/jobs/bulk-1/stop", ``, "ann jobs stop (bulk-1 project shop) 1 done"},
		{"a job that there is not", "ann-token", "POST", "/admin/jobs/jane@example.com/stop", ``, "ann jobs stop () 0 refused"},
		{"Subscriptions", "ann-token", "POST", "/admin/subscriptions/apply", `{}`, "ann subscriptions apply (projects shop outlet) 1 done"},
		{"a Subscription's secrets", "ann-token", "POST", "/admin/subscriptions/apply", `{"project":"shop","destination":true}`, "ann subscriptions apply (projects shop, the destination sent again) 1 done"},
		{"a Subscription that fails", "ann-token", "POST", "/admin/subscriptions/rm", `{"project":"outlet","yes":true}`, "ann subscriptions rm (projects outlet) 0 failed"},
		{"Subscriptions of which one fails", "ann-token", "POST", "/admin/subscriptions/rm", `{"yes":true}`, "ann subscriptions rm (projects shop outlet) 1 failed"},
		{"a Subscription of a project that may be any text", "ann-token", "POST", "/admin/subscriptions/rm", `{"project":"jane@example.com","yes":true}`, "ann subscriptions rm () 0 refused"},
		{"a viewer", "looks", "POST", "/admin/dead/drop", `{"all":true}`, ""},
		{"nobody", "wrong", "POST", "/admin/dead/drop", `{"all":true}`, ""},
		{"a look", "ann-token", "GET", "/admin/dead", ``, ""},
		{"a question", "ann-token", "POST", "/admin/route", `{}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kept := &trail{}
			var log bytes.Buffer
			o := full()
			o.Jobs = work{"bulk-1": {"running"}}
			o.Subscribing = subscribed{}
			o.Tokens, o.Audit, o.Log = tokens("ann-token"), kept, slog.New(slog.NewTextHandler(&log, nil))
			o.Put = func(_ context.Context, body []byte) (int, error) { return len(elements(body)), nil }
			s := newServer(t, o)
			askAs(s, strings.Replace(tt.token, "MADE", s.Token(), 1), tt.method, tt.target, tt.body)
			got := ""
			for _, a := range kept.acts {
				got += fmt.Sprintf("%s %s (%s) %d %s", a.Who, a.What, a.On, a.Count, a.Outcome)
			}
			if got != tt.want {
				t.Errorf("noted %q, want %q", got, tt.want)
			}
			if logged := strings.Contains(log.String(), "an operator acted"); logged != (tt.want != "") {
				t.Errorf("logged: %v: %s", logged, log.String())
			}
			if strings.Contains(log.String(), "jane@") {
				t.Errorf("the log tells what was sent: %s", log.String())
			}
		})
	}
}

// The line is there before the work begins, and has its outcome before the
// answer leaves; without a line nothing is done.
func TestAuditBeforeTheWork(t *testing.T) {
	kept := &trail{}
	var during string
	s := newServer(t, Options{Audit: kept, Put: func(context.Context, []byte) (int, error) {
		during = kept.acts[0].Outcome
		return 0, ct2fluent.ErrFull
	}})
	if w := ask(s, "POST", "/admin/put", "{}"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("answer %d", w.Code)
	}
	if during != "begun" || kept.acts[0].Outcome != "failed" {
		t.Errorf("%q while it went on, then %q", during, kept.acts[0].Outcome)
	}

	did := false
	s = newServer(t, Options{Audit: &trail{err: errors.New("no space left")}, Put: func(context.Context, []byte) (int, error) {
		did = true
		return 1, nil
	}})
	if w := ask(s, "POST", "/admin/put", "{}"); w.Code != 503 || did {
		t.Errorf("answer %d; done: %v", w.Code, did)
	}
}

func TestAuditPages(t *testing.T) {
	kept := &trail{}
	s := newServer(t, Options{Audit: kept, Tokens: tokens("x"), Put: func(context.Context, []byte) (int, error) { return 1, nil }})
	for range 3 {
		ask(s, "POST", "/admin/put", "{}")
	}
	line := func(n int) string {
		return fmt.Sprintf(`{"count":1,"number":%d,"outcome":"done","tookSeconds":0,"what":"put","when":"2027-01-15T08:00:00Z","who":"local"}`, n)
	}
	for target, want := range map[string]string{
		"/admin/audit":                  `{"acts":[` + line(3) + `,` + line(2) + `,` + line(1) + `],"before":0}`,
		"/admin/audit?limit=2":          `{"acts":[` + line(3) + `,` + line(2) + `],"before":2}`,
		"/admin/audit?limit=2&before=2": `{"acts":[` + line(1) + `],"before":0}`,
		"/admin/audit?limit=0":          `{"error":"invalid request: limit is 1 to 1000"}`,
		"/admin/audit?before=x":         `{"error":"invalid request: before is a whole number"}`,
	} {
		if w := askAs(s, "looks", "GET", target, ""); flat(t, w) != want {
			t.Errorf("%s: %d %s\nwant %s", target, w.Code, flat(t, w), want)
		}
	}
}

// A token that changes is known from then on, and the old one is not; one that
// cannot be read, or is empty, lets nobody in, which is said once.
func TestRotation(t *testing.T) {
	var now atomic.Pointer[string]
	set := func(v string) { now.Store(&v) }
	set("first")
	var log bytes.Buffer
	s := newServer(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Status: full().Status, Tokens: []Token{
		{"rotated", Operator, func() (string, error) {
			if v := *now.Load(); v != "GONE" {
				return v, nil
			}
			return "", errors.New("no such file")
		}},
		{"other", Viewer, Static("other")},
	}})
	for _, step := range []struct {
		is      string
		in, out []string
	}{
		{"first", []string{"first", "other"}, []string{"second", "", "GONE"}},
		{"second", []string{"second", "other"}, []string{"first", ""}},
		{"GONE", []string{"other"}, []string{"first", "second", "", "GONE"}},
		{"", []string{"other"}, []string{"first", "second", "", "GONE"}},
		{"third", []string{"third"}, []string{"", "second"}},
	} {
		set(step.is)
		for _, token := range step.in {
			if w := askAs(s, token, "GET", "/admin/status", ""); w.Code != 200 {
				t.Errorf("the file holds %q: %q is answered %d", step.is, token, w.Code)
			}
		}
		for _, token := range step.out {
			if w := askAs(s, token, "GET", "/admin/status", ""); w.Code != 401 {
				t.Errorf("the file holds %q: %q is answered %d", step.is, token, w.Code)
			}
		}
	}
	if n := strings.Count(log.String(), "cannot be read"); n != 1 {
		t.Errorf("said %d times that it cannot be read", n)
	}
	if !strings.Contains(log.String(), "can be read again") {
		t.Error("not said that it can be read again")
	}
}

// A job is told by whose token it was started, whoever else is named.
func TestAJobKnowsWhoStartedIt(t *testing.T) {
	by := ""
	s := newServer(t, Options{Tokens: tokens("ann-token"), Jobs: starter{work{}, &by}})
	if w := askAs(s, "ann-token", "POST", "/admin/jobs", `{"kind":"bulk"}`); w.Code != 200 || by != "ann" {
		t.Errorf("%d %s, by %q", w.Code, w.Body, by)
	}
}

type starter struct {
	work
	by *string
}

func (s starter) Start(ctx context.Context, r JobRequest) (any, string, error) {
	*s.by = r.By
	return s.work.Start(ctx, r)
}

// Where one Subscription fails, the answer has what became of the others.
func TestSubscriptionsOfWhichOneFails(t *testing.T) {
	o := full()
	o.Subscribing = subscribed{}
	s := newServer(t, o)
	w := askAs(s, s.Token(), "POST", "/admin/subscriptions/rm", `{"yes":true}`)
	if body := w.Body.String(); w.Code != 500 || !strings.Contains(body, `"error": "down"`) || !strings.Contains(body, `"subscriptions": [`) || !strings.Contains(body, "shop is removed") {
		t.Errorf("%d %s", w.Code, body)
	}
}

// subscribed has the projects shop, whose Subscription differs, and outlet,
// whose does not and cannot be removed.
type subscribed struct{ Subscribing }

func (subscribed) Apply(_ context.Context, r SubscriptionRequest) (SubscriptionsDone, error) {
	did := SubscriptionsDone{All: []string{}, Projects: []string{"shop", "outlet"}, Changed: 1}
	if r.Project != "" {
		did.Projects = []string{r.Project}
	}
	return did, nil
}

func (subscribed) Remove(_ context.Context, r SubscriptionRequest) (SubscriptionsDone, error) {
	if r.Project == "" {
		return SubscriptionsDone{All: []string{"shop is removed"}, Projects: []string{"shop", "outlet"}, Changed: 1}, errors.New("down")
	}
	if r.Project != "outlet" {
		return SubscriptionsDone{}, invalid("no account has a subscription of that project")
	}
	return SubscriptionsDone{Projects: []string{"outlet"}}, errors.New("down")
}

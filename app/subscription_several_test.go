package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/control"
)

// several is the configuration of accounts whose Subscriptions have these
// destinations, empty for none, at a stand-in that knows no project broken.
func several(t *testing.T, projects map[string]bool, order ...string) subscribing {
	t.Helper()
	has := map[string]bool{}
	ct := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		project, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		w.Header().Set("Content-Type", "application/json")
		const one = `{"id":"i","key":"ct2fluent","version":1,"status":"Healthy","destination":{"type":"EventBridge","accountId":"1","region":"eu"},"changes":[{"resourceTypeId":"customer"}]}`
		switch {
		case r.URL.Path == "/oauth/token":
			_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":3600}`)
		case project == "broken":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"statusCode":403,"message":"x","errors":[{"code":"insufficient_scope","message":"x"}]}`)
		case r.Method == "GET" && !has[project]:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"statusCode":404,"message":"x","errors":[{"code":"ResourceNotFound","message":"x"}]}`)
		default:
			has[project] = r.Method != "DELETE"
			if r.Method == "POST" && rest == "subscriptions" {
				w.WriteHeader(http.StatusCreated)
			}
			_, _ = io.WriteString(w, one)
		}
	}))
	t.Cleanup(ct.Close)
	text := "fluent-connect:\n  listeners: { push: { type: webhook, token: t } }\naccounts:\n"
	for i, project := range order {
		text += fmt.Sprintf("  - commercetools: { project-key: %s, api-url: %q, auth-url: %q, client-id: c, client-secret: s }\n", project, ct.URL, ct.URL)
		text += fmt.Sprintf("    fluent: { base-url: %q, account: A, retailer-id: \"%d\", client-id: c, client-secret: s, username: u, password: p }\n", ct.URL, i+1)
		text += "    subscription: { key: ct2fluent"
		if projects[project] {
			text += `, destination: { type: EventBridge, account-id: "1", region: eu }`
		}
		text += " }\n"
	}
	c, err := parseConfig("a.yml", []byte(text), testOptions(nil))
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{setup: &Setup{}, config: c, log: slog.New(slog.DiscardHandler), observe: newObserver("test", c)}
	return subscribing{p}
}

// Of several accounts each is worked and told, whatever became of the others;
// what somebody else makes is left alone.
func TestSubscriptionsOfSeveralAccounts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		placed   map[string]bool
		order    []string
		project  string
		plan     string // of each: what is to be done
		applied  string
		changed  int
		removed  string
		failed   string // a part of the error; empty: there is none
		invalid  bool
		exitCode int
	}{
		{name: "all can be worked", placed: map[string]bool{"shop": true, "outlet": true}, order: []string{"shop", "outlet"},
			plan: "shop create, outlet create", applied: "shop create, outlet create", changed: 2, removed: "shop true, outlet true"},
		{name: "one is watched only", placed: map[string]bool{"shop": true}, order: []string{"outlet", "shop"},
			plan: "outlet nothing, shop create", applied: "outlet nothing, shop create", changed: 1, removed: "outlet false, shop true"},
		{name: "the first fails", placed: map[string]bool{"shop": true, "broken": true}, order: []string{"broken", "shop"},
			plan: "broken unknown!, shop create", applied: "broken unknown!, shop create", changed: 1, removed: "broken false!, shop true",
			failed: "manage_subscriptions:broken", exitCode: exitConfig},
		{name: "the one that was asked for is watched only", placed: map[string]bool{"shop": true}, order: []string{"outlet", "shop"}, project: "outlet",
			failed: "has no destination", invalid: true, exitCode: exitConfig},
		{name: "all are watched only", order: []string{"outlet", "shop"}, failed: "has no destination", invalid: true, exitCode: exitConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := several(t, tt.placed, tt.order...)
			as := func(what string, all any, err error, want string) {
				t.Helper()
				if got := brief(t, all); got != want {
					t.Errorf("%s: %s, want %s", what, got, want)
				}
				switch {
				case (err != nil) != (tt.failed != ""), err != nil && !strings.Contains(err.Error(), tt.failed):
					t.Errorf("%s: %v", what, err)
				case err != nil && (exitCode(err) != tt.exitCode || isInvalid(err) != tt.invalid):
					t.Errorf("%s: exit code %d, invalid %v: %v", what, exitCode(err), isInvalid(err), err)
				}
			}
			all, err := s.Plan(t.Context(), tt.project)
			as("plan", all, err, tt.plan)
			did, err := s.Apply(t.Context(), control.SubscriptionRequest{Project: tt.project})
			as("apply", did.All, err, tt.applied)
			if did.Changed != tt.changed {
				t.Errorf("%d changed, want %d", did.Changed, tt.changed)
			}
			did, err = s.Remove(t.Context(), control.SubscriptionRequest{Project: tt.project, Yes: true})
			as("rm", did.All, err, tt.removed)
		})
	}
}

func isInvalid(err error) bool { return errors.Is(err, control.ErrInvalid) }

// brief is an answer as each project with what is done for it, and ! where that
// failed.
func brief(t *testing.T, all any) string {
	t.Helper()
	doc, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var each []struct {
		Project, Do, Error string
		Removed            *bool
	}
	if err := json.Unmarshal(doc, &each); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, one := range each {
		text := one.Project + " " + one.Do
		if one.Removed != nil {
			text += fmt.Sprint(*one.Removed)
		}
		if one.Error != "" {
			text += "!"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

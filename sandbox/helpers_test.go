package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCT(t *testing.T, o sandbox.CTOptions) *sandbox.CommerceTools {
	t.Helper()
	s, err := sandbox.NewCommerceTools(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newFluent(t *testing.T, o sandbox.FluentOptions) *sandbox.Fluent {
	t.Helper()
	s, err := sandbox.NewFluent(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends one request to a handler and reads the answer as JSON, if it is.
func ask(t *testing.T, h http.Handler, method, target, token, body string, header ...string) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	dec.UseNumber()
	_ = dec.Decode(&doc) // an answer that is no JSON has no document
	return w, doc
}

// ctToken gets a token of the stand-in with the scopes, all if none.
func ctToken(t *testing.T, s *sandbox.CommerceTools, scopes ...string) string {
	t.Helper()
	form := "grant_type=client_credentials"
	if len(scopes) > 0 {
		form += "&scope=" + strings.Join(scopes, "+")
	}
	w, doc := ask(t, s, "POST", "/oauth/token", "", form, "Authorization", "Basic Y2xpZW50OnNlY3JldA==")
	if w.Code != 200 {
		t.Fatalf("token: %d %s", w.Code, w.Body)
	}
	return doc["access_token"].(string)
}

const passwordForm = "grant_type=password&scope=api&username=user&password=password&client_id=SANDBOX&client_secret=secret"

func fluentToken(t *testing.T, s *sandbox.Fluent) string {
	t.Helper()
	w, doc := ask(t, s, "POST", "/oauth/token", "", passwordForm)
	if w.Code != 200 {
		t.Fatalf("token: %d %s", w.Code, w.Body)
	}
	return doc["access_token"].(string)
}

// graphql sends a query and returns the answer as text.
func graphql(t *testing.T, s *sandbox.Fluent, query string, vars map[string]any) string {
	t.Helper()
	w, _ := ask(t, s, "POST", "/graphql", fluentToken(t, s), toJSON(t, map[string]any{"query": query, "variables": vars}))
	return strings.TrimSpace(w.Body.String())
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func create(t *testing.T, s *sandbox.CommerceTools, draft map[string]any) map[string]any {
	t.Helper()
	doc, err := s.Create(draft)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func start(t *testing.T, h http.Handler) *sandbox.Server {
	t.Helper()
	s, err := sandbox.Start(context.Background(), "", h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// client returns a client that shares no connection with another test.
func client(t *testing.T, timeout time.Duration) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: timeout}
}

func errorCode(doc map[string]any) string {
	errs, _ := doc["errors"].([]any)
	if len(errs) == 0 {
		return ""
	}
	code, _ := errs[0].(map[string]any)["code"].(string)
	return code
}

// eventually waits until something holds that a server does on its own.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it never came to hold")
		}
	}
}

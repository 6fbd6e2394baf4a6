package webhook

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/inbox/sendertest"
)

// Whatever is sent to whichever kind of door by who has no credential: no
// panic, an answer of the contract, nothing is put, and nobody is asked who is
// none of the services.
func FuzzSenders(f *testing.F) {
	f.Add("POST", "", "", "", []byte(`{"Type":"Notification","TopicArn":"`+sendertest.Topic+`","Timestamp":"2026-01-01T00:00:00Z","SignatureVersion":"2","Signature":"AAAA","SigningCertURL":"`+sendertest.CertURL+`"}`))
	f.Add("POST", "Bearer a.b.c", "x", "code=x", []byte(`[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"x"}}]`))
	f.Add("OPTIONS", "Basic Og==", "", "code=%zz", []byte("{"))
	f.Add("POST", "Bearer eyJhbGciOiJub25lIn0.e30.", "\x00", "", []byte(`{"Type":"SubscriptionConfirmation","SubscribeURL":"http://169.254.169.254/"}`))
	f.Add("POST", "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImtleS0xIn0.eyJpc3MiOiJhY2NvdW50cy5nb29nbGUuY29tIn0.AA", "", "", []byte("[]"))
	f.Fuzz(func(t *testing.T, method, authorization, key, query string, body []byte) {
		services := sendertest.Fixed(t)
		client := services.Client()
		for _, auth := range []Auth{
			Token(secret), Basic("user", secret), APIKey("X-Api-Key", secret), EventGrid(EventGridOptions{Key: secret}),
			SNS(SNSOptions{TopicARN: sendertest.Topic, Client: client}),
			PubSub(PubSubOptions{Audience: sendertest.Audience, ServiceAccount: sendertest.Account, Client: client}),
		} {
			h := &handler{
				Options: Options{Path: "/in", Auth: auth, MaxBody: 4096, Observe: func(string, int) {}, Log: slog.New(slog.DiscardHandler)},
				work:    t.Context(), places: make(chan struct{}, 1),
				put: func(context.Context, []byte) error { t.Errorf("auth %s: put", auth.Kind()); return nil },
			}
			r := httptest.NewRequest("POST", "/in", strings.NewReader(string(body)))
			r.Method, r.URL.RawQuery = method, query
			r.Header.Set("Authorization", authorization)
			r.Header.Set("X-Api-Key", key)
			r.Header.Set("aeg-sas-key", key)
			r.Header.Set("WebHook-Request-Origin", key)
			if strings.Contains(authorization+key+query, token) || strings.Contains(r.URL.Query().Get("code"), token) {
				return
			}
			if user, password, ok := r.BasicAuth(); ok && user == "user" && password == token {
				return
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if !slices.Contains([]int{200, 400, 401, 405, 413, 503}, w.Code) || w.Code == 200 && method != "OPTIONS" {
				t.Errorf("auth %s: answered %d", auth.Kind(), w.Code)
			}
		}
		for _, u := range services.Asked() {
			if u != sendertest.KeysURL && !strings.HasPrefix(u, "https://sns.") {
				t.Errorf("asked for %s", u)
			}
		}
	})
}

package webhook

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
)

// Whatever is sent: no panic, an answer of the contract, and nothing is put
// but the whole body of one who knows the token (promise 1).
func FuzzAnswer(f *testing.F) {
	const longest = 200
	f.Add("POST", "/in", "Bearer "+token, []byte(`{"a":1}`))
	f.Add("POST", "/in", "bearer "+token, []byte(" \n\t"))
	f.Add("POST", "/in", "Bearer "+token, bytes.Repeat([]byte("x"), longest+1))
	f.Add("POST", "/in", "Bearer", []byte("x"))
	f.Add("POST", "/in/../in", "Bearer "+token, []byte("x"))
	f.Add("GET", "/in?x=1", "Basic "+token, []byte("\xff\x00"))
	f.Add("P\x00", "/%69n", "Bearer  "+token, []byte{})
	f.Fuzz(func(t *testing.T, method, path, auth string, body []byte) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		puts := 0
		h := &handler{
			Options: Options{Path: "/in", Auth: Token(secret), MaxBody: longest, Observe: func(string, int) {}, Log: slog.New(slog.DiscardHandler)},
			work:    t.Context(), places: make(chan struct{}, 1),
			put: func(_ context.Context, got []byte) error {
				puts++
				if !bytes.Equal(got, body) {
					t.Errorf("put %q, sent %q", got, body)
				}
				return nil
			},
		}
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Method, r.URL, r.Header = method, u, http.Header{"Authorization": {auth}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !slices.Contains([]int{202, 400, 401, 404, 405, 413}, w.Code) {
			t.Errorf("answered %d", w.Code)
		}
		if kept := w.Code == http.StatusAccepted; kept != (puts == 1) || puts > 1 {
			t.Errorf("answered %d after %d puts", w.Code, puts)
		}
		if puts > 0 && (len(auth) < len(token) || auth[len(auth)-len(token):] != token) {
			t.Errorf("put for %q", auth)
		}
		if bytes.Contains(w.Body.Bytes(), []byte(token)) {
			t.Error("the answer tells the token")
		}
		if len(h.places) != 0 {
			t.Error("a place is never given back")
		}
	})
}

package control

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// impatient is a Client that asks soon whether the process lives.
func impatient(t *testing.T, address string) *Client {
	t.Helper()
	c, err := Dial(address, "token")
	if err != nil {
		t.Fatal(err)
	}
	c.patience = 50 * time.Millisecond
	return c
}

// A process that is stopped takes connections, as the system does so for it,
// and answers nothing.
func TestAProcessThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := impatient(t, l.Addr().String())
	lines := func() error {
		return c.Lines(t.Context(), "/admin/jobs/bulk-1/events", func(json.RawMessage) error { return nil })
	}
	for name, ask := range map[string]func() error{
		"a look": func() error { return c.Do(t.Context(), "GET", "/admin/status", nil, nil) },
		"a long work": func() error {
			return c.Do(t.Context(), "POST", "/admin/dead/replay", map[string]bool{"all": true}, nil)
		},
		"what follows": lines,
	} {
		err := ask()
		if !errors.Is(err, ErrHangs) || errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
		if said := strings.Contains(err.Error(), "may still do what was asked for"); said != (name == "a long work") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What takes long is waited for while the process lives, before the answer and
// in it; a process that hangs in the middle is told then.
func TestWhatTakesLong(t *testing.T) {
	asked, hangs := make(chan bool), make(chan bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			select {
			case asked <- true:
			case <-hangs:
				<-r.Context().Done()
			}
		case "/admin/put":
			<-asked
			<-asked
			_, _ = w.Write([]byte(`{"put":1}`))
		default:
			for range 2 {
				_, _ = w.Write([]byte("{}\n"))
				_ = http.NewResponseController(w).Flush()
				<-asked
			}
			close(hangs)
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	c := impatient(t, server.URL)
	c.patience = 500 * time.Millisecond
	var done struct{ Put int }
	if err := c.Do(t.Context(), "POST", "/admin/put", nil, &done); err != nil || done.Put != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	n := 0
	err := c.Lines(t.Context(), "/admin/jobs/bulk-1/events", func(json.RawMessage) error { n++; return nil })
	if n != 2 || !errors.Is(err, ErrHangs) {
		t.Errorf("%d lines, %v", n, err)
	}
}

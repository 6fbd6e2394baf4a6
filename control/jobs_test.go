package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http/httptest"
	"strings"
	"testing"
)

// work is the jobs of a test: their states, in the order in which they come.
type work map[string][]string

type state struct {
	ID    string `json:"id"`
	State string `json:"state"`
}

func (w work) of(id string, i int) (any, error) {
	if len(w[id]) == 0 {
		return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return state{id, w[id][i%len(w[id])]}, nil
}

func (w work) Start(_ context.Context, r JobRequest) (any, string, error) {
	if r.Kind != "bulk" {
		return nil, "", invalid("no kind %q", r.Kind)
	}
	return state{r.Kind + "-1", r.Project + string(r.Spec)}, "bulk-1 project shop", nil
}

func (w work) named(id string, i int) (any, string, error) {
	one, err := w.of(id, i)
	return one, id + " project shop", err
}

func (w work) List() any                  { return []state{} }
func (w work) Get(id string) (any, error) { return w.of(id, 0) }
func (w work) Stop(_ context.Context, id string) (any, string, error) {
	return w.named(id, len(w[id])-1)
}
func (w work) Resume(_ context.Context, id string) (any, string, error) { return w.named(id, 0) }
func (w work) Follow(_ context.Context, id string) iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, s := range w[id] {
			if !yield(state{id, s}) {
				return
			}
		}
	}
}

func TestJobs(t *testing.T) {
	o := full()
	o.Jobs = work{"bulk-1": {"running", "done"}}
	o.Found = func(id string) (io.ReadCloser, error) {
		if id != "reconcile-1" {
			return nil, fmt.Errorf("%s: %w", id, ErrNotFound)
		}
		return io.NopCloser(strings.NewReader("{}\n{}\n")), nil
	}
	s := newServer(t, o)
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"start", "POST", "/admin/jobs", `{"kind":"bulk","project":"shop","spec":{}}`, 200, `"state": "shop{}"`},
		{"a kind that is not known", "POST", "/admin/jobs", `{"kind":"cake"}`, 400, "cake"},
		{"a key that is not known", "POST", "/admin/jobs", `{"kind":"bulk","sepc":{}}`, 400, "sepc"},
		{"list", "GET", "/admin/jobs", "", 200, "[]"},
		{"show", "GET", "/admin/jobs/bulk-1", "", 200, "running"},
		{"show what is not there", "GET", "/admin/jobs/bulk-2", "", 404, "bulk-2"},
		{"stop", "POST", "/admin/jobs/bulk-1/stop", "", 200, "done"},
		{"resume", "POST", "/admin/jobs/bulk-1/resume", "", 200, "running"},
		{"a body that nobody needs", "POST", "/admin/jobs/bulk-1/resume", "{}", 200, "running"},
		{"one that is too large", "POST", "/admin/jobs/bulk-1/resume", strings.Repeat("x", 2<<20), 413, "body"},
		{"and of a stop", "POST", "/admin/jobs/bulk-1/stop", strings.Repeat("x", 2<<20), 413, "body"},
		{"follow", "GET", "/admin/jobs/bulk-1/events", "", 200, `{"id":"bulk-1","state":"running"}` + "\n" + `{"id":"bulk-1","state":"done"}` + "\n"},
		{"what it found", "GET", "/admin/jobs/reconcile-1/found", "", 200, "{}\n{}\n"},
		{"what another found", "GET", "/admin/jobs/bulk-1/found", "", 404, "bulk-1"},
		{"follow what is not there", "GET", "/admin/jobs/bulk-2/events", "", 404, "bulk-2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(s, tt.method, tt.path, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestLines(t *testing.T) {
	o := full()
	o.Jobs = work{"bulk-1": {"running", "done"}}
	s := newServer(t, o)
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	c, err := Dial(server.URL, s.Token())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	keep := func(line json.RawMessage) error { lines = append(lines, string(line)); return nil }
	if err := c.Lines(t.Context(), "/admin/jobs/bulk-1/events", keep); err != nil || len(lines) != 2 {
		t.Errorf("%q, %v", lines, err)
	}
	if err := c.Lines(t.Context(), "/admin/jobs/bulk-2/events", keep); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	enough := errors.New("enough")
	if err := c.Lines(t.Context(), "/admin/jobs/bulk-1/events", func(json.RawMessage) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	if err := c.Lines(t.Context(), "/healthz", func(line json.RawMessage) error { return nil }); errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

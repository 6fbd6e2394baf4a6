package control

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// syncing has one sync, of which everything is known.
type syncing []SyncResult

func (s syncing) Put(_ context.Context, r SyncRequest) (SyncStarted, error) {
	if len(r.IDs) == 0 {
		return SyncStarted{}, invalid("no ids")
	}
	return SyncStarted{"sync-" + r.Project, len(r.IDs)}, nil
}

func (s syncing) Follow(_ context.Context, id string) (iter.Seq[SyncResult], error) {
	if id != "sync-shop" {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return slices.Values(s), nil
}

func TestSync(t *testing.T) {
	o := full()
	o.Sync = syncing{{ID: "a", Outcome: "written", Version: 3}, {ID: "b", Outcome: "dead", Reason: "too-long"}}
	s := newServer(t, o)
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"put", "POST", "/admin/sync", `{"project":"shop","ids":["a","b"]}`, 200, `"customers": 2`},
		{"put nothing", "POST", "/admin/sync", `{}`, 400, "no ids"},
		{"a misspelt key", "POST", "/admin/sync", `{"idz":["a"]}`, 400, "idz"},
		{"follow", "GET", "/admin/sync/sync-shop/events", ``, 200,
			`{"id":"a","outcome":"written","version":3}` + "\n" + `{"id":"b","outcome":"dead","reason":"too-long"}`},
		{"follow none", "GET", "/admin/sync/sync-x/events", ``, 404, "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(s, tt.method, tt.path, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	p, err := Dial(server.URL, s.Token())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = p.Lines(t.Context(), "/admin/sync/sync-shop/events", func(json.RawMessage) error { n++; return nil })
	if err != nil || n != 2 {
		t.Errorf("%d lines, %v", n, err)
	}
}

package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// The predicates that the reference names, and no others.
func TestWhere(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newCT(t, sandbox.CTOptions{Now: func() time.Time { return clock }})
	names := map[string]string{} // id to name
	for _, name := range []string{"a", "b", "c", "d"} {
		names[create(t, s, map[string]any{"email": name + "@x", "firstName": name})["id"].(string)] = name
		clock = clock.Add(time.Minute)
	}
	ids := s.IDs()
	id := map[string]string{}
	for _, x := range ids {
		id[names[x]] = x
	}
	order := ""
	for _, x := range ids {
		order += names[x]
	}
	after := func(name string) string { return sorted(order[strings.Index(order, name)+1:]) }
	token := ctToken(t, s)
	tests := []struct {
		where string
		vars  url.Values
		want  string // names in order of the alphabet; "400" for a refusal
	}{
		{where: ``, want: "abcd"},
		{where: `id = "` + id["b"] + `"`, want: "b"},
		{where: `id in ("` + id["c"] + `","` + id["a"] + `")`, want: "ac"},
		{where: `id in ("` + id["c"] + `", "00000000-0000-4000-8000-000000000000")`, want: "c"},
		{where: `id > "` + id["b"] + `"`, want: after("b")},
		{where: `id > :last`, vars: url.Values{"var.last": {id["c"]}}, want: after("c")},
		{where: `id in :ids`, vars: url.Values{"var.ids": {id["a"], id["d"]}}, want: "ad"},
		{where: `id in (:x, :y)`, vars: url.Values{"var.x": {id["a"]}, "var.y": {id["b"]}}, want: "ab"},
		{where: `createdAt >= "2026-01-01T00:01:00.000Z" and createdAt < "2026-01-01T00:03:00Z"`, want: "bc"},
		{where: `createdAt <= "2026-01-01T00:01:00.000Z"`, want: "ab"},
		{where: `lastModifiedAt > "2026-01-01T00:02:00.000Z" or (lastModifiedAt = "2026-01-01T00:02:00.000Z" and id > "` + id["c"] + `")`, want: "d"},
		{where: `(lastModifiedAt > :t or (lastModifiedAt = :t and id = :i))`, vars: url.Values{"var.t": {"2026-01-01T00:01:00.000Z"}, "var.i": {id["b"]}}, want: "bcd"},
		{where: `createdAt >= "2026-01-01T00:00:00.000Z" and id in ("` + id["d"] + `")`, want: "d"},
		{where: `email = "a@x"`, want: "400"},
		{where: `id > "abc"`, want: "400"},
		{where: `id in ()`, want: "400"},
		{where: `id in ("` + id["a"] + `"`, want: "400"},
		{where: `id like "x"`, want: "400"},
		{where: `createdAt > "yesterday"`, want: "400"},
		{where: `createdAt in ("2026-01-01T00:00:00.000Z")`, want: "400"},
		{where: `id = :missing`, want: "400"},
		{where: `id = "` + id["a"] + `" id`, want: "400"},
		{where: `(id = "` + id["a"] + `"`, want: "400"},
		{where: `and`, want: "400"},
		{where: `id = §`, want: "400"},
	}
	for _, test := range tests {
		t.Run(test.where, func(t *testing.T) {
			q := url.Values{"limit": {"500"}}
			for name, v := range test.vars {
				q[name] = v
			}
			if test.where != "" {
				q.Set("where", test.where)
			}
			w, doc := ask(t, s, "GET", "/sandbox/customers?"+q.Encode(), token, "")
			got := fmt.Sprint(w.Code)
			if w.Code == 200 {
				got = sorted(strings.Join(firstNames(doc), ""))
				if n, _ := doc["total"].(json.Number).Int64(); int(n) != len(got) {
					t.Errorf("total %d, want %d", n, len(got))
				}
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func sorted(s string) string {
	letters := strings.Split(s, "")
	slices.Sort(letters)
	return strings.Join(letters, "")
}

func firstNames(doc map[string]any) []string {
	var names []string
	results, _ := doc["results"].([]any)
	for _, c := range results {
		names = append(names, c.(map[string]any)["firstName"].(string))
	}
	return names
}

// Limits and parameters of a query are those of the reference.
func TestQueryParameters(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	if err := sandbox.NewPopulation(1).Fill(s, 600); err != nil {
		t.Fatal(err)
	}
	token := ctToken(t, s)
	tests := []struct {
		query  string
		status int
		count  int
	}{
		{"", 200, 20},
		{"limit=500", 200, 500},
		{"limit=501", 400, 0},
		{"limit=-1", 400, 0},
		{"limit=0", 200, 0},
		{"offset=590&limit=50", 200, 10},
		{"offset=10000", 200, 0},
		{"offset=10001", 400, 0},
		{"sort=id+asc&sort=createdAt+desc", 200, 20},
		{"sort=email", 400, 0},
		{"sort=id+up", 400, 0},
		{"expand=customerGroup", 200, 20},
		{"colour=red", 400, 0},
		{"where=" + url.QueryEscape(`id in ("`+strings.Repeat("x", 16<<10)+`")`), 414, 0},
	}
	for _, test := range tests {
		t.Run(test.query[:min(40, len(test.query))], func(t *testing.T) {
			w, doc := ask(t, s, "GET", "/sandbox/customers?"+test.query, token, "")
			if w.Code != test.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, test.status)
			}
			if results, _ := doc["results"].([]any); len(results) != test.count {
				t.Errorf("%d results, want %d", len(results), test.count)
			}
		})
	}
	t.Run("without total", func(t *testing.T) {
		if _, doc := ask(t, s, "GET", "/sandbox/customers?withTotal=false", token, ""); doc["total"] != nil {
			t.Errorf("total %v", doc["total"])
		}
	})
}

// Paging by id sees every customer once, though ids do not sort as texts.
func TestPagingByID(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	if err := sandbox.NewPopulation(1).Fill(s, 1203); err != nil {
		t.Fatal(err)
	}
	token := ctToken(t, s)
	var got []string
	for where := ""; ; {
		q := url.Values{"sort": {"id asc"}, "limit": {"500"}, "withTotal": {"false"}}
		if where != "" {
			q.Set("where", where)
		}
		_, doc := ask(t, s, "GET", "/sandbox/customers?"+q.Encode(), token, "")
		results := doc["results"].([]any)
		for _, c := range results {
			got = append(got, c.(map[string]any)["id"].(string))
		}
		if len(results) < 500 {
			break
		}
		where = `id > "` + got[len(got)-1] + `"`
	}
	if !slices.Equal(got, s.IDs()) {
		t.Errorf("saw %d of %d customers, or some twice", len(got), s.Len())
	}
	if slices.IsSorted(got) {
		t.Error("ids sort as texts")
	}
}

// Sorted by the time of change, a sweep sees what was changed since.
func TestSorting(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newCT(t, sandbox.CTOptions{Now: func() time.Time { return clock }})
	var ids []string
	for _, name := range []string{"a", "b", "c"} {
		ids = append(ids, create(t, s, map[string]any{"email": name + "@x", "firstName": name})["id"].(string))
		clock = clock.Add(time.Second)
	}
	if _, err := s.Update(ids[0], map[string]any{"action": "setLastName", "lastName": "z"}); err != nil {
		t.Fatal(err)
	}
	token := ctToken(t, s)
	tests := []struct{ query, want string }{
		{"sort=lastModifiedAt+asc&sort=id+asc", "bca"},
		{"sort=lastModifiedAt+desc", "acb"},
		{"sort=createdAt+asc", "abc"},
		{"sort=createdAt+desc&limit=2", "cb"},
		{"sort=createdAt+desc&where=" + url.QueryEscape(`id in ("`+ids[0]+`","`+ids[2]+`")`), "ca"},
		{"sort=lastModifiedAt+asc&where=" + url.QueryEscape(`lastModifiedAt > "2026-01-01T00:00:01.000Z"`), "ca"},
		{"sort=createdAt+asc&where=" + url.QueryEscape(`createdAt >= "2026-01-01T00:00:02.000Z" or createdAt = "2026-01-01T00:00:00.000Z"`), "ac"},
		{"sort=createdAt+asc&where=" + url.QueryEscape(`createdAt = "2026-01-01T00:00:00.000Z" or createdAt >= "2026-01-01T00:00:02.000Z"`), "ac"},
		{"sort=createdAt+asc&where=" + url.QueryEscape(`createdAt = "2026-01-01T00:00:01.000Z" or lastModifiedAt < "2026-01-01T00:00:03.000Z"`), "bc"},
	}
	for _, test := range tests {
		t.Run(test.query, func(t *testing.T) {
			_, doc := ask(t, s, "GET", "/sandbox/customers?"+test.query, token, "")
			if got := strings.Join(firstNames(doc), ""); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A query lags when asked to, a read by id does not; what was deleted, made
// and changed shows up in the end.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCT(t, sandbox.CTOptions{})
		token := ctToken(t, s)
		old := create(t, s, map[string]any{"email": "a@x", "firstName": "old"})["id"].(string)
		if err := s.SetKnobs(sandbox.CTKnobs{Lag: sandbox.Duration(time.Second)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(old, map[string]any{"action": "setFirstName", "firstName": "new"}); err != nil {
			t.Fatal(err)
		}
		create(t, s, map[string]any{"email": "b@x", "firstName": "second"})
		query := func() string {
			_, doc := ask(t, s, "GET", "/sandbox/customers?sort=createdAt+asc", token, "")
			return strings.Join(firstNames(doc), " ")
		}
		byID := func() any {
			_, doc := ask(t, s, "GET", "/sandbox/customers/"+old, token, "")
			return doc["firstName"]
		}
		if got := query(); got != "old" {
			t.Errorf("a lagging query saw %q", got)
		}
		if got := byID(); got != "new" {
			t.Errorf("the read by id saw %q", got)
		}
		if err := s.SetKnobs(sandbox.CTKnobs{Lag: sandbox.Duration(time.Second), LagByID: true}); err != nil {
			t.Fatal(err)
		}
		if got := byID(); got != "old" {
			t.Errorf("the lagging read by id saw %q", got)
		}
		time.Sleep(time.Second)
		if got := query(); got != "new second" {
			t.Errorf("after the lag a query saw %q", got)
		}
		if err := s.Delete(old); err != nil {
			t.Fatal(err)
		}
		if got := query(); got != "new second" {
			t.Errorf("a lagging query saw %q after a delete", got)
		}
		if err := s.SetKnobs(sandbox.CTKnobs{}); err != nil {
			t.Fatal(err)
		}
		if got := query(); got != "second" {
			t.Errorf("without lag a query saw %q", got)
		}
	})
}

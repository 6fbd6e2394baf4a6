package sandbox_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
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
		draft := map[string]any{"email": name + "@x", "firstName": name, "isEmailVerified": name == "d"}
		if name < "c" {
			draft["stores"] = []any{obj{"typeId": "store", "key": "ny"}, obj{"typeId": "store", "key": "only-" + name}}
			draft["customerGroup"] = obj{"typeId": "customer-group", "id": "g"}
		}
		names[create(t, s, draft)["id"].(string)] = name
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
		{where: `(firstName = "a" or firstName in ("c", "x")) and (id > "` + id["b"] + `" or id <= "` + id["b"] + `")`, want: "ac"},
		{where: `email = "a@x"`, want: "a"},
		{where: `email <> "a@x" and firstName != "b"`, want: "cd"},
		{where: `isEmailVerified = true`, want: "d"},
		{where: `stores(key = "ny")`, want: "ab"},
		{where: `stores(key in ("only-a", "x")) or customerGroup(id = "h")`, want: "a"},
		{where: `customerGroup(id = "g") and not-a-field = "x"`, want: "400"},
		{where: `stores(key = "ny" and key = "only-a")`, want: "400"},
		{where: `stores(id = "ny")`, want: "400"},
		{where: `stores = "ny"`, want: "400"},
		{where: `stores(key = "ny"`, want: "400"},
		{where: `email > "a@x"`, want: "400"},
		{where: `isEmailVerified = "true"`, want: "400"},
		{where: `firstName = true`, want: "400"},
		{where: `createdAt != "2026-01-01T00:00:00.000Z"`, want: "400"},
		{where: `phone = "1"`, want: "400"},
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

// A predicate is as true by an index, from its first customer to its last, as
// it is of one customer after the other.
func TestWhereByIndex(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newCT(t, sandbox.CTOptions{Now: func() time.Time { return clock }, Seed: 3})
	for i := range 240 {
		create(t, s, map[string]any{"firstName": fmt.Sprint(i % 2)})
		if i%20 == 19 { // many of one time
			clock = clock.Add(time.Second)
		}
	}
	for i, id := range s.IDs() {
		if i%3 == 0 {
			if _, err := s.Update(id, map[string]any{"action": "setTitle", "title": "Dr."}); err != nil {
				t.Fatal(err)
			}
		}
		if i%24 == 23 {
			clock = clock.Add(time.Second)
		}
	}
	token := ctToken(t, s)
	ask := func(where, sort string) []string {
		_, doc := ask(t, s, "GET", "/sandbox/customers?limit=500&"+url.Values{"where": {where}, "sort": strings.Split(sort, ",")}.Encode(), token, "")
		var ids []string
		for _, c := range doc["results"].([]any) {
			ids = append(ids, c.(map[string]any)["id"].(string))
		}
		return ids
	}
	all := s.IDs()
	rng := rand.New(rand.NewPCG(1, 1))
	var predicate func(depth int) string
	predicate = func(depth int) string {
		switch kind := rng.IntN(10); {
		case depth > 0 && kind < 3:
			return "(" + predicate(depth-1) + " and " + predicate(depth-1) + ")"
		case depth > 0 && kind < 6:
			return "(" + predicate(depth-1) + " or " + predicate(depth-1) + ")"
		case kind == 9:
			return `firstName = "1"`
		}
		op := []string{"=", ">", ">=", "<", "<="}[rng.IntN(5)]
		if rng.IntN(3) == 0 {
			return "id " + op + ` "` + all[rng.IntN(len(all))] + `"`
		}
		at := time.Date(2026, 1, 1, 0, 0, rng.IntN(24), 0, time.UTC).Format("2006-01-02T15:04:05.000Z")
		return []string{"createdAt", "lastModifiedAt"}[rng.IntN(2)] + " " + op + ` "` + at + `"`
	}
	// Nothing bounds what "or" joins to a store, so that all are looked at.
	slowly := func(where, sort string) []string { return ask(where+` or stores(key = "none")`, sort) }
	for range 100 {
		where := predicate(3)
		for _, sort := range []string{"id asc", "createdAt asc,id asc", "lastModifiedAt asc,id asc", "createdAt desc,id asc"} {
			got, want := ask(where, sort), slowly(where, sort)
			if !slices.Equal(got, want) {
				t.Fatalf("%s by %s: %d customers, want %d", where, sort, len(got), len(want))
			}
		}
	}
}

// Counting what a predicate selects ends at 10,000; counting all does not.
func TestTotalIsCapped(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	for range 10_005 {
		create(t, s, map[string]any{})
	}
	for _, id := range s.IDs()[:2] {
		if err := s.Delete(id); err != nil {
			t.Fatal(err)
		}
	}
	token := ctToken(t, s)
	for query, want := range map[string]string{
		"limit=1": "10003",
		"limit=1&where=" + url.QueryEscape(`createdAt > "2000-01-01T00:00:00.000Z"`):              "10000",
		"offset=10000&limit=5&where=" + url.QueryEscape(`createdAt > "2000-01-01T00:00:00.000Z"`): "10000",
		"limit=1&where=" + url.QueryEscape(`createdAt < "2000-01-01T00:00:00.000Z"`):              "0",
	} {
		if _, doc := ask(t, s, "GET", "/sandbox/customers?"+query, token, ""); fmt.Sprint(doc["total"]) != want {
			t.Errorf("%s: total %v, want %s", query, doc["total"], want)
		}
	}
}

// A store has the customers that name it, and no way to change them.
func TestInStore(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	in := func(keys ...string) (list []any) {
		for _, k := range keys {
			list = append(list, obj{"typeId": "store", "key": k})
		}
		return list
	}
	both := create(t, s, obj{"firstName": "both", "key": "k", "stores": in("ny", "la")})["id"].(string)
	none := create(t, s, obj{"firstName": "none"})["id"].(string)
	create(t, s, obj{"firstName": "la", "stores": in("la")})
	token := ctToken(t, s)
	tests := []struct {
		method, target string
		status         int
		holds          string
	}{
		{"GET", "/in-store/key=ny/customers", 200, `"count":1,"total":1,"results":[{`},
		{"GET", "/in-store/key=la/customers?sort=id+asc", 200, `"count":2,`},
		{"GET", "/in-store/key=la/customers?where=" + url.QueryEscape(`firstName = "la"`), 200, `"count":1,`},
		{"GET", "/in-store/key=la/customers?where=" + url.QueryEscape(`id in ("`+none+`","`+both+`")`), 200, `"count":1,`},
		{"GET", "/in-store/key=ny/customers/" + both, 200, both},
		{"GET", "/in-store/key=ny/customers/" + none, 404, "ResourceNotFound"},
		{"GET", "/in-store/key=ny/customers/key=k", 200, both},
		{"GET", "/in-store/key=sf/customers/key=k", 404, "ResourceNotFound"},
		{"POST", "/in-store/key=ny/customers/" + both, 404, "URI not found"},
		{"GET", "/in-store/ny/customers", 404, "URI not found"},
		{"GET", "/in-store/key=/customers", 404, "URI not found"},
		{"GET", "/in-store/key=ny/subscriptions", 404, "URI not found"},
		{"GET", "", 404, "URI not found"},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			if w, _ := ask(t, s, test.method, "/sandbox"+test.target, token, ""); w.Code != test.status || !strings.Contains(w.Body.String(), test.holds) {
				t.Errorf("%d %s, want %d and %s", w.Code, w.Body, test.status, test.holds)
			}
		})
	}
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

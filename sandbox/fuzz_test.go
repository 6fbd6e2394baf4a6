package sandbox_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// Whatever is asked of Fluent is answered, in JSON.
func FuzzGraphQL(f *testing.F) {
	for _, q := range []string{createJo, `{customers(first:2,username:["%a%"]){edges{cursor}}}`,
		`query($a:[String],$b:DateRange,$n:Int){customers(username:$a,createdOn:$b,first:$n){edges{node{...x}}}} fragment x on Node{id}`,
		`mutation($i:UpdateCustomerInput){updateCustomer(input:$i){attributes{value}}}`} {
		for _, vars := range []string{`{}`, `{"a":"x","b":{"from":1},"n":"3"}`, `{"a":[null,1],"n":9e99}`, `{"i":{"username":"jo","attributes":{"name":"n","type":"t","value":[1e999]}}}`} {
			f.Add(q, vars)
		}
	}
	s, err := sandbox.NewFluent(sandbox.FluentOptions{})
	if err != nil {
		f.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "/oauth/token", strings.NewReader(passwordForm)))
	var token struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &token); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query, vars string) {
		if !json.Valid([]byte(vars)) {
			return
		}
		body := `{"query":` + toJSON(t, query) + `,"variables":` + vars + `}`
		if w, doc := ask(t, s, "POST", "/graphql", token.Token, body); w.Code == 200 && doc == nil {
			t.Errorf("answered %s", w.Body)
		}
	})
}

// Whatever predicate is asked of commercetools is answered, or refused.
func FuzzWhere(f *testing.F) {
	for _, where := range []string{`id > "00000000-0000-4000-8000-000000000000"`, `(createdAt < :t or id in :t) and id = "x\""`, `id in ("a",:t)`, `((((`} {
		f.Add(where, "2026-01-01T00:00:00Z")
	}
	s, err := sandbox.NewCommerceTools(sandbox.CTOptions{})
	if err != nil {
		f.Fatal(err)
	}
	if err := sandbox.NewPopulation(1).Fill(s, 3); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, where, v string) {
		q := url.Values{"where": {where}, "var.t": {v}}
		if w, _ := ask(t, s, "GET", "/sandbox/customers?"+q.Encode(), ctToken(t, s), ""); w.Code != 200 && w.Code != 400 && w.Code != 414 {
			t.Errorf("%q: %d %s", where, w.Code, w.Body)
		}
	})
}

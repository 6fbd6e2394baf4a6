package sandbox_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

func TestFluentToken(t *testing.T) {
	s := newFluent(t, sandbox.FluentOptions{})
	without := func(part string) string { return strings.Replace(passwordForm, part, "x=y", 1) }
	tests := []struct {
		name, form, account string
		status              int
		code                string
	}{
		{"password", passwordForm, "", 200, ""},
		{"with the account", passwordForm, "SANDBOX", 200, ""},
		{"of another account", passwordForm, "OTHER", 401, "invalid_client"},
		{"wrong password", without("password=password"), "", 400, "invalid_grant"},
		{"wrong user", without("username=user"), "", 400, "invalid_grant"},
		{"wrong client", without("client_id=SANDBOX"), "", 401, "invalid_client"},
		{"wrong client secret", without("client_secret=secret"), "", 401, "invalid_client"},
		{"no scope", without("scope=api"), "", 400, "invalid_scope"},
		{"another grant", without("grant_type=password"), "", 400, "unsupported_grant_type"},
		{"a refresh token nobody gave", "grant_type=refresh_token&refresh_token=x&client_id=SANDBOX&client_secret=secret", "", 400, "invalid_grant"},
		{"no form", "%zz", "", 400, "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, doc := ask(t, s, "POST", "/oauth/token", "", test.form, "fluent.account", test.account)
			if code, _ := doc["error"].(string); w.Code != test.status || code != test.code {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if doc["refresh_token"] != nil {
				t.Error("a refresh token, unasked")
			}
		})
	}
}

// A refresh token works once; a token lives a day, or until it is invalidated.
func TestFluentTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFluent(t, sandbox.FluentOptions{Refresh: true})
		_, doc := ask(t, s, "POST", "/oauth/token", "", passwordForm)
		refresh := "grant_type=refresh_token&client_id=SANDBOX&client_secret=secret&refresh_token=" + doc["refresh_token"].(string)
		w, doc := ask(t, s, "POST", "/oauth/token", "", refresh)
		if w.Code != 200 {
			t.Fatalf("refresh: %d %s", w.Code, w.Body)
		}
		if w, _ := ask(t, s, "POST", "/oauth/token", "", refresh); w.Code != 400 {
			t.Errorf("the refresh token worked twice: %d", w.Code)
		}
		token := doc["access_token"].(string)
		status := func() int {
			w, _ := ask(t, s, "POST", "/graphql", token, `{"query":"{customer(ref:\"a\"){id}}"}`)
			return w.Code
		}
		time.Sleep(24*time.Hour - time.Second)
		if got := status(); got != 200 {
			t.Errorf("before the token expires: %d", got)
		}
		time.Sleep(time.Second)
		if got := status(); got != 401 {
			t.Errorf("after a day: %d", got)
		}
		token = fluentToken(t, s)
		s.InvalidateTokens()
		if got := status(); got != 401 {
			t.Errorf("after the tokens were invalidated: %d", got)
		}
	})
}

const createJo = `mutation { createCustomer(input: {username: "jo", primaryEmail: "jo@x", promotionOptIn: false, retailer: {id: "1"},
	firstName: "Jo", title: "Dr.", attributes: [{name: "id", type: "STRING", value: "c1"}, {name: "n", type: "JSON", value: {a: [1, 9007199254740993]}}]}) { id } }`

// Each operation, and each way in which it is refused.
func TestGraphQL(t *testing.T) {
	long := strings.Repeat("ü", 51)
	tests := []struct {
		name, query string
		vars        map[string]any
		want        string // the answer; only its beginning where it ends in …
	}{
		{"create", `mutation($i: CreateCustomerInput) { createCustomer(input: $i) { username ref status retailer { id ref } attributes { name value } firstName lastName } }`,
			obj{"i": obj{"username": "al", "primaryEmail": "al@x", "promotionOptIn": true, "retailer": obj{"id": 1}, "lastName": "Li",
				"attributes": []any{obj{"name": "n", "type": "INTEGER", "value": json.Number("9007199254740993")}}}},
			`{"data":{"createCustomer":{"username":"al","ref":"al","status":"CREATED","retailer":{"id":"1","ref":"RETAILER_1"},"attributes":[{"name":"n","value":9007199254740993}],"firstName":null,"lastName":"Li"}}}`},
		{"create one that exists", createJo, nil,
			`{"data":{"createCustomer":null},"errors":[{"extensions":{"code":"C0121E"},"message":"A customer with username jo already exists","path":["createCustomer"]}]}`},
		{"create for another retailer", strings.NewReplacer(`id: "1"`, `id: "9"`, `"jo"`, `"al"`).Replace(createJo), nil, `{"data":{"createCustomer":null},"errors":[{"extensions":{"code":"C0100E"}…`},
		{"create without what is mandatory", `mutation { createCustomer(input: {username: "x"}) { id } }`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"create with a null that may not be", `mutation($i: CreateCustomerInput) { createCustomer(input: $i) { id } }`,
			obj{"i": obj{"username": "al", "primaryEmail": nil, "promotionOptIn": true, "retailer": obj{"id": "1"}}}, `{"errors":[{"extensions":{"code":"C0140E"}…`},
		{"an unknown field of an input", `mutation($i: UpdateCustomerInput) { updateCustomer(input: $i) { id } }`, obj{"i": obj{"username": "jo", "status": "x"}},
			`{"errors":[{"extensions":{"code":"C0140E"}…`},
		{"a number for a text", `mutation($i: UpdateCustomerInput) { updateCustomer(input: $i) { id } }`, obj{"i": obj{"username": "jo", "firstName": 7}},
			`{"data":{"updateCustomer":null},"errors":[{"extensions":{"code":"C0140E"}…`},
		{"no input", `mutation { updateCustomer { id } }`, nil, `{"data":{"updateCustomer":null},"errors":[{"extensions":{"code":"C0140E"}…`},
		{"update", `mutation { updateCustomer(input: {username: "jo", lastName: "Li", title: null, attributes: [{name: "id", type: "INTEGER", value: 2}, {name: "m", type: "STRING", value: "x"}]})
			{ firstName lastName title attributes { name type value } } }`, nil,
			`{"data":{"updateCustomer":{"firstName":"Jo","lastName":"Li","title":null,"attributes":[{"name":"id","type":"INTEGER","value":2},{"name":"n","type":"JSON","value":{"a":[1,9007199254740993]}},{"name":"m","type":"STRING","value":"x"}]}}}`},
		{"update of nobody", `mutation { updateCustomer(input: {username: "nobody"}) { id } }`, nil, `{"data":{"updateCustomer":null},"errors":[{"extensions":{"code":"C0120E"}…`},
		{"update with a null attribute", `mutation { updateCustomer(input: {username: "jo", attributes: [{name: "a", type: "S", value: null}]}) { id } }`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"fifty characters", `mutation($n: String) { updateCustomer(input: {username: "jo", firstName: $n}) { id } }`, obj{"n": long[2:]}, `{"data":{"updateCustomer":{"id":"1001"}}}`},
		{"fifty-one characters", `mutation($n: String) { updateCustomer(input: {username: "jo", firstName: $n}) { id } }`, obj{"n": long}, `{"data":{"updateCustomer":null},"errors":[{"extensions":{"code":"C0141E"}…`},
		{"empty text is taken", `mutation { updateCustomer(input: {username: "jo", firstName: ""}) { firstName } }`, nil, `{"data":{"updateCustomer":{"firstName":""}}}`},
		{"several, one of them failing", `mutation { a: updateCustomer(input: {username: "jo", country: "DE"}) { country } b: updateCustomer(input: {username: "no"}) { id } c: updateCustomer(input: {username: "jo", country: "FR"}) { country } }`, nil,
			`{"data":{"a":{"country":"DE"},"b":null,"c":{"country":"FR"}},"errors":[{"extensions":{"code":"C0120E"},"message":"A customer with username no is not found","path":["b"]}]}`},
		{"customer", `query($r: String!) { customer(ref: $r) { id username promotionOptIn } other: customer(ref: "nobody") { id } }`, obj{"r": "jo"},
			`{"data":{"customer":{"id":"1001","username":"jo","promotionOptIn":false},"other":null}}`},
		{"customer without its argument", `{ customer { id } }`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"customerById", `{ customerById(id: 1001) { username } no: customerById(id: "7") { username } text: customerById(id: "x") { username } }`, nil,
			`{"data":{"customerById":{"username":"jo"},"no":null,"text":null}}`},
		{"retailerById", `{ retailerById(id: "1") { id ref } no: retailerById(id: "2") { id } }`, nil, `{"data":{"retailerById":{"id":"1","ref":"RETAILER_1"},"no":null}}`},
		{"customers by username", `query($u: [String]) { customers(username: $u) { edges { node { username } cursor } pageInfo { hasNextPage hasPreviousPage } } }`, obj{"u": []any{"jo", "no", "jo"}},
			`{"data":{"customers":{"edges":[{"node":{"username":"jo"},"cursor":"Y3VzdG9tZXI6MTAwMQ=="}],"pageInfo":{"hasNextPage":false,"hasPreviousPage":false}}}}`},
		{"one for a list", `{ customers(username: "jo") { edges { node { id } } } }`, nil, `{"data":{"customers":{"edges":[{"node":{"id":"1001"}}]}}}`},
		{"a wildcard", `{ customers(username: ["%o%"]) { edges { node { username } } } }`, nil, `{"data":{"customers":{"edges":[{"node":{"username":"jo"}}]}}}`},
		{"filters together", `{ customers(username: ["jo"], firstName: ["Al"]) { edges { node { username } } } }`, nil, `{"data":{"customers":{"edges":[]}}}`},
		{"by a boolean", `{ customers(promotionOptIn: [true]) { edges { node { username } } } }`, nil, `{"data":{"customers":{"edges":[]}}}`},
		{"by time", `{ customers(createdOn: {from: "2020-01-01T00:00:00Z"}, updatedOn: {to: "2020-01-01T00:00:00Z"}) { edges { node { username } } } }`, nil, `{"data":{"customers":{"edges":[]}}}`},
		{"by no time", `{ customers(createdOn: {from: "x"}) { edges { node { username } } } }`, nil, `{"data":{"customers":null},"errors":[{"extensions":{"code":"C0140E"}…`},
		{"too many", `{ customers(first: 5001) { edges { node { id } } } }`, nil, `{"data":{"customers":null},"errors":[{"extensions":{"code":"C0140E"}…`},
		{"none", `{ customers(first: 0) { edges { node { id } } } }`, nil, `{"data":{"customers":null},"errors":[{"extensions":{"code":"C0140E"}…`},
		{"a number too large", `{ customers(first: 99999999999999999999) { edges { node { id } } } }`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"a cursor that is none", `{ customers(after: "x") { edges { node { id } } } }`, nil, `{"data":{"customers":null},"errors":[{"extensions":{"code":"C0140E"}…`},
		{"a field that is not there", `{ customers { totalCount } }`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"pageInfo has no cursor", `{ customers { pageInfo { endCursor } } }`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"an operation that is not there", `mutation { upsertCustomer { id } }`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"no GraphQL", `{`, nil, `{"errors":[{"extensions":{"code":"C0100E"}…`},
		{"fragments and directives", `query($y: Boolean!) { customer(ref: "jo") { ...f ... on Node { id } ... on Customer @skip(if: $y) { title } username @include(if: $y) __typename } __typename } fragment f on Customer { id a: firstName }`, obj{"y": true},
			`{"data":{"customer":{"id":"1001","a":"Jo","username":"jo","__typename":"Customer"},"__typename":"Query"}}`},
		{"selected twice", `{ customer(ref: "jo") { retailer { id } retailer { ref } } }`, nil, `{"data":{"customer":{"retailer":{"id":"1","ref":"RETAILER_1"}}}}`},
		{"introspection", `{ __schema { queryType { name } } }`, nil, `{"data":{"__schema":null},"errors":[{"extensions":{"code":"C0100E"}…`},
		{"too complex", `{ ` + manyFields(11_112) + ` }`, nil, `{"errors":[{"extensions":{"code":"C0001E"}…`},
		{"just not too complex", `{ ` + manyFields(11_110) + ` }`, nil, `{"data":{…`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newFluent(t, sandbox.FluentOptions{})
			if got := graphql(t, s, createJo, nil); got != `{"data":{"createCustomer":{"id":"1001"}}}` {
				t.Fatal(got)
			}
			got := graphql(t, s, test.query, test.vars)
			if begin, cut := strings.CutSuffix(test.want, "…"); cut && !strings.HasPrefix(got, begin) || !cut && got != test.want {
				t.Errorf("got  %.600s\nwant %s", got, test.want)
			}
		})
	}
}

// manyFields selects so many fields in all.
func manyFields(n int) string {
	var b strings.Builder
	for i := range n / 2 {
		fmt.Fprintf(&b, `a%d: customer(ref: "x") { id } `, i)
	}
	return b.String()
}

// Requests that never become GraphQL.
func TestFluentHTTP(t *testing.T) {
	s := newFluent(t, sandbox.FluentOptions{})
	token := fluentToken(t, s)
	tests := []struct {
		name, method, target, token, body string
		status                            int
	}{
		{"no token", "POST", "/graphql", "", `{"query":"{customer(ref:\"a\"){id}}"}`, 401},
		{"a token nobody gave", "POST", "/graphql", "x", `{"query":"{customer(ref:\"a\"){id}}"}`, 401},
		{"no JSON", "POST", "/graphql", token, `{`, 400},
		{"no query", "POST", "/graphql", token, `{}`, 400},
		{"another method", "GET", "/graphql", token, ``, 405},
		{"another path", "POST", "/rest", token, ``, 404},
		{"two megabytes", "POST", "/graphql", token, `{"query":"{customer(ref:\"a\"){id}}","x":"` + strings.Repeat("x", 2_000_000) + `"}`, 413},
		{"a little less", "POST", "/graphql", token, `{"query":"{customer(ref:\"a\"){id}}","x":"` + strings.Repeat("x", 1_999_900) + `"}`, 200},
		{"one operation of two", "POST", "/graphql", token, `{"query":"query a {customer(ref:\"a\"){id}} query b {customer(ref:\"a\"){id}}","operationName":"b"}`, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if w, _ := ask(t, s, test.method, test.target, test.token, test.body); w.Code != test.status {
				t.Errorf("%d %.200s, want %d", w.Code, w.Body, test.status)
			}
		})
	}
	w, _ := ask(t, s, "POST", "/graphql", token, `{"query":"query a {customer(ref:\"a\"){id}}","operationName":"c"}`)
	if !strings.Contains(w.Body.String(), "C0100E") {
		t.Errorf("an operation that is not there: %s", w.Body)
	}
}

// Pages forwards and backwards see every customer once.
func TestFluentPaging(t *testing.T) {
	s := newFluent(t, sandbox.FluentOptions{})
	for i := range 25 {
		graphql(t, s, `mutation($u: String!) { createCustomer(input: {username: $u, primaryEmail: "x", promotionOptIn: false, retailer: {id: "1"}}) { id } }`, obj{"u": fmt.Sprintf("%c", 'a'+i)})
	}
	walk := func(size, edge, info string) string {
		seen, cursor := "", ""
		for {
			args := fmt.Sprintf(`username: ["%%"] %s`, size)
			if cursor != "" {
				args += fmt.Sprintf(` %s: "%s"`, edge, cursor)
			}
			var answer struct {
				Data struct {
					Customers struct {
						Edges []struct {
							Node   struct{ Username string }
							Cursor string
						}
						PageInfo map[string]bool
					}
				}
			}
			if err := json.Unmarshal([]byte(graphql(t, s, `{ customers(`+args+`) { edges { node { username } cursor } pageInfo { hasNextPage hasPreviousPage } } }`, nil)), &answer); err != nil {
				t.Fatal(err)
			}
			page := ""
			for _, e := range answer.Data.Customers.Edges {
				page += e.Node.Username
			}
			if edge == "after" {
				seen += page
				cursor = answer.Data.Customers.Edges[len(page)-1].Cursor
			} else {
				seen = page + seen
				cursor = answer.Data.Customers.Edges[0].Cursor
			}
			if !answer.Data.Customers.PageInfo[info] {
				return seen
			}
		}
	}
	tests := []struct{ name, size, edge, info string }{
		{"ten by default", "", "after", "hasNextPage"},
		{"seven", "first: 7", "after", "hasNextPage"},
		{"all", "first: 5000", "after", "hasNextPage"},
		{"backwards", "last: 7", "before", "hasPreviousPage"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := walk(test.size, test.edge, test.info); got != "abcdefghijklmnopqrstuvwxy" {
				t.Errorf("saw %s", got)
			}
		})
	}
}

// What tests ask the stand-in afterwards.
func TestFluentBooks(t *testing.T) {
	s := newFluent(t, sandbox.FluentOptions{Remember: 2})
	graphql(t, s, createJo, nil)
	for _, name := range []string{"A", "", "B"} {
		graphql(t, s, `mutation($n: String) { updateCustomer(input: {username: "jo", lastName: $n}) { id } }`, obj{"n": name})
	}
	graphql(t, s, `mutation { updateCustomer(input: {username: "no", lastName: ""}) { id } }`, nil)
	if got := s.Stats(); got != (sandbox.FluentStats{Created: 1, Updated: 3, EmptyTexts: 1}) {
		t.Errorf("stats %+v", got)
	}
	writes := s.Writes()
	if len(writes) != 2 || writes[1].Username != "jo" || writes[1].Operation != "updateCustomer" {
		t.Fatalf("writes %+v", writes)
	}
	if writes[0].Customer()["lastName"] != "" || writes[1].Customer()["lastName"] != "B" {
		t.Errorf("after the writes: %v, %v", writes[0].Customer(), writes[1].Customer())
	}
	graphql(t, s, `mutation { updateCustomer(input: {username: "jo", attributes: [{name: "id", type: "STRING", value: "c2"}]}) { id } }`, nil)
	if got := toJSON(t, writes[1].Customer()["attributes"]); !strings.Contains(got, `"c1"`) {
		t.Errorf("a later write changed what an earlier one left: %s", got)
	}
	doc, ok := s.Customer("jo")
	if !ok || doc["lastName"] != "B" || doc["country"] != nil || toJSON(t, doc["retailer"]) != `{"id":"1"}` {
		t.Errorf("customer %v", doc)
	}
	if _, ok := s.Customer("no"); ok || s.Len() != 1 {
		t.Error("a failed update made a customer")
	}
	if got := s.Calls()["updateCustomer"]; fmt.Sprint(got) != "map[C0120E:1 ok:4]" {
		t.Errorf("calls %v", got)
	}
}

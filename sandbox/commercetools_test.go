package sandbox_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

const basic = "Basic Y2xpZW50OnNlY3JldA==" // client:secret

func TestCTToken(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	tests := []struct {
		name, auth, form string
		status           int
		code             string
	}{
		{"client credentials", basic, "grant_type=client_credentials&scope=view_customers:sandbox", 200, ""},
		{"all scopes of the client", basic, "grant_type=client_credentials", 200, ""},
		{"no credentials", "", "grant_type=client_credentials", 401, "invalid_client"},
		{"wrong secret", "Basic Y2xpZW50Om90aGVy", "grant_type=client_credentials", 401, "invalid_client"},
		{"another grant", basic, "grant_type=password", 400, "unsupported_grant_type"},
		{"a scope of another project", basic, "grant_type=client_credentials&scope=view_customers:other", 400, "invalid_scope"},
		{"a scope the client lacks", basic, "grant_type=client_credentials&scope=manage_project:sandbox", 400, "invalid_scope"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, doc := ask(t, s, "POST", "/oauth/token", "", test.form, "Authorization", test.auth)
			if w.Code != test.status || errorCode(doc) != test.code {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if test.status == 200 && doc["expires_in"] != json.Number("172800") {
				t.Errorf("expires in %v", doc["expires_in"])
			}
		})
	}
}

// Who may do what, and what commercetools says to those who may not.
func TestCTAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCT(t, sandbox.CTOptions{})
		view, manage := ctToken(t, s, "view_customers:sandbox"), ctToken(t, s, "manage_subscriptions:sandbox")
		tests := []struct {
			name, method, target, token, body string
			status                            int
			code                              string
		}{
			{"a read", "GET", "/sandbox/customers", view, "", 200, ""},
			{"no token", "GET", "/sandbox/customers", "", "", 401, "invalid_token"},
			{"a token nobody gave", "GET", "/sandbox/customers", "x", "", 401, "invalid_token"},
			{"a read without the scope", "GET", "/sandbox/customers", manage, "", 403, "insufficient_scope"},
			{"a write without the scope", "POST", "/sandbox/customers", view, "{}", 403, "insufficient_scope"},
			{"subscriptions without the scope", "GET", "/sandbox/subscriptions", view, "", 403, "insufficient_scope"},
			{"subscriptions", "GET", "/sandbox/subscriptions", manage, "", 200, ""},
			{"another project", "GET", "/other/customers", view, "", 404, "ResourceNotFound"},
			{"another resource", "GET", "/sandbox/orders", view, "", 404, "ResourceNotFound"},
			{"another method", "PUT", "/sandbox/customers", view, "", 404, "ResourceNotFound"},
			{"no such id", "GET", "/sandbox/customers/00000000-0000-4000-8000-000000000000", view, "", 404, "ResourceNotFound"},
			{"no such key", "GET", "/sandbox/customers/key=k", view, "", 404, "ResourceNotFound"},
		}
		for _, test := range tests {
			w, doc := ask(t, s, test.method, test.target, test.token, test.body)
			if w.Code != test.status || errorCode(doc) != test.code {
				t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
			}
		}
		status := func() int {
			w, _ := ask(t, s, "GET", "/sandbox/customers", view, "")
			return w.Code
		}
		if err := s.SetKnobs(sandbox.CTKnobs{Common: sandbox.Common{Denied: []string{"view_customers"}}}); err != nil {
			t.Fatal(err)
		}
		if got := status(); got != 403 {
			t.Errorf("a scope that was taken away: %d", got)
		}
		if err := s.SetKnobs(sandbox.CTKnobs{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48*time.Hour - time.Second)
		if got := status(); got != 200 {
			t.Errorf("before the token expires: %d", got)
		}
		time.Sleep(time.Second)
		if got := status(); got != 401 {
			t.Errorf("after 48 h: %d", got)
		}
		view = ctToken(t, s)
		s.InvalidateTokens()
		if got := status(); got != 401 {
			t.Errorf("after the tokens were invalidated: %d", got)
		}
	})
}

// A customer over HTTP, from its draft to its end.
func TestCTCustomer(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	token := ctToken(t, s)
	draft := `{"email":"Jo@x.de","key":"jo","password":"pw","addresses":[{"country":"DE"},{"country":"FR"}],"defaultShippingAddress":1,
		"billingAddresses":[0],"custom":{"type":{"typeId":"type","key":"t"},"fields":{"big":9007199254740993}}}`
	w, doc := ask(t, s, "POST", "/sandbox/customers", token, draft)
	c, _ := doc["customer"].(map[string]any)
	if w.Code != 201 || c["version"] != json.Number("1") {
		t.Fatalf("create: %d %s", w.Code, w.Body)
	}
	if c["password"] != nil {
		t.Error("the password is told")
	}
	if !strings.Contains(w.Body.String(), `"big":9007199254740993`) {
		t.Errorf("a large number was rounded: %s", w.Body)
	}
	addresses := c["addresses"].([]any)
	if c["defaultShippingAddressId"] != addresses[1].(map[string]any)["id"] {
		t.Errorf("defaultShippingAddressId %v, addresses %v", c["defaultShippingAddressId"], addresses)
	}
	id := c["id"].(string)
	for _, target := range []string{"/sandbox/customers/" + id, "/sandbox/customers/key=jo"} {
		if w, doc := ask(t, s, "GET", target, token, ""); w.Code != 200 || doc["id"] != id {
			t.Errorf("GET %s: %d %s", target, w.Code, w.Body)
		}
	}
	refused := []struct {
		name, method, target, body string
		status                     int
		code                       string
	}{
		{"the email in other letters", "POST", "/sandbox/customers", `{"email":"jo@X.de"}`, 400, "DuplicateField"},
		{"the key", "POST", "/sandbox/customers", `{"email":"b@x","key":"jo"}`, 400, "DuplicateField"},
		{"no email", "POST", "/sandbox/customers", `{"firstName":"a"}`, 400, "InvalidInput"},
		{"an unknown field", "POST", "/sandbox/customers", `{"email":"b@x","colour":"red"}`, 400, "InvalidInput"},
		{"no JSON", "POST", "/sandbox/customers", `{`, 400, "InvalidJsonInput"},
		{"null", "POST", "/sandbox/customers", `null`, 400, "InvalidJsonInput"},
		{"an address without country", "POST", "/sandbox/customers", `{"email":"b@x","addresses":[{}]}`, 400, "InvalidInput"},
		{"no such address", "POST", "/sandbox/customers", `{"email":"b@x","defaultBillingAddress":0}`, 400, "InvalidInput"},
		{"another version", "POST", "/sandbox/customers/" + id, `{"version":2,"actions":[]}`, 409, "ConcurrentModification"},
		{"no version", "POST", "/sandbox/customers/" + id, `{"actions":[]}`, 400, "InvalidInput"},
		{"an unknown action", "POST", "/sandbox/customers/" + id, `{"version":1,"actions":[{"action":"dance"}]}`, 400, "InvalidInput"},
		{"deleting another version", "DELETE", "/sandbox/customers/" + id + "?version=9", "", 409, "ConcurrentModification"},
		{"deleting without version", "DELETE", "/sandbox/customers/" + id, "", 400, "InvalidInput"},
	}
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			if w, doc := ask(t, s, test.method, test.target, token, test.body); w.Code != test.status || errorCode(doc) != test.code {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	w, doc = ask(t, s, "POST", "/sandbox/customers/"+id, token, `{"version":1,"actions":[{"action":"setLastName","lastName":"Doe"},{"action":"changeEmail","email":"doe@x.de"}]}`)
	if w.Code != 200 || doc["lastName"] != "Doe" || doc["version"] == json.Number("1") {
		t.Fatalf("update: %d %s", w.Code, w.Body)
	}
	version := fmt.Sprint(doc["version"])
	if w, doc := ask(t, s, "POST", "/sandbox/customers/"+id, token, `{"version":`+version+`,"actions":[{"action":"setLastName","lastName":"Doe"}]}`); fmt.Sprint(doc["version"]) != version {
		t.Errorf("an update that changes nothing: %s", w.Body)
	}
	if w, _ := ask(t, s, "POST", "/sandbox/customers", token, `{"email":"jo@x.de"}`); w.Code != 201 {
		t.Errorf("an email that became free: %d %s", w.Code, w.Body)
	}
	if w, _ := ask(t, s, "DELETE", "/sandbox/customers/"+id+"?version="+version, token, ""); w.Code != 200 {
		t.Errorf("delete: %d %s", w.Code, w.Body)
	}
	if w, _ := ask(t, s, "GET", "/sandbox/customers/"+id, token, ""); w.Code != 404 {
		t.Errorf("after the delete: %d", w.Code)
	}
	if s.Len() != 1 {
		t.Errorf("%d customers are left", s.Len())
	}
}

// What an update action does, and the message that tells of it.
func TestUpdateActions(t *testing.T) {
	type obj = map[string]any
	tests := []struct {
		name    string
		action  obj
		field   string // of the customer afterwards
		want    string // as JSON; A and B are the ids of the two addresses
		message string
		refused bool
	}{
		{"setFirstName", obj{"firstName": "Jo"}, "firstName", `"Jo"`, "CustomerFirstNameSet", false},
		{"setFirstName", obj{}, "firstName", `null`, "CustomerFirstNameSet", false},
		{"setFirstName", obj{"firstName": 1}, "", "", "", true},
		{"setLastName", obj{"lastName": "Li"}, "lastName", `"Li"`, "CustomerLastNameSet", false},
		{"setTitle", obj{"title": "Dr."}, "title", `"Dr."`, "CustomerTitleSet", false},
		{"setCompanyName", obj{"companyName": "C"}, "companyName", `"C"`, "CustomerCompanyNameSet", false},
		{"setDateOfBirth", obj{"dateOfBirth": "2000-01-01"}, "dateOfBirth", `"2000-01-01"`, "CustomerDateOfBirthSet", false},
		{"setExternalId", obj{"externalId": "e"}, "externalId", `"e"`, "CustomerExternalIdSet", false},
		{"setSalutation", obj{"salutation": "Mx."}, "salutation", `"Mx."`, "", false},
		{"setMiddleName", obj{"middleName": "M"}, "middleName", `"M"`, "", false},
		{"setLocale", obj{"locale": "de"}, "locale", `"de"`, "", false},
		{"setVatId", obj{"vatId": "v"}, "vatId", `"v"`, "", false},
		{"setKey", obj{"key": "k"}, "key", `"k"`, "", false},
		{"setCustomerNumber", obj{"customerNumber": "7"}, "", "", "", true}, // it has one
		{"changeEmail", obj{"email": "new@x"}, "email", `"new@x"`, "CustomerEmailChanged", false},
		{"changeEmail", obj{"email": "new"}, "", "", "", true},
		{"changeEmail", obj{"email": "taken@x"}, "", "", "", true},
		{"addAddress", obj{"address": obj{"country": "PL", "id": "mine"}}, "billingAddressIds", `[]`, "CustomerAddressAdded", false},
		{"addAddress", obj{"address": obj{"country": "Poland"}}, "", "", "", true},
		{"changeAddress", obj{"addressId": "A", "address": obj{"country": "JP"}}, "addresses", `[{"country":"JP","id":"A"},{"country":"FR","id":"B","key":"fr"}]`, "CustomerAddressChanged", false},
		{"changeAddress", obj{"addressKey": "fr", "address": obj{"country": "JP"}}, "addresses", `[{"country":"DE","id":"A"},{"country":"JP","id":"B"}]`, "CustomerAddressChanged", false},
		{"changeAddress", obj{"addressId": "none", "address": obj{"country": "JP"}}, "", "", "", true},
		{"removeAddress", obj{"addressId": "B"}, "shippingAddressIds", `[]`, "CustomerAddressRemoved", false},
		{"setDefaultShippingAddress", obj{"addressId": "A"}, "defaultShippingAddressId", `"A"`, "CustomerDefaultShippingAddressSet", false},
		{"setDefaultShippingAddress", obj{}, "defaultShippingAddressId", `null`, "CustomerDefaultShippingAddressSet", false},
		{"setDefaultBillingAddress", obj{"addressKey": "fr"}, "billingAddressIds", `["B"]`, "CustomerDefaultBillingAddressSet", false},
		{"addShippingAddressId", obj{"addressId": "A"}, "shippingAddressIds", `["B","A"]`, "CustomerShippingAddressAdded", false},
		{"setCustomField", obj{"name": "n", "value": true}, "custom", `{"fields":{"a":1,"n":true},"type":{"id":"T","typeId":"type"}}`, "CustomerCustomFieldAdded", false},
		{"setCustomField", obj{"name": "a", "value": 2}, "custom", `{"fields":{"a":2},"type":{"id":"T","typeId":"type"}}`, "CustomerCustomFieldChanged", false},
		{"setCustomField", obj{"name": "a", "value": nil}, "custom", `{"fields":{},"type":{"id":"T","typeId":"type"}}`, "CustomerCustomFieldRemoved", false},
		{"setCustomType", obj{}, "custom", `null`, "CustomerCustomTypeRemoved", false},
		{"setCustomType", obj{"type": obj{"typeId": "type", "id": "u"}}, "custom", `{"fields":{},"type":{"id":"u","typeId":"type"}}`, "CustomerCustomTypeSet", false},
		{"setCustomType", obj{"type": obj{"typeId": "type"}}, "", "", "", true},
	}
	for _, test := range tests {
		t.Run(test.name+" "+toJSON(t, test.action), func(t *testing.T) {
			s, got := withDeliveries(t, sandbox.CTOptions{})
			create(t, s, obj{"email": "taken@x"})
			c := create(t, s, obj{"email": "old@x", "firstName": "Al", "customerNumber": "1",
				"addresses": []any{obj{"country": "DE"}, obj{"country": "FR", "key": "fr"}}, "defaultShippingAddress": 1,
				"custom": obj{"type": obj{"typeId": "type", "id": "T"}, "fields": obj{"a": 1}}})
			addresses := c["addresses"].([]any)
			a, b := addresses[0].(obj)["id"].(string), addresses[1].(obj)["id"].(string)
			names := strings.NewReplacer(`"`+a+`"`, `"A"`, `"`+b+`"`, `"B"`)
			action := obj{"action": test.name}
			for k, v := range test.action {
				switch v {
				case "A":
					v = a
				case "B":
					v = b
				}
				action[k] = v
			}
			subscribe(t, s, obj{"messages": []any{obj{"resourceTypeId": "customer"}}})
			doc, err := s.Update(c["id"].(string), action)
			if (err != nil) != test.refused {
				t.Fatalf("error %v, refused %v", err, test.refused)
			}
			if test.refused {
				if now, _ := s.Customer(c["id"].(string)); toJSON(t, now) != toJSON(t, c) {
					t.Error("a refused update changed the customer")
				}
				return
			}
			if have := names.Replace(toJSON(t, doc[test.field])); have != test.want {
				t.Errorf("%s is %s, want %s", test.field, have, test.want)
			}
			var types []string
			for _, m := range got()[1:] {
				types = append(types, m["type"].(string))
			}
			if want := slices.DeleteFunc([]string{test.message}, func(m string) bool { return m == "" }); !slices.Equal(types, want) {
				t.Errorf("messages %v, want %v", types, want)
			}
		})
	}
}

// Several actions are one step: one that is refused undoes the others.
func TestUpdateAllOrNone(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	id := create(t, s, map[string]any{"email": "a@x"})["id"].(string)
	if _, err := s.Update(id, map[string]any{"action": "setTitle", "title": "Dr."}, map[string]any{"action": "dance"}); err == nil {
		t.Fatal("an unknown action was accepted")
	}
	if c, _ := s.Customer(id); c["title"] != nil || fmt.Sprint(c["version"]) != "1" {
		t.Errorf("half an update was done: %v", c)
	}
}

// Versions rise, and jump, so that nobody computes the next one.
func TestVersions(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	id := create(t, s, map[string]any{"email": "a@x"})["id"].(string)
	steps := map[int64]bool{}
	before := int64(1)
	for i := range 30 {
		c, err := s.Update(id, map[string]any{"action": "setTitle", "title": fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := c["version"].(int64)
		if v == 0 {
			v, _ = c["version"].(json.Number).Int64()
		}
		steps[v-before] = true
		before = v
	}
	if len(steps) != 2 || !steps[1] || !steps[2] {
		t.Errorf("steps %v, want 1 and 2", steps)
	}
}

func TestCTAnswers(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	if err := sandbox.NewPopulation(1).Fill(s, 30); err != nil {
		t.Fatal(err)
	}
	token := ctToken(t, s)
	w, _ := ask(t, s, "GET", "/sandbox/customers", token, "", "Accept-Encoding", "gzip", "X-Correlation-ID", "batch-17_a")
	if got := w.Header().Get("X-Correlation-ID"); got != "batch-17_a" {
		t.Errorf("correlation id %q", got)
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !json.Valid(b) {
		t.Errorf("compressed answer: %v", err)
	}
	if w, doc := ask(t, s, "GET", "/sandbox/customers", token, "", "X-Correlation-ID", "short"); doc == nil || w.Header().Get("X-Correlation-ID") != "" {
		t.Error("a correlation id that is none came back, or the answer was compressed unasked")
	}
	if err := s.SetKnobs(sandbox.CTKnobs{Plain: true}); err != nil {
		t.Fatal(err)
	}
	if w, _ := ask(t, s, "GET", "/sandbox/customers", token, "", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" {
		t.Error("compressed in spite of the knob")
	}
	want := map[string]int{"200": 3}
	if got := s.Calls()["customers.query"]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	s.ResetCalls()
	if got := s.Calls(); len(got) != 0 {
		t.Errorf("after the reset: %v", got)
	}
}

// withDeliveries returns a stand-in and a function that delivers what is due
// and returns all that was delivered so far.
func withDeliveries(t *testing.T, o sandbox.CTOptions) (*sandbox.CommerceTools, func() []map[string]any) {
	t.Helper()
	var got []map[string]any
	o.Deliverers = 1
	o.Deliver = func(_ context.Context, _ map[string]any, body []byte) error {
		var n map[string]any
		if err := json.Unmarshal(body, &n); err != nil {
			t.Errorf("a notification is no JSON: %v", err)
		}
		got = append(got, n)
		return nil
	}
	s := newCT(t, o)
	return s, func() []map[string]any {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		if err := s.Drain(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		return got
	}
}

func subscribe(t *testing.T, s *sandbox.CommerceTools, draft map[string]any) map[string]any {
	t.Helper()
	if draft["destination"] == nil {
		draft["destination"] = map[string]any{"type": "SQS", "queueUrl": "q", "region": "r"}
	}
	doc, err := s.Subscribe(draft)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

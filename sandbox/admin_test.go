package sandbox_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// The knobs over HTTP: put, changed in part, refused where they are none.
func TestAdmin(t *testing.T) {
	ct, f := newCT(t, sandbox.CTOptions{}), newFluent(t, sandbox.FluentOptions{})
	tests := []struct {
		name   string
		h      http.Handler
		method string
		body   string
		status int
		want   string
	}{
		{"as it begins", ct, "GET", "", 200, `{}`},
		{"put", ct, "PUT", `{"latency":"150ms","lag":"2s","faults":[{"kind":"cut","probability":0.1,"late":"1s"}]}`, 200,
			`{"latency":"150ms","faults":[{"kind":"cut","probability":0.1,"late":"1s"}],"lag":"2s"}`},
		{"patched", ct, "PATCH", `{"latency":"0s","duplicates":0.5}`, 200, `{"faults":[{"kind":"cut","probability":0.1,"late":"1s"}],"lag":"2s","duplicates":0.5}`},
		{"a list patched", ct, "PATCH", `{"faults":[{"kind":"500"}],"denied":["view_customers"]}`, 200, `{"denied":["view_customers"],"faults":[{"kind":"500"}],"lag":"2s","duplicates":0.5}`},
		{"a list emptied", ct, "PATCH", `{"faults":[],"denied":[]}`, 200, `{"lag":"2s","duplicates":0.5}`},
		{"put again", ct, "PUT", `{}`, 200, `{}`},
		{"an unknown key", ct, "PATCH", `{"colour":1}`, 400, `knobs: json: unknown field "colour"`},
		{"no such fault", ct, "PUT", `{"faults":[{"kind":"fire"}]}`, 400, `knobs: no fault "fire"`},
		{"a fault of Fluent's", ct, "PUT", `{"faults":[{"kind":"S0002E"}]}`, 400, `knobs: no fault "S0002E"`},
		{"no probability", ct, "PUT", `{"faults":[{"kind":"500","probability":2}]}`, 400, `knobs: fault 500: probability 2 is not between 0 and 1`},
		{"no count", ct, "PUT", `{"faults":[{"kind":"500","count":-1}]}`, 400, `knobs: fault 500: count -1 is negative`},
		{"late where it cannot be", ct, "PUT", `{"faults":[{"kind":"500","late":"1s"}]}`, 400, `knobs: fault 500: only cut and timeout can be late`},
		{"no duplicates", ct, "PUT", `{"duplicates":2}`, 400, `knobs: duplicates 2 is not between 0 and 1`},
		{"no rate", ct, "PUT", `{"rate":-1}`, 400, `knobs: rate -1 is negative`},
		{"no time", ct, "PUT", `{"lag":"soon"}`, 400, `knobs: `},
		{"a negative time", ct, "PUT", `{"lag":"-1s"}`, 400, `knobs: `},
		{"two values", ct, "PUT", `{}{}`, 400, `knobs: more than one JSON value`},
		{"Fluent's own", f, "PUT", `{"undo":true,"faults":[{"kind":"S0002E","match":"jo","whole":true}]}`, 200, `{"faults":[{"kind":"S0002E","match":"jo","whole":true}],"undo":true}`},
		{"patched", f, "PATCH", `{"codeInText":true}`, 200, `{"faults":[{"kind":"S0002E","match":"jo","whole":true}],"undo":true,"codeInText":true}`},
		{"none of Fluent's", f, "PUT", `{"lag":"1s"}`, 400, `knobs: json: unknown field "lag"`},
	}
	for _, test := range tests {
		w, _ := ask(t, test.h, test.method, "/_sandbox/knobs", "", test.body)
		if got := strings.TrimSpace(w.Body.String()); w.Code != test.status || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %d %s\nwant %d %s", test.name, w.Code, got, test.status, test.want)
		}
	}
}

// What other processes ask a stand-in.
func TestAdminBooks(t *testing.T) {
	f := newFluent(t, sandbox.FluentOptions{})
	token := fluentToken(t, f)
	ask(t, f, "POST", "/graphql", token, toJSON(t, obj{"query": createJo}))
	ct, got := withDeliveries(t, sandbox.CTOptions{})
	subscribe(t, ct, obj{"changes": customers})
	id := create(t, ct, obj{"email": "a@x"})["id"].(string)
	tests := []struct {
		name, method, target string
		h                    http.Handler
		want                 string
	}{
		{"calls", "GET", "/_sandbox/calls", f, `{"createCustomer":{"ok":1},"mutation":{"200":1},"token":{"200":1}}`},
		{"writes", "GET", "/_sandbox/writes", f, `"operation":"createCustomer","username":"jo"}`},
		{"customers of Fluent", "GET", "/_sandbox/customers", f, `"username":"jo"`},
		{"customers of commercetools", "GET", "/_sandbox/customers", ct, `"id":"` + id + `"`},
		{"reset", "POST", "/_sandbox/reset", f, `{}`},
		{"redeliver", "POST", "/_sandbox/redeliver", ct, `{"redelivered":2}`},
		{"tokens", "POST", "/_sandbox/tokens", f, ``},
		{"nothing", "GET", "/_sandbox/nothing", f, `404`},
	}
	for _, test := range tests {
		w, _ := ask(t, test.h, test.method, test.target, "", "")
		if !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: %s", test.name, w.Body)
		}
		for lines := bufio.NewScanner(w.Body); strings.HasSuffix(test.target, "s") && w.Code == 200 && lines.Scan(); {
			if !json.Valid(lines.Bytes()) {
				t.Errorf("%s: %s", test.name, lines.Bytes())
			}
		}
	}
	if n := len(got()); n != 4 {
		t.Errorf("%d deliveries", n)
	}
	if w, _ := ask(t, f, "POST", "/graphql", token, toJSON(t, obj{"query": createJo})); w.Code != 401 {
		t.Errorf("the token is still good: %d", w.Code)
	}
}

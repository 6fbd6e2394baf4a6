package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// A loop says what the plain pattern and the bare loop work.
type loop struct {
	Addresses
	IDs    []string // of customers, in order
	Lookup bool     // of the bare loop: look up before writing, as the product does
}

// looped is their answer.
type looped struct {
	Seconds float64
	Max     int64 // bytes resident, at most
}

// plainChild is the plain pattern: one GET, one lookup, one mutation for each
// notification, one after the other.
func plainChild(ctx context.Context, spec *json.Decoder) error {
	var l loop
	if err := spec.Decode(&l); err != nil {
		return err
	}
	p := &plain{ctx: ctx, loop: l}
	if err := p.tokens(); err != nil {
		return err
	}
	began := time.Now()
	for _, id := range l.IDs {
		if err := p.work(id); err != nil {
			return fmt.Errorf("customer %s: %w", id, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(looped{time.Since(began).Seconds(), usageOf("self").Max})
}

type plain struct {
	loop
	ctx              context.Context
	ctToken, flToken string
}

func (p *plain) tokens() error {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	basic := func(r *http.Request) { r.SetBasicAuth(clientID, clientSecret) }
	if err := p.do("POST", p.Commercetools+"/oauth/token", "application/x-www-form-urlencoded", form.Encode(), basic, &t); err != nil {
		return err
	}
	p.ctToken = t.AccessToken
	form = url.Values{"grant_type": {"password"}, "scope": {"api"}, "client_id": {clientID}, "client_secret": {clientSecret},
		"username": {apiUser}, "password": {apiPassword}}
	if err := p.do("POST", p.Fluent+"/oauth/token", "application/x-www-form-urlencoded", form.Encode(), func(*http.Request) {}, &t); err != nil {
		return err
	}
	p.flToken = t.AccessToken
	return nil
}

func (p *plain) do(method, address, kind, body string, sign func(*http.Request), v any) error {
	req, err := http.NewRequestWithContext(p.ctx, method, address, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	sign(req)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, address, res.Status)
	}
	return json.Unmarshal(text, v)
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func (p *plain) work(id string) error {
	var doc map[string]any
	if err := p.do("GET", p.Commercetools+"/"+project+"/customers/"+id, "application/json", "", bearer(p.ctToken), &doc); err != nil {
		return err
	}
	username := retailer + "_" + fmt.Sprint(doc["email"])
	var found struct{ Customers struct{ Edges []any } }
	err := p.graphQL(`query($u: [String]) { customers(username: $u, first: 1) { edges { node { id } } } }`,
		map[string]any{"u": []string{username}}, &found)
	if err != nil {
		return err
	}
	input := map[string]any{
		"username":   username,
		"attributes": []any{map[string]any{"name": "commercetoolsId", "type": "STRING", "value": id}},
	}
	for field, v := range wanted(doc) {
		if v != nil {
			input[field] = v
		}
	}
	operation, typ := "updateCustomer", "UpdateCustomerInput"
	if len(found.Customers.Edges) == 0 {
		operation, typ = "createCustomer", "CreateCustomerInput"
		input["retailer"] = map[string]any{"id": retailer}
		input["timezone"], input["promotionOptIn"] = "UTC", false
		if input["firstName"] == nil {
			input["firstName"] = "-"
		}
	}
	return p.graphQL(fmt.Sprintf(`mutation($i: %s!) { %s(input: $i) { username } }`, typ, operation), map[string]any{"i": input}, nil)
}

func (p *plain) graphQL(query string, variables map[string]any, data any) error {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	var answer struct {
		Data   json.RawMessage
		Errors []struct{ Message string }
	}
	if err := p.do("POST", p.Fluent+"/graphql", "application/json", string(body), bearer(p.flToken), &answer); err != nil {
		return err
	}
	if len(answer.Errors) > 0 {
		return errors.New(answer.Errors[0].Message)
	}
	if data == nil {
		return nil
	}
	return json.NewDecoder(bytes.NewReader(answer.Data)).Decode(data)
}

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// mock starts the commercetools from npm and returns its address. The argument
// is how many customers it has.
func mock(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("node_modules/.bin/node", append([]string{"mock.mjs"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the commercetools from npm did not start: %v", err)
	}
	return strings.TrimSpace(line)
}

// A side is one of the two that are compared.
type side struct {
	t     *testing.T
	base  string
	token string
	is    map[string]string // what a step has named: "{jane}" is an id, "{jane.version}" its version
}

func newSide(t *testing.T, base string) *side {
	t.Helper()
	s := &side{t: t, base: base, is: map[string]string{}}
	r := must(http.NewRequest("POST", base+"/oauth/token", strings.NewReader("grant_type=client_credentials&scope=manage_customers:shop+manage_subscriptions:shop")))(t)
	r.SetBasicAuth("client", "secret")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp := must(http.DefaultClient.Do(r))(t)
	defer resp.Body.Close()
	var doc struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || doc.Token == "" || doc.Type != "Bearer" {
		t.Fatalf("%s: token: %d %v %+v", base, resp.StatusCode, err, doc)
	}
	s.token = doc.Token
	return s
}

// do sends one request and says what came of it in words that both sides share.
func (s *side) do(method, path, body, name string) string {
	for k, v := range s.is {
		path, body = strings.ReplaceAll(path, "{"+k+"}", v), strings.ReplaceAll(body, "{"+k+"}", v)
	}
	path, where, found := strings.Cut(path, " where ")
	if found {
		path += "&where=" + url.QueryEscape(where)
	}
	r := must(http.NewRequest(method, s.base+"/shop/"+path, strings.NewReader(body)))(s.t)
	r.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp := must(http.DefaultClient.Do(r))(s.t)
	defer resp.Body.Close()
	raw := must(io.ReadAll(resp.Body))(s.t)
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return fmt.Sprintf("%d, no JSON", resp.StatusCode)
	}
	if errs, ok := doc["errors"].([]any); ok && len(errs) > 0 {
		return fmt.Sprintf("%d %v, statusCode %v", resp.StatusCode, errs[0].(map[string]any)["code"], doc["statusCode"])
	}
	if c, ok := doc["customer"].(map[string]any); ok {
		doc = c
	}
	if results, ok := doc["results"].([]any); ok {
		var names []string
		for _, c := range results {
			names = append(names, fmt.Sprint(c.(map[string]any)["firstName"], c.(map[string]any)["key"]))
		}
		slices.Sort(names) // the mock does not
		return fmt.Sprintf("%d, limit %v, offset %v, count %v, total %v: %v", resp.StatusCode, doc["limit"], doc["offset"], doc["count"], doc["total"], names)
	}
	if name != "" {
		s.is[name], s.is[name+".version"] = fmt.Sprint(doc["id"]), fmt.Sprint(doc["version"])
		s.is[name+".createdAt"] = fmt.Sprint(doc["createdAt"])
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, s.shape(doc))
}

// shape is a document without what no two sides can have in common.
func (s *side) shape(doc map[string]any) []byte {
	ids := map[string]string{}
	addresses, _ := doc["addresses"].([]any)
	for i, a := range addresses {
		ids[fmt.Sprint(a.(map[string]any)["id"])] = fmt.Sprint("address ", i)
	}
	var clean func(v any) any
	clean = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				switch k {
				case "version", "createdAt", "lastModifiedAt":
					v[k] = "some"
				case "password", "lowercaseEmail", "lastMessageSequenceNumber", "createdBy", "lastModifiedBy", "events", "customerGroupAssignments":
					delete(v, k) // the one has it, the other has not
				default:
					v[k] = clean(v[k])
				}
			}
		case []any:
			for i := range v {
				v[i] = clean(v[i])
			}
		case string:
			if name, ok := ids[v]; ok {
				return name
			}
			for name, id := range s.is {
				if v == id && !strings.Contains(name, ".") {
					return name
				}
			}
		}
		return v
	}
	return must(json.Marshal(clean(doc)))(s.t)
}

// The stand-in of commercetools answers as one does that others have written,
// wherever both know the request. Left out is where the mock departs from the
// documentation: it does not sort, knows no <>, writes emails in lower case,
// deletes whatever the version, and knows no default address among the others.
func TestStandInAgreesWithTheMock(t *testing.T) {
	ours := must(sandbox.NewCommerceTools(sandbox.CTOptions{ProjectKey: "shop"}))(t)
	server := must(sandbox.Start(context.Background(), "", ours))(t)
	t.Cleanup(server.Close)
	sides := []*side{newSide(t, server.URL), newSide(t, mock(t))}
	steps := []struct{ name, method, path, body string }{
		{"jane", "POST", "customers", `{"email":"jane@example.com","password":"p","firstName":"Jane","key":"jane","addresses":[{"country":"DE","city":"Köln"},{"country":"FR"}],"defaultShippingAddress":1,"shippingAddresses":[1],"defaultBillingAddress":0,"billingAddresses":[0]}`},
		{"john", "POST", "customers", `{"email":"john@example.com","password":"p","firstName":"John","lastName":"D'Arcy \"J\"","customerNumber":"7"}`},
		{"zoe", "POST", "customers", `{"email":"zoe@example.com","password":"p","firstName":"Zoé"}`},
		{"", "POST", "customers", `{"email":"JANE@EXAMPLE.COM","password":"p"}`},
		{"", "GET", "customers/{jane}", ""},
		{"", "GET", "customers/key=jane", ""},
		{"", "GET", "customers/key=nobody", ""},
		{"", "GET", "customers/00000000-0000-4000-8000-000000000000", ""},
		{"", "GET", "customers", ""},
		{"", "GET", "customers?limit=2&offset=2", ""},
		{"", "GET", `customers?limit=500 where id = "{jane}"`, ""},
		{"", "GET", `customers?limit=500 where id in ("{jane}","{zoe}","00000000-0000-4000-8000-000000000000")`, ""},
		{"", "GET", `customers?limit=500 where firstName = "John" or (firstName = "Zoé" and email = "zoe@example.com")`, ""},
		{"", "GET", `customers?limit=500 where firstName != "John" and firstName != "Jane"`, ""},
		{"", "GET", `customers?limit=500 where (id in ("{jane}","{john}")) and (id = "{john}" or id = "{zoe}")`, ""},
		{"", "GET", `customers?limit=500 where createdAt >= "{jane.createdAt}"`, ""},
		{"", "GET", `customers?limit=500 where createdAt < "{jane.createdAt}"`, ""},
		{"", "GET", `customers?limit=500 where createdAt > "2020-01-01T00:00:00.000Z" and createdAt < "2021-01-01T00:00:00.000Z"`, ""},
		{"", "GET", `customers?limit=500 where lastModifiedAt <= "2999-01-01T00:00:00.000Z"`, ""},
		{"", "GET", `customers?limit=500 where customerNumber = "7" and isEmailVerified = false`, ""},
		{"", "GET", `customers?limit=500&var.who={zoe} where id = :who`, ""},
		{"", "GET", `customers?limit=500 where id = `, ""},
		{"", "GET", `customers?limit=500 where (id = "{jane}"`, ""},
		{"jane", "POST", "customers/{jane}", `{"version":{jane.version},"actions":[{"action":"setFirstName","firstName":"Joan"},{"action":"changeEmail","email":"joan@example.com"}]}`},
		{"", "POST", "customers/{jane}", `{"version":99,"actions":[{"action":"setFirstName","firstName":"Jo"}]}`},
		{"", "GET", "customers/{jane}", ""},
		{"", "DELETE", "customers/{zoe}?version={zoe.version}", ""},
		{"", "GET", "customers/{zoe}", ""},
		{"", "GET", "subscriptions/key=k", ""},
		{"sub", "POST", "subscriptions", `{"key":"k","destination":{"type":"EventBridge","accountId":"1","region":"eu-central-1"},"changes":[{"resourceTypeId":"customer"}]}`},
		{"", "GET", "subscriptions/key=k", ""},
		{"", "GET", "subscriptions/{sub}", ""},
		{"", "GET", "subscriptions", ""},
		{"sub", "POST", "subscriptions/key=k", `{"version":{sub.version},"actions":[{"action":"setKey","key":"l"}]}`},
		{"", "POST", "subscriptions/key=l", `{"version":99,"actions":[{"action":"setKey","key":"m"}]}`},
		{"", "DELETE", "subscriptions/key=l?version={sub.version}", ""},
		{"", "GET", "subscriptions/key=l", ""},
	}
	for _, step := range steps {
		t.Run(strings.TrimSpace(step.method+" "+step.path), func(t *testing.T) {
			got, want := sides[0].do(step.method, step.path, step.body, step.name), sides[1].do(step.method, step.path, step.body, step.name)
			if got != want {
				t.Errorf("the stand-in: %s\nthe mock:     %s", got, want)
			}
		})
	}
}

// The mock's HTTP side does not sort: reading everything from it must say so,
// not lose customers without a word.
func TestMockThatDoesNotSortIsFoundOut(t *testing.T) {
	base := mock(t)
	s := newSide(t, base)
	for i := range 60 {
		s.do("POST", "customers", fmt.Sprintf(`{"email":"c%d@example.com","password":"p"}`, i), "")
	}
	c := must(commercetools.New(commercetools.Options{ProjectKey: "shop", APIURL: base, AuthURL: base, ClientID: "client",
		ClientSecret: func() (string, error) { return "secret", nil }}))(t)
	read := map[string]bool{}
	var err error
	for after, last := "", false; !last && err == nil; {
		var p *commercetools.Page
		if p, err = c.Page(t.Context(), commercetools.Selection{}, after, 10); err == nil {
			for _, one := range p.Customers {
				read[one.ID], after = true, one.ID
			}
			last, err = p.Last, c.Ordered(t.Context(), p)
		}
	}
	var e *commercetools.Error
	if !errors.As(err, &e) || e.Kind != commercetools.Stopped || e.Code != "unordered" {
		t.Errorf("read %d of 60, err = %v", len(read), err)
	}
	if n, _, err := c.Count(t.Context(), commercetools.Selection{}); err != nil || n != 60 {
		t.Errorf("counted %d, %v", n, err)
	}
}

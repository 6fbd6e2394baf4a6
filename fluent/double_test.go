package fluent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// private stands for anything a server may write.
const private = "jane@example.com"

// asked is a GraphQL request as it arrived.
type asked struct {
	query string
	vars  map[string]any
	op    *ast.OperationDefinition
	bytes int
}

// aliases lists the fields of the operation in their order.
func (a asked) aliases() (names []string) {
	for _, s := range a.op.SelectionSet {
		names = append(names, s.(*ast.Field).Alias)
	}
	return names
}

// usernames lists those of a mutation, in order.
func (a asked) usernames() (names []string) {
	for _, alias := range a.aliases() {
		names = append(names, a.vars[alias].(map[string]any)["username"].(string))
	}
	return names
}

// A graph answers GraphQL requests in place of Fluent.
type graph func(w http.ResponseWriter, r asked)

var schema = sync.OnceValue(func() *ast.Schema {
	sdl, err := os.ReadFile("testdata/schema.graphql")
	if err != nil {
		panic(err)
	}
	return gqlparser.MustLoadSchema(&ast.Source{Name: "schema", Input: string(sdl)})
})

// account is a Fluent that gives tokens, holds each request against the schema
// and leaves the rest to g. It returns a client and what was
// asked so far.
func account(t *testing.T, o Options, g graph) (*Client, func() []asked) {
	t.Helper()
	schema := schema()
	var mu sync.Mutex
	var log []asked
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"t","token_type":"bearer","expires_in":86386}`)
	})
	mux.HandleFunc("POST /graphql", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Query     string
			Variables map[string]any
		}
		raw, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(raw, &body) != nil {
			t.Errorf("unreadable request: %v", err)
			return
		}
		doc, errs := gqlparser.LoadQueryWithRules(schema, body.Query, rules.NewDefaultRules())
		if len(errs) > 0 {
			t.Errorf("not of the schema: %v\n%s", errs, body.Query)
			return
		}
		if _, err := validator.VariableValues(schema, doc.Operations[0], body.Variables); err != nil {
			t.Errorf("not of the schema: %v", err)
		}
		a := asked{query: body.Query, vars: body.Variables, op: doc.Operations[0], bytes: len(raw)}
		mu.Lock()
		log = append(log, a)
		mu.Unlock()
		g(w, a)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	o.BaseURL, o.Account, o.ClientID, o.Username = s.URL, "ACME", "id", "user"
	o.ClientSecret = func() (string, error) { return "secret", nil }
	o.Password = func() (string, error) { return "pass", nil }
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, func() []asked {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(log)
	}
}

func says(status int, body string) graph {
	return func(w http.ResponseWriter, _ asked) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// verdicts is what an answer says of each alias: "" for done, "null" for null
// without an error, else an error's JSON without its path.
func verdicts(w http.ResponseWriter, r asked, say func(username string) string) {
	data := map[string]any{}
	var errs []string
	for i, alias := range r.aliases() {
		name := r.usernames()[i]
		switch v := say(name); v {
		case "":
			data[alias] = map[string]string{"username": name}
		case "null":
			data[alias] = nil
		default:
			data[alias] = nil
			errs = append(errs, fmt.Sprintf(`{"path":[%q],%s`, alias, v[1:]))
		}
	}
	d, _ := json.Marshal(data)
	if errs == nil {
		fmt.Fprintf(w, `{"data":%s}`, d)
		return
	}
	fmt.Fprintf(w, `{"data":%s,"errors":[%s]}`, d, strings.Join(errs, ","))
}

// fault is an error of GraphQL with a code where it belongs.
func fault(code string) string {
	return fmt.Sprintf(`{"message":"no: %s","extensions":{"code":%q}}`, private, code)
}

func updates(names ...string) (ws []Write) {
	for _, n := range names {
		ws = append(ws, Write{Username: n, Fields: Fields{"lastName": "Doe", "title": nil}})
	}
	return ws
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("1_c%03d", i))
	}
	return names
}

func kind(t *testing.T, err error) Kind {
	t.Helper()
	if err == nil {
		return 0
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T: %v is no *Error", err, err)
	}
	if strings.Contains(err.Error(), "jane") || !regexp.MustCompile(`^fluent: [a-z]+: `).MatchString(err.Error()) {
		t.Errorf("promise 7: %q", err)
	}
	return e.Kind
}

func kinds(t *testing.T, errs []error) (ks []Kind) {
	t.Helper()
	for _, err := range errs {
		ks = append(ks, kind(t, err))
	}
	return ks
}

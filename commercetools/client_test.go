package commercetools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// private stands for anything a server may write.
const private = "jane@example.com"

// project is a commercetools that gives tokens and leaves the rest to a test.
func project(t *testing.T, o Options, customers http.HandlerFunc) *Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		id, secret, _ := r.BasicAuth()
		if id != "id" || secret != "secret" || r.FormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error":"invalid_client","error_description":"`+private+`"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":"t","token_type":"Bearer","expires_in":172800,"scope":%q}`, r.FormValue("scope"))
	})
	mux.HandleFunc("/", customers)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	o.ProjectKey, o.ClientID = "shop", "id"
	o.APIURL, o.AuthURL = s.URL, s.URL
	if o.ClientSecret == nil {
		o.ClientSecret = func() (string, error) { return "secret", nil }
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func errorBody(status int, code string) string {
	return fmt.Sprintf(`{"statusCode":%d,"message":"%s","errors":[{"code":%q,"message":"%s"}]}`, status, private, code, private)
}

func wantError(t *testing.T, err error, want Kind, code string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != want || e.Code != code {
		t.Fatalf("err = %v, want %v with code %q", err, want, code)
	}
	if strings.Contains(err.Error(), "jane") {
		t.Errorf("promise 7: %q", err)
	}
	return e
}

const page = "<html><body>502 Bad Gateway " + private + "</body></html>"

// Every error that commercetools and what stands before it can answer.
func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   Kind // of a read by id
		query  Kind // of a query; as want where 0
		code   string
	}{
		{name: "invalid input", status: 400, body: errorBody(400, "InvalidInput"), want: Refused, code: "InvalidInput"},
		{name: "the query took too long", status: 400, body: errorBody(400, "QueryTimedOut"), want: Down, code: "QueryTimedOut"},
		{name: "400 without a code", status: 400, want: Refused},
		{name: "token refused twice", status: 401, body: errorBody(401, "invalid_token"), want: Stopped, code: "invalid_token"},
		{name: "OAuth's form of it", status: 401, body: `{"statusCode":401,"error":"invalid_token"}`, want: Stopped, code: "invalid_token"},
		{name: "scope missing", status: 403, body: errorBody(403, "insufficient_scope"), want: Stopped, code: "insufficient_scope"},
		{name: "the customer is gone", status: 404, body: errorBody(404, "ResourceNotFound"), want: NotFound, query: Stopped, code: "ResourceNotFound"},
		{name: "gone, without a code", status: 404, body: `{"statusCode":404,"message":"x"}`, want: NotFound, query: Stopped},
		{name: "something else answers there", status: 404, body: page, want: Stopped},
		{name: "no answer to this method", status: 405, want: Stopped},
		{name: "a redirect", status: 302, want: Stopped},
		{name: "request timeout", status: 408, want: Down},
		{name: "a conflict", status: 409, body: errorBody(409, "ConcurrentModification"), want: Conflict, code: "ConcurrentModification"},
		{name: "another conflict", status: 409, body: errorBody(409, "ReferenceExists"), want: Refused, code: "ReferenceExists"},
		{name: "URL too long", status: 414, want: Refused},
		{name: "too many", status: 429, body: errorBody(429, "TooManyRequests"), want: Limited, code: "TooManyRequests"},
		{name: "server error", status: 500, body: errorBody(500, "General"), want: Down, code: "General"},
		{name: "bad gateway, HTML", status: 502, body: page, want: Down},
		{name: "no service", status: 503, body: errorBody(503, "OverCapacity"), want: Down, code: "OverCapacity"},
		{name: "gateway timeout", status: 504, want: Down},
		{name: "HTML with 200", status: 200, body: page, want: Down},
		{name: "nothing with 200", status: 200, want: Down},
		{name: "JSON of something else", status: 200, body: `{"a":1}`, want: Down},
		{name: "no content", status: 204, want: Down},
		{name: "a text in place of a code", status: 400, body: errorBody(400, private), want: Refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			query := tt.query
			if query == 0 {
				query = tt.want
			}
			c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				if tt.status == 429 {
					w.Header().Set("Retry-After", "0")
				}
				answer(tt.status, tt.body)(w, r)
			})
			_, err := c.Customer(t.Context(), "c1")
			e := wantError(t, err, tt.want, tt.code)
			if e.Status != tt.status {
				t.Errorf("status %d", e.Status)
			}
			if errors.Is(err, ErrNotFound) != (tt.want == NotFound) {
				t.Errorf("ErrNotFound: %v", err)
			}
			c = project(t, Options{}, answer(tt.status, tt.body))
			_, err = c.Customers(t.Context(), []string{"c1"})
			wantError(t, err, query, tt.code)
			c = project(t, Options{}, answer(tt.status, tt.body))
			wantError(t, c.Check(t.Context()), query, tt.code)
		})
	}
}

func TestNoAnswer(t *testing.T) {
	t.Run("cut", func(t *testing.T) {
		c := project(t, Options{}, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, err := c.Customer(t.Context(), "c1")
		wantError(t, err, Down, "")
	})
	t.Run("late", func(t *testing.T) {
		c := project(t, Options{Timeout: 50 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		_, err := c.Customer(t.Context(), "c1")
		wantError(t, err, Down, "")
	})
	t.Run("the caller goes", func(t *testing.T) {
		c := project(t, Options{}, answer(200, ""))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Customer(ctx, "c1")
		wantError(t, err, Down, "")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		c, err := New(Options{ProjectKey: "p", ClientID: "id", APIURL: s.URL, AuthURL: s.URL,
			ClientSecret: func() (string, error) { return "secret", nil }})
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, c.Check(t.Context()), Down, "")
	})
	t.Run("asked to wait for long", func(t *testing.T) {
		c := project(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(429)
		})
		for range 2 { // the second is not sent
			_, err := c.Customer(t.Context(), "c1")
			if e := wantError(t, err, Limited, ""); e.RetryAfter < 59*time.Second {
				t.Errorf("RetryAfter %v", e.RetryAfter)
			}
		}
	})
}

func TestCredentials(t *testing.T) {
	secret, fault := "wrong", error(nil)
	c := project(t, Options{ClientSecret: func() (string, error) { return secret, fault }}, answer(200, `{"results":[]}`))
	e := wantError(t, c.Check(t.Context()), Stopped, "invalid_client")
	if e.Error() != "commercetools: check: stopped: no token: invalid_client (HTTP 401)" {
		t.Errorf("err = %v", e)
	}
	secret, fault = "", errors.New("no such file")
	c = project(t, Options{ClientSecret: func() (string, error) { return secret, fault }}, answer(200, `{"results":[]}`))
	wantError(t, c.Check(t.Context()), Stopped, "")
	secret, fault = "secret", nil
	c = project(t, Options{ClientSecret: func() (string, error) { return secret, fault }}, answer(200, `{"results":[]}`))
	if err := c.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCustomer(t *testing.T) {
	tests := []struct {
		name, id, body string
		want           Kind
		field          string
	}{
		{name: "read", id: "c1", body: `{"id":"c1","version":3,"email":"a@b","unknown":{"x":[1]},"password":"****"}`},
		{name: "another one", id: "c1", body: `{"id":"c2","version":3}`, want: Down},
		{name: "no version", id: "c1", body: `{"id":"c1"}`, want: Down},
		{name: "a field of another type", id: "c1", body: `{"id":"c1","version":3,"firstName":{"jane":1}}`, want: Refused, field: "firstName"},
		{name: "deep down", id: "c1", body: `{"id":"c1","version":3,"addresses":[{"city":1}]}`, want: Refused, field: "addresses.city"},
		{name: "custom fields that are none", id: "c1", body: `{"id":"c1","version":3,"custom":{"fields":["jane"]}}`, want: Refused, field: "custom"},
		{name: "null fields", id: "c1", body: `{"id":"c1","version":3,"email":null,"custom":null,"addresses":null}`},
		{name: "no object", id: "c1", body: `[]`, want: Down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var path string
			c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				path = r.URL.EscapedPath()
				io.WriteString(w, tt.body)
			})
			got, err := c.Customer(t.Context(), tt.id)
			if path != "/shop/customers/"+tt.id {
				t.Errorf("path %q", path)
			}
			if tt.want == 0 {
				if err != nil || got.ID != tt.id {
					t.Fatalf("got %+v, %v", got, err)
				}
				return
			}
			code := ""
			if tt.want == Refused {
				code = "unreadable"
			}
			if e := wantError(t, err, tt.want, code); e.Field != tt.field {
				t.Errorf("field %q, want %q", e.Field, tt.field)
			}
		})
	}
}

// What an id cannot be never reaches a URL, where it would mean another thing.
func TestImpossibleIDs(t *testing.T) {
	c := project(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	ids := []string{"", ".", "..", "a/b", "../products", "key=x", "email-token=x", "a?b", "a#b", "a b", `a"b`, `a\b`,
		"a%2fb", "ä", "a\nb", "a\x00b", strings.Repeat("a", 257), "(", ","}
	for _, id := range ids {
		_, err := c.Customer(t.Context(), id)
		wantError(t, err, Refused, "impossible-id")
	}
	got, err := c.Customers(t.Context(), ids)
	if err != nil || len(got) != 0 {
		t.Errorf("Customers = %v, %v", got, err)
	}
}

func TestCustomers(t *testing.T) {
	var mu sync.Mutex
	var urls []int
	asked := map[string]int{}
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		where := strings.TrimSuffix(strings.TrimPrefix(q.Get("where"), `id in ("`), `")`)
		ids := strings.Split(where, `","`)
		mu.Lock()
		defer mu.Unlock()
		urls = append(urls, len(r.URL.String()))
		if q.Get("limit") != fmt.Sprint(len(ids)) || q.Get("withTotal") != "false" {
			t.Errorf("limit %s for %d ids, withTotal %s", q.Get("limit"), len(ids), q.Get("withTotal"))
		}
		var out []string
		for _, id := range ids {
			asked[id]++
			switch id[len(id)-1] {
			case 'g': // gone
			case 'u':
				out = append(out, fmt.Sprintf(`{"id":%q,"version":1,"email":7}`, id))
			default:
				out = append(out, fmt.Sprintf(`{"id":%q,"version":1}`, id))
			}
		}
		out = append(out, `{"id":"uninvited","version":1}`, `7`)
		fmt.Fprintf(w, `{"results":[%s]}`, strings.Join(out, ","))
	})
	var ids, want []string
	for i := range 1000 {
		id := fmt.Sprintf("%08d-0000-4000-8000-%012d", i, i)
		switch i % 10 {
		case 3:
			id += "g"
		case 5:
			id += "u"
		case 7:
			id += strings.Repeat("x", 150)
			fallthrough
		default:
			want = append(want, id)
		}
		ids = append(ids, id)
	}
	found, err := c.Customers(t.Context(), append(ids, ids...))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, f.ID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d customers, want %d", len(got), len(want))
	}
	for id, n := range asked {
		if n != 1 {
			t.Errorf("%s asked for %d times", id, n)
		}
	}
	if longest := slices.Max(urls); longest > 13<<10 || len(urls) > 10 {
		t.Errorf("%d queries, the longest URL of %d bytes", len(urls), longest)
	}
	if none, err := c.Customers(t.Context(), nil); err != nil || none != nil {
		t.Errorf("Customers(nil) = %v, %v", none, err)
	}
}

// A chunk that fails must not look like customers that are missing.
func TestCustomersFailAsAWhole(t *testing.T) {
	var n atomic.Int64
	c := project(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 2 {
			w.WriteHeader(500)
			return
		}
		io.WriteString(w, `{"results":[]}`)
	})
	ids := make([]string, 600)
	for i := range ids {
		ids[i] = fmt.Sprint("c", i)
	}
	got, err := c.Customers(t.Context(), ids)
	wantError(t, err, Down, "")
	if got != nil {
		t.Errorf("%d customers beside an error", len(got))
	}
}

func TestScope(t *testing.T) {
	for want, o := range map[string]Options{
		"view_customers:shop":         {},
		"manage_customers:shop extra": {Scopes: []string{"manage_customers:shop", "extra"}},
	} {
		var got string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			got = r.FormValue("scope") + got
			io.WriteString(w, `{"access_token":"t","results":[]}`)
		}))
		o.ProjectKey, o.ClientID, o.APIURL, o.AuthURL = "shop", "id", s.URL+"/", s.URL
		o.ClientSecret = func() (string, error) { return "s", nil }
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(t.Context()); err != nil || got != want {
			t.Errorf("scope %q, %v; want %q", got, err, want)
		}
		s.Close()
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	good := Options{ProjectKey: "p", ClientID: "i", APIURL: "https://a", AuthURL: "https://b",
		ClientSecret: func() (string, error) { return "", nil }}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*Options){
		"commercetools: project key is missing":                             func(o *Options) { o.ProjectKey = "" },
		"commercetools: client id is missing":                               func(o *Options) { o.ClientID = "" },
		"commercetools: client secret is missing":                           func(o *Options) { o.ClientSecret = nil },
		"commercetools: API URL: must begin with https:// and name a host":  func(o *Options) { o.APIURL = "a" },
		"commercetools: auth URL: must begin with https:// and name a host": func(o *Options) { o.AuthURL = "" },
	}
	for want, spoil := range tests {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil || err.Error() != want {
			t.Errorf("err = %v, want %s", err, want)
		}
	}
}

package fluent

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

func secretly(s string) func() (string, error) { return func() (string, error) { return s, nil } }

// tokens is a Fluent whose GraphQL is content with anything, and whose tokens
// are given by grant.
func tokens(t *testing.T, grant func(form url.Values) (status int, body string)) (*Client, func() []url.Values) {
	t.Helper()
	var mu sync.Mutex
	var forms []url.Values
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/graphql" {
			io.WriteString(w, `{"data":{"customers":{"edges":[]}}}`)
			return
		}
		if r.URL.Path != "/oauth/token" || r.Header.Get("fluent.account") != "ACME" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s with %v", r.URL.Path, r.Header)
		}
		r.ParseForm()
		mu.Lock()
		forms = append(forms, r.PostForm)
		mu.Unlock()
		status, body := grant(r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	c, err := New(Options{BaseURL: s.URL + "/", Account: "ACME", ClientID: "id", ClientSecret: secretly("secret"),
		Username: "user", Password: secretly("pass")})
	if err != nil {
		t.Fatal(err)
	}
	return c, func() []url.Values {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(forms)
	}
}

func TestPasswordGrant(t *testing.T) {
	c, forms := tokens(t, func(url.Values) (int, string) {
		return 200, `{"access_token":"t","token_type":"bearer","expires_in":86386,"Retailer_id":1,"Roles":[]}`
	})
	for range 3 {
		if err := c.Check(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	want := "client_id=id&client_secret=secret&grant_type=password&password=pass&scope=api&username=user"
	if got := forms(); len(got) != 1 || got[0].Encode() != want {
		t.Errorf("asked %v", got)
	}
}

// What the refusals of a token mean: nothing was sent to GraphQL, so a write is
// never in doubt.
func TestTokenRefusals(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   Kind
	}{
		{name: "wrong password", status: 400, body: `{"error":"invalid_grant","error_description":"` + private + `"}`, want: Stopped},
		{name: "wrong client", status: 401, body: `{"error":"invalid_client"}`, want: Stopped},
		{name: "forbidden", status: 403, body: html, want: Stopped},
		{name: "too many", status: 429, want: Limited},
		{name: "server error", status: 500, body: html, want: Down},
		{name: "bad gateway", status: 502, body: html, want: Down},
		{name: "no service", status: 503, want: Down},
		{name: "HTML with 200", status: 200, body: html, want: Down},
		{name: "no token with 200", status: 200, body: `{}`, want: Down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, forms := tokens(t, func(url.Values) (int, string) { return tt.status, tt.body })
			for range 3 { // the answer is remembered for a while
				if err := c.Write(t.Context(), updates("a"))[0]; kind(t, err) != tt.want {
					t.Errorf("%v, want %v", err, tt.want)
				}
			}
			if len(forms()) != 1 {
				t.Errorf("%d requests for a token", len(forms()))
			}
		})
	}
}

func TestSecretThatCannotBeRead(t *testing.T) {
	broken := func() (string, error) { return "", fmt.Errorf("no such file") }
	for _, o := range []Options{{ClientSecret: broken, Password: secretly("p")}, {ClientSecret: secretly("s"), Password: broken}} {
		o.BaseURL, o.Account, o.ClientID, o.Username = "http://127.0.0.1:1", "A", "i", "u"
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(t.Context(), ""); kind(t, err) != Stopped || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("err = %v", err)
		}
	}
}

// A refresh token is used once; when it is refused, the password is asked for.
func TestRefresh(t *testing.T) {
	tests := []struct {
		name   string
		answer func(form url.Values) (int, string) // to the second request
		after  bool                                // after401
		want   []string
		fails  bool
	}{
		{name: "taken", want: []string{"password", "refresh_token r1", "refresh_token r2"},
			answer: func(url.Values) (int, string) { return 200, `{"access_token":"t2","refresh_token":"r2"}` }},
		{name: "taken, with no new one", want: []string{"password", "refresh_token r1", "password"},
			answer: func(url.Values) (int, string) { return 200, `{"access_token":"t2"}` }},
		{name: "refused", want: []string{"password", "refresh_token r1", "password", "refresh_token r1"},
			answer: func(url.Values) (int, string) { return 400, `{"error":"invalid_grant"}` }},
		{name: "in doubt, so spent", fails: true, want: []string{"password", "refresh_token r1", "password"},
			answer: func(url.Values) (int, string) { return 502, html }},
		{name: "not after a 401", after: true, want: []string{"password", "password", "password"},
			answer: func(url.Values) (int, string) { return 200, `{"access_token":"t2","refresh_token":"r2"}` }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				grant := strings.TrimSpace(r.FormValue("grant_type") + " " + r.FormValue("refresh_token"))
				asked = append(asked, grant)
				w.Header().Set("Content-Type", "application/json")
				status, body := 200, `{"access_token":"t1","refresh_token":"r1","expires_in":60}`
				if len(asked) == 2 {
					status, body = tt.answer(r.Form)
				}
				w.WriteHeader(status)
				io.WriteString(w, body)
			}))
			defer s.Close()
			g := &granter{url: s.URL, o: Options{ClientID: "id", ClientSecret: secretly("s"), Username: "u", Password: secretly("p")}}
			for i := range 3 {
				token, err := g.token(t.Context(), tt.after)
				if failed := err != nil; failed != (tt.fails && i == 1) {
					t.Fatalf("%d: %v, %v", i, token, err)
				}
			}
			if !slices.Equal(asked, tt.want) {
				t.Errorf("asked %q, want %q", asked, tt.want)
			}
		})
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	good := Options{BaseURL: "https://a", Account: "A", ClientID: "i", ClientSecret: secretly("s"), Username: "u", Password: secretly("p")}
	tests := map[string]func(*Options){
		"": func(*Options) {},
		"fluent: base URL: must begin with https:// and name a host": func(o *Options) { o.BaseURL = "a.com" },
		"fluent: account is missing":                                 func(o *Options) { o.Account = "" },
		"fluent: client id is missing":                               func(o *Options) { o.ClientID = "" },
		"fluent: client secret is missing":                           func(o *Options) { o.ClientSecret = nil },
		"fluent: username is missing":                                func(o *Options) { o.Username = "" },
		"fluent: password is missing":                                func(o *Options) { o.Password = nil },
	}
	for want, spoil := range tests {
		o := good
		spoil(&o)
		_, err := New(o)
		if got := fmt.Sprint(err); err != nil && got != want || err == nil && want != "" {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}

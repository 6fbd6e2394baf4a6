package commercetools

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What is asked for, in commercetools' language, word for word.
func TestQueriesAsTheyAreSent(t *testing.T) {
	all := Selection{Where: `a = "1" or b = ")"`, Store: `n"y`, From: "2026-01-01T00:00:00.000Z", To: "2026-02-01T00:00:00.000Z"}
	selected := `(a = "1" or b = ")") and stores(key = "n\"y") and createdAt >= "2026-01-01T00:00:00.000Z" and createdAt < "2026-02-01T00:00:00.000Z"`
	const until = "2026-03-01T00:00:00.000Z"
	since := Mark{At: "2026-01-01T00:00:00Z"} // to be given back as it came, milliseconds or none
	tests := []struct {
		name string
		ask  func(c *Client) error
		want string // query parameters
	}{
		{"the first page", func(c *Client) error { return page1(c.Page(t.Context(), Selection{}, "", 0)) },
			"limit=500&sort=id asc&withTotal=false"},
		{"the next", func(c *Client) error { return page1(c.Page(t.Context(), Selection{}, "b", 10)) },
			`limit=10&sort=id asc&where=id > "b"&withTotal=false`},
		{"never more than 500", func(c *Client) error { return page1(c.Page(t.Context(), Selection{}, "", 501)) },
			"limit=500&sort=id asc&withTotal=false"},
		{"an id that is none", func(c *Client) error { return page1(c.Page(t.Context(), Selection{}, `a"\) or (id > "`, 0)) },
			`limit=500&sort=id asc&where=id > "a\"\\) or (id > \""&withTotal=false`},
		{"of a selection", func(c *Client) error { return page1(c.Page(t.Context(), all, "", 0)) },
			"limit=500&sort=id asc&where=" + selected + "&withTotal=false"},
		{"the next of a selection", func(c *Client) error { return page1(c.Page(t.Context(), all, "b", 0)) },
			"limit=500&sort=id asc&where=" + selected + ` and id > "b"&withTotal=false`},
		{"changes since a moment", func(c *Client) error { return page1(c.Changes(t.Context(), Selection{}, since, until, 0)) },
			`limit=500&sort=lastModifiedAt asc&sort=id asc&where=lastModifiedAt >= "2026-01-01T00:00:00Z" and lastModifiedAt <= "2026-03-01T00:00:00.000Z"&withTotal=false`},
		{"changes after a customer", func(c *Client) error {
			return page1(c.Changes(t.Context(), Selection{Where: "x = 1"}, Mark{At: "2026-01-01T00:00:00Z", ID: "b"}, until, 7))
		},
			`limit=7&sort=lastModifiedAt asc&sort=id asc&where=(x = 1) and (lastModifiedAt > "2026-01-01T00:00:00Z" or (lastModifiedAt = "2026-01-01T00:00:00Z" and id > "b")) and lastModifiedAt <= "2026-03-01T00:00:00.000Z"&withTotal=false`},
		{"the order", func(c *Client) error {
			return c.Ordered(t.Context(), &Page{Customers: []Customer{{ID: "x"}, {ID: "a"}, {ID: "m"}}})
		}, `limit=1&where=(id = "a" and id > "m") or (id = "x" and id > "a")&withTotal=false`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				got, _ = url.QueryUnescape(r.URL.Query().Encode())
				io.WriteString(w, `{"results":[]}`)
			})
			if err := tt.ask(c); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("asked\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

func page1(_ *Page, err error) error { return err }

// A predicate that would break out of its parentheses is never sent.
func TestWhereIsWhole(t *testing.T) {
	tests := []struct {
		where string
		want  bool
	}{
		{``, true},
		{`a = 1`, true},
		{`a(b in ("x", "y")) or (c = 1)`, true},
		{`a = "(" and b = "\")"`, true},
		{`a = 1) or (b = 2`, false},
		{`(a = 1`, false},
		{`a = 1)`, false},
		{`a = 1 \)`, false}, // only a text has escapes
		{`a = "1`, false},
		{`a = "1\"`, false},
		{`a = "1\\"`, true},
	}
	for _, tt := range tests {
		t.Run(tt.where, func(t *testing.T) {
			s := Selection{Where: tt.where}
			if err := s.Check(); (err == nil) != tt.want {
				t.Errorf("Check: %v", err)
			}
			c := project(t, Options{}, answer(200, `{"results":[],"total":0}`))
			_, err := c.Page(t.Context(), s, "", 0)
			_, _, cerr := c.Count(t.Context(), s)
			if tt.want && (err != nil || cerr != nil) {
				t.Errorf("Page: %v, Count: %v", err, cerr)
			}
			if !tt.want {
				wantError(t, err, Refused, "impossible-where")
				wantError(t, cerr, Refused, "impossible-where")
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		s := Selection{Where: `a = "` + strings.Repeat("(", 6000) + `"`}
		if err := s.Check(); err == nil || err.Error() != "too long for a URL" {
			t.Errorf("Check: %v", err)
		}
		c := project(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %d bytes", len(r.URL.String())) })
		_, err := c.Page(t.Context(), s, "", 0)
		wantError(t, err, Refused, "too-long")
	})
}

// What a page by id must be, or going on after it would lose customers.
func TestPage(t *testing.T) {
	tests := []struct {
		name, body string
		want       []string // ids; nil for an error
		last       bool
		kind       Kind
		code       string
	}{
		{name: "full", body: `{"total":7,"results":[{"id":"b","version":1},{"id":"a","version":2}],"limit":2}`, want: []string{"b", "a"}},
		{name: "short", body: `{"results":[{"id":"b","version":1}]}`, want: []string{"b"}, last: true},
		{name: "empty", body: `{"results":[]}`, want: []string{}, last: true},
		{name: "one that cannot be read", body: `{"results":[{"id":"b","version":1,"email":7,"createdAt":8,"lastModifiedAt":"T"},{"id":"a","version":2}]}`, want: []string{"b", "a"}},
		{name: "the one before, again", body: `{"results":[{"id":"z","version":1}]}`, kind: Stopped, code: "unordered"},
		{name: "one twice", body: `{"results":[{"id":"a","version":1},{"id":"a","version":1}]}`, kind: Stopped, code: "unordered"},
		{name: "one without an id", body: `{"results":[{"version":1}]}`, kind: Down},
		{name: "no customer", body: `{"results":[null]}`, kind: Down},
		{name: "no list", body: `{"results":null}`, kind: Down},
		{name: "an object", body: `{"results":{}}`, kind: Down},
		{name: "no results", body: `{"limit":2}`, kind: Down},
		{name: "cut off", body: `{"results":[{"id":"a","version":1}`, kind: Down},
		{name: "cut off later", body: `{"results":[{"id":"a","version":1}]`, kind: Down},
		{name: "a total that is none", body: `{"results":[],"total":"many"}`, kind: Down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := project(t, Options{}, answer(200, tt.body))
			p, err := c.Page(t.Context(), Selection{}, "z", 2)
			if tt.want == nil {
				wantError(t, err, tt.kind, tt.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(p); fmt.Sprint(got) != fmt.Sprint(tt.want) || p.Last != tt.last {
				t.Errorf("got %v, last %v", got, p.Last)
			}
			for i, body := range p.Bodies {
				one, err := Decode(body)
				if unreadable := p.Customers[i].Email == "" && tt.name == "one that cannot be read" && i == 0; unreadable != (body == nil) {
					t.Errorf("the body of customer %d is %q", i, body)
				} else if body != nil && (err != nil || !reflect.DeepEqual(*one, p.Customers[i])) {
					t.Errorf("the body of customer %d is %+v, %v", i, one, err)
				}
			}
			if len(p.Bodies) != len(p.Customers) {
				t.Errorf("%d bodies of %d customers", len(p.Bodies), len(p.Customers))
			}
		})
	}
}

func ids(p *Page) []string {
	all := []string{}
	for _, c := range p.Customers {
		all = append(all, c.ID)
	}
	return all
}

// What a page of changes must be. A stub keeps the time, to go on from.
func TestChanges(t *testing.T) {
	row := func(id, at string) string { return fmt.Sprintf(`{"id":%q,"version":1,"lastModifiedAt":%q}`, id, at) }
	const a, b = "2026-01-01T00:00:01.000Z", "2026-01-01T00:00:02.000Z"
	tests := []struct {
		name string
		rows []string
		want Mark // of the last; zero for an error
		kind Kind
		code string
	}{
		{name: "in order", rows: []string{row("x", a), row("c", a), row("b", b)}, want: Mark{b, "b"}},
		{name: "the mark's, changed since", rows: []string{row("z", b)}, want: Mark{b, "z"}},
		{name: "one that cannot be read", rows: []string{`{"id":"x","version":1,"email":1,"lastModifiedAt":"` + a + `"}`}, want: Mark{a, "x"}},
		{name: "the mark itself", rows: []string{row("z", a)}, kind: Stopped, code: "unordered"},
		{name: "backwards", rows: []string{row("x", b), row("y", a)}, kind: Stopped, code: "unordered"},
		{name: "before the mark", rows: []string{row("x", "2026-01-01T00:00:00.999Z")}, kind: Stopped, code: "unordered"},
		{name: "one twice", rows: []string{row("x", a), row("x", b)}, kind: Stopped, code: "unordered"},
		{name: "no time", rows: []string{`{"id":"x","version":1}`}, kind: Down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := project(t, Options{}, answer(200, `{"results":[`+strings.Join(tt.rows, ",")+`]}`))
			p, err := c.Changes(t.Context(), Selection{}, Mark{a, "z"}, b, 0)
			if tt.kind != 0 {
				wantError(t, err, tt.kind, tt.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Customers[len(p.Customers)-1].Mark(); got != tt.want {
				t.Errorf("goes on after %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("a mark that is no time", func(t *testing.T) {
		c := project(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
		_, err := c.Changes(t.Context(), Selection{}, Mark{At: "yesterday"}, b, 0)
		wantError(t, err, Refused, "impossible-time")
	})
}

// A server that does not sort is found out.
func TestOrdered(t *testing.T) {
	p := &Page{Customers: []Customer{{ID: "x"}, {ID: "m"}}}
	if err := project(t, Options{}, answer(200, `{"results":[]}`)).Ordered(t.Context(), p); err != nil {
		t.Error(err)
	}
	err := project(t, Options{}, answer(200, `{"results":[{"id":"x","version":1}]}`)).Ordered(t.Context(), p)
	wantError(t, err, Stopped, "unordered")
	var asked string
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if asked = r.URL.Query().Get("where"); len(r.URL.RawQuery) > 8000 {
			t.Errorf("the query has %d bytes", len(r.URL.RawQuery))
		}
		io.WriteString(w, `{"results":[]}`)
	})
	for _, n := range []int{2, 3, 49, 50, 51, 52, 100, 499, 500} {
		p := &Page{Customers: make([]Customer, n)}
		for i := range p.Customers {
			p.Customers[i].ID = fmt.Sprintf("%036d", i)
		}
		if err := c.Ordered(t.Context(), p); err != nil {
			t.Error(err)
		}
		// Each is to come after the one before it, from the first to the last.
		var pairs [][2]int
		for _, m := range regexp.MustCompile(`\(id = "0*(\d+)" and id > "0*(\d+)"\)`).FindAllStringSubmatch(asked, -1) {
			before, _ := strconv.Atoi(m[1])
			after, _ := strconv.Atoi(m[2])
			pairs = append(pairs, [2]int{before, after})
		}
		slices.Reverse(pairs)
		if len(pairs) != strings.Count(asked, ">") || len(pairs) < min(n, 26)-1 || len(pairs) > 49 || pairs[0][0] != 0 || pairs[len(pairs)-1][1] != n-1 {
			t.Errorf("%d: compared %v", n, pairs)
		}
		for i, p := range pairs {
			if p[0] >= p[1] || i > 0 && pairs[i-1][1] != p[0] {
				t.Errorf("%d: compared %v", n, pairs)
				break
			}
		}
	}
	if err := c.Ordered(t.Context(), &Page{}); err != nil {
		t.Error(err)
	}
}

// A page too large for one answer is read in parts, and is not the last for it.
func TestLargePage(t *testing.T) {
	large := strings.Repeat("x", 12<<20)
	var limits []string
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		limit := r.URL.Query().Get("limit")
		limits = append(limits, limit)
		n := 0
		fmt.Sscan(limit, &n)
		io.WriteString(w, `{"results":[`)
		for i := range min(n, 4) {
			if i > 0 {
				io.WriteString(w, ",")
			}
			fmt.Fprintf(w, `{"id":"c%d","version":1,"email":"`, i)
			io.WriteString(w, large+`"}`)
		}
		io.WriteString(w, `]}`)
	})
	p, err := c.Page(t.Context(), Selection{}, "", 8)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(limits) != "[8 4 2]" || len(p.Customers) != 2 || p.Last {
		t.Errorf("asked for %v, got %d, last %v", limits, len(p.Customers), p.Last)
	}
}

package fluent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/api"
)

func TestWriteAsItIsSent(t *testing.T) {
	c, log := account(t, Options{}, func(w http.ResponseWriter, r asked) {
		verdicts(w, r, func(string) string { return "" })
	})
	errs := c.Write(t.Context(), []Write{
		{Create: true, Username: "1_a", RetailerID: "1",
			Fields:     Fields{"primaryEmail": "a@b", "promotionOptIn": false, "username": "no"},
			Attributes: []Attribute{{Name: "n", Type: "STRING", Value: json.RawMessage(`"v"`)}}},
		{Username: "1_b", RetailerID: "1", Fields: Fields{"title": nil}},
	})
	if !slices.Equal(kinds(t, errs), []Kind{0, 0}) || len(log()) != 1 {
		t.Fatalf("%v in %d requests", errs, len(log()))
	}
	r := log()[0]
	want := `mutation write($w0: CreateCustomerInput!, $w1: UpdateCustomerInput!) ` +
		`{ w0: createCustomer(input: $w0) { username } w1: updateCustomer(input: $w1) { username } }`
	if r.query != want {
		t.Errorf("query  %s\nwanted %s", r.query, want)
	}
	vars, _ := json.Marshal(r.vars)
	want = `{"w0":{"attributes":[{"name":"n","type":"STRING","value":"v"}],"primaryEmail":"a@b","promotionOptIn":false,` +
		`"retailer":{"id":"1"},"username":"1_a"},"w1":{"title":null,"username":"1_b"}}`
	if string(vars) != want {
		t.Errorf("variables %s\nwanted    %s", vars, want)
	}
}

// How a batch of eight ends, and in how many requests.
func TestWriteBatches(t *testing.T) {
	names := numbered(8)
	bad := func(bads ...int) func(string) bool {
		return func(name string) bool { return slices.Contains(bads, slices.Index(names, name)) }
	}
	has := func(r asked, is func(string) bool) bool { return slices.ContainsFunc(r.usernames(), is) }
	tests := []struct {
		name string
		g    graph
		want []Kind
		sent []int // how many writes were in each request
	}{
		{
			name: "each alias has its own outcome",
			g: func(w http.ResponseWriter, r asked) {
				say := map[string]string{names[1]: fault("C0120E"), names[3]: fault("C0141E"), names[5]: fault("S0002E"), names[6]: "null"}
				verdicts(w, r, func(n string) string { return say[n] })
			},
			want: []Kind{0, Missing, 0, Refused, 0, Failed, Failed, 0}, sent: []int{8},
		},
		{
			name: "one bad write spoils all, and is not named",
			g: func(w http.ResponseWriter, r asked) {
				if has(r, bad(5)) {
					fmt.Fprintf(w, `{"data":null,"errors":[%s]}`, fault("C0141E"))
					return
				}
				verdicts(w, r, func(string) string { return "" })
			},
			want: []Kind{0, 0, 0, 0, 0, Refused, 0, 0}, sent: []int{8, 4, 4, 2, 1, 1, 2},
		},
		{
			name: "one bad write undoes the others, and is named",
			g: func(w http.ResponseWriter, r asked) {
				verdicts(w, r, func(n string) string {
					switch {
					case bad(2, 5)(n) && bad(2, 5)(r.usernames()[slices.IndexFunc(r.usernames(), bad(2, 5))]) && n == r.usernames()[slices.IndexFunc(r.usernames(), bad(2, 5))]:
						return fault("C0141E")
					case has(r, bad(2, 5)):
						return "null"
					}
					return ""
				})
			},
			want: []Kind{0, 0, Refused, 0, 0, Refused, 0, 0}, sent: []int{8, 7, 6},
		},
		{
			name: "all null, no word",
			g: func(w http.ResponseWriter, r asked) {
				verdicts(w, r, func(string) string {
					if has(r, bad(0)) {
						return "null"
					}
					return ""
				})
			},
			want: []Kind{Failed, 0, 0, 0, 0, 0, 0, 0}, sent: []int{8, 4, 2, 1, 1, 2, 4},
		},
		{
			name: "some done, the rest without a name",
			g: func(w http.ResponseWriter, r asked) {
				if len(r.usernames()) == 1 && bad(7)(r.usernames()[0]) {
					fmt.Fprintf(w, `{"errors":[%s]}`, fault("S0002E"))
					return
				}
				data := map[string]any{}
				for i, a := range r.aliases() {
					if i < 4 && !bad(7)(r.usernames()[i]) {
						data[a] = map[string]any{}
					}
				}
				d, _ := json.Marshal(data)
				fmt.Fprintf(w, `{"data":%s,"errors":[%s]}`, d, fault("S0002E"))
			},
			want: []Kind{0, 0, 0, 0, 0, 0, 0, Failed}, sent: []int{8, 4, 1},
		},
		{
			name: "too complex",
			g: func(w http.ResponseWriter, r asked) {
				if len(r.aliases()) > 2 {
					fmt.Fprintf(w, `{"errors":[%s]}`, fault("C0001E"))
					return
				}
				verdicts(w, r, func(string) string { return "" })
			},
			want: make([]Kind, 8), sent: []int{8, 4, 2, 2, 4, 2, 2},
		},
		{
			name: "too large, by status",
			g: func(w http.ResponseWriter, r asked) {
				if len(r.aliases()) > 1 {
					w.WriteHeader(413)
					return
				}
				verdicts(w, r, func(string) string { return "" })
			},
			want: make([]Kind, 8), sent: []int{8, 4, 2, 1, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1},
		},
		{
			name: "the schema refuses all",
			g:    says(200, `{"errors":[`+fault("C0103E")+`]}`),
			want: slices.Repeat([]Kind{Refused}, 8), sent: []int{8, 4, 2, 1, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1},
		},
		{name: "in doubt", g: says(502, html), want: slices.Repeat([]Kind{Unclear}, 8), sent: []int{8}},
		{name: "unreadable", g: says(200, html), want: slices.Repeat([]Kind{Unclear}, 8), sent: []int{8}},
		{name: "down", g: says(503, html), want: slices.Repeat([]Kind{Down}, 8), sent: []int{8}},
		{name: "too many", g: says(429, ""), want: slices.Repeat([]Kind{Limited}, 8), sent: []int{8}},
		{name: "rate limit of all", g: says(200, `{"errors":[`+fault("C0011E")+`]}`), want: slices.Repeat([]Kind{Limited}, 8), sent: []int{8}},
		{name: "permission missing", g: says(200, `{"data":null,"errors":[`+fault("C0020E")+`]}`), want: slices.Repeat([]Kind{Stopped}, 8), sent: []int{8}},
		{name: "forbidden", g: says(403, ""), want: slices.Repeat([]Kind{Stopped}, 8), sent: []int{8}},
		{
			name: "the limit is reached in the middle",
			g: func(w http.ResponseWriter, r asked) {
				verdicts(w, r, func(n string) string {
					switch i := slices.Index(names, n); {
					case i < 3:
						return ""
					case i == 3:
						return fault("C0011E")
					}
					return "null"
				})
			},
			want: []Kind{0, 0, 0, Limited, Limited, Limited, Limited, Limited}, sent: []int{8},
		},
		{
			name: "creating is not permitted, updating is",
			g: func(w http.ResponseWriter, r asked) {
				verdicts(w, r, func(n string) string {
					if bad(1, 2)(n) {
						return fault("C0020E")
					}
					return ""
				})
			},
			want: []Kind{0, Stopped, Stopped, 0, 0, 0, 0, 0}, sent: []int{8},
		},
		{
			name: "done under an error's status, the rest in doubt",
			g: func(w http.ResponseWriter, r asked) {
				w.WriteHeader(500)
				fmt.Fprintf(w, `{"data":{"w0":{},"w1":null},"errors":[{"path":["w2"],"extensions":{"code":"C0141E"}}]}`)
			},
			want: []Kind{0, Unclear, Refused, Unclear, Unclear, Unclear, Unclear, Unclear}, sent: []int{8},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, log := account(t, Options{}, tt.g)
			if got := kinds(t, c.Write(t.Context(), updates(names...))); !slices.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
			var sent []int
			for _, r := range log() {
				sent = append(sent, len(r.aliases()))
			}
			if !slices.Equal(sent, tt.sent) {
				t.Errorf("sent %v, want %v", sent, tt.sent)
			}
		})
	}
}

// The one bad write among 200 is found, and no other is held up by it.
func TestWriteFindsTheBadOne(t *testing.T) {
	names := numbered(200)
	c, log := account(t, Options{}, func(w http.ResponseWriter, r asked) {
		if slices.Contains(r.usernames(), names[137]) {
			fmt.Fprintf(w, `{"errors":[%s]}`, fault("S0002E"))
			return
		}
		verdicts(w, r, func(string) string { return "" })
	})
	for i, k := range kinds(t, c.Write(t.Context(), updates(names...))) {
		if (k != 0) != (i == 137) {
			t.Errorf("%d: %v", i, k)
		}
	}
	if len(log()) > 17 {
		t.Errorf("%d requests", len(log()))
	}
}

// An account that undoes whole requests gets smaller ones, and larger ones
// again when all goes well.
func TestWriteAdaptsToAnAccountThatUndoes(t *testing.T) {
	names := numbered(64)
	spoilt := ""
	c, log := account(t, Options{MaxBatch: 64}, func(w http.ResponseWriter, r asked) {
		if slices.Contains(r.usernames(), spoilt) {
			fmt.Fprintf(w, `{"data":null,"errors":[%s]}`, fault("C0141E"))
			return
		}
		verdicts(w, r, func(string) string { return "" })
	})
	first := func() int {
		before := len(log())
		c.Write(t.Context(), updates(names...))
		return len(log()[before].aliases())
	}
	spoilt = names[0]
	for _, want := range []int{64, 32, 16, 10, 10} {
		if got := first(); got != want {
			t.Errorf("a request of %d, want %d", got, want)
		}
	}
	spoilt = ""
	for range 4 * goodRun {
		first()
	}
	if got := first(); got != 64 {
		t.Errorf("a request of %d after all went well, want 64", got)
	}
}

// When nothing succeeds it is not the writes, and Fluent is not asked 400
// times.
func TestWriteGivesUpOnAnOutage(t *testing.T) {
	c, log := account(t, Options{}, says(200, `{"data":null,"errors":[`+fault("S0002E")+`]}`))
	names := numbered(200)
	got := kinds(t, c.Write(t.Context(), updates(names...)))
	tried := map[string]bool{}
	for _, r := range log() {
		if len(r.aliases()) == 1 {
			tried[r.usernames()[0]] = true
		}
	}
	for i, k := range got {
		want := Down // not tried: not its fault
		if tried[names[i]] {
			want = Failed
		}
		if k != want {
			t.Errorf("%d: %v, want %v", i, k, want)
		}
	}
	if len(log()) != fruitlessLimit {
		t.Errorf("%d requests", len(log()))
	}
}

func TestWriteSplits(t *testing.T) {
	big := strings.Repeat("x", 600_000)
	tests := []struct {
		name string
		o    Options
		ws   []Write
		sent []int
		want []Kind
	}{
		{name: "nothing"},
		{name: "by number", ws: updates(numbered(450)...), sent: []int{200, 200, 50}, want: make([]Kind, 450)},
		{name: "by number as configured", o: Options{MaxBatch: 3}, ws: updates(numbered(7)...), sent: []int{3, 3, 1}, want: make([]Kind, 7)},
		{name: "by complexity", o: Options{OperationCost: 4000}, ws: updates(numbered(5)...), sent: []int{2, 2, 1}, want: make([]Kind, 5)},
		{name: "by size", sent: []int{3, 2}, want: []Kind{0, 0, 0, 0, 0}, ws: func() []Write {
			ws := updates(numbered(5)...)
			for i := range ws {
				ws[i].Fields = Fields{"title": big}
			}
			return ws
		}()},
		{name: "one that is too large is not sent", sent: []int{1}, want: []Kind{TooBig, 0},
			ws: []Write{{Username: "a", Fields: Fields{"title": strings.Repeat(big, 4)}}, {Username: "b"}}},
		{name: "one that is no JSON is not sent", sent: []int{1}, want: []Kind{Refused, 0},
			ws: []Write{{Username: "a", Attributes: []Attribute{{Name: "n", Type: "JSON", Value: json.RawMessage(`{`)}}}, {Username: "b"}}},
		{name: "one username twice: in order, apart", ws: updates("a", "b", "a", "c", "a"), sent: []int{2, 2, 1}, want: make([]Kind, 5)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, log := account(t, tt.o, func(w http.ResponseWriter, r asked) {
				if r.bytes > 2_000_000 {
					t.Errorf("a request of %d bytes", r.bytes)
				}
				verdicts(w, r, func(string) string { return "" })
			})
			errs := c.Write(t.Context(), tt.ws)
			if got := kinds(t, errs); !slices.Equal(got, tt.want) {
				t.Errorf("got %v", got)
			}
			var sent []int
			for _, r := range log() {
				sent = append(sent, len(r.aliases()))
			}
			if !slices.Equal(sent, tt.sent) {
				t.Errorf("sent %v, want %v", sent, tt.sent)
			}
		})
	}
}

// After an answer in doubt the writes that were not sent are told from those
// that were.
func TestWriteStopsAfterDoubt(t *testing.T) {
	for status, rest := range map[int]Kind{502: Down, 503: Down, 403: Stopped, 429: Limited} {
		c, log := account(t, Options{MaxBatch: 2}, says(status, ""))
		first := map[int]Kind{502: Unclear, 503: Down, 403: Stopped, 429: Limited}[status]
		want := []Kind{first, first, rest, rest, rest}
		if got := kinds(t, c.Write(t.Context(), updates(numbered(5)...))); !slices.Equal(got, want) || len(log()) != 1 {
			t.Errorf("%d: %v in %d requests, want %v", status, got, len(log()), want)
		}
	}
}

// Rule 2 of convergence: a write without an answer is either surely not
// applied or in doubt, and never sent a second time.
func TestWriteWithoutAnswer(t *testing.T) {
	t.Run("cut", func(t *testing.T) {
		c, log := account(t, Options{}, func(w http.ResponseWriter, _ asked) { panic(http.ErrAbortHandler) })
		if err := c.Write(t.Context(), updates("a"))[0]; kind(t, err) != Unclear || len(log()) != 1 {
			t.Errorf("%v after %d requests", err, len(log()))
		}
	})
	t.Run("late", func(t *testing.T) {
		done := make(chan struct{})
		c, log := account(t, Options{Timeout: 500 * time.Millisecond}, func(http.ResponseWriter, asked) { <-done })
		if err := c.Write(t.Context(), updates("a"))[0]; kind(t, err) != Unclear || len(log()) != 1 {
			t.Errorf("%v after %d requests", err, len(log()))
		}
		close(done)
	})
	t.Run("given up before", func(t *testing.T) {
		c, log := account(t, Options{}, says(200, ""))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Write(ctx, updates("a"))[0]; kind(t, err) != Down || len(log()) != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("%v after %d requests", err, len(log()))
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		nothing := func() (string, error) { return "x", nil }
		c, err := New(Options{BaseURL: s.URL, Account: "A", ClientID: "i", Username: "u", ClientSecret: nothing, Password: nothing})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(t.Context(), updates("a"))[0]; kind(t, err) != Down {
			t.Errorf("%v", err)
		}
	})
}

func fuzzParse(status int, data []byte) *answer {
	return parse(&api.Answer{Status: status, Body: data})
}

// Once after a 401, with another token, and then no more.
func TestWriteAfterUnauthorized(t *testing.T) {
	n := 0
	c, log := account(t, Options{}, func(w http.ResponseWriter, r asked) {
		if n++; n == 1 {
			w.WriteHeader(401)
			io.WriteString(w, html)
			return
		}
		verdicts(w, r, func(string) string { return "" })
	})
	if err := c.Write(t.Context(), updates("a"))[0]; err != nil || len(log()) != 2 {
		t.Errorf("%v after %d requests", err, len(log()))
	}
}

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"pgregory.net/rapid"
)

// elements is what an inbox makes of a body: an array is several.
func elements(body []byte) []string {
	var many []json.RawMessage
	if json.Unmarshal(body, &many) != nil {
		return []string{string(body)}
	}
	var es []string
	for _, e := range many {
		es = append(es, string(e))
	}
	return es
}

func TestPut(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string // put, in order
		code     int
		answer   string
	}{
		{"one", `{"a":1}`, []string{`{"a":1}`}, 200, `{"put":1}`},
		{"several", `{"a":1} {"a":2}` + "\n" + `{"a":3}` + "\n", []string{`{"a":1}`, `{"a":2}`, `{"a":3}`}, 200, `{"put":3}`},
		{"an array", `[{"a":1},{"a":2}]`, []string{`{"a":1}`, `{"a":2}`}, 200, `{"put":2}`},
		{"arrays among others", `{"a":1}[{"a":2} , {"a":3}] [ ] [{"a":4}]{"a":5}`, []string{`{"a":1}`, `{"a":2}`, `{"a":3}`, `{"a":4}`, `{"a":5}`}, 200, `{"put":5}`},
		{"nothing", "", nil, 200, `{"put":0}`},
		{"a byte order mark", "\ufeff{\"a\":1}", []string{`{"a":1}`}, 200, `{"put":1}`},
		{"a byte order mark, and no JSON", "\ufeff{\"a\":1}x", []string{`{"a":1}`}, 400, `{"error":"invalid request: value 2, after byte 10: not JSON; 1 put before"}`},
		{"a byte order mark in the middle", "{\"a\":1}\ufeff", []string{`{"a":1}`}, 400, `{"error":"invalid request: value 2, after byte 7: not JSON; 1 put before"}`},
		{"an empty array", "[]", nil, 200, `{"put":0}`},
		{"bytes are kept as they are", `{ "a" : 1.0e400 }`, []string{`{ "a" : 1.0e400 }`}, 200, `{"put":1}`},
		{"no notification is for the inbox to judge", `5 "x" null`, []string{`5`, `"x"`, `null`}, 200, `{"put":3}`},
		{"no JSON", `{"a":1}{"a":2} jane@example.com`, []string{`{"a":1}`, `{"a":2}`}, 400, `{"error":"invalid request: value 3, after byte 15: not JSON; 2 put before"}`},
		{"cut off", `{"a":1}{"a"`, []string{`{"a":1}`}, 400, `{"error":"invalid request: value 2, after byte 7: not complete; 1 put before"}`},
		{"an array cut off", `[{"a":1}`, []string{`{"a":1}`}, 400, `{"error":"invalid request: value 2, after byte 8: not complete; 1 put before"}`},
		{"an array cut off after a comma", `[{"a":1},`, []string{`{"a":1}`}, 400, `{"error":"invalid request: value 2, after byte 9: not complete; 1 put before"}`},
		{"an array that ends twice", `[{"a":1}]]`, []string{`{"a":1}`}, 400, `{"error":"invalid request: value 2, after byte 9: not JSON; 1 put before"}`},
		{"too large", `{"a":1}"` + strings.Repeat("x", 1<<20+2*readAhead) + `"`, []string{`{"a":1}`}, 413, `{"error":"invalid request: value 2, after byte 7: larger than the 1048576 bytes that a notification may have; 1 put before"}`},
		{"large together", strings.Repeat(`"`+strings.Repeat("x", 1<<19)+`"`, 4), slices.Repeat([]string{`"` + strings.Repeat("x", 1<<19) + `"`}, 4), 200, `{"put":4}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			s := newServer(t, Options{Put: func(_ context.Context, body []byte) (int, error) {
				es := elements(body)
				if len(body) > 1<<20 {
					t.Errorf("a body of %d bytes, more than an inbox takes", len(body))
				}
				got = append(got, es...)
				return len(es), nil
			}})
			w := ask(s, "POST", "/admin/put", tt.in)
			if w.Code != tt.code || flat(t, w) != tt.answer {
				t.Errorf("got %d %s\nwant %d %s", w.Code, flat(t, w), tt.code, tt.answer)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("put %.200q\nwant %.200q", got, tt.want)
			}
		})
	}
}

// However the values are cut into reads and arrays, all are put, in order.
func TestPutAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var in strings.Builder
		var want []string
		value := rapid.StringMatching(`\{"k":"[a-z\[\], ]{0,40}"\}`)
		for range rapid.IntRange(0, 20).Draw(t, "values") {
			if rapid.Bool().Draw(t, "array") {
				vs := rapid.SliceOfN(value, 0, 5).Draw(t, "of")
				want = append(want, vs...)
				in.WriteString("[" + strings.Join(vs, " ,\n") + "]")
			} else {
				v := value.Draw(t, "value")
				want = append(want, v)
				in.WriteString(v + rapid.StringMatching(`[ \n]{0,2}`).Draw(t, "between"))
			}
		}
		r := &pieces{in.String(), func() int { return rapid.IntRange(1, 64).Draw(t, "read") }}
		v := newValues(r, 1<<20, func() {})
		var got []string
		for {
			body, err := v.group()
			if body != nil {
				got = append(got, elements(body)...)
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

// pieces gives text in reads of various sizes.
type pieces struct {
	left string
	size func() int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.left == "" {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.size(), len(p.left))])
	p.left = p.left[n:]
	return n, nil
}

// What is at hand goes together; what is not is not waited for.
func TestPutGroups(t *testing.T) {
	t.Run("a stream that pauses", func(t *testing.T) {
		r, w := io.Pipe()
		bodies := make(chan string)
		s := newServer(t, Options{Put: func(_ context.Context, body []byte) (int, error) {
			bodies <- string(body)
			return len(elements(body)), nil
		}})
		done := make(chan struct{})
		go func() {
			defer close(done)
			req, _ := http.NewRequest("POST", "http://localhost/admin/put", r)
			req.Header.Set("Authorization", "Bearer "+s.Token())
			s.Handler().ServeHTTP(&answer{header: http.Header{}}, req)
		}()
		for _, line := range []string{"{}\n", "1 2 3\n", "[4,5]\n"} {
			if _, err := io.WriteString(w, line); err != nil {
				t.Fatal(err)
			}
			got := <-bodies
			if want := map[string]string{"{}\n": "{}", "1 2 3\n": "[1,2,3]", "[4,5]\n": "[4,5]"}[line]; got != want {
				t.Errorf("%q: put %s, want %s", line, got, want)
			}
		}
		w.Close()
		<-done
	})
	t.Run("many", func(t *testing.T) {
		sizes := 0
		calls := 0
		s := newServer(t, Options{Put: func(_ context.Context, body []byte) (int, error) {
			n := len(elements(body))
			if n > putGroup {
				t.Errorf("%d together", n)
			}
			calls++
			sizes += n
			return n, nil
		}})
		ask(s, "POST", "/admin/put", strings.Repeat(`{"id":"0123456789"}`+"\n", 5000))
		if sizes != 5000 || calls > 100 {
			t.Errorf("%d values in %d calls", sizes, calls)
		}
	})
}

func TestPutWhenItFails(t *testing.T) {
	for _, tt := range []struct {
		err    error
		code   int
		answer string
	}{
		{ct2fluent.ErrFull, 503, `{"error":"put: queue is full; 200 put before"}`},
		{errors.New("broken"), 500, `{"error":"put: broken; 200 put before"}`},
	} {
		calls := 0
		s := newServer(t, Options{Put: func(_ context.Context, body []byte) (int, error) {
			if calls++; calls == 2 {
				return 0, fmt.Errorf("put: %w", tt.err)
			}
			return len(elements(body)), nil
		}})
		w := ask(s, "POST", "/admin/put", strings.Repeat("{}", 500))
		if w.Code != tt.code || flat(t, w) != tt.answer {
			t.Errorf("got %d %s\nwant %d %s", w.Code, flat(t, w), tt.code, tt.answer)
		}
		if calls != 2 {
			t.Errorf("%d calls: went on after an error", calls)
		}
	}
}

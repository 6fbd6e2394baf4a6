package fluent

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

const html = "<html><body>" + private + "</body></html>"

// Every answer that Fluent and what stands before it can give, to a write alone
// and to a read. 0 is success.
func TestAnswers(t *testing.T) {
	gql := func(code, message string) string {
		return fmt.Sprintf(`{"data":{"w0":null},"errors":[{"message":%q,"path":["w0"],"extensions":{"code":%q}}]}`, message, code)
	}
	tests := []struct {
		name   string
		status int
		body   string
		create bool
		write  Kind
		read   Kind
		code   string
		field  string
	}{
		// GraphQL's errors come with 200.
		{name: "rate limit", status: 200, body: gql("C0011E", private), write: Limited, read: Limited, code: "C0011E"},
		{name: "update of none", status: 200, body: gql("C0120E", private), write: Missing, read: Missing, code: "C0120E"},
		{name: "create at an unknown retailer", create: true, status: 200, body: gql("C0120E", ""), write: Stopped, read: Missing, code: "C0120E", field: "retailer"},
		{name: "create of one that is there", create: true, status: 200, body: gql("C0121E", private), write: Exists, read: Exists, code: "C0121E"},
		{name: "the same, second code", create: true, status: 200, body: gql("C0123E", private), write: Exists, read: Exists, code: "C0123E"},
		{name: "the same, in words", create: true, status: 200, body: gql("", "Customer "+private+" Already Exists"), write: Exists, read: Exists},
		{name: "the same, in other words", create: true, status: 200, body: gql("S0002E", "Duplicate entry"), write: Exists, read: Exists, code: "S0002E"},
		{name: "unique constraint of an update", status: 200, body: gql("C0121E", private), write: Refused, read: Exists, code: "C0121E"},
		{name: "too long", status: 200, body: gql("C0141E", "lastName: "+private+" is too long"), write: Refused, read: Refused, code: "C0141E", field: "lastName"},
		{name: "two fields named", status: 200, body: gql("C0141E", "lastName, firstName"), write: Refused, read: Refused, code: "C0141E"},
		{name: "bad input", status: 200, body: gql("C0140E", ""), write: Refused, read: Refused, code: "C0140E"},
		{name: "bad input", status: 200, body: gql("C0160E", ""), write: Refused, read: Refused, code: "C0160E"},
		{name: "bad input", status: 200, body: gql("C0100E", "duplicate"), write: Refused, read: Refused, code: "C0100E"},
		{name: "bad input", status: 200, body: gql("C0101E", ""), write: Refused, read: Refused, code: "C0101E"},
		{name: "bad input", status: 200, body: gql("C0102E", ""), write: Refused, read: Refused, code: "C0102E"},
		{name: "bad input", status: 200, body: gql("C0103E", ""), write: Refused, read: Refused, code: "C0103E"},
		{name: "another C code", status: 200, body: gql("C0999E", ""), write: Refused, read: Refused, code: "C0999E"},
		{name: "too complex", status: 200, body: gql("C0001E", ""), write: TooBig, read: TooBig, code: "C0001E"},
		{name: "permission missing", status: 200, body: gql("C0020E", private), write: Stopped, read: Stopped, code: "C0020E"},
		{name: "server", status: 200, body: gql("S0002E", private), write: Failed, read: Failed, code: "S0002E"},
		{name: "server", status: 200, body: gql("S0020E", ""), write: Failed, read: Failed, code: "S0020E"},
		{name: "server", status: 200, body: gql("S0040E", ""), write: Failed, read: Failed, code: "S0040E"},
		{name: "third party", status: 200, body: gql("T0001E", ""), write: Failed, read: Failed, code: "T0001E"},
		{name: "code in the text", status: 200, body: gql("", "failed [C0141E]: title"), write: Refused, read: Refused, code: "C0141E", field: "title"},
		{name: "code of the GraphQL server", status: 200, body: gql("INTERNAL_SERVER_ERROR", ""), write: Failed, read: Failed, code: "INTERNAL_SERVER_ERROR"},
		{name: "a text in place of a code", status: 200, body: gql(private, private), write: Failed, read: Failed},
		{name: "no path, no data", status: 200, body: `{"errors":[{"message":"C0141E"}]}`, write: Refused, read: Refused, code: "C0141E"},
		{name: "a path of something else", status: 200, body: `{"data":null,"errors":[{"path":["createCustomer"],"extensions":{"code":"C0141E"}}]}`, write: Refused, read: Refused, code: "C0141E"},
		{name: "a path of numbers", status: 200, body: `{"data":null,"errors":[{"path":[0],"extensions":{"code":"C0141E"}}]}`, write: Refused, read: Refused, code: "C0141E"},
		{name: "parts of wrong types", status: 200, body: `{"data":7,"errors":[{"path":"x","message":7,"extensions":[]},7,null]}`, write: Failed, read: Failed},
		{name: "errors of a wrong type", status: 200, body: `{"data":null,"errors":"` + private + `"}`, write: Failed, read: Failed},
		{name: "null without an error", status: 200, body: `{"data":{"w0":null}}`, write: Failed, read: Failed},
		{name: "nothing without an error", status: 200, body: `{"data":null}`, write: Failed, read: Failed},
		{name: "data beside an error", status: 200, body: `{"data":{"w0":{}},"errors":[{"path":["w0","username"],"extensions":{"code":"C0020E"}}]}`, write: Stopped, read: Stopped, code: "C0020E"},
		{name: "done", status: 200, body: `{"data":{"w0":{"username":"u"},"customers":{"edges":[]}}}`},
		{name: "done, with no errors said", status: 200, body: `{"data":{"w0":{"username":"u"},"customers":{"edges":[]}},"errors":null}`},
		{name: "done, with an empty list of errors", status: 200, body: `{"data":{"w0":{"username":"u"},"customers":{"edges":[]}},"errors":[]}`},

		// What is no GraphQL: a write with an answer of this kind is in doubt.
		{name: "HTML with 200", status: 200, body: html, write: Unclear, read: Down},
		{name: "nothing with 200", status: 200, write: Unclear, read: Down},
		{name: "no GraphQL with 200", status: 200, body: `{}`, write: Unclear, read: Down},
		{name: "no content", status: 204, write: Unclear, read: Down},
		{name: "half an answer", status: 200, body: `{"data":{"w0":{"userna`, write: Unclear, read: Down},
		{name: "request timeout", status: 408, write: Unclear, read: Down},
		{name: "server error", status: 500, body: html, write: Unclear, read: Down},
		{name: "bad gateway", status: 502, body: html, write: Unclear, read: Down},
		{name: "gateway timeout", status: 504, write: Unclear, read: Down},
		{name: "another one", status: 520, write: Unclear, read: Down},
		// And these are clear.
		{name: "no service", status: 503, body: html, write: Down, read: Down},
		{name: "too many", status: 429, body: html, write: Limited, read: Limited},
		{name: "too large", status: 413, body: html, write: TooBig, read: TooBig},
		{name: "token refused twice", status: 401, write: Stopped, read: Stopped},
		{name: "forbidden", status: 403, body: html, write: Stopped, read: Stopped},
		{name: "no such address", status: 404, body: html, write: Stopped, read: Stopped},
		{name: "no such method", status: 405, write: Stopped, read: Stopped},
		{name: "a redirect", status: 301, write: Stopped, read: Stopped},
		{name: "bad request", status: 400, body: html, write: Failed, read: Failed},

		// GraphQL under another status: Fluent's own refusal counts.
		{name: "400 with a code", status: 400, body: gql("C0141E", ""), write: Refused, read: Refused, code: "C0141E"},
		{name: "400 with a server's code", status: 400, body: gql("S0002E", ""), write: Failed, read: Failed, code: "S0002E"},
		{name: "500 with a refusal", status: 500, body: gql("C0141E", ""), write: Refused, read: Refused, code: "C0141E"},
		{name: "500 with a rate limit", status: 500, body: gql("C0011E", ""), write: Limited, read: Limited, code: "C0011E"},
		{name: "500 with a server's code", status: 500, body: gql("S0002E", ""), write: Unclear, read: Down, code: "S0002E"},
		{name: "500 with words", status: 500, body: gql("", "duplicate"), write: Unclear, read: Down},
		{name: "503 with a server's code", status: 503, body: gql("S0002E", ""), write: Down, read: Down, code: "S0002E"},
		{name: "403 with a code", status: 403, body: gql("C0020E", ""), write: Stopped, read: Stopped, code: "C0020E"},
		{name: "500 that names no one", status: 500, body: `{"data":null}`, write: Unclear, read: Down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := Write{Create: tt.create, Username: "u", RetailerID: "1", Fields: Fields{"primaryEmail": "e", "promotionOptIn": false}}
			c, log := account(t, Options{}, says(tt.status, tt.body))
			err := c.Write(t.Context(), []Write{w})[0]
			if got := kind(t, err); got != tt.write {
				t.Errorf("write: %v, want %v", err, tt.write)
			}
			if e, _ := err.(*Error); e != nil && (e.Code != tt.code || e.Field != tt.field || e.Status != tt.status) {
				t.Errorf("write: code %q, field %q, status %d", e.Code, e.Field, e.Status)
			}
			if sent := len(log()); sent != 1 && tt.status != 401 {
				t.Errorf("the write was sent %d times", sent)
			}
			c, _ = account(t, Options{}, says(tt.status, tt.body))
			_, err = c.Lookup(t.Context(), []string{"u"}, false)
			if got := kind(t, err); got != tt.read {
				t.Errorf("read: %v, want %v", err, tt.read)
			}
		})
	}
}

func TestRetryAfterIsPassedOn(t *testing.T) {
	for _, status := range []int{429, 503} {
		c, log := account(t, Options{}, func(w http.ResponseWriter, _ asked) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(status)
			io.WriteString(w, html)
		})
		err := c.Write(t.Context(), updates("u"))[0]
		if e := err.(*Error); e.RetryAfter.Seconds() != 60 {
			t.Errorf("%d: %v", status, e.RetryAfter)
		}
		// Everyone waits: the next is not sent.
		err = c.Write(t.Context(), updates("v"))[0]
		if kind(t, err) != Limited || len(log()) != 1 {
			t.Errorf("%d: %v after %d requests", status, err, len(log()))
		}
	}
}

// A rate limit that comes with 200 and no time makes everyone wait as well.
func TestRateLimitWithoutATime(t *testing.T) {
	c, _ := account(t, Options{}, says(200, `{"errors":[`+fault("C0011E")+`]}`))
	err := c.Write(t.Context(), updates("u"))[0]
	if e := err.(*Error); e.Kind != Limited || e.RetryAfter != time.Second {
		t.Errorf("%v, RetryAfter %v", e, e.RetryAfter)
	}
}

// Nobody's answer can cause a panic or more errors than it has room for.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"data":{"w0":{"username":"u"}},"errors":[{"message":"C0141E lastName","path":["w0"],"extensions":{"code":"C0141E"}}]}`,
		`{"data":null,"errors":[{"message":7,"path":[0],"extensions":null},null,7]}`, `{"errors":{}}`, `{"data":[]}`, html, ``, `[[[[`,
		`{"data":{"customers":{"edges":[null,{"node":null,"cursor":"c"},{"node":{"username":"u","attributes":[{"name":"n","type":"t","value":{}}]}}]}}}`,
	} {
		f.Add(200, []byte(s))
		f.Add(500, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		p := fuzzParse(status, data)
		if len(p.errs) > len(data)+1 {
			t.Errorf("%d errors in %d bytes", len(p.errs), len(data))
		}
		for _, e := range p.errs {
			if e.Kind == 0 || len(e.Code) > 130 {
				t.Errorf("%+v", e)
			}
		}
		p.judge()
		p.heaviest(p.rest())
		var v struct{ Customers connection }
		_ = p.into("lookup", &v)
		r := &round{errs: make([]error, 2)}
		jobs := []job{{index: 0}, {index: 1, create: true}}
		left, succeeded := r.read(p, jobs)
		r.give(left, r.blame(p))
		none := 0
		for _, err := range r.errs {
			if err == nil {
				none++
			}
		}
		if none != succeeded {
			t.Errorf("%d of 2 without an error, %d succeeded", none, succeeded)
		}
	})
}

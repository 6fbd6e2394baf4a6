package fluent

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/ct2fluent/ct2fluent/api"
)

// An answer is what a GraphQL request came to.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
	data       map[string]json.RawMessage // without the nulls
	own        map[string]*Error          // the first error of each alias
	whole      *Error                     // the weightiest error that names no alias
	errs       []*Error                   // all, as they came
}

// parse reads an answer of any status.
func parse(a *api.Answer) *answer {
	p := &answer{status: a.Status, body: a.Body, data: map[string]json.RawMessage{}, own: map[string]*Error{}}
	var body struct {
		Data   json.RawMessage `json:"data"`
		Errors json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(a.Body, &body) != nil || body.Data == nil && body.Errors == nil {
		e := &Error{Kind: kindOfStatus(a.Status), Status: a.Status}
		if a.Status < 300 {
			e.Err = errUnusable
		}
		p.keep(e)
		return p
	}
	p.readData(body.Data)
	p.readErrors(body.Errors)
	return p
}

func (p *answer) readData(raw json.RawMessage) {
	var data map[string]json.RawMessage
	if json.Unmarshal(raw, &data) != nil {
		return // it names no alias, so that none has succeeded
	}
	for alias, v := range data {
		if string(v) != "null" {
			p.data[alias] = v
		}
	}
}

func (p *answer) readErrors(raw json.RawMessage) {
	if raw == nil || string(raw) == "null" {
		return
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	for _, r := range list {
		alias, e := p.readError(r)
		if alias == "" {
			p.keep(e)
			continue
		}
		p.errs = append(p.errs, e)
		if p.own[alias] == nil {
			p.own[alias] = e
		}
	}
}

// readError reads each part for itself: one of a wrong type spoils no other.
func (p *answer) readError(raw json.RawMessage) (alias string, e *Error) {
	var parts struct{ Message, Path, Extensions json.RawMessage }
	var message, code string
	var path []any
	var extensions map[string]json.RawMessage
	if json.Unmarshal(raw, &parts) == nil {
		// What cannot be read stays empty: an error without code or path.
		_ = json.Unmarshal(parts.Message, &message)
		_ = json.Unmarshal(parts.Path, &path)
		_ = json.Unmarshal(parts.Extensions, &extensions)
		_ = json.Unmarshal(extensions["code"], &code)
	}
	if len(path) > 0 {
		alias, _ = path[0].(string)
	}
	code = readCode(code, message)
	return alias, &Error{Kind: kindOf(p.status, code, message), Status: p.status, Code: code, Field: fieldOf(message)}
}

// keep adds an error of the whole request.
func (p *answer) keep(e *Error) {
	p.errs = append(p.errs, e)
	p.whole = heavier(p.whole, e)
}

// heavier returns the one of two errors that says more about the request: one
// that halts the work, else the first.
func heavier(a, b *Error) *Error {
	if a == nil || b.Kind.halts() && !a.Kind.halts() {
		return b
	}
	return a
}

// judge is what the limiter and observations need to know.
func (p *answer) judge() (code string, limited bool) {
	for _, e := range p.errs {
		if code == "" || e.Kind == Limited {
			code = e.Code
		}
		limited = limited || e.Kind == Limited
	}
	return code, limited
}

// rest is the error of what no error names, nil for none: that of the whole
// request, or what the status means.
func (p *answer) rest() *Error {
	if p.whole == nil && p.status >= 300 {
		return &Error{Kind: kindOfStatus(p.status), Status: p.status}
	}
	return p.whole
}

// heaviest returns the one of all errors, and of e, that says most about the
// request; nil for none.
func (p *answer) heaviest(e *Error) *Error {
	for _, other := range p.errs {
		e = heavier(e, other)
	}
	return e
}

// finish fills in what all errors of an answer share. A read is never in doubt.
func (p *answer) finish(operation string, e *Error) *Error {
	f := *e
	f.Operation, f.RetryAfter = operation, p.retryAfter
	if f.Kind == Unclear && operation != "write" {
		f.Kind = Down
	}
	return &f
}

// into reads the data into v.
func (p *answer) into(operation string, v any) error {
	var body struct {
		Data any `json:"data"`
	}
	body.Data = v
	if err := json.Unmarshal(p.body, &body); err != nil {
		var wrong *json.UnmarshalTypeError
		e := &Error{Operation: operation, Kind: Failed, Status: p.status, Err: errUnusable}
		if errors.As(err, &wrong) {
			e.Field = wrong.Field
		}
		return e
	}
	return nil
}

package commercetools

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/ct2fluent/ct2fluent/api"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// codeOf reads the error code of an answer. spoken tells whether the body is
// an error as commercetools writes it, and not a page of something in between.
func codeOf(a *api.Answer) (code string, spoken bool) {
	if a.Status < 300 {
		return "", true
	}
	var body struct {
		StatusCode int    `json:"statusCode"`
		OAuth      string `json:"error"`
		Errors     []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(a.Body, &body) != nil {
		return "", false
	}
	code = body.OAuth
	if len(body.Errors) > 0 {
		code = body.Errors[0].Code
	}
	if !codeWord.MatchString(code) {
		code = ""
	}
	return code, body.StatusCode == a.Status || code != ""
}

// Decode reads a customer as [Client.Page] gives it in Bodies. An error is an
// *[Error]: Refused where a value is not of the type that it should have, Down
// where this is no customer at all.
func Decode(data []byte) (*Customer, error) {
	c, bad := decodeCustomer(data)
	if bad != nil {
		bad.Operation = "decode"
		return nil, bad
	}
	return c, nil
}

var errUnusable = errors.New("unusable answer")

// decodeCustomer reads one customer. An error is an *Error without operation:
// Refused where a value is not of the type that it should have, Down where this
// is no customer at all.
func decodeCustomer(data []byte) (*Customer, *Error) {
	var c Customer
	err := jsonv2.Unmarshal(data, &c, lenient)
	var wrong *jsonv2.SemanticError
	if errors.As(err, &wrong) && bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return nil, &Error{Kind: Refused, Code: "unreadable", Field: fieldName(wrong.JSONPointer)}
	}
	if err != nil || c.ID == "" || c.Version <= 0 {
		return nil, &Error{Kind: Down, Err: errUnusable}
	}
	return &c, nil
}

// lenient takes what encoding/json takes: one broken text must not cost more
// than the customer it is in.
var lenient = jsonv2.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// fieldName writes a place without positions, and without the names that a
// project has given.
func fieldName(p jsontext.Pointer) string {
	var names []string
	for name := range p.Tokens() {
		if _, err := strconv.Atoi(name); err == nil {
			continue
		}
		if name == "fields" {
			break
		}
		names = append(names, name)
	}
	return strings.Join(names, ".")
}

// decodePage hands each result of a query to each and ends with the first
// error of it. What has no list of results is none: who pages would lose its
// place. total is -1 where it was not told.
func decodePage(data []byte, each func(result []byte) *Error) (total int, bad *Error) {
	unusable := &Error{Kind: Down, Err: errUnusable}
	d := jsontext.NewDecoder(bytes.NewReader(data), lenient)
	next := func(want jsontext.Kind) bool {
		t, err := d.ReadToken()
		return err == nil && t.Kind() == want
	}
	if !next('{') {
		return 0, unusable
	}
	found := false
	for total = -1; d.PeekKind() == '"'; {
		name, err := d.ReadToken()
		if err != nil {
			return 0, unusable
		}
		if name.String() != "results" {
			isTotal := name.String() == "total"
			value, err := d.ReadValue()
			if err != nil || isTotal && value.Kind() != 'n' && jsonv2.Unmarshal(value, &total) != nil {
				return 0, unusable
			}
			continue
		}
		for found = next('['); found && d.PeekKind() != ']'; {
			value, err := d.ReadValue()
			if err != nil {
				return 0, unusable
			}
			if bad := each(value); bad != nil {
				return 0, bad
			}
		}
		if !found || !next(']') {
			return 0, unusable
		}
	}
	if !found || !next('}') || total < -1 {
		return 0, unusable
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return 0, unusable
	}
	return total, nil
}

// decodeStub reads no more of a customer than its identity, and its times
// where these are texts; nil where it has none.
func decodeStub(data []byte) *Customer {
	var s struct {
		ID      string          `json:"id"`
		Version int64           `json:"version"`
		Created json.RawMessage `json:"createdAt"`
		Changed json.RawMessage `json:"lastModifiedAt"`
	}
	if json.Unmarshal(data, &s) != nil || s.ID == "" || s.Version <= 0 {
		return nil
	}
	c := Customer{ID: s.ID, Version: s.Version}
	_ = json.Unmarshal(s.Created, &c.CreatedAt) // what is no text stays empty
	_ = json.Unmarshal(s.Changed, &c.LastModifiedAt)
	return &c
}

// UnmarshalJSON keeps numbers as Custom promises.
func (c *Custom) UnmarshalJSON(data []byte) error {
	var raw struct {
		Type   Reference      `json:"type"`
		Fields jsontext.Value `json:"fields"`
	}
	if err := jsonv2.Unmarshal(data, &raw, lenient); err != nil {
		return err
	}
	c.Type, c.Fields = raw.Type, nil
	if raw.Fields == nil || raw.Fields.Kind() == 'n' {
		return nil
	}
	if raw.Fields.Kind() != '{' {
		return jsonv2.Unmarshal(raw.Fields, &c.Fields) // says what is wrong with it
	}
	v, err := exact(jsontext.NewDecoder(bytes.NewReader(raw.Fields), lenient))
	if err != nil {
		return err
	}
	c.Fields = v.(map[string]any)
	return nil
}

// exact reads any value, each number as an int or a float64 if nothing is
// lost.
func exact(d *jsontext.Decoder) (any, error) {
	switch d.PeekKind() {
	case '{':
		m := map[string]any{}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		for d.PeekKind() == '"' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String()
			if m[key], err = exact(d); err != nil {
				return nil, err
			}
		}
		_, err := d.ReadToken()
		return m, err
	case '[':
		list := []any{}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		for k := d.PeekKind(); k != ']' && k != 0; k = d.PeekKind() {
			v, err := exact(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.ReadToken()
		return list, err
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case '0':
		return number(json.Number(t.String())), nil
	case '"':
		return t.String(), nil
	case 'n':
		return nil, nil
	}
	return t.Bool(), nil
}

func number(n json.Number) any {
	if i, err := strconv.Atoi(string(n)); err == nil {
		return i
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || decimal(string(n)) != decimal(strconv.FormatFloat(f, 'e', -1, 64)) {
		return n
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int(f)
	}
	return f
}

// decimal writes a JSON number in one way only: its digits without zeros at
// either end, and its exponent. Two numbers are equal if these are.
func decimal(n string) string {
	n, neg := strings.CutPrefix(n, "-")
	mantissa, exp, _ := strings.Cut(strings.ToLower(n), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	e, _ := strconv.Atoi(exp) // out of range it was no float64 either
	digits := strings.TrimLeft(whole+fraction, "0")
	e += len(digits) - len(fraction)
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return "0"
	}
	if neg {
		digits = "-" + digits
	}
	return digits + "e" + strconv.Itoa(e)
}

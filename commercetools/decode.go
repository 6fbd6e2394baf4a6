package commercetools

import (
	"bytes"
	"encoding/json"
	"errors"
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
	d := json.NewDecoder(bytes.NewReader(data))
	next := func(want json.Delim) bool {
		t, err := d.Token()
		return err == nil && t == want
	}
	if !next('{') {
		return 0, unusable
	}
	found := false
	var value json.RawMessage // used again and again: a page is large
	for total = -1; d.More(); {
		name, err := d.Token()
		if err != nil {
			return 0, unusable
		}
		if name != "results" {
			if d.Decode(&value) != nil || name == "total" && json.Unmarshal(value, &total) != nil {
				return 0, unusable
			}
			continue
		}
		for found = next('['); found && d.More(); {
			if d.Decode(&value) != nil {
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
		Type   Reference       `json:"type"`
		Fields json.RawMessage `json:"fields"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	var fields map[string]any
	if raw.Fields != nil {
		d := json.NewDecoder(bytes.NewReader(raw.Fields))
		d.UseNumber()
		if err := d.Decode(&fields); err != nil {
			return err
		}
	}
	for k, v := range fields {
		fields[k] = exact(v)
	}
	c.Type, c.Fields = raw.Type, fields
	return nil
}

// exact replaces in v each number by an int or a float64 if nothing is lost.
func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = exact(v[k])
		}
	}
	return v
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

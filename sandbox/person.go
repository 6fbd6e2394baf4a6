package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unique"
)

// A person has nine texts; the first is the username.
const (
	username = 0
	texts    = 9
)

// textFields are the names of the texts and the characters they may have.
var textFields = [texts]struct {
	name string
	max  int
}{
	{"username", 250}, {"primaryEmail", 250}, {"title", 50}, {"department", 255}, {"country", 100},
	{"firstName", 50}, {"lastName", 50}, {"primaryPhone", 20}, {"timezone", 32},
}

// A person is one state of a customer of Fluent. It is replaced, never
// changed, so that readers need no lock once they have it.
type person struct {
	id               int64
	created, updated int64 // milliseconds since 1970
	texts            [texts]string
	set              [texts]bool // false: null
	optIn            *bool
	retailer         string
	attributes       []attribute
	removed          bool // nothing but its id is left
}

type attribute struct {
	name, typ unique.Handle[string] // the same few, a million times
	value     json.RawMessage
}

// with is p after an input, whose fields are as the schema has them. A null
// clears, what is not named stays.
func (p person) with(input map[string]any, now time.Time) (*person, *fluentError) {
	p.updated = now.UnixMilli()
	for i, f := range textFields {
		v, named := input[f.name]
		if !named {
			continue
		}
		s, ok := v.(string)
		if utf8.RuneCountInString(s) > f.max {
			return nil, fluentFault("C0141E", "The length of "+f.name+" exceeds "+strconv.Itoa(f.max)+" characters")
		}
		p.texts[i], p.set[i] = s, ok
		if f.name == "country" || f.name == "timezone" {
			p.texts[i] = unique.Make(s).Value()
		}
	}
	if v, named := input["promotionOptIn"]; named {
		p.optIn = nil
		if b, ok := v.(bool); ok {
			p.optIn = &b
		}
	}
	list, _ := input["attributes"].([]any)
	p.attributes = slices.Clone(p.attributes)
	for _, v := range list {
		if in, ok := v.(map[string]any); ok {
			p.merge(in)
		}
	}
	return &p, nil
}

// merge sets the attribute of that name; there is no way to remove one.
func (p *person) merge(in map[string]any) {
	a := attribute{name: unique.Make(text(in, "name")), typ: unique.Make(text(in, "type")), value: encode(in["value"])}
	i := slices.IndexFunc(p.attributes, func(b attribute) bool { return b.name == a.name })
	if i < 0 {
		p.attributes = append(p.attributes, a)
		return
	}
	p.attributes[i] = a
}

// empties counts the empty texts of an input: nobody should send one.
func empties(input map[string]any) (n int) {
	for _, f := range textFields {
		if s, ok := input[f.name].(string); ok && s == "" {
			n++
		}
	}
	return n
}

func (p *person) typeName() string { return "Customer" }

func (p *person) field(name string, s *Fluent) any {
	switch name {
	case "id":
		return strconv.FormatInt(p.id, 10)
	case "createdOn":
		return stamp(time.UnixMilli(p.created))
	case "updatedOn":
		return stamp(time.UnixMilli(p.updated))
	case "ref":
		return p.texts[username]
	case "status":
		return "CREATED"
	case "promotionOptIn":
		if p.optIn == nil {
			return nil
		}
		return *p.optIn
	case "retailer":
		return s.retailer(p.retailer)
	case "attributes":
		list := make([]any, len(p.attributes))
		for i, a := range p.attributes {
			list[i] = &record{"Attribute", map[string]any{"name": a.name.Value(), "type": a.typ.Value(), "value": a.value}}
		}
		return list
	}
	for i, f := range textFields {
		if f.name == name && p.set[i] {
			return p.texts[i]
		}
	}
	return nil
}

// document is all of a person, as a query for every field would tell it.
func (p *person) document() map[string]any {
	doc := map[string]any{"retailer": map[string]any{"id": p.retailer}}
	for _, name := range []string{"id", "createdOn", "updatedOn", "ref", "status", "promotionOptIn"} {
		doc[name] = p.field(name, nil)
	}
	for i, f := range textFields {
		doc[f.name] = nil
		if p.set[i] {
			doc[f.name] = p.texts[i]
		}
	}
	list := make([]any, len(p.attributes))
	for i, a := range p.attributes {
		list[i] = map[string]any{"name": a.name.Value(), "type": a.typ.Value(), "value": a.value}
	}
	doc["attributes"] = list
	return doc
}

// A filter is what the arguments of customers ask for.
type filter struct {
	values map[string][]any // by field; any of them
	ranges map[string][2]int64
}

func newFilter(args map[string]any) (filter, *fluentError) {
	f := filter{values: map[string][]any{}, ranges: map[string][2]int64{}}
	for name, v := range args {
		switch v := v.(type) {
		case []any:
			f.values[name] = v
		case map[string]any:
			r := [2]int64{0, 1 << 62}
			for i, end := range []string{"from", "to"} {
				if v[end] == nil {
					continue
				}
				at, err := time.Parse(time.RFC3339, text(v, end))
				if err != nil {
					return f, fluentFault("C0140E", name+" is not a range of times")
				}
				r[i] = at.UnixMilli()
			}
			f.ranges[name] = r
		}
	}
	return f, nil
}

func (f filter) holds(p *person) bool {
	for name, r := range f.ranges {
		at := p.created
		if name == "updatedOn" {
			at = p.updated
		}
		if at < r[0] || at > r[1] {
			return false
		}
	}
	for name, values := range f.values {
		have := p.field(name, nil)
		if !slices.ContainsFunc(values, func(want any) bool { return matches(want, have) }) {
			return false
		}
	}
	return true
}

// matches compares as Fluent does: % stands for any text.
func matches(want, have any) bool {
	pattern, ok1 := want.(string)
	s, ok2 := have.(string)
	if !ok1 || !ok2 || !strings.Contains(pattern, "%") {
		return want == have
	}
	parts := strings.Split(pattern, "%")
	if s, ok1 = strings.CutPrefix(s, parts[0]); !ok1 {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, parts[last])
}

// usernames are the only ones that the filter can be true of, if it says so.
func (f filter) usernames() ([]string, bool) {
	for _, name := range []string{"username", "ref"} {
		values, ok := f.values[name]
		if !ok {
			continue
		}
		var all []string
		for _, v := range values {
			s, isText := v.(string)
			if strings.Contains(s, "%") {
				return nil, false
			}
			if isText {
				all = append(all, s)
			}
		}
		return all, true
	}
	return nil, false
}

// A cursor is opaque to callers.

func (p *person) cursor() string {
	return base64.StdEncoding.EncodeToString([]byte("customer:" + strconv.FormatInt(p.id, 10)))
}

func parseCursor(cursor string) (int64, bool) {
	b, err := base64.StdEncoding.DecodeString(cursor)
	id, ok := strings.CutPrefix(string(b), "customer:")
	n, err2 := strconv.ParseInt(id, 10, 64)
	return n, ok && err == nil && err2 == nil
}

package sandbox

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A term is a node of a where predicate: "and" and "or" over parts, or a
// comparison of a field with values, of which only "in" has several.
type term struct {
	op    string
	parts []*term
	field string
	ids   []uuid // of the field id
	at    int64  // milliseconds since 1970, of the other fields
}

var whereToken = regexp.MustCompile(`^\s*(?:("(?:[^"\\]|\\.)*")|(<>|!=|>=|<=|[=<>(),])|(:?[A-Za-z][A-Za-z0-9_.-]*))`)

// A whereParser reads the forms of predicate that the reference names and
// refuses any other: it is no place to try out commercetools' whole language.
type whereParser struct {
	tokens []string
	vars   url.Values
}

// parseWhere reads a predicate; vars hold its variables, as "var.name".
func parseWhere(where string, vars url.Values) (*term, error) {
	p := whereParser{vars: vars}
	for rest := strings.TrimSpace(where); rest != ""; rest = strings.TrimSpace(rest) {
		m := whereToken.FindString(rest)
		if m == "" {
			return nil, malformed("cannot read a token")
		}
		p.tokens = append(p.tokens, strings.TrimSpace(m))
		rest = rest[len(m):]
	}
	t, err := p.or()
	if err == nil && len(p.tokens) > 0 {
		err = malformed("there is more than a predicate")
	}
	return t, err
}

func malformed(why string) error { return invalid("Malformed parameter: where: " + why) }

func (p *whereParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *whereParser) next() string {
	t := p.peek()
	if t != "" {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *whereParser) or() (*term, error)  { return p.chain("or", p.and) }
func (p *whereParser) and() (*term, error) { return p.chain("and", p.one) }

func (p *whereParser) chain(op string, part func() (*term, error)) (*term, error) {
	t := &term{op: op}
	for {
		one, err := part()
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, one)
		if p.peek() != op {
			break
		}
		p.next()
	}
	if len(t.parts) == 1 {
		return t.parts[0], nil
	}
	return t, nil
}

func (p *whereParser) one() (*term, error) {
	if p.peek() == "(" {
		p.next()
		t, err := p.or()
		if err == nil && p.next() != ")" {
			err = malformed("a parenthesis is not closed")
		}
		return t, err
	}
	t := &term{field: p.next(), op: p.next()}
	if !slices.Contains([]string{"id", "createdAt", "lastModifiedAt"}, t.field) {
		return nil, malformed("field " + t.field + " is not one that can be queried here")
	}
	switch t.op {
	case "=", ">", ">=", "<", "<=":
		values, err := p.value()
		if err != nil {
			return nil, err
		}
		if len(values) != 1 {
			return nil, malformed("expected one value")
		}
		return t, t.set(values)
	case "in":
		values, err := p.list()
		if err != nil {
			return nil, err
		}
		if t.field != "id" {
			return nil, malformed("in is for id only")
		}
		return t, t.set(values)
	}
	return nil, malformed("no operator " + t.op)
}

func (p *whereParser) list() ([]string, error) {
	if strings.HasPrefix(p.peek(), ":") {
		return p.value()
	}
	if p.next() != "(" {
		return nil, malformed("expected a list")
	}
	var all []string
	for {
		values, err := p.value()
		if err != nil {
			return nil, err
		}
		all = append(all, values...)
		switch p.next() {
		case ",":
		case ")":
			return all, nil
		default:
			return nil, malformed("a list is not closed")
		}
	}
}

// value reads a text, or a variable, which can have several values.
func (p *whereParser) value() ([]string, error) {
	t := p.next()
	if name, ok := strings.CutPrefix(t, ":"); ok {
		values := p.vars["var."+name]
		if len(values) == 0 {
			return nil, malformed("variable " + name + " is not given")
		}
		return values, nil
	}
	if !strings.HasPrefix(t, `"`) {
		return nil, malformed("expected a text in quotes")
	}
	return []string{strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(t[1 : len(t)-1])}, nil
}

func (t *term) set(values []string) error {
	if t.field != "id" {
		at, err := time.Parse(time.RFC3339, values[0])
		if err != nil {
			return malformed(t.field + " is not a time")
		}
		t.at = at.UnixMilli()
		return nil
	}
	for _, v := range values {
		id, ok := parseUUID(v)
		if !ok {
			return malformed("an id is not a UUID")
		}
		t.ids = append(t.ids, id)
	}
	return nil
}

// compare puts the field of c before, at or after the term's value.
func (t *term) compare(c *customer) int {
	switch t.field {
	case "createdAt":
		return cmp.Compare(c.created, t.at)
	case "lastModifiedAt":
		return cmp.Compare(c.modified, t.at)
	}
	return c.id.compare(t.ids[0])
}

// holds tells whether the predicate is true of c. No predicate always is.
func (t *term) holds(c *customer) bool {
	if t == nil {
		return true
	}
	switch t.op {
	case "and":
		return !slices.ContainsFunc(t.parts, func(p *term) bool { return !p.holds(c) })
	case "or":
		return slices.ContainsFunc(t.parts, func(p *term) bool { return p.holds(c) })
	case "in":
		return slices.Contains(t.ids, c.id)
	case "=":
		return t.compare(c) == 0
	case ">":
		return t.compare(c) > 0
	case ">=":
		return t.compare(c) >= 0
	case "<":
		return t.compare(c) < 0
	}
	return t.compare(c) <= 0
}

// named are the only ids that the predicate can be true of, if it says so.
func (t *term) named() ([]uuid, bool) {
	switch {
	case t == nil:
	case t.field == "id" && (t.op == "in" || t.op == "="):
		return t.ids, true
	case t.op == "and":
		for _, p := range t.parts {
			if ids, ok := p.named(); ok {
				return ids, true
			}
		}
	}
	return nil, false
}

// floor is a customer before which, in the order of the field, there is none
// that the predicate is true of; nil where it does not say.
func (t *term) floor(field string, order func(a, b *customer) int) *customer {
	switch {
	case t == nil:
	case t.op == "and" || t.op == "or":
		var best *customer
		for i, p := range t.parts {
			f := p.floor(field, order)
			switch {
			case t.op == "or" && f == nil:
				return nil
			case f == nil:
			case i == 0 || best == nil || (order(f, best) > 0) == (t.op == "and"):
				best = f
			}
		}
		return best
	case t.field == field && (t.op == "=" || t.op == ">" || t.op == ">="):
		if field == "id" {
			return &customer{id: t.ids[0]}
		}
		return &customer{created: t.at, modified: t.at}
	}
	return nil
}

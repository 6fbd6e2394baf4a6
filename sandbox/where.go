package sandbox

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A term is a node of a where predicate: "and" and "or" over parts, or a
// comparison of a field with values, of which only "in" has several.
type term struct {
	op     string
	parts  []*term
	field  string   // nested ones with a dot
	ids    []uuid   // of the field id
	at     int64    // milliseconds since 1970, of times
	values []string // of the fields in texts
}

// The fields that can be queried, but for id.
var (
	times = []string{"createdAt", "lastModifiedAt"}
	// compared with = and != only; isEmailVerified is true or false
	plainFields = []string{"email", "key", "customerNumber", "externalId", "firstName", "lastName", "middleName", "title",
		"salutation", "dateOfBirth", "companyName", "vatId", "locale", "isEmailVerified", "stores.key", "customerGroup.id"}
)

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
		return p.closed(p.or())
	}
	field := p.next()
	if p.peek() == "(" {
		p.next()
		return p.closed(p.comparison(field + "." + p.next()))
	}
	return p.comparison(field)
}

func (p *whereParser) closed(t *term, err error) (*term, error) {
	if err == nil && p.next() != ")" {
		err = malformed("a parenthesis is not closed")
	}
	return t, err
}

func (p *whereParser) comparison(field string) (*term, error) {
	t := &term{field: field, op: p.next()}
	isText := slices.Contains(plainFields, field)
	if field != "id" && !isText && !slices.Contains(times, field) {
		return nil, malformed("field " + field + " is not one that can be queried here")
	}
	switch {
	case t.op == "=", isText && (t.op == "!=" || t.op == "<>"), !isText && slices.Contains([]string{">", ">=", "<", "<="}, t.op):
		values, err := p.value(field)
		if err != nil {
			return nil, err
		}
		if len(values) != 1 {
			return nil, malformed("expected one value")
		}
		return t, t.set(values)
	case t.op == "in" && (isText || field == "id"):
		values, err := p.list(field)
		if err != nil {
			return nil, err
		}
		return t, t.set(values)
	}
	return nil, malformed("no operator " + t.op + " for " + field)
}

func (p *whereParser) list(field string) ([]string, error) {
	if strings.HasPrefix(p.peek(), ":") {
		return p.value(field)
	}
	if p.next() != "(" {
		return nil, malformed("expected a list")
	}
	var all []string
	for {
		values, err := p.value(field)
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
func (p *whereParser) value(field string) ([]string, error) {
	t := p.next()
	if name, ok := strings.CutPrefix(t, ":"); ok {
		values := p.vars["var."+name]
		if len(values) == 0 {
			return nil, malformed("variable " + name + " is not given")
		}
		return values, nil
	}
	if field == "isEmailVerified" && (t == "true" || t == "false") {
		return []string{t}, nil
	}
	if !strings.HasPrefix(t, `"`) || field == "isEmailVerified" {
		return nil, malformed("expected a text in quotes")
	}
	return []string{strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(t[1 : len(t)-1])}, nil
}

func (t *term) set(values []string) error {
	if slices.Contains(plainFields, t.field) {
		t.values = values
		return nil
	}
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

// holds tells whether the predicate is true of c, whose document is doc(c). No
// predicate always is.
func (t *term) holds(c *customer, doc func(*customer) map[string]any) bool {
	if t == nil {
		return true
	}
	switch {
	case t.op == "and":
		return !slices.ContainsFunc(t.parts, func(p *term) bool { return !p.holds(c, doc) })
	case t.op == "or":
		return slices.ContainsFunc(t.parts, func(p *term) bool { return p.holds(c, doc) })
	case t.values != nil:
		has := slices.ContainsFunc(t.texts(c, doc), func(v string) bool { return slices.Contains(t.values, v) })
		return has == (t.op == "=" || t.op == "in")
	}
	switch t.op {
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

// texts are the values that c has of a field.
func (t *term) texts(c *customer, doc func(*customer) map[string]any) []string {
	switch t.field {
	case "stores.key":
		return c.stores
	case "customerGroup.id":
		group, _ := doc(c)["customerGroup"].(map[string]any)
		return []string{text(group, "id")}
	case "isEmailVerified":
		return []string{strconv.FormatBool(doc(c)[t.field] == true)}
	}
	if v, ok := doc(c)[t.field].(string); ok {
		return []string{v}
	}
	return nil
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

// bounds are customers before and behind which, in the order of the field,
// there is none that the predicate is true of; nil where it does not say.
func (t *term) bounds(field string, order func(a, b *customer) int) (low, high *customer) {
	switch {
	case t == nil:
	case t.op == "and":
		for _, p := range t.parts {
			l, h := p.bounds(field, order)
			low, high = outer(low, l, order, 1), outer(high, h, order, -1)
		}
		// Many may be of one time, and then the id says where among them.
		if low != nil && high != nil && field != "id" && low.created == high.created {
			if l, h := t.bounds("id", byID); l != nil || h != nil {
				low, high = withID(low, l), withID(high, h)
			}
		}
	case t.op == "or":
		for i, p := range t.parts {
			l, h := p.bounds(field, order)
			if i == 0 {
				low, high = l, h
				continue
			}
			low, high = inner(low, l, order, -1), inner(high, h, order, 1)
		}
	case t.field != field:
	case field == "id" && t.op != "in":
		return t.ends(&customer{id: t.ids[0]}, &customer{id: t.ids[0]})
	case field != "id":
		first := &customer{created: t.at, modified: t.at}
		last := *first
		for i := range last.id {
			last.id[i] = 0xff
		}
		return t.ends(first, &last)
	}
	return low, high
}

// ends are the bounds of a comparison with what lies from first to last.
func (t *term) ends(first, last *customer) (low, high *customer) {
	switch t.op {
	case ">":
		return last, nil
	case ">=":
		return first, nil
	case "<":
		return nil, first
	case "<=":
		return nil, last
	}
	return first, last
}

// outer is the one of a and b that bounds more, inner the one that bounds
// less; sign is 1 of low ones, of which the higher bounds more.
func outer(a, b *customer, order func(a, b *customer) int, sign int) *customer {
	if a == nil || b != nil && sign*order(b, a) > 0 {
		return b
	}
	return a
}

func inner(a, b *customer, order func(a, b *customer) int, sign int) *customer {
	if a == nil || b == nil {
		return nil
	}
	if sign*order(b, a) > 0 {
		return b
	}
	return a
}

func withID(c, id *customer) *customer {
	if id == nil {
		return c
	}
	return &customer{created: c.created, modified: c.modified, id: id.id}
}

package sandbox

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// An object is what a selection is made of.
type object interface {
	typeName() string
	field(name string, s *Fluent) any // nil, a scalar, json.RawMessage, an object or []any
}

// A record is an object of plain fields.
type record struct {
	typ    string
	fields map[string]any
}

func (r *record) typeName() string                 { return r.typ }
func (r *record) field(name string, _ *Fluent) any { return r.fields[name] }

// execute answers a request that is valid.
func (s *Fluent) execute(c *call) answer {
	fields := c.collect(c.op.SelectionSet, "")
	results := make([]result, len(fields))
	if c.op.Operation == ast.Mutation {
		if failed := s.mutate(c, fields, results); failed != nil && s.undoing() {
			return s.reply(nil, failed)
		}
	} else {
		for i, f := range fields {
			results[i] = s.resolve(c, f)
		}
	}
	w := writer{s: s, c: c}
	w.b.WriteByte('{')
	for i, f := range fields {
		r := results[i]
		if r.err != nil {
			w.errs = append(w.errs, r.err.at(f.Alias))
		}
		w.path = []any{f.Alias}
		w.name(i, f.Alias)
		w.value(f.SelectionSet, r.value)
	}
	w.b.WriteByte('}')
	return s.reply(w.b.Bytes(), w.errs...)
}

// A result of a root field. Its value may be nil without an error.
type result struct {
	value any
	err   *fluentError
}

// A writer writes what was selected.
type writer struct {
	s    *Fluent
	c    *call
	b    bytes.Buffer
	path []any
	errs []*fluentError
}

func (w *writer) name(i int, name string) {
	if i > 0 {
		w.b.WriteByte(',')
	}
	w.b.WriteByte('"') // a GraphQL name needs no escape
	w.b.WriteString(name)
	w.b.WriteString(`":`)
}

func (w *writer) value(set ast.SelectionSet, v any) {
	switch v := v.(type) {
	case object:
		w.object(set, v)
	case []any:
		w.b.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				w.b.WriteByte(',')
			}
			w.path = append(w.path, i)
			w.value(set, one)
			w.path = w.path[:len(w.path)-1]
		}
		w.b.WriteByte(']')
	case json.RawMessage:
		w.b.Write(v)
	default:
		w.b.Write(encode(v))
	}
}

func (w *writer) object(set ast.SelectionSet, o object) {
	w.b.WriteByte('{')
	for i, f := range w.c.collect(set, o.typeName()) {
		w.name(i, f.Alias)
		w.path = append(w.path, f.Alias)
		switch {
		case f.Name == "__typename":
			w.value(nil, o.typeName())
		case f.Name == "retailer" && w.s.gate.denied("RETAILER_VIEW"):
			w.errs = append(w.errs, denied("RETAILER_VIEW").at(slices.Clone(w.path)...))
			w.b.WriteString("null")
		default:
			w.value(f.SelectionSet, o.field(f.Name, w.s))
		}
		w.path = w.path[:len(w.path)-1]
	}
	w.b.WriteByte('}')
}

// reply is an answer with data, which is null if nil, and errors.
func (s *Fluent) reply(data json.RawMessage, errs ...*fluentError) answer {
	doc := map[string]any{"data": data}
	if len(errs) > 0 {
		doc["errors"] = s.tell(errs)
	}
	return answer{status: 200, body: encode(doc)}
}

// refuse is an answer without data: the request as a whole failed.
func (s *Fluent) refuse(errs ...*fluentError) answer {
	return answer{status: 200, body: encode(map[string]any{"errors": s.tell(errs)})}
}

func (s *Fluent) tell(errs []*fluentError) []any {
	s.mu.RLock()
	inText := s.knobs.CodeInText
	s.mu.RUnlock()
	list := make([]any, len(errs))
	for i, e := range errs {
		doc := map[string]any{"message": e.message}
		if inText {
			doc["message"] = e.code + ": " + e.message
		} else {
			doc["extensions"] = map[string]any{"code": e.code}
		}
		if e.path != nil {
			doc["path"] = e.path
		}
		list[i] = doc
	}
	return list
}

func denied(permission string) *fluentError {
	return fluentFault("C0020E", "You do not have the permission "+permission)
}

// permissions that root fields need.
func permission(field string) string {
	switch field {
	case "createCustomer":
		return "CUSTOMER_CREATE"
	case "updateCustomer":
		return "CUSTOMER_UPDATE"
	case "retailerById":
		return "RETAILER_VIEW"
	}
	return "CUSTOMER_VIEW"
}

// admit gives the arguments of a root field, or the result that stands instead
// of its work: a permission that is lost, a fault. With work, the fault only
// spoils the answer.
func (s *Fluent) admit(c *call, f *ast.Field) (args map[string]any, instead *result, work bool) {
	if p := permission(f.Name); s.gate.denied(p) {
		return nil, &result{err: denied(p)}, false
	}
	args, err := c.arguments(f)
	if err != nil {
		return nil, &result{err: err}, false
	}
	fault, faulty := s.gate.draw(func(x Fault) bool {
		return x.ofAlias() && !x.Whole && x.on(f.Name, string(c.op.Operation)) &&
			slices.ContainsFunc(subjectOf(args), func(name string) bool { return strings.Contains(name, x.Match) })
	})
	switch {
	case !faulty:
		return args, nil, true
	case fault.Kind == "null":
		return args, &result{}, fault.Apply
	}
	return args, &result{err: fluentFault(fault.Kind, "Injected")}, fault.Apply
}

// subjectOf lists the usernames that a root field is about; empty texts, if
// none.
func subjectOf(args map[string]any) []string {
	input, _ := args["input"].(map[string]any)
	names := []string{text(input, "username"), text(args, "ref")}
	for _, arg := range []string{"username", "ref"} {
		list, _ := args[arg].([]any)
		for _, v := range list {
			if name, ok := v.(string); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// resolve answers a root field of a query.
func (s *Fluent) resolve(c *call, f *ast.Field) result {
	if f.Name == "__typename" {
		return result{value: "Query"}
	}
	args, instead, _ := s.admit(c, f)
	if instead != nil {
		s.countField(f.Name, *instead)
		return *instead
	}
	var r result
	switch f.Name {
	case "customer":
		r.value = maybe(s.named(text(args, "ref")))
	case "customerById":
		r.value = maybe(s.numbered(text(args, "id")))
	case "retailerById":
		r.value = s.retailer(text(args, "id"))
	case "customers":
		r = s.list(args)
	default:
		r.err = fluentFault("C0100E", "There is no introspection here")
	}
	s.countField(f.Name, r)
	return r
}

// maybe is nil for no person, which a nil *person in an interface is not.
func maybe(p *person) any {
	if p == nil {
		return nil
	}
	return p
}

func (s *Fluent) countField(name string, r result) {
	status := "ok"
	switch {
	case r.err != nil:
		status = r.err.code
	case r.value == nil:
		status = "null"
	}
	s.gate.count(name, status)
}

const (
	defaultFirst = 10
	maxFirst     = 5000
)

// list answers customers.
func (s *Fluent) list(args map[string]any) result {
	var p page
	var err *fluentError
	if p.n, p.backward, err = pageSize(args); err != nil {
		return result{err: err}
	}
	edge := "after"
	if p.backward {
		edge = "before"
	}
	if cursor, given := args[edge].(string); given {
		if p.cursor, given = parseCursor(cursor); !given {
			return result{err: fluentFault("C0140E", "Invalid cursor")}
		}
		p.cut = true
	}
	filters := maps.Clone(args)
	for _, name := range []string{"first", "last", "before", "after"} {
		delete(filters, name)
	}
	f, err := newFilter(filters)
	if err != nil {
		return result{err: err}
	}
	found, more := s.find(f, p)
	edges := make([]any, len(found))
	for i, one := range found {
		edges[i] = &record{"CustomerEdge", map[string]any{"node": one, "cursor": one.cursor()}}
	}
	before, after := p.cut, more
	if p.backward {
		before, after = more, p.cut
	}
	info := &record{"PageInfo", map[string]any{"hasPreviousPage": before, "hasNextPage": after}}
	return result{value: &record{"CustomerConnection", map[string]any{"edges": edges, "pageInfo": info}}}
}

// A page is a stretch of a list: n from the cursor on, or before it.
type page struct {
	n        int
	backward bool
	cursor   int64
	cut      bool // there is a cursor
}

func pageSize(args map[string]any) (n int, backward bool, err *fluentError) {
	n = defaultFirst
	for _, name := range []string{"last", "first"} {
		v, given := args[name].(int64)
		if !given {
			continue
		}
		if v < 1 || v > maxFirst {
			return 0, false, fluentFault("C0140E", name+" must be between 1 and "+strconv.Itoa(maxFirst))
		}
		n, backward = int(v), name == "last"
	}
	return n, backward, nil
}

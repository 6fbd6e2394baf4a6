package sandbox

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	_ "embed"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

//go:embed schema.graphql
var schemaText string

// maxComplexity is the number of fields that a request may select.
const maxComplexity = 11_111

// documents parses and validates, and remembers what it parsed: clients send
// the same few operations again and again.
type documents struct {
	schema *ast.Schema
	rules  *rules.Rules
	mu     sync.Mutex
	parsed map[string]*ast.QueryDocument
}

const maxParsed = 128

func newDocuments() *documents {
	return &documents{
		schema: gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphql", Input: schemaText}),
		rules:  rules.NewDefaultRules(),
		parsed: map[string]*ast.QueryDocument{},
	}
}

func (d *documents) parse(query string) (*ast.QueryDocument, gqlerror.List) {
	d.mu.Lock()
	doc := d.parsed[query]
	d.mu.Unlock()
	if doc != nil {
		return doc, nil
	}
	doc, errs := gqlparser.LoadQueryWithRules(d.schema, query, d.rules)
	if errs != nil {
		return nil, errs
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.parsed) >= maxParsed {
		clear(d.parsed)
	}
	d.parsed[query] = doc
	return doc, nil
}

// A call is one GraphQL request.
type call struct {
	Query         string         `json:"query"`
	Variables     map[string]any `json:"variables"`
	OperationName string         `json:"operationName"`

	schema *ast.Schema
	op     *ast.OperationDefinition
	errs   []*fluentError // of the request as a whole
}

// A fluentError is an error as Fluent tells it.
type fluentError struct {
	code, message string
	path          []any
}

func fluentFault(code, message string) *fluentError {
	return &fluentError{code: code, message: message}
}

// at is the same error at a path of the answer.
func (e *fluentError) at(path ...any) *fluentError {
	f := *e
	f.path = path
	return &f
}

// readCall parses and validates a request; false: it is no JSON of one.
func (d *documents) readCall(body []byte) (*call, bool) {
	c := call{schema: d.schema}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if dec.Decode(&c) != nil || strings.TrimSpace(c.Query) == "" {
		return nil, false
	}
	doc, errs := d.parse(c.Query)
	for _, err := range errs {
		c.errs = append(c.errs, fluentFault("C0100E", err.Message))
	}
	if doc == nil {
		return &c, true
	}
	if c.op = doc.Operations.ForName(c.OperationName); c.op == nil {
		c.errs = append(c.errs, fluentFault("C0100E", "no operation of that name"))
		return &c, true
	}
	if complexity(c.op.SelectionSet, 0) > maxComplexity {
		c.errs = append(c.errs, fluentFault("C0001E", "The query complexity is too high"))
		return &c, true
	}
	vars, err := validator.VariableValues(d.schema, c.op, c.Variables)
	if err != nil {
		c.errs = append(c.errs, fluentFault("C0140E", err.Error()))
	}
	c.Variables = vars
	return &c, true
}

// operations names what the request asks for, as Fault.Operation has it.
func (c *call) operations() []string {
	if c.op == nil {
		return []string{"invalid"}
	}
	names := []string{string(c.op.Operation)}
	for _, f := range c.collect(c.op.SelectionSet, "") {
		if !slices.Contains(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

// complexity counts fields, no further than the limit.
func complexity(set ast.SelectionSet, n int) int {
	for _, sel := range set {
		if n > maxComplexity {
			return n
		}
		switch sel := sel.(type) {
		case *ast.Field:
			n = complexity(sel.SelectionSet, n+1)
		case *ast.InlineFragment:
			n = complexity(sel.SelectionSet, n)
		case *ast.FragmentSpread:
			n = complexity(sel.Definition.SelectionSet, n)
		}
	}
	return n
}

// collect lists the fields selected of an object, fragments opened; what is
// selected twice is one field with both selections. The type is empty for a
// root.
func (c *call) collect(set ast.SelectionSet, typ string) []*ast.Field {
	var fields []*ast.Field
	c.gather(set, typ, map[string]int{}, &fields)
	return fields
}

func (c *call) gather(set ast.SelectionSet, typ string, at map[string]int, fields *[]*ast.Field) {
	fits := func(condition string) bool {
		return condition == "" || typ == "" || condition == typ || condition == "Node"
	}
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if !c.included(sel.Directives) {
				continue
			}
			i, twice := at[sel.Alias]
			if !twice {
				at[sel.Alias] = len(*fields)
				*fields = append(*fields, sel)
				continue
			}
			both := *(*fields)[i]
			both.SelectionSet = append(slices.Clone(both.SelectionSet), sel.SelectionSet...)
			(*fields)[i] = &both
		case *ast.InlineFragment:
			if c.included(sel.Directives) && fits(sel.TypeCondition) {
				c.gather(sel.SelectionSet, typ, at, fields)
			}
		case *ast.FragmentSpread:
			if c.included(sel.Directives) && fits(sel.Definition.TypeCondition) {
				c.gather(sel.Definition.SelectionSet, typ, at, fields)
			}
		}
	}
}

func (c *call) included(directives ast.DirectiveList) bool {
	for _, d := range directives {
		arg := d.Arguments.ForName("if")
		if arg == nil {
			continue
		}
		v, _ := c.value(arg.Value)
		if on, _ := v.(bool); on != (d.Name == "include") {
			return false
		}
	}
	return true
}

package customer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// What an expression may cost: nodes when it is compiled, and elements of
// lists and maps made when it runs for one customer.
const (
	maxNodes  = 1000
	maxMemory = 100_000
)

// An environment is what expressions see.
type environment struct {
	Customer   *commercetools.Customer `expr:"customer"`
	Addresses  []commercetools.Address `expr:"addresses"`
	RetailerID string                  `expr:"retailerId"`
	ProjectKey string                  `expr:"projectKey"`
}

// ordered gives the addresses in the order in which they are searched: default
// shipping, default billing, the others.
func ordered(c *commercetools.Customer) []commercetools.Address {
	if len(c.Addresses) < 2 {
		return c.Addresses
	}
	all := make([]commercetools.Address, 0, len(c.Addresses)+2)
	add := func(id string) {
		for _, a := range c.Addresses {
			if id != "" && a.ID == id {
				all = append(all, a)
			}
		}
	}
	add(c.DefaultShippingAddressID)
	if c.DefaultBillingAddressID != c.DefaultShippingAddressID {
		add(c.DefaultBillingAddressID)
	}
	for _, a := range c.Addresses {
		if a.ID == "" || a.ID != c.DefaultShippingAddressID && a.ID != c.DefaultBillingAddressID {
			all = append(all, a)
		}
	}
	return all
}

// A want is the kind of value an expression must give.
type want string

const (
	wantText   want = "text"
	wantScalar want = "text, a number, or true or false"
	wantWhole  want = "a whole number"
	wantNumber want = "a number"
	wantBool   want = "true or false"
	wantAny    want = "any value"
)

// wantOf tells what a value of an attribute's type is. Fluent's types are free
// text: one that is not known takes any value.
func wantOf(typ string) want {
	switch strings.ToUpper(typ) {
	case "STRING":
		return wantScalar
	case "INTEGER", "INT", "LONG":
		return wantWhole
	case "FLOAT", "DOUBLE", "DECIMAL", "NUMBER":
		return wantNumber
	case "BOOLEAN":
		return wantBool
	}
	return wantAny
}

// empty is the empty JSON value of the want: what stands for a value that is
// gone, as Fluent cannot remove an attribute and takes no null.
func (w want) empty() json.RawMessage {
	switch w {
	case wantWhole, wantNumber:
		return json.RawMessage("0")
	case wantBool:
		return json.RawMessage("false")
	case wantAny:
		return json.RawMessage("{}")
	}
	return json.RawMessage(`""`)
}

// admits tells whether a result of the static type t can be what is wanted.
// What is known only when it runs is judged then.
func (w want) admits(t reflect.Type) bool {
	if t == nil || t.Kind() == reflect.Interface || w == wantAny {
		return true
	}
	switch name := kindOf(t); w {
	case wantScalar:
		return name == wantText || name == wantWhole || name == wantNumber || name == wantBool
	case wantNumber:
		return name == wantWhole || name == wantNumber
	default:
		return name == w
	}
}

func kindOf(t reflect.Type) want {
	if t == reflect.TypeFor[json.Number]() {
		return wantNumber
	}
	switch t.Kind() {
	case reflect.String:
		return wantText
	case reflect.Bool:
		return wantBool
	case reflect.Float32, reflect.Float64:
		return wantNumber
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return wantWhole
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
}

// An expression is compiled and knows where it came from. A nil one is a field
// that is not mapped.
type expression struct {
	key     string
	prefix  string
	program *vm.Program
	want    want
}

// compile makes an expression ready, or notes why it cannot be. There is no
// default where preset is empty: then the field is not mapped.
func compile(key string, e Expression, preset string, w want, note func(error)) *expression {
	source := orElse(e.Text, preset)
	if source == "" {
		return nil
	}
	x := &expression{key: key, prefix: e.prefix(), want: w}
	program, err := expr.Compile(source,
		expr.Env(environment{}),
		expr.MaxNodes(maxNodes),
		expr.Function(absentable, func(args ...any) (any, error) { return args[0], nil }, new(func(any) any)),
		expr.Patch(absences{}),
		// The same customer must always give the same result, or nothing would
		// ever be unchanged.
		expr.DisableBuiltin("now"))
	if err != nil {
		note(fmt.Errorf("%s%s: %w", x.prefix, key, err))
		return nil
	}
	if t := program.Node().Type(); !w.admits(t) {
		wrong := &file.Error{
			Location: program.Node().Location(),
			Message:  fmt.Sprintf("this is %s, and %s is wanted", kindOf(t), w),
		}
		note(fmt.Errorf("%s%s: %w", x.prefix, key, wrong.Bind(program.Source())))
		return nil
	}
	x.program = program
	return x
}

// absences lets what a ?. gives be compared where it gives nothing:
// `customer.customerGroup?.id == "vip"`. The library compares by the type that
// the field would have, and fails.
type absences struct{}

// absentable is a function that no expression can name.
const absentable = "?."

// Visit wraps a chain that is compared, so that its type is open.
func (absences) Visit(node *ast.Node) {
	b, ok := (*node).(*ast.BinaryNode)
	if !ok || b.Operator != "==" && b.Operator != "!=" {
		return
	}
	for _, side := range []*ast.Node{&b.Left, &b.Right} {
		if chain, ok := (*side).(*ast.ChainNode); ok {
			ast.Patch(side, &ast.CallNode{Callee: &ast.IdentifierNode{Value: absentable}, Arguments: []ast.Node{chain}})
		}
	}
}

// run gives the result for one customer; nil where it is absent or not mapped.
func (x *expression) run(machine *vm.VM, env *environment) (any, error) {
	if x == nil {
		return nil, nil
	}
	v, err := machine.Run(x.program, env)
	if err != nil {
		// Promise 7: the text of an evaluation error can quote a value.
		var at *file.Error
		if errors.As(err, &at) {
			return nil, x.fault(failure(x.program, at))
		}
		return nil, x.fault("the expression fails")
	}
	if s, ok := v.(string); ok && strings.TrimSpace(s) == "" {
		return nil, nil
	}
	return v, nil
}

// fault is a dead letter for a customer that cannot be mapped.
func (x *expression) fault(what string) error {
	return unmappable(fmt.Errorf("%s%s: %s", x.prefix, x.key, what))
}

func unmappable(err error) error {
	return ct2fluent.Reject(ct2fluent.WithReason("mapping", err))
}

func (x *expression) mismatch(v any) error {
	return x.fault(fmt.Sprintf("the result is %s, and %s is wanted", kindOf(reflect.TypeOf(v)), x.want))
}

// text is the result as text; empty where it is absent.
func (x *expression) text(machine *vm.VM, env *environment) (string, error) {
	v, err := x.run(machine, env)
	if v == nil || err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", x.mismatch(v)
	}
	return s, nil
}

// truth is the result as true or false; nil where it is absent.
func (x *expression) truth(machine *vm.VM, env *environment) (*bool, error) {
	v, err := x.run(machine, env)
	if v == nil || err != nil {
		return nil, err
	}
	b, ok := v.(bool)
	if !ok {
		return nil, x.mismatch(v)
	}
	return &b, nil
}

// json is the result as the JSON value that is wanted; nil where it is absent.
func (x *expression) json(machine *vm.VM, env *environment) (json.RawMessage, error) {
	v, err := x.run(machine, env)
	if v == nil || err != nil {
		return nil, err
	}
	if x.want != wantAny {
		scalar, ok := x.scalar(v)
		if !ok {
			return nil, x.mismatch(v)
		}
		v = scalar
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, x.fault("the result cannot be JSON")
	}
	if string(doc) == "null" {
		return nil, nil
	}
	return doc, nil
}

// scalar turns v into what is wanted, if it can be that. Numbers keep every
// digit: those of custom fields can exceed a float64.
func (x *expression) scalar(v any) (any, bool) {
	switch s := v.(type) {
	case string:
		return s, x.want == wantScalar
	case bool:
		if x.want == wantScalar {
			return strconv.FormatBool(s), true
		}
		return s, x.want == wantBool
	}
	n, ok := number(v)
	if !ok {
		return nil, false
	}
	switch x.want {
	case wantScalar:
		return n.String(), true
	case wantWhole:
		return n, !strings.ContainsAny(n.String(), ".eE")
	}
	return n, x.want == wantNumber
}

// number writes a number as JSON has it, without an exponent where Go's types
// gave it.
func number(v any) (json.Number, bool) {
	if n, ok := v.(json.Number); ok {
		return n, true
	}
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return json.Number(strconv.FormatInt(r.Int(), 10)), true
	case r.CanUint():
		return json.Number(strconv.FormatUint(r.Uint(), 10)), true
	case r.CanFloat() && !math.IsNaN(r.Float()) && !math.IsInf(r.Float(), 0):
		return json.Number(strconv.FormatFloat(r.Float(), 'f', -1, 64)), true
	}
	return "", false
}

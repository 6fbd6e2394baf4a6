package sandbox

import (
	"encoding/json"
	"reflect"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
)

// arguments are those of a field, as the schema has them: lists as []any,
// objects as maps, and no number where a text belongs.
func (c *call) arguments(f *ast.Field) (map[string]any, *fluentError) {
	args := map[string]any{}
	for _, a := range f.Arguments {
		v, given := c.value(a.Value)
		if !given {
			continue
		}
		v, ok := c.fit(f.Definition.Arguments.ForName(a.Name).Type, v)
		if !ok {
			return nil, fluentFault("C0140E", "Argument "+a.Name+" has a value of the wrong type")
		}
		if v != nil {
			args[a.Name] = v
		}
	}
	return args, nil
}

// value is that of a literal, numbers as they were written; false for a
// variable that is not given.
func (c *call) value(v *ast.Value) (any, bool) {
	switch v.Kind {
	case ast.Variable:
		given, ok := c.Variables[v.Raw]
		return given, ok
	case ast.IntValue, ast.FloatValue:
		return json.Number(v.Raw), true
	case ast.BooleanValue:
		return v.Raw == "true", true
	case ast.NullValue:
		return nil, true
	case ast.ListValue:
		list := []any{}
		for _, e := range v.Children {
			one, _ := c.value(e.Value)
			list = append(list, one)
		}
		return list, true
	case ast.ObjectValue:
		m := map[string]any{}
		for _, e := range v.Children {
			if one, given := c.value(e.Value); given {
				m[e.Name] = one
			}
		}
		return m, true
	}
	return v.Raw, true
}

// fit makes v what its type wants: lists are []any, objects maps. The
// validator has passed it, but takes a number for a text, and one value for a
// list of one.
func (c *call) fit(typ *ast.Type, v any) (any, bool) {
	if v == nil {
		return nil, !typ.NonNull
	}
	if typ.Elem != nil {
		return c.fitList(typ, v)
	}
	s, isText := v.(string)
	switch typ.NamedType {
	case "Json":
		return v, true
	case "String", "DateTime":
		return s, isText
	case "Boolean":
		b, ok := v.(bool)
		return b, ok
	case "Int":
		n, ok := integer(v)
		return n, ok
	case "ID":
		if n, ok := integer(v); ok {
			return strconv.FormatInt(n, 10), true
		}
		return s, isText
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	out := map[string]any{}
	for name, one := range m {
		def := c.schema.Types[typ.NamedType].Fields.ForName(name)
		if def == nil {
			return nil, false
		}
		if out[name], ok = c.fit(def.Type, one); !ok {
			return nil, false
		}
	}
	return out, true
}

func (c *call) fitList(typ *ast.Type, v any) (any, bool) {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Slice {
		one, ok := c.fit(typ.Elem, v)
		return []any{one}, ok
	}
	list := make([]any, rv.Len())
	for i := range list {
		one, ok := c.fit(typ.Elem, rv.Index(i).Interface())
		if !ok {
			return nil, false
		}
		list[i] = one
	}
	return list, true
}

package app

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// list decodes a list, a mapping whose keys only number or name its entries,
// or, where the entries are plain values, one text with commas.
func (d *decoder) list(n *yaml.Node, at Pos, path string, v reflect.Value, tag reflect.StructTag) {
	elem := v.Type().Elem()
	var items []*yaml.Node
	switch {
	case n.Kind == yaml.SequenceNode:
		items = n.Content
	case n.Kind == yaml.MappingNode:
		entries := d.entries(n, path, exact)
		if d.oneOfList(entries, elem) {
			d.fail(at, path, `is one entry, not a list; begin each entry with "- "`)
			return
		}
		for _, e := range numbered(entries) {
			items = append(items, e.value)
		}
	case isPlain(reflect.New(elem).Elem()):
		d.commas(n, at, path, v, tag)
		return
	default:
		d.fail(at, path, `is %s; write a list, each entry with "- "`, kindOf(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		here := fmt.Sprintf("%s[%d]", path, i)
		if d.isNone(item, out.Index(i)) {
			d.stands(d.pos(item), here, out.Index(i))
			d.fail(d.pos(item), here, `is empty; fill it or take out the "- "`)
			d.unread[here] = true
			continue
		}
		d.value(item, d.pos(item), here, out.Index(i), tag)
		if d.stopped {
			return
		}
	}
	v.Set(out)
}

// oneOfList tells a forgotten dash from a mapping whose keys are numbers or
// names of the entries.
func (d *decoder) oneOfList(entries []entry, elem reflect.Type) bool {
	if elem.Kind() != reflect.Struct {
		return false
	}
	return slices.ContainsFunc(fieldsOf(elem), func(f field) bool {
		return slices.ContainsFunc(entries, func(e entry) bool { return fold(e.key.Value) == f.folded })
	})
}

// numbered puts entries whose keys are all numbers in their order, as Spring
// does; others stay as they stand.
func numbered(entries []entry) []entry {
	number := func(e entry) int {
		n, err := strconv.Atoi(e.key.Value)
		if err != nil {
			return -1
		}
		return n
	}
	if slices.ContainsFunc(entries, func(e entry) bool { return number(e) < 0 }) {
		return entries
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return number(a) - number(b) })
	return entries
}

func (d *decoder) commas(n *yaml.Node, at Pos, path string, v reflect.Value, tag reflect.StructTag) {
	text, _, ok := d.filled(n, at, path)
	if !ok {
		return
	}
	out, quote := reflect.MakeSlice(v.Type(), 0, 1), quoted(n)
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" || !d.step(n) {
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.text(part, quote, at, path, item, tag)
		out = reflect.Append(out, item)
	}
	v.Set(out)
}

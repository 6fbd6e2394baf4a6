package app

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Listeners are in the order of the file.
type Listeners []ListenerConfig

// A ListenerConfig is one source of notifications.
type ListenerConfig struct {
	At Pos

	// ID is the name under which it stands in the file.
	ID string

	// Type is one that LoadOptions.Listeners has.
	Type string

	// Options is what the function of that type made, filled from the file.
	Options any

	entries []entry // without type, until Options is filled
}

// listeners decodes what is the same for all types; which options a listener
// has is known only when message-listener-mode is.
func (d *decoder) listeners(n *yaml.Node, at Pos, path string, out *Listeners) {
	if n.Kind != yaml.MappingNode {
		d.fail(at, path, "is %s; write a mapping of names to their options", kindOf(n))
		return
	}
	entries := d.entries(n, path, exact)
	if len(entries) == 0 {
		d.fail(at, path, "none is given; add the source of the notifications")
	}
	for _, e := range entries {
		l := ListenerConfig{ID: e.key.Value, At: d.pos(e.key)}
		here := join(path, l.ID)
		d.at[here] = l.At
		options := resolve(e.value)
		if options.Kind != yaml.MappingNode && !isNull(options) && !d.isBlank(options) {
			d.fail(l.At, here, "is %s; write its options below it, indented", kindOf(options))
			continue
		}
		for _, o := range d.entries(options, here, fold) {
			if fold(o.key.Value) != "type" {
				l.entries = append(l.entries, o)
				continue
			}
			d.value(o.value, d.pos(o.key), join(here, "type"), reflect.ValueOf(&l.Type).Elem(), "")
		}
		*out = append(*out, l)
	}
}

// options decodes what is particular to a listener's type.
func (d *decoder) options(l *ListenerConfig, mode string, known map[string]func() any) {
	path := join("fluent-connect.listeners", l.ID)
	at := l.At
	if p, ok := d.at[join(path, "type")]; ok {
		at = p
	}
	if l.Type == "" {
		l.Type = mode
	}
	types := slices.Sorted(maps.Keys(known))
	if l.Type == "" {
		d.fail(at, path, `no type; add "type: %s" or message-listener-mode`, strings.Join(types, `" or "type: `))
		return
	}
	i := slices.IndexFunc(types, func(t string) bool { return fold(t) == fold(l.Type) })
	if i < 0 {
		d.fail(at, path, `this binary cannot listen to %q; it can to "%s"`, l.Type, strings.Join(types, `" and "`))
		return
	}
	l.Type = types[i]
	l.Options = known[l.Type]()
	v := reflect.ValueOf(l.Options)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		d.fail(at, path, "the options of type %s in this binary are no pointer to a struct, but %T", l.Type, l.Options)
		return
	}
	before := len(d.problems)
	d.stands(l.At, path, v.Elem())
	d.keys(l.entries, l.At, path, v.Elem())
	d.checkOptions(l, path, d.problems[before:])
	l.entries = nil // they may hold secrets as they stand in the file
}

// checkOptions asks the options what is wrong with them as a whole. Of a key
// that is wrong by itself enough is said; so is of a misspelt one, which may be
// what is missing.
func (d *decoder) checkOptions(l *ListenerConfig, path string, told []Problem) {
	c, ok := l.Options.(interface{ Check() []Problem })
	if !ok || slices.ContainsFunc(told, func(p Problem) bool { return strings.HasPrefix(p.What, "unknown key") }) {
		return
	}
	for _, p := range c.Check() {
		where, key := l.At, join(path, p.Key)
		if at, given := d.at[key]; given {
			where = at
		}
		if !slices.ContainsFunc(told, func(t Problem) bool { return t.Key == d.shown(key) }) {
			d.fail(where, key, "%s", p.What)
		}
	}
}

// MarshalYAML writes the listeners as the file has them.
func (ls Listeners) MarshalYAML() (any, error) {
	all := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, l := range ls {
		one := &yaml.Node{}
		if err := one.Encode(l.Options); err != nil {
			return nil, err
		}
		one.Content = slices.Concat([]*yaml.Node{textNode("type"), textNode(l.Type)}, one.Content)
		all.Content = append(all.Content, textNode(l.ID), one)
	}
	return all, nil
}

func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

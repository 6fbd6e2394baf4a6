package app

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Aliases of aliases can make much work of a small file: the values looked at,
// and the mappings merged into each other, are bounded.
const (
	maxSteps   = 50_000
	maxMerging = 32
)

// A decoder fills structs from YAML by their tags: yaml is the key, default
// what holds without it, required that there is none, min, max and oneof bound
// it; short marks the field that a plain value stands for, and unused a key
// that is known and ignored, with the reason. An empty value counts as none.
type decoder struct {
	file     string
	fill     filler
	at       map[string]Pos
	unread   map[string]bool // sections of which nothing was read, which is told
	hoisted  map[string]bool
	sections map[string][]string // by homes
	problems []Problem
	ignored  []Note
	steps    int
	merging  int
	stopped  bool
}

// A field is a struct's field that a key of the file fills.
type field struct {
	reflect.StructField
	key    string
	folded string // key, in the spelling by which keys are compared
}

func fieldsOf(t reflect.Type) []field {
	var fs []field
	for sf := range t.Fields() {
		key, _, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if key != "" && key != "-" {
			fs = append(fs, field{sf, key, fold(key)})
		}
	}
	return fs
}

// fold makes one of the spellings that Spring takes for one key: max-attempts,
// maxAttempts, max_attempts.
func fold(key string) string {
	return strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(key, "-", ""), "_", ""))
}

func exact(key string) string { return key }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) pos(n *yaml.Node) Pos { return Pos{d.file, n.Line, n.Column} }

// step counts the work, and ends it with one error when it is too much.
func (d *decoder) step(n *yaml.Node) bool {
	if d.steps++; d.steps > maxSteps {
		d.fail(d.pos(n), "", "aliases (*) go round in circles or stand for too many values; write the values out")
		d.stopped = true
	}
	return !d.stopped
}

// stands notes where a key stands, also in the section under it that has a
// field for that: what is refused there has its place like all else.
func (d *decoder) stands(at Pos, path string, v reflect.Value) {
	d.at[path] = at
	if v.Kind() != reflect.Struct {
		return
	}
	if f := v.FieldByName("At"); f.IsValid() && f.Type() == reflect.TypeFor[Pos]() {
		f.Set(reflect.ValueOf(at))
	}
}

// value decodes n into v. at is where its key stands.
func (d *decoder) value(n *yaml.Node, at Pos, path string, v reflect.Value, tag reflect.StructTag) {
	n = resolve(n)
	if !d.step(n) {
		return
	}
	d.stands(at, path, v)
	if l, ok := v.Addr().Interface().(*Listeners); ok {
		d.listeners(n, at, path, l)
		return
	}
	switch {
	case isScalar(v):
		d.scalar(n, at, path, v, tag)
	case v.Kind() == reflect.Struct:
		if f, ok := shortField(v.Type()); ok && n.Kind == yaml.ScalarNode {
			d.absent(at, path, v, "")
			d.scalar(n, at, path, v.FieldByIndex(f.Index), f.Tag)
			return
		}
		d.section(n, at, path, v)
	case v.Kind() == reflect.Slice:
		d.list(n, at, path, v, tag)
	default:
		d.fail(at, path, "this binary has options of type %s, which no file can hold", v.Type())
	}
}

func shortField(t reflect.Type) (field, bool) {
	for _, f := range fieldsOf(t) {
		if f.Tag.Get("short") != "" {
			return f, true
		}
	}
	return field{}, false
}

// section decodes a mapping into a struct.
func (d *decoder) section(n *yaml.Node, at Pos, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.noSection(n, at, path)
		return
	}
	d.keys(d.entries(n, path, fold), at, path, v)
}

func (d *decoder) noSection(n *yaml.Node, at Pos, path string) {
	d.fail(at, path, "is %s; write its keys below it, indented", kindOf(n))
	d.unread[path] = true
}

// keys decodes the entries of a mapping into a struct.
func (d *decoder) keys(entries []entry, at Pos, path string, v reflect.Value) {
	given := map[string]entry{}
	for _, e := range entries {
		given[fold(e.key.Value)] = e
	}
	var missing []string
	fields := fieldsOf(v.Type())
	meant := d.unknown(entries, fields, path)
	for _, f := range fields {
		e, ok := given[f.folded]
		child := join(path, f.key)
		switch {
		case f.Tag.Get("unused") != "":
			if ok {
				d.ignored = append(d.ignored, Note{d.pos(e.key), d.shown(child), f.Tag.Get("unused")})
			}
		case ok && !d.isNone(e.value, v.FieldByIndex(f.Index)):
			d.value(e.value, d.pos(e.key), child, v.FieldByIndex(f.Index), f.Tag)
		case f.Tag.Get("required") != "" && ok:
			d.fail(d.pos(e.key), child, "is empty; give it a value")
		case f.Tag.Get("required") != "" && !meant[f.key]:
			missing = append(missing, f.key)
		default:
			d.absent(at, child, v.FieldByIndex(f.Index), f.Tag)
		}
	}
	if len(missing) > 0 {
		d.fail(at, path, "%s no %s; add what is missing", has(path), either(missing))
	}
}

// isNone tells whether what stands where v is filled from counts as none. Of plain
// values d.scalar tells it, which fills them once.
func (d *decoder) isNone(n *yaml.Node, v reflect.Value) bool {
	return isNull(n) || !isScalar(v) && d.isBlank(n)
}

// isBlank tells whether n is a text that is empty once it is filled.
func (d *decoder) isBlank(n *yaml.Node) bool {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0 {
		return false
	}
	text, _, err := d.fill.fill(n.Value)
	return err == nil && text == ""
}

// absent gives v the defaults of its tags.
func (d *decoder) absent(at Pos, path string, v reflect.Value, tag reflect.StructTag) {
	if text, ok := tag.Lookup("default"); ok {
		d.text(text, strconv.Quote(text), at, path, v, tag)
		return
	}
	if v.Kind() == reflect.Struct && !isScalar(v) {
		for _, f := range fieldsOf(v.Type()) {
			if f.IsExported() {
				d.absent(at, join(path, f.key), v.FieldByIndex(f.Index), f.Tag)
			}
		}
	}
}

// isScalar tells whether one value of the file fills v.
func isScalar(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case *Secret, *Expr:
		return true
	}
	return isPlain(v)
}

// isPlain tells whether v depends on the value's text alone.
func isPlain(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return true
	}
	return false
}

// filled returns the text of a plain value with its placeholders replaced.
func (d *decoder) filled(n *yaml.Node, at Pos, path string) (text string, from []string, ok bool) {
	if n.Kind != yaml.ScalarNode {
		d.fail(at, path, "is %s; write one value", kindOf(n))
		return "", nil, false
	}
	if n.Style&yaml.TaggedStyle != 0 && (!strings.HasPrefix(n.ShortTag(), "!!") || n.ShortTag() == "!!binary") {
		d.fail(at, path, "has a YAML tag (!…) that means nothing here; take it out")
		return "", nil, false
	}
	text, from, err := d.fill.fill(n.Value)
	if err != nil {
		d.fail(at, path, "%v", err)
		return "", nil, false
	}
	return text, from, true
}

func (d *decoder) scalar(n *yaml.Node, at Pos, path string, v reflect.Value, tag reflect.StructTag) {
	text, from, ok := d.filled(n, at, path)
	if !ok {
		return
	}
	if text == "" {
		if tag.Get("required") != "" {
			d.fail(at, path, "is empty; give it a value")
			return
		}
		d.absent(at, path, v, tag)
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *Secret:
		*x = d.fill.secret(n.Value, from)
	case *Expr:
		*x = Expr{text, d.textPos(n)}
	default:
		d.text(text, quoted(n), at, path, v, tag)
	}
}

// textPos is where the text itself begins: behind a quote, below a | or >.
func (d *decoder) textPos(n *yaml.Node) Pos {
	p := d.pos(n)
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		p.Line, p.Column = p.Line+1, 0
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		p.Column++
	}
	return p
}

// text converts one value. Errors quote what stands in the file, never what a
// placeholder brought (promise 7).
func (d *decoder) text(text, quote string, at Pos, path string, v reflect.Value, tag reflect.StructTag) {
	if words := strings.Fields(tag.Get("oneof")); len(words) > 0 {
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, text) })
		if i < 0 {
			d.fail(at, path, "%s: not known here; write %s", quote, either(words))
			return
		}
		text = words[i]
	}
	n, err := convert(text, v)
	switch {
	case err != nil:
		d.fail(at, path, "%s: %v", quote, err)
	case n != nil:
		d.bounds(*n, quote, at, path, v, tag)
	}
}

// convert sets v to what text says. Numbers are returned, to be compared.
func convert(text string, v reflect.Value) (*float64, error) {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		dur, err := parseDuration(text)
		v.SetInt(int64(dur))
		return new(float64(dur)), err
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		err := u.UnmarshalText([]byte(text))
		if v.CanInt() {
			return new(float64(v.Int())), err
		}
		return nil, err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "yes", "on":
			v.SetBool(true)
		case "false", "no", "off":
			v.SetBool(false)
		default:
			return nil, fmt.Errorf("neither true nor false; write one of them")
		}
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return nil, fmt.Errorf("not a whole number; write digits only")
		}
		v.SetInt(n)
		return new(float64(n)), nil
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n-n != 0 { // infinities and NaN
			return nil, fmt.Errorf("not a number; write one such as 10 or 0.5")
		}
		v.SetFloat(n)
		return &n, nil
	}
	return nil, nil
}

// bounds holds a number to the tags min and max, which are of its own type.
func (d *decoder) bounds(n float64, quote string, at Pos, path string, v reflect.Value, tag reflect.StructTag) {
	limit := func(name string) (string, *float64) {
		text, ok := tag.Lookup(name)
		if !ok {
			return "", nil
		}
		l, err := convert(text, reflect.New(v.Type()).Elem())
		if err != nil {
			d.fail(at, path, "this binary bounds it by %q, which is none: %v", text, err)
			return "", nil
		}
		return text, l
	}
	if text, least := limit("min"); least != nil && n < *least {
		d.fail(at, path, "%s: less than %s; raise it", quote, text)
	}
	if text, most := limit("max"); most != nil && n > *most {
		d.fail(at, path, "%s: more than %s; lower it", quote, text)
	}
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "one value"
}

var (
	userOfURL  = regexp.MustCompile(`//[^/]*@`)
	queryOfURL = regexp.MustCompile(`\?.*`)
)

// quoted shows a value as it stands in the file: its placeholders unfilled, and
// without what a URL has of user, password and query (promise 7).
func quoted(n *yaml.Node) string {
	text := n.Value
	if strings.Contains(text, "//") {
		text = userOfURL.ReplaceAllString(text, "//"+redacted+"@")
		text = queryOfURL.ReplaceAllString(text, "?…")
	}
	return strconv.Quote(cut(text))
}

// has begins a sentence about a section, or about the file itself.
func has(path string) string {
	if path == "" {
		return "the file has"
	}
	return "has"
}

func either(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

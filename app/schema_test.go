package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
)

// The reference page and the editors' schema are made of the structs of
// config.go and the files beside it: their types, tags and comments. -update writes them.
func TestConfigReference(t *testing.T) {
	g := newGenerator(t)
	for file, want := range map[string][]byte{
		"../docs/configuration.md":                  g.reference(),
		"../docs/application-connector.schema.json": g.schema(t),
	} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what is generated; write it with: go test ./app -run TestConfigReference -update", file)
		}
	}
}

// Every key has a meaning.
func TestEveryKeyIsDescribed(t *testing.T) {
	g := newGenerator(t)
	for _, s := range g.sections() {
		for _, f := range fieldsOf(s.typ) {
			if f.Tag.Get("unused") == "" && g.comment(s.typ, f) == "" {
				t.Errorf("%s.%s has no comment", s.typ.Name(), f.Name)
			}
		}
	}
}

// A generator knows the comments of the types ("QueueConfig") and of their
// fields ("QueueConfig.Store").
type generator struct{ comments map[string]string }

func newGenerator(t *testing.T) *generator {
	t.Helper()
	g := &generator{map[string]string{}}
	for _, name := range []string{"config.go", "config_sources.go", "config_handlers.go", "config_control.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		g.read(file)
	}
	return g
}

func (g *generator) read(file *ast.File) {
	line := func(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			ts := spec.(*ast.TypeSpec)
			g.comments[ts.Name.Name] = line(gen.Doc)
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range st.Fields.List {
				name := fmt.Sprint(f.Type) // of an embedded field
				if len(f.Names) > 0 {
					name = f.Names[0].Name
				}
				g.comments[ts.Name.Name+"."+name] = line(f.Doc)
			}
		}
	}
}

func (g *generator) comment(t reflect.Type, f field) string { return g.comments[t.Name()+"."+f.Name] }

// A section is a struct and where its keys stand.
type section struct {
	path string
	typ  reflect.Type
	text string
}

// sections lists the structs in the order of the file.
func (g *generator) sections() []section {
	var all []section
	var walk func(path, text string, t reflect.Type)
	walk = func(path, text string, t reflect.Type) {
		all = append(all, section{path, t, text})
		for _, f := range fieldsOf(t) {
			child := join(path, f.key)
			switch k := kind(f.Type); {
			case f.Tag.Get("unused") != "":
			case k == "listeners":
				all = append(all,
					section{child + ".NAME: { type: sqs }", reflect.TypeFor[SQSConfig](), "A listener with `type: sqs`."},
					section{child + ".NAME: { type: webhook }", reflect.TypeFor[WebhookConfig](), "A listener with `type: webhook`."},
					section{child + ".NAME: { type: poll }", reflect.TypeFor[PollConfig](), "A listener with `type: poll`."})
			case k == "expression or section":
				all = append(all, section{path + ".FIELD", f.Type, "A field whose value is an expression or a section."})
			case k == "section", k == "one word or section":
				walk(child, g.comment(t, f), f.Type)
			case k == "list of sections":
				walk(child+"[]", g.comment(t, f), f.Type.Elem())
			}
		}
	}
	walk("", "Its sections, and the keys at the top.", reflect.TypeFor[Config]())
	// The fields of a mapping are one kind of section.
	seen := map[reflect.Type]bool{}
	return slices.DeleteFunc(all, func(s section) bool {
		again := seen[s.typ]
		seen[s.typ] = true
		return again
	})
}

func kind(t reflect.Type) string {
	v := reflect.New(t).Elem()
	switch v.Addr().Interface().(type) {
	case *Listeners:
		return "listeners"
	case *Secret:
		return "secret"
	case *Expr:
		return "expression"
	case *Size:
		return "size"
	case *time.Duration:
		return "duration"
	case *BaseURL:
		return "https URL"
	case *Endpoint:
		return "URL"
	case *NATSURL:
		return "nats URL"
	case *Address:
		return "host:port"
	case *URLPath:
		return "path"
	case *Since:
		return "`now`, `beginning` or a time"
	}
	switch {
	case t.Kind() == reflect.Slice && kind(t.Elem()) == "section":
		return "list of sections"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Struct:
		switch f, ok := shortField(t); {
		case ok && f.Type == reflect.TypeFor[Expr]():
			return "expression or section"
		case ok:
			return "one word or section"
		}
		return "section"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "whole number"
	case t.Kind() == reflect.Float64:
		return "number"
	}
	return "text"
}

const introduction = `# Configuration

<!-- Generated from app/config.go by: go test ./app -run TestConfigReference -update -->

ct2fluent reads one file, ` + "`application-connector.yml`" + ` in the directory it is started in, or what ` + "`--config`" + `
names. [application-connector.example.yml](application-connector.example.yml) shows every key;
[application-connector.schema.json](application-connector.schema.json) is for editors. ` + "`ct2fluent check`" + ` prints
the file as understood.

- **Strict.** A key that is not known, a wrong type, a value out of range, a missing key: each is told with its line and
  remedy, all at once, and nothing starts.
- **Spelling.** ` + "`max-attempts`, `maxAttempts` and `max_attempts`" + ` are one key.
- **Nothing is nothing.** An empty value (also ` + "`~`, `\"\"`" + `, or an empty placeholder) counts as none: the default holds.
- **Lists** may be written as a list, as a mapping whose keys number or name the entries, and, of plain values, as one
  text with commas.
- **Placeholders** may stand in every value and are filled after the YAML is read, so that a value cannot bring YAML with
  it. ` + "`${NAME}`" + ` is the environment's NAME, and an error where it is not set; ` + "`${NAME:text}`" + ` has a default behind the first
  colon, which may be empty or hold placeholders. ` + "`${file:/path}`" + ` is the text of a file without the newline at its end.
  ` + "`$${`" + ` stands for ` + "`${`" + ` itself. Between ` + "`{ }` and `[ ]`" + `, put them in quotes.
- **Secrets** are never printed. One given by ` + "`${file:…}`" + ` is read again when it is refused; one from the environment cannot be.
- **Durations** have a unit: ` + "`500ms`, `10s`, `1m30s`, `1h`" + `. **Sizes** are bytes or have a unit: ` + "`64MiB`, `8GiB`, `10MB`" + `.
- **Paths** that are relative are relative to the directory ct2fluent is started in.
- **Keys of Fluent's Java connector** that are not used here are named at the start, with the reason.
`

func (g *generator) reference() []byte {
	var out bytes.Buffer
	out.WriteString(introduction)
	for _, s := range g.sections() {
		title := "`" + s.path + "`"
		if s.path == "" {
			title = "The file"
		}
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title, s.text)
		var unused []string
		for _, f := range fieldsOf(s.typ) {
			if why := f.Tag.Get("unused"); why != "" {
				unused = append(unused, fmt.Sprintf("- `%s`: %s\n", f.key, why))
				continue
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", f.key, valueOf(f), defaultOf(f), g.comment(s.typ, f))
		}
		if unused != nil {
			fmt.Fprintf(&out, "\nKnown and ignored:\n\n%s", strings.Join(unused, ""))
		}
	}
	return out.Bytes()
}

func valueOf(f field) string {
	if words := strings.Fields(f.Tag.Get("oneof")); len(words) > 0 {
		return "`" + strings.Join(words, "`, `") + "`"
	}
	value := kind(f.Type)
	least, most := f.Tag.Get("min"), f.Tag.Get("max")
	switch {
	case least != "" && most != "":
		value += ", " + least + " to " + most
	case least != "":
		value += ", from " + least
	}
	return value
}

func defaultOf(f field) string {
	switch text, ok := f.Tag.Lookup("default"); {
	case ok:
		return "`" + text + "`"
	case f.Tag.Get("required") != "":
		return "**required**"
	}
	return ""
}

// An object is JSON whose keys keep their order.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	out := []byte("{")
	for i, m := range o {
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	return append(out, '}'), nil
}

func (g *generator) schema(t *testing.T) []byte {
	defs := object{}
	for _, s := range g.sections() {
		defs = append(defs, member{s.typ.Name(), g.structSchema(s.typ)})
	}
	whole := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "application-connector.yml of ct2fluent"},
		{"$ref", "#/$defs/Config"},
		{"$defs", defs},
	}
	text, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

func (g *generator) structSchema(t reflect.Type) object {
	properties, patterns, required := object{}, object{}, []any{}
	add := func(key string, schema object, ref string) {
		properties = append(properties, member{key, schema})
		if p := relaxed(key); p != "" {
			patterns = append(patterns, member{p, object{{"$ref", ref + "/properties/" + key}}})
		}
	}
	here := "#/$defs/" + t.Name()
	for _, f := range fieldsOf(t) {
		if why := f.Tag.Get("unused"); why != "" {
			add(f.key, object{{"description", "Ignored: " + why + "."}, {"deprecated", true}}, here)
			continue
		}
		add(f.key, append(object{{"description", g.comment(t, f)}}, g.valueSchema(f)...), here)
		if f.Tag.Get("required") != "" {
			required = append(required, anySpelling(f.key))
		}
	}
	switch t {
	case reflect.TypeFor[Config]():
		for _, f := range fieldsOf(reflect.TypeFor[ConnectConfig]()) {
			if f.key == "listeners" || f.key == "routes" || f.key == "route-mapping" {
				add(f.key, object{{"$ref", "#/$defs/ConnectConfig/properties/" + f.key}}, here)
			}
		}
	case reflect.TypeFor[SQSConfig](), reflect.TypeFor[WebhookConfig](), reflect.TypeFor[PollConfig]():
		add("type", object{{"type", "string"}}, here)
	}
	s := object{{"type", []string{"object", "null"}}, {"properties", properties}}
	if len(patterns) > 0 {
		s = append(s, member{"patternProperties", patterns})
	}
	if len(required) > 0 {
		s = append(s, member{"allOf", required})
	}
	return append(s, member{"additionalProperties", false})
}

// words parts a key where its spellings differ: max-attempts, firstName.
func words(key string) []string {
	var spaced strings.Builder
	for _, r := range key {
		switch {
		case r == '-':
			r = ' '
		case unicode.IsUpper(r):
			spaced.WriteRune(' ')
			r = unicode.ToLower(r)
		}
		spaced.WriteRune(r)
	}
	return strings.Fields(spaced.String())
}

// relaxed matches the spellings of a key; empty where there is one only.
func relaxed(key string) string {
	ws := words(key)
	if len(ws) == 1 {
		return ""
	}
	for i, w := range ws[1:] {
		ws[i+1] = fmt.Sprintf("[%s%c]%s", strings.ToUpper(w[:1]), w[0], w[1:])
	}
	return "^" + strings.Join(ws, "[-_]?") + "$"
}

func anySpelling(key string) object {
	ws := words(key)
	camel := ws[0]
	for _, w := range ws[1:] {
		camel += strings.ToUpper(w[:1]) + w[1:]
	}
	var any []object
	spellings := []string{key, strings.Join(ws, "-"), camel, strings.Join(ws, "_")}
	slices.Sort(spellings[1:])
	for i, s := range spellings {
		if !slices.Contains(spellings[:i], s) {
			any = append(any, object{{"required", []string{s}}})
		}
	}
	if len(any) == 1 {
		return any[0]
	}
	return object{{"anyOf", any}}
}

// placeholder is what may stand in place of every value that is not text.
var placeholder = object{{"type", "string"}, {"pattern", `\$\{`}}

func (g *generator) valueSchema(f field) object {
	ref := func(t reflect.Type) object { return object{{"$ref", "#/$defs/" + t.Name()}} }
	anyOf := func(schemas ...object) object { return object{{"anyOf", append(schemas, object{{"type", "null"}})}} }
	listOf := func(item object) object {
		return anyOf(object{{"type", "array"}, {"items", item}}, object{{"type", "object"}, {"additionalProperties", item}})
	}
	plain := object{{"type", []string{"string", "number", "boolean", "null"}}}
	if words := strings.Fields(f.Tag.Get("oneof")); len(words) > 0 {
		return withDefault(f, anyOf(object{{"enum", words}}, placeholder))
	}
	switch kind(f.Type) {
	case "section":
		return ref(f.Type)
	case "list of sections":
		return listOf(ref(f.Type.Elem()))
	case "list":
		list := listOf(plain)
		list[0].value = append(list[0].value.([]object), object{{"type", []string{"string", "number", "boolean"}}})
		return list
	case "expression or section", "one word or section":
		return anyOf(plain, ref(f.Type))
	case "listeners":
		return object{{"type", []string{"object", "null"}}, {"additionalProperties", object{{"type", []string{"object", "null"}}, {"allOf", []object{
			whenType("sqs", ref(reflect.TypeFor[SQSConfig]())), whenType("webhook", ref(reflect.TypeFor[WebhookConfig]())),
			whenType("poll", ref(reflect.TypeFor[PollConfig]())),
		}}}}}
	case "true or false":
		return withDefault(f, anyOf(object{{"enum", []any{true, false, "true", "false", "yes", "no", "on", "off"}}}, placeholder))
	case "whole number", "number":
		number := object{{"type", map[string]string{"whole number": "integer", "number": "number"}[kind(f.Type)]}}
		for _, bound := range []struct{ tag, keyword string }{{"min", "minimum"}, {"max", "maximum"}} {
			if n, err := strconv.ParseFloat(f.Tag.Get(bound.tag), 64); err == nil {
				number = append(number, member{bound.keyword, n})
			}
		}
		return withDefault(f, anyOf(number, object{{"type", "string"}, {"pattern", `\$\{|^[0-9.]+$`}}))
	case "duration":
		return withDefault(f, anyOf(object{{"type", "string"}, {"pattern", `\$\{|^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`}}, object{{"const", 0}}))
	case "size":
		return withDefault(f, anyOf(object{{"type", "string"}, {"pattern", `\$\{|` + sizeText.String()}}, object{{"type", "integer"}, {"minimum", 0}}))
	}
	return withDefault(f, plain)
}

func whenType(name string, then object) object {
	return object{
		{"if", object{{"properties", object{{"type", object{{"const", name}}}}}, {"required", []string{"type"}}}},
		{"then", then},
	}
}

func withDefault(f field, schema object) object {
	text, ok := f.Tag.Lookup("default")
	if !ok {
		return schema
	}
	var value any = text
	switch kind(f.Type) {
	case "whole number", "number", "true or false":
		value = json.RawMessage(text)
	}
	return append(schema, member{"default", value})
}

package app

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parseYAML returns the one document of the file. Its errors do not pass on
// texts of the parser that could repeat a value (promise 7): an unquoted
// password that begins with * is an unknown anchor to it.
func (d *decoder) parseYAML(data []byte) *yaml.Node {
	var docs []yaml.Node
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		line, what := syntaxError(data, err)
		d.fail(Pos{d.file, line, 0}, "", "%s", what)
		return nil
	}
	switch {
	case len(docs) > 1:
		d.fail(Pos{d.file, docs[1].Line, 0}, "", "a second document begins here; the file is one document, take out the line ---")
	case len(docs) == 0 || len(docs[0].Content) == 0 || isNull(docs[0].Content[0]):
		d.fail(Pos{d.file, 1, 0}, "", "the file is empty; it needs fluent-connect with listeners, and accounts")
	case resolve(docs[0].Content[0]).Kind != yaml.MappingNode:
		d.fail(Pos{d.file, 1, 0}, "", "the file is %s; it needs keys, such as fluent-connect and accounts", kindOf(docs[0].Content[0]))
	default:
		return docs[0].Content[0]
	}
	return nil
}

func syntaxError(data []byte, err error) (line int, what string) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return 1, "not YAML; correct the file"
	}
	if le.Stage == yaml.ReaderStage {
		return badCharacter(data)
	}
	line = le.Mark.Line
	// An unclosed bracket or quote is noticed at the end of the file; what
	// helps is where it was opened.
	if le.ContextMark.Line > 0 {
		line = le.ContextMark.Line
	}
	text := lineOf(data, line)
	switch {
	case strings.Contains(le.Message, "unknown anchor"):
		return line, "an alias (*) to an anchor that is not set; put a value that begins with * in quotes"
	case strings.Contains(le.Message, "cannot start any token") && strings.Contains(indentOf(text), "\t"):
		return line, "indented with a tab; YAML takes spaces only"
	case strings.Contains(le.Message, "cannot start any token"):
		return line, "a value begins with a character that YAML reserves (@, `, % or a tab); put it in quotes"
	case strings.Contains(le.Message, "mapping values are not allowed"):
		return line, "a colon where none may be; check the indentation here and above, and put values that hold \": \" in quotes"
	case strings.Contains(le.Message, "max depth"):
		return line, "nested too deeply; correct the brackets"
	case strings.Contains(text, "${") && strings.ContainsAny(text, "{["):
		return line, "not YAML; put placeholders between { } or [ ] in quotes: \"${NAME}\""
	case le.ContextMsg != "":
		return line, fmt.Sprintf("not YAML: %s; correct the quotes, brackets and indentation", le.ContextMsg)
	}
	return line, "not YAML; correct the quotes, brackets and indentation"
}

// badCharacter finds what the parser's reader refused without a place.
func badCharacter(data []byte) (line int, what string) {
	line = 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, "a byte that is not UTF-8; save the file as UTF-8"
		case r == '\n':
			line++
		case r < ' ' && r != '\t' && r != '\r' || r == 0x7f:
			return line, fmt.Sprintf("a control character (%U); take it out", r)
		}
		data = data[size:]
	}
	return 1, "holds a character that YAML does not take; save the file as UTF-8"
}

func lineOf(data []byte, line int) string {
	for i, l := range bytes.Split(data, []byte("\n")) {
		if i == line-1 {
			return string(l)
		}
	}
	return ""
}

func indentOf(line string) string {
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = resolve(n)
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// An entry is a key of a mapping and what stands under it.
type entry struct {
	key   *yaml.Node
	value *yaml.Node
}

// entries lists a mapping with its merged ones (<<), which what stands in it
// overrides. same tells which keys are one; two of one are an error.
func (d *decoder) entries(n *yaml.Node, path string, same func(string) string) []entry {
	var own, merged []entry
	seen := map[string]int{} // the line of each key
	for i := 0; i+1 < len(n.Content) && d.step(n.Content[i]); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.fail(d.pos(key), path, "a key that is a list or a mapping; write a name")
			continue
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, d.merged(value, path, same)...)
			continue
		}
		if line, twice := seen[same(key.Value)]; twice {
			d.fail(d.pos(key), join(path, key.Value), "stands twice, first on line %d; keep one", line)
			continue
		}
		seen[same(key.Value)] = key.Line
		own = append(own, entry{key, value})
	}
	for _, e := range merged {
		if _, overridden := seen[same(e.key.Value)]; !overridden {
			seen[same(e.key.Value)] = e.key.Line
			own = append(own, e)
		}
	}
	return own
}

// merged lists what << brings: a mapping, or several in a list.
func (d *decoder) merged(n *yaml.Node, path string, same func(string) string) []entry {
	if d.merging++; d.merging > maxMerging {
		d.steps = maxSteps
	}
	defer func() { d.merging-- }()
	parts := []*yaml.Node{n}
	if list := resolve(n); list.Kind == yaml.SequenceNode {
		parts = list.Content
	}
	var all []entry
	for _, part := range parts {
		part = resolve(part)
		if !d.step(part) {
			return nil
		}
		if part.Kind != yaml.MappingNode {
			d.fail(d.pos(n), path, "<< merges something that is not a mapping; name an anchored mapping")
			return nil
		}
		all = append(all, d.entries(part, path, same)...)
	}
	return all
}

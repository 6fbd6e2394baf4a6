package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	maxFileLen  = 256 << 10
	maxProblems = 50   // told
	maxCounted  = 1000 // looked for
)

// A Pos is a place in a file. Line and Column count from 1; 0 is unknown.
type Pos struct {
	File         string
	Line, Column int
}

func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// An Expr is the text of an expression and where it begins. An empty text
// leaves the field to its default.
type Expr struct {
	Text string
	At   Pos
}

// MarshalText writes the text.
func (e Expr) MarshalText() ([]byte, error) { return []byte(e.Text), nil }

// IsZero tells whether no expression is given.
func (e Expr) IsZero() bool { return e.Text == "" }

// A Note says that a key of the file is known and not used, and why.
type Note struct {
	Where Pos
	Key   string
	Why   string
}

func (n Note) String() string { return fmt.Sprintf("%v: %s: ignored: %s", n.Where, n.Key, n.Why) }

// A Problem is one mistake of the file, and the remedy.
type Problem struct {
	Where Pos
	Key   string // empty for the file itself
	What  string
}

func (p Problem) String() string {
	if p.Key == "" {
		return fmt.Sprintf("%v: %s", p.Where, p.What)
	}
	return fmt.Sprintf("%v: %s: %s", p.Where, p.Key, p.What)
}

// A ConfigError holds every mistake of the file, in its order.
type ConfigError struct{ Problems []Problem }

// Error has one line for each problem.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads the configuration and looks up what its placeholders name. An
// error is a *ConfigError (exit code 2) and names everything that is wrong.
func Load(path string, o LoadOptions) (*Config, error) {
	data, err := readConfig(path)
	if err != nil {
		return nil, &ConfigError{[]Problem{{Where: Pos{File: path}, What: err.Error()}}}
	}
	return parseConfig(path, data, o)
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("no such file; make one, or name another with --config")
	}
	if err != nil {
		return nil, bareFileError(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileLen+1))
	if err != nil {
		return nil, bareFileError(err)
	}
	if len(data) > maxFileLen {
		return nil, fmt.Errorf("larger than %v; this is no configuration", Size(maxFileLen))
	}
	return data, nil
}

func parseConfig(path string, data []byte, o LoadOptions) (*Config, error) {
	if o.Listeners == nil {
		o.Listeners = map[string]func() any{
			"sqs":     func() any { return new(SQSConfig) },
			"webhook": func() any { return new(WebhookConfig) },
			"poll":    func() any { return new(PollConfig) },
		}
	}
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if o.Open == nil {
		o.Open = func(name string) (io.ReadCloser, error) { return os.Open(name) }
	}
	d := &decoder{file: path, fill: filler{o.LookupEnv, o.Open}, at: map[string]Pos{}, unread: map[string]bool{}, hoisted: map[string]bool{}}
	c := &Config{file: path, at: d.at}
	if root := d.parseYAML(data); root != nil {
		root = d.hoist(root)
		d.value(root, d.pos(root), "", reflect.ValueOf(c).Elem(), "")
		if !d.stopped {
			d.check(c, o)
		}
	}
	if len(d.problems) > 0 {
		return nil, &ConfigError{inOrder(d.problems)}
	}
	slices.SortStableFunc(d.ignored, func(a, b Note) int { return cmp.Compare(a.Where.Line, b.Where.Line) })
	c.Ignored = d.ignored
	return c, nil
}

func inOrder(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Where.Line, b.Where.Line) })
	problems = slices.Compact(problems)
	if more := len(problems) - maxProblems; more > 0 {
		last := problems[maxProblems]
		problems = append(problems[:maxProblems], Problem{Where: last.Where, What: fmt.Sprintf("and %d more from here on; correct these first", more)})
	}
	return problems
}

// At returns where a key stands: "queue.store", "accounts[0].fluent.password",
// "fluent-connect.listeners.push.token". A key that does not stand in the file
// has the place of the section around it, or of the file.
func (c *Config) At(key string) Pos {
	for key != "" {
		if p, ok := c.at[key]; ok {
			return p
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return Pos{File: c.file}
}

// fail notes a mistake. Once the decoder has stopped, what is missing is so for
// that reason alone.
func (d *decoder) fail(at Pos, path, format string, args ...any) {
	if d.stopped {
		return
	}
	d.problems = append(d.problems, Problem{at, d.shown(path), fmt.Sprintf(format, args...)})
	d.stopped = len(d.problems) >= maxCounted
}

// shown is a path as the user wrote it.
func (d *decoder) shown(path string) string {
	rest, ok := strings.CutPrefix(path, "fluent-connect.")
	if first, _, _ := strings.Cut(rest, "."); ok && d.hoisted[strings.SplitN(first, "[", 2)[0]] {
		return rest
	}
	return path
}

// hoist moves what may stand at the top of the file as well to where it is
// decoded, under fluent-connect.
func (d *decoder) hoist(root *yaml.Node) *yaml.Node {
	canonical := map[string]string{"listeners": "listeners", "routemapping": "route-mapping", "routes": "routes"}
	var top, moved []*yaml.Node
	section := &yaml.Node{Kind: yaml.MappingNode, Line: root.Line, Column: root.Column}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		switch {
		case canonical[fold(key.Value)] != "":
			moved = append(moved, key, value)
			continue
		case fold(key.Value) == "fluentconnect" && resolve(value).Kind == yaml.MappingNode:
			section = resolve(value)
		}
		top = append(top, key, value)
	}
	if len(moved) == 0 {
		return root
	}
	under := map[string]int{} // the line of each key of the section
	for i := 0; i < len(section.Content); i += 2 {
		under[fold(section.Content[i].Value)] = section.Content[i].Line
	}
	joined := *section
	joined.Content = slices.Clone(section.Content)
	for i := 0; i < len(moved); i += 2 {
		name := fold(moved[i].Value)
		if line, twice := under[name]; twice {
			d.fail(d.pos(moved[i]), moved[i].Value, "stands at the top of the file and under fluent-connect (line %d); keep one", line)
			continue
		}
		d.hoisted[canonical[name]] = true
		joined.Content = append(joined.Content, moved[i], moved[i+1])
	}
	for i := 0; i < len(top); i += 2 {
		if fold(top[i].Value) != "fluentconnect" {
			continue
		}
		if value := resolve(top[i+1]); value.Kind != yaml.MappingNode && !isNull(value) && !d.isBlank(value) {
			d.noSection(value, d.pos(top[i]), "fluent-connect")
		} else if value.Kind == yaml.MappingNode && value != section {
			continue // a second one, which is told when the keys are looked at
		}
		top[i+1] = &joined
	}
	if !slices.Contains(top, &joined) {
		top = append(top, &yaml.Node{Kind: yaml.ScalarNode, Value: "fluent-connect", Line: moved[0].Line, Column: moved[0].Column}, &joined)
	}
	whole := *root
	whole.Content = top
	return &whole
}

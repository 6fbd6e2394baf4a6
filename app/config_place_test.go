package app

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
)

// Whatever stands under a key in place of what belongs there, each mistake is
// told with the place of that key.
func TestMistakesHaveTheirPlace(t *testing.T) {
	wrong := []string{
		"", "~", `""`, "x", "-1", "${NONE}", "!t x", "*n",
		"{}", "{ x: x }", "{ 0: ~ }", "{ ? [] : x }", "{ <<: x }", "{ <<: [~] }", "{ <<: *n }",
		"[]", "[~]", "[x]", "[[]]", "[{}]", "[{ x: x }]", "[*n]", "[{ <<: *n }]", `[""]`, "[!t x]",
	}
	const listeners, line = "listeners: { q: %s }", 3
	lines := append(linesOf(reflect.TypeFor[Config](), "%s"), "listeners: %s", listeners, fmt.Sprintf(listeners, "{ type: %s }"))
	for name, options := range map[string]reflect.Type{
		"sqs": reflect.TypeFor[SQSConfig](), "webhook": reflect.TypeFor[WebhookConfig](), "poll": reflect.TypeFor[PollConfig](),
	} {
		lines = append(lines, linesOf(options, fmt.Sprintf(listeners, "{ type: "+name+", %s }"))...)
	}
	for _, l := range lines {
		t.Run(l, func(t *testing.T) {
			for _, w := range wrong {
				text := whole("# a comment\nspring: &n ~\n" + fmt.Sprintf(l, w) + "\n")
				for _, p := range problemsOf(t, text) {
					if p.Where != (Pos{"a.yml", line, p.Where.Column}) || p.What == "" {
						t.Errorf("%s: no place, another or no text: %v", w, p)
					}
				}
			}
		})
	}
}

// linesOf has a line of YAML for each key of t, with %s for what stands under
// it; in is the line around t.
func linesOf(t reflect.Type, in string) (lines []string) {
	for _, f := range fieldsOf(t) {
		if f.Tag.Get("unused") != "" {
			continue
		}
		lines = append(lines, fmt.Sprintf(in, f.key+": %s"))
		ft, inner := f.Type, "{ %s }"
		if ft.Kind() == reflect.Slice {
			ft, inner = ft.Elem(), "[{ %s }]"
		}
		if ft.Kind() == reflect.Struct && !isScalar(reflect.New(ft).Elem()) {
			lines = append(lines, linesOf(ft, fmt.Sprintf(in, f.key+": "+inner))...)
		}
	}
	return lines
}

func problemsOf(t *testing.T, text string) []Problem {
	t.Helper()
	_, err := parseConfig("a.yml", []byte(text), testOptions(nil))
	if err == nil {
		return nil
	}
	var ce *ConfigError
	if !errors.As(err, &ce) || len(ce.Problems) == 0 {
		t.Fatalf("got %v", err)
	}
	return ce.Problems
}

package app

import (
	"io"
	"strings"
	"testing"
)

func TestFill(t *testing.T) {
	env := map[string]string{"A": "a", "EMPTY": "", "TRICK": "${A} $${A} ${file:/secret}", "my.name-1": "dotted"}
	f := filler{
		lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		open: func(name string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("text of " + name + "\n")), nil
		},
	}
	tests := []struct{ name, text, want string }{
		{"none", "plain $A {A} $ $$", "plain $A {A} $ $$"},
		{"empty", "", ""},
		{"one", "${A}", "a"},
		{"within text", "x${A}y${A}z", "xayaz"},
		{"set to nothing", "[${EMPTY:default}]", "[]"},
		{"default", "${B:default}", "default"},
		{"empty default", "[${B:}]", "[]"},
		{"the first colon parts name from default", "${B:https://host:80/a}", "https://host:80/a"},
		{"placeholder in a default", "${B:x${A}y}", "xay"},
		{"default of a default", "${B:${C:c}}", "c"},
		{"braces in a default", `${B:{"a":{}}}`, `{"a":{}}`},
		{"an unused default is not looked at", "${A:${B}}", "a"},
		{"what was filled in is not looked at again", "${TRICK}", "${A} $${A} ${file:/secret}"},
		{"a name with dots and dashes", "${my.name-1}", "dotted"},
		{"escaped", "$${A} ${A} $${", "${A} a ${"},
		{"a file", "${file:/run/a:b}", "text of /run/a:b"},
		{"a file named by the environment", "${file:/run/${A}}", "text of /run/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := f.fill(tt.text)
			if got != tt.want || err != nil {
				t.Errorf("fill(%q) = %q, %v; want %q", tt.text, got, err, tt.want)
			}
		})
	}
}

// However a file nests placeholders, filling them takes little.
func TestFillIsBounded(t *testing.T) {
	f := filler{lookup: func(string) (string, bool) { return "", false }}
	for _, text := range []string{
		strings.Repeat("${a:", 200_000) + strings.Repeat("}", 200_000),
		strings.Repeat("${a:", 200_000),
		strings.Repeat("{", 200_000) + "${" + strings.Repeat("{", 200_000),
	} {
		if _, _, err := f.fill(text); err == nil {
			t.Errorf("%.20s… was filled", text)
		}
	}
}

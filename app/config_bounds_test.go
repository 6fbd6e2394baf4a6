package app

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// No file that is read keeps the start waiting, whatever it is made of.
func TestLoadIsBounded(t *testing.T) {
	var unknown strings.Builder
	for i := range maxFileLen / 10 {
		fmt.Fprintf(&unknown, "a%d:\n", i)
	}
	many := func(s string, before, after string) string {
		return before + strings.Repeat(s, (maxFileLen-len(before)-len(after))/len(s)) + after
	}
	tests := []struct{ name, text string }{
		{"unknown keys", unknown.String()},
		{"unknown keys of sections", many("  - {a: 1}\n", "accounts:\n", "")},
		{"open brackets", many("[", "", "")},
		{"nested mappings", strings.Repeat("{a: ", 9000) + strings.Repeat("}", 9000)},
		{"aliases", many(", *b", "mapping: {attributes: [&b {name: x, value: customer.id}", "]}\n")},
		{"expressions", many("    - {name: x, value: customer.email}\n", "mapping:\n  attributes:\n", "")},
		{"commas", many("a,", "control: {hosts: '", "'}\n")},
		{"documents", many("---\n", "", "")},
		{"placeholders", many("${NUM}", "control: {hosts: '", "'}\n")},
		{"unclosed placeholders", many("${", "control: {hosts: '", "'}\n")},
		{"a URL of signs", many("@", "control: {address: '//", "'}\n")},
		{"merges", many("<<: {}\n", "", "")},
		{"one long key", many("a", "", ": 1\n")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			if _, err := parseConfig("a.yml", []byte(tt.text), testOptions(nil)); err == nil {
				t.Error("it was loaded")
			} else if len(err.Error()) > 100_000 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			// Generous: the slowest takes a second on a busy machine.
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

package app

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

const redacted = "<secret>"

// A Secret is a value of the configuration that is never printed: fmt, slog,
// JSON and YAML all show <secret> (promise 7). The zero Secret is not set.
// Safe for concurrent use.
//
// It holds functions only, so that not even fmt's look into the unexported
// fields of a struct around it finds the value.
type Secret struct {
	value  func() (string, error)
	source string
}

// Value returns the secret. One given by ${file:…} is read again each time, so
// that a rotated one is found; an error says which file could not be read.
func (s Secret) Value() (string, error) {
	if s.value == nil {
		return "", nil
	}
	return s.value()
}

// Source tells where the secret comes from, for people who must change it:
// "environment CT_CLIENT_SECRET", "file /run/secrets/x" or "configuration file
// (in clear text)"; empty when it is not set.
func (s Secret) Source() string { return s.source }

// IsZero tells whether the secret is not set.
func (s Secret) IsZero() bool { return s.value == nil }

// Format prints <secret> under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue makes slog print <secret>.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText makes JSON and YAML print <secret>.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// secret makes the Secret of a scalar that was filled once without an error.
func (f filler) secret(scalar string, from []string) Secret {
	return Secret{
		value: func() (string, error) {
			text, _, err := f.fill(scalar)
			return text, err
		},
		source: strings.Join(from, " and "),
	}
}

// whence says where secrets come from, and whether they are read again once
// they were refused (CONTRACT, Start).
func whence(secrets ...Secret) string {
	var from []string
	again := true
	for _, s := range secrets {
		for _, source := range strings.Split(s.source, " and ") {
			again = again && strings.HasPrefix(source, "file ")
			if !slices.Contains(from, source) {
				from = append(from, source)
			}
		}
	}
	if again {
		return "secrets come from " + strings.Join(from, " and ") + ", and are read again before each try"
	}
	return "secrets come from " + strings.Join(from, " and ") + "; only files are read again: after any other change start again"
}

package app

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is generated or expected anew")

const (
	testAccounts = `
accounts:
  - commercetools: { project-key: p1, api-url: https://ct.example, auth-url: https://ct.example, client-id: c, client-secret: s }
    fluent: { base-url: https://f.example, account: A, retailer-id: 1, client-id: c, client-secret: s, username: u, password: p }
`
	testListeners = `
listeners:
  ct-queue: { type: sqs, name: q }
`
)

// whole adds what a piece of a file lacks, below it.
func whole(piece string) string {
	if !strings.Contains("\n"+piece, "\naccounts:") {
		piece += testAccounts
	}
	if !strings.Contains(piece, "listeners:") {
		piece += testListeners
	}
	return piece
}

var testEnv = map[string]string{
	"EMPTY": "", "NUM": "3", "SECRET_TEXT": "hush", "YAML": "a\nlog: { level: debug }",
	"CT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/1/q", "PUSH_TOKEN": "hush",
	"CT_CLIENT_ID": "id", "CT_CLIENT_SECRET": "hush", "CONTROL_TOKEN": "hush",
	"FLUENT_CLIENT_ID": "id", "FLUENT_CLIENT_SECRET": "hush", "FLUENT_USERNAME": "user", "FLUENT_PASSWORD": "hush",
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }

func testOptions(files map[string]string) LoadOptions {
	return LoadOptions{
		LookupEnv: func(name string) (string, bool) { v, ok := testEnv[name]; return v, ok },
		Open: func(name string) (io.ReadCloser, error) {
			text, ok := files[name]
			switch {
			case ok:
				return io.NopCloser(strings.NewReader(text)), nil
			case name == "/run/secrets/endless":
				return endless{}, nil
			case name == "/run/secrets/locked":
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	}
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := parseConfig("application-connector.yml", []byte(text), testOptions(nil))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

// Each file of testdata/config/bad is refused with the lines beside it.
func TestLoadRefuses(t *testing.T) {
	files, err := filepath.Glob("testdata/config/bad/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseConfig("application-connector.yml", []byte(complete(text)), testOptions(nil))
			var ce *ConfigError
			if !errors.As(err, &ce) {
				t.Fatalf("loaded with %v", err)
			}
			got := ce.Error() + "\n"
			want := strings.TrimSuffix(file, ".yml") + ".txt"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			wanted, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(wanted) {
				t.Errorf("got\n%swant\n%s", got, wanted)
			}
			if strings.Contains(got, "hush") {
				t.Errorf("a secret is in the error:\n%s", got)
			}
		})
	}
}

// complete adds accounts and listeners to what is a mapping with keys.
func complete(text []byte) string {
	if !bytes.Contains(text, []byte(":")) {
		return string(text)
	}
	return whole(string(text))
}

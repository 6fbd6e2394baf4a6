package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/std"
)

const top = "../.."

// documents are the texts for users by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	read := func(name string) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	read(top + "/README.md")
	err := filepath.WalkDir(top+"/docs", func(name string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(name) == ".md" {
			read(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// joined is the text of the files that match.
func joined(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: nothing matches: %v", pattern, err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

var (
	fenced  = regexp.MustCompile("(?s)```(\\w*)\n(.*?)```")
	inline  = regexp.MustCompile("`([^`\n]+)`")
	command = regexp.MustCompile(`^(ct2fluent|dead|go|bash) \S`)
	verb    = regexp.MustCompile(`^[a-z]+$`)
	source  = regexp.MustCompile(`^[\w/]+\.go$`)
	link    = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
)

// commands are what a document tells its reader to type.
func commands(text string) (all []string) {
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		if block[1] == "sh" {
			all = append(all, strings.Split(strings.TrimSpace(block[2]), "\n")...)
		}
	}
	for _, span := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if command.MatchString(span[1]) {
			all = append(all, span[1])
		}
	}
	return all
}

// Every command of the documents exists, with its flags, and is run by a script
// of the tests or by .ci/run.
func TestDocumentedCommands(t *testing.T) {
	scripts, ci := joined(t, "testdata/script/*.txtar"), joined(t, top+"/.ci/run")
	seen := 0
	for name, text := range documents(t) {
		for _, line := range commands(text) {
			seen++
			words := strings.Fields(line)
			switch words[0] {
			case "ct2fluent":
				words = words[1:]
			case "dead":
			default:
				if line != "bash .ci/run" && !strings.Contains(ci, "\n"+line+"\n") {
					t.Errorf("%s: .ci/run does not run: %s", name, line)
				}
				continue
			}
			path := "ct2fluent"
			var flags []string
			for _, w := range words {
				if len(flags) == 0 && verb.MatchString(w) {
					path += " " + w
				}
				if strings.HasPrefix(w, "-") {
					flags = append(flags, w)
				}
			}
			checkCommand(t, name+": "+line, path, flags, scripts)
		}
	}
	if seen < 30 {
		t.Errorf("only %d commands found", seen)
	}
}

// checkCommand asks the command line's own help, and the scripts.
func checkCommand(t *testing.T, where, path string, flags []string, scripts string) {
	t.Helper()
	var help bytes.Buffer
	args := append(strings.Fields(path)[1:], "--help")
	if code := app.Run(context.Background(), std.Setup, args, strings.NewReader(""), &help, &help); code != 0 {
		t.Errorf("%s: exit code %d", where, code)
	}
	if !strings.Contains(help.String(), "\n  "+path+" ") {
		t.Errorf("%s: there is no %s", where, path)
	}
	if !strings.Contains(scripts, path) {
		t.Errorf("%s: no script runs it", where)
	}
	for _, f := range flags {
		if !regexp.MustCompile(regexp.QuoteMeta(f) + `\b`).MatchString(help.String()) {
			t.Errorf("%s: there is no flag %s", where, f)
		}
		if !regexp.MustCompile(path + ` [^\n]*` + f + `\b`).MatchString(scripts) {
			t.Errorf("%s: no script has %s %s", where, path, f)
		}
	}
}

// The files to which the documents lead, and the sources that they name, are
// there.
func TestDocumentedFiles(t *testing.T) {
	for name, text := range documents(t) {
		for _, span := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if source.MatchString(span[1]) && !exists(filepath.Join(top, span[1])) {
				t.Errorf("%s: there is no %s", name, span[1])
			}
		}
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			if !exists(filepath.Join(filepath.Dir(name), l[1])) {
				t.Errorf("%s: leads to %s, which is not there", name, l[1])
			}
		}
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// The code that the documents show is that of the examples, which tests build
// and run; so is the configuration for it.
func TestDocumentedCode(t *testing.T) {
	example := joined(t, top+"/examples/partner/*.*") + joined(t, top+"/examples/handlers/*.*")
	for name, text := range documents(t) {
		for _, block := range fenced.FindAllStringSubmatch(text, -1) {
			if name == listeners && block[1] == "yaml" {
				continue // TestDocumentedListeners
			}
			if (block[1] == "go" || block[1] == "yaml" || block[1] == "python") && !strings.Contains(example, block[2]) {
				t.Errorf("%s: this does not stand in the examples:\n%s", name, block[2])
			}
		}
	}
}

package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var console = regexp.MustCompile("(?s)```console\n(.*?)```")

// session DOCUMENT N [OLD=NEW…] types the Nth session of a document of docs and
// compares what comes. In what is to come "…" stands for any text of a line,
// and alone on a line for any number of lines; OLD is what the document has in
// place of NEW. "$ echo $?" gives the exit code of the command before.
func session(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: session DOCUMENT N [OLD=NEW…]")
	}
	// The documents lie beside the tests, not in the script's directory.
	text, err := os.ReadFile(filepath.Join(ts.Getenv("DOCS"), args[0]))
	ts.Check(err)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	sessions := console.FindAllStringSubmatch(string(text), -1)
	if n < 1 || n > len(sessions) {
		ts.Fatalf("%s has %d sessions", args[0], len(sessions))
	}
	block := sessions[n-1][1]
	for _, replace := range args[2:] {
		before, after, _ := strings.Cut(replace, "=")
		block = strings.ReplaceAll(block, before, after)
	}
	code := 0
	for step := range strings.SplitSeq("\n"+block, "\n$ ") {
		line, want, _ := strings.Cut(step, "\n")
		if line == "" {
			continue
		}
		if line == "echo $?" {
			if strings.TrimSpace(want) != strconv.Itoa(code) {
				ts.Fatalf("%s: the exit code is %d, want %s", args[0], code, want)
			}
			continue
		}
		words := strings.Fields(line)
		code = 0
		if err := ts.Exec(words[0], words[1:]...); err != nil {
			var ended *exec.ExitError
			if !errors.As(err, &ended) {
				ts.Check(err)
			}
			code = ended.ExitCode()
		}
		got := trimmed(ts.ReadFile("stdout") + ts.ReadFile("stderr"))
		if !pattern(trimmed(want)).MatchString(got) {
			ts.Fatalf("%s: %s\ngives\n%s\nwant\n%s", args[0], line, got, want)
		}
	}
}

// trimmed is a text without spaces at the ends of its lines.
func trimmed(text string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.Join(lines, "\n")
}

func pattern(want string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(want)
	quoted = regexp.MustCompile(`(?m)^…$\n?`).ReplaceAllString(quoted, `(?s:.*)`)
	return regexp.MustCompile(`^` + strings.ReplaceAll(quoted, "…", ".*") + `$`)
}

// expand FILE… fills in ${NAME} from the environment.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE…")
	}
	for _, name := range args {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(os.Expand(ts.ReadFile(name), ts.Getenv)), 0o600))
	}
}

// uncustomer ID removes a customer from the stand-in of commercetools at $CT.
func uncustomer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: uncustomer ID")
	}
	var token struct {
		Value string `json:"access_token"`
	}
	post(ts, "/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials", "", &token)
	req, err := http.NewRequest("DELETE", ts.Getenv("CT")+"/sandbox/customers/"+args[0]+"?version=1", nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+token.Value)
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		ts.Fatalf("delete %s: %s", args[0], res.Status)
	}
}

// status KEY STATUS sets the status of a Subscription in the stand-in of
// commercetools at $CT.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: status KEY STATUS")
	}
	req, err := http.NewRequest("PUT", ts.Getenv("CT")+"/_sandbox/subscriptions/key="+args[0], strings.NewReader(`{"status":"`+args[1]+`"}`))
	ts.Check(err)
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		ts.Fatalf("set the status of %s: %s", args[0], res.Status)
	}
}

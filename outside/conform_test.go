package outside

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// needs has a test fail where a program is missing that CI has to have, and
// skips it elsewhere.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// The examples of the docs keep all rules.
func TestExamplesConform(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"sh", "../examples/handlers/handler.sh"}, {"python3", "../examples/handlers/handler.py"}} {
		t.Run(command[0], func(t *testing.T) {
			t.Parallel()
			needs(t, command[0])
			found, err := ConformExec(t.Context(), ExecOptions{Name: "test", Command: command, Timeout: 20 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			tried := 0
			for f := range found {
				tried++
				if !f.OK {
					t.Errorf("%s: %s", f.Rule, f.What)
				}
			}
			if tried != len(rules) {
				t.Errorf("%d of %d rules were tried", tried, len(rules))
			}
		})
	}
}

// broken is a handler that keeps all rules but one.
func broken(how string) {
	if how == "starts once" {
		if _, err := os.OpenFile(os.Args[2], os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			os.Exit(1)
		}
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<10)
	var last string
	for n := 0; ; n++ {
		var text []byte
		var err error
		if how == "reads parts" {
			text = make([]byte, 1<<10)
			var k int
			k, err = os.Stdin.Read(text)
			text = text[:k]
		} else {
			text, err = in.ReadBytes('\n')
		}
		if err != nil {
			if how == "stays" {
				time.Sleep(time.Hour)
			}
			if how == "leaves badly" {
				os.Exit(1)
			}
			return
		}
		var q struct {
			Seq   uint64
			Again bool
			Body  any
		}
		d := json.NewDecoder(strings.NewReader(string(text)))
		var strict struct{ Question }
		if how == "is strict" {
			d.DisallowUnknownFields()
			err = d.Decode(&strict)
			q.Seq = strict.Seq
		} else {
			err = d.Decode(&q)
		}
		if err != nil || how == "wants objects" && fmt.Sprintf("%T", q.Body) != "map[string]interface {}" || how == "hates again" && q.Again || how == "is short" && len(text) > 1<<16 {
			panic("cannot be read")
		}
		answer := fmt.Sprintf(`{"seq":%d,"outcome":"written"}`, q.Seq)
		switch how {
		case "swaps":
			if n%2 == 1 {
				answer, last = last, answer
			}
			last = answer
		case "greets":
			if n == 0 {
				fmt.Println("hello")
			}
		case "chats":
			answer += "\nDEBUG"
		case "invents":
			answer = strings.Replace(answer, "written", "fine", 1)
		case "forgets seq":
			answer = `{"outcome":"written"}`
		case "leaves":
			fmt.Println(answer)
			time.Sleep(100 * time.Millisecond)
			return
		}
		fmt.Println(answer)
	}
}

// A rule that is broken is found out, and a handler that keeps all keeps all.
func TestConformFinds(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for how, want := range map[string]string{
		"keeps all":     "",
		"is strict":     "passes over keys that it does not know",
		"wants objects": "survives a body that it does not expect",
		"is short":      "takes a large notification",
		"hates again":   "works again what it may have worked",
		"stays":         "ends when its input ends",
		"leaves badly":  "ends when its input ends",
		"starts once":   "can be killed and started again",
		"swaps":         "answers every line, in order",
		"leaves":        "stays while there is nothing to do",
		"greets":        "answers a notification",
		"invents":       "answers a notification",
		"forgets seq":   "answers a notification",
		"reads parts":   "waits for the rest of a slow line",
		"chats":         "stays while there is nothing to do",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			// Who keeps all may be slow on a busy machine; who does not is waited for.
			timeout, within := 20*time.Second, 20*time.Second
			if want != "" {
				timeout, within = 2*time.Second, time.Second
			}
			e, err := NewExec(ExecOptions{Name: "test", Command: []string{exe, "broken: " + how, t.TempDir() + "/lock"}, Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			e.within = within
			if want == "" {
				for f := range e.conform(t.Context()) {
					if !f.OK {
						t.Errorf("%s: %s", f.Rule, f.What)
					}
				}
				return
			}
			for _, r := range rules {
				if r.name != want {
					continue
				}
				if err := e.tryRule(t.Context(), r); err == nil {
					t.Error("not found")
				}
				return
			}
			t.Fatalf("no rule is named %s", want)
		})
	}
}

func TestConformHTTPFinds(t *testing.T) {
	t.Parallel()
	good := func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Seq uint64 }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			w.WriteHeader(400)
			return
		}
		fmt.Fprintf(w, `{"seq":%d,"outcome":"written"}`, q.Seq)
	}
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"keeps all":   {good, ""},
		"says little": {func(http.ResponseWriter, *http.Request) {}, ""},
		"wrong path":  {http.NotFound, "answers a notification"},
		"HTML":        {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "answers a notification"},
		"small": {func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		}, "takes a large notification"},
		"one answer for all": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"seq":1,"outcome":"written"}`) }, "answers several at once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tt.serve)
			defer server.Close()
			var failed []string
			for f := range ConformHTTP(t.Context(), HTTPOptions{Name: "test", URL: server.URL}) {
				if !f.OK {
					failed = append(failed, f.Rule)
				}
			}
			if tt.want == "" && len(failed) > 0 || tt.want != "" && !strings.Contains(strings.Join(failed, "; "), tt.want) {
				t.Errorf("failed: %v; want %s", failed, tt.want)
			}
		})
	}
}

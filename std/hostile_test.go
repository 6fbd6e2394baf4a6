package std_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/ct2fluent/ct2fluent/control"
)

// Texts that are to lead elsewhere: to another path of an API, to a line of the
// log that the process never wrote, to a terminal's commands.
var hostile = []string{
	"../products", "..", "a/../../b", "..%2fproducts", "key=x", "a?where=true", "a#b", `a" or "b`,
	"x\n{\"level\":\"ERROR\",\"msg\":\"forged\"}", "x\r\nlevel=ERROR msg=forged", "x\u2028forged", "\x1b]0;forged\a\x1b[2J", "\u009b2J", "\u202eforged",
	"${file:/etc/passwd}", "%!s(MISSING)%n", "a\x00b",
}

// Whoever may send notifications can send any text in them: it ends as a dead
// letter or a skip, and neither the log nor a terminal nor a metric takes it for
// anything else.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	r := newRig(t, `control: { address: "127.0.0.1:0", pprof: true }`)
	r.start()
	defer r.stop()
	sent := 0
	for _, text := range hostile {
		for _, of := range []string{"id", "typeId", "projectKey", "type", "notificationType"} {
			members := map[string]string{"id": "4b9f7b3e-0000-4000-8000-000000000001", "typeId": "customer", "projectKey": "shop", "type": "CustomerCreated", "notificationType": "ResourceUpdated"}
			members[of] = text
			body, err := json.Marshal(map[string]any{
				"notificationType": members["notificationType"], "projectKey": members["projectKey"], "type": members["type"],
				"resource": map[string]any{"typeId": members["typeId"], "id": members["id"]}, "version": 1, "resourceVersion": 1, "modifiedAt": "2026-01-01T00:00:00.000Z",
			})
			r.must(err)
			r.receives(string(body))
			sent++
		}
	}
	r.create("anna")
	s := r.settle()
	r.equal()
	if s.DeadBy["refused"] == 0 || s.Dead+s.Skipped < uint64(sent) {
		t.Errorf("of %d hostile ones %d are dead and %d skipped", sent, s.Dead, s.Skipped)
	}

	// The verbs, as a terminal gets them.
	for _, verb := range [][]string{{"status"}, {"dead", "ls"}, {"show", r.ids["anna"]}} {
		code, out, said := r.verb(verb...)
		if at := strings.IndexFunc(out+said, controls); code != 0 || at >= 0 {
			t.Errorf("ct2fluent %v ends with %d and says %q", verb, code, (out + said)[max(0, at-20):])
		}
		if strings.Contains(out, "\nlevel=ERROR") || strings.Contains(out, "\n{") {
			t.Errorf("ct2fluent %v has a line that was sent", verb)
		}
	}

	// The control address: metrics, and what is there to find mistakes by.
	f, err := control.ReadFile(filepath.Join(r.store(), "control.json"))
	r.must(err)
	for _, path := range []string{"/metrics", "/readyz", "/actuator/health", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/admin/status", "/admin/dead?limit=1000"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.Address+path, nil)
		r.must(err)
		req.Header.Set("Authorization", "Bearer "+f.Token)
		res, err := http.DefaultClient.Do(req)
		r.must(err)
		page, err := io.ReadAll(res.Body)
		res.Body.Close()
		r.must(err)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, res.Status)
		}
		if strings.Contains(string(page), mark) || strings.Contains(string(page), f.Token) {
			t.Errorf("%s holds a secret or a value of a customer", path)
		}
		if path == "/metrics" && strings.Contains(string(page), "forged") {
			t.Errorf("a text that was sent is in the metrics")
		}
	}

	r.impersonal()
	r.stop()
	lines := 0
	for line := range strings.Lines(r.said.String()) {
		lines++
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Errorf("a line of the log is no object: %q", line)
			continue
		}
		if fmt.Sprint(one["msg"]) == "forged" || one["time"] == nil {
			t.Errorf("a line of the log was forged: %q", line)
		}
		if at := strings.IndexFunc(line, func(r rune) bool { return r != '\n' && controls(r) }); at >= 0 {
			t.Errorf("a line of the log holds what a terminal obeys: %q", line[max(0, at-20):])
		}
	}
	if lines < sent {
		t.Errorf("%d lines of the log for %d notifications", lines, sent)
	}
}

// controls are the runes that a terminal does not print.
func controls(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}

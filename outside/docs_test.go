package outside

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What docs/extending.md says of questions and answers is what this package
// asks and takes.
func TestDocumentedProtocol(t *testing.T) {
	text, err := os.ReadFile("../docs/extending.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```json\n({\"seq\".*?)```").FindSubmatch(text)
	if shown == nil {
		t.Fatal("no question is shown")
	}
	d := json.NewDecoder(strings.NewReader(string(shown[1])))
	d.DisallowUnknownFields()
	var q Question
	if err := d.Decode(&q); err != nil {
		t.Fatal(err)
	}
	line, err := q.line()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(strings.Fields(string(shown[1])), ""); strings.TrimSpace(string(line)) != want {
		t.Errorf("shown  %s\nasked  %s", want, line)
	}
	var keys map[string]any
	if err := json.Unmarshal(line, &keys); err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		if !regexp.MustCompile("(?m)^\\| [^|]*`" + key + "`").Match(text) {
			t.Errorf("the table does not have the key %s", key)
		}
	}
	for _, outcome := range Outcomes() {
		if !strings.Contains(string(text), "\n| `"+outcome+"` | ") {
			t.Errorf("the table does not have the outcome %s", outcome)
		}
	}
}

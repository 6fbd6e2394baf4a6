package std_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/std"
)

// A full is a place that takes nothing, as a file on a full disk.
type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

// A verb whose answer could not be printed does not end as done.
func TestAnAnswerThatCannotBePrinted(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.write("customer.json", `{"id":"c1","version":1,"email":"anna@example.com","firstName":"Anna"}`)
	r.write("notification.json", `{"notificationType":"ResourceUpdated","projectKey":"shop","resource":{"typeId":"customer","id":"c1"},"version":1}`)
	for _, args := range [][]string{
		{"map", r.path("customer.json"), "--diff"}, {"map", r.path("customer.json")},
		{"route", r.path("notification.json")}, {"route", r.path("notification.json"), "--json"},
		{"check"}, {"dead"},
	} {
		t.Run(strings.Join(append(args[:1:1], args[min(2, len(args)):]...), " "), func(t *testing.T) {
			if code, _, said := r.verb(args...); code != 0 {
				t.Fatalf("exit code %d where there is room: %s", code, said)
			}
			var said bytes.Buffer
			args := append(args, "--config", r.path("application-connector.yml"))
			code := app.Run(t.Context(), std.Setup, args, strings.NewReader(""), full{}, &said)
			if code != 1 || !strings.Contains(said.String(), errFull.Error()) {
				t.Errorf("exit code %d and %q, want 1 and why", code, said.String())
			}
		})
	}
}

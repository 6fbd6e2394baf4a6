package queue

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"pgregory.net/rapid"
)

// What is read from the stream is what Put hands over without reading.
func TestEncodeAndDecodeAgree(t *testing.T) {
	subject := regexp.MustCompile(`^n\.\d+\.(live|bulk)\.[^.]+\.[^.]+\.[^.]+$`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "-", "a.b", "* >", "\n", strings.Repeat("x", 5000)}))
		n := ct2fluent.Notification{
			ID:   text.Draw(t, "id"),
			Ref:  ct2fluent.Ref{Project: text.Draw(t, "project"), TypeID: text.Draw(t, "type"), ID: text.Draw(t, "resource")},
			Name: text.Draw(t, "name"), Kind: text.Draw(t, "kind"), Fault: text.Draw(t, "fault"),
			Version: rapid.Int64().Draw(t, "version"), Body: rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
			Received: time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")),
			Bulk:     rapid.Bool().Draw(t, "bulk"), Test: rapid.Bool().Draw(t, "test"), Force: rapid.Bool().Draw(t, "force"),
		}
		msg, kept, err := encode(n, store.Token(n.Ref.Project)[:1])
		if err != nil {
			t.Fatal(err)
		}
		if !subject.MatchString(msg.Subject) || len(msg.Subject) > 2*longestToken+100 {
			t.Fatalf("subject %q", msg.Subject)
		}
		kept.Seq = 7
		if got := decode(msg.Data, 7); !reflect.DeepEqual(got, kept) {
			t.Fatalf("decoded %+v\nkept    %+v", got, kept)
		}
		n.Received, n.Seq = n.Received.UTC(), 7
		if !reflect.DeepEqual(kept, n) {
			t.Fatalf("kept %+v\nput  %+v", kept, n)
		}
	})
}

func TestWhatIsNoNotificationIsUnreadable(t *testing.T) {
	for _, data := range []string{"", "{}", "x\ny"} {
		if n := decode([]byte(data), 3); n.Fault != "unreadable" || string(n.Body) != data || n.Seq != 3 {
			t.Errorf("%q gives %+v", data, n)
		}
	}
}

package queue

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"pgregory.net/rapid"
)

// What is read from the stream is what Put hands over without reading.
func TestEncodeAndDecodeAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "-", "a.b", "* >", "\n", strings.Repeat("x", 5000)}))
		n := ct2fluent.Notification{
			ID:   text.Draw(t, "id"),
			Ref:  ct2fluent.Ref{Project: text.Draw(t, "project"), TypeID: text.Draw(t, "type"), ID: text.Draw(t, "resource")},
			Name: text.Draw(t, "name"), Kind: text.Draw(t, "kind"), Fault: text.Draw(t, "fault"),
			Version: rapid.Int64().Draw(t, "version"), Body: rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
			Received: time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")),
			Bulk:     rapid.Bool().Draw(t, "bulk"), Test: rapid.Bool().Draw(t, "test"), Force: rapid.Bool().Draw(t, "force"),
			Own: rapid.Bool().Draw(t, "own"), Run: rapid.String().Draw(t, "run"),
		}
		data, kept, err := encode(n)
		if err != nil {
			t.Fatal(err)
		}
		kept.Seq = 7
		if got := decode(data, 7); !reflect.DeepEqual(got, kept) {
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

func TestPackAndUnpackAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 20).Draw(t, "pieces")
		first := rapid.Uint64Min(1).Draw(t, "first")
		data, err := pack(first, pieces)
		if err != nil {
			t.Fatal(err)
		}
		gotFirst, got, err := unpack(data)
		if err != nil || gotFirst != first || len(got) != len(pieces) {
			t.Fatalf("unpacked %d from %d on, %v; want %d from %d on", len(got), gotFirst, err, len(pieces), first)
		}
		for i := range got {
			if !bytes.Equal(got[i], pieces[i]) {
				t.Errorf("piece %d is %q, want %q", i, got[i], pieces[i])
			}
		}
	})
}

func TestUnpackRefusesWhatIsNoPack(t *testing.T) {
	for _, data := range []string{
		"", "x", "{}", "{}\n", `{"first":1,"sizes":[1]}`, "{\"first\":1,\"sizes\":[1]}\n", "{\"first\":1,\"sizes\":[-1]}\nx",
		"{\"first\":0,\"sizes\":[1]}\nx", "{\"first\":1,\"sizes\":[1,9223372036854775807]}\nx",
		`{"first":1,"sizes":[` + strings.Repeat("0,", packMost) + "0]}\n",
	} {
		if _, pieces, err := unpack([]byte(data)); err == nil {
			t.Errorf("%.50q gives %d pieces", data, len(pieces))
		}
	}
}

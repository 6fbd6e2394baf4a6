package queue

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// What a start misses of what is unsettled is told as what it is: removed, or
// there and not to be read.
func TestAStartTellsWhatItMisses(t *testing.T) {
	t.Parallel()
	var log said
	k := openKept(t, store.Options{Dir: t.TempDir()}, Options{Projects: []string{"p"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := k.Put(t.Context(), ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "p", TypeID: "customer", ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	l := k.byToken[store.Token("p")][0]
	msg := nats.NewMsg(l.messages())
	msg.Data = []byte("no pack")
	bad, err := k.store.Append(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	good := bad - 1
	for _, tt := range []struct {
		name  string
		of    place
		there int
		says  string
	}{
		{"whole", placeOf(good, 0), 1, ""},
		{"no pack", placeOf(bad, 0), 0, `a pack of the queue's stream cannot be read: its notifications are lost" stream=` + streamName + ` lane=n.live.p message=2 count=1`},
		{"a pack of fewer", placeOf(good, 3), 0, `error="it has 1 notifications, and more are to be in it"`},
		{"removed", placeOf(bad+7, 0), 0, "removed from the queue's stream by somebody else"},
	} {
		log.take()
		got, err := k.fetch(t.Context(), l, record{Waiting: []place{tt.of}})
		if err != nil || len(got) != tt.there {
			t.Errorf("%s: %d there, %v", tt.name, len(got), err)
		}
		said := log.take()
		if !strings.Contains(said, tt.says) || (tt.name == "removed") != strings.Contains(said, "somebody else") || tt.says == "" && said != "" {
			t.Errorf("%s: said %s", tt.name, said)
		}
	}
}

// said is a log.
type said struct {
	mu   sync.Mutex
	text []byte
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	return len(p), nil
}

// take gives what was said since the last time.
func (s *said) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(s.text)
	s.text = nil
	return text
}

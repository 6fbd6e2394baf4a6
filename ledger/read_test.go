package ledger

import (
	"errors"
	"iter"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// Promise 4: a resource that was left out of an answer would be taken for a
// new one, and made in Fluent a second time.
func TestAnswerMustBeWhole(t *testing.T) {
	broken := errors.New("broken")
	type item struct {
		pending string // after this message
		err     error
	}
	tests := []struct {
		name string
		come []item
		n    int
		want error
	}{
		{name: "all", come: []item{{pending: "1"}, {pending: "0"}}, n: 2},
		{name: "none has a message", come: []item{{err: jetstreamext.ErrNoMessages}}},
		{name: "a timeout at once", want: errCut},
		{name: "a timeout on the way", come: []item{{pending: "2"}, {pending: "1"}}, want: errCut},
		{name: "one cannot be read", come: []item{{pending: "1"}, {err: jetstreamext.ErrNoMessages}}, want: jetstreamext.ErrNoMessages},
		{name: "the connection breaks", come: []item{{pending: "1"}, {err: broken}}, want: broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var answer iter.Seq2[*jetstream.RawStreamMsg, error] = func(yield func(*jetstream.RawStreamMsg, error) bool) {
				for _, x := range tt.come {
					m := &jetstream.RawStreamMsg{Header: nats.Header{"Nats-Num-Pending": {x.pending}}}
					if !yield(m, x.err) {
						return
					}
				}
			}
			ms, err := whole(collect(answer))
			if !errors.Is(err, tt.want) || err == nil && len(ms) != tt.n {
				t.Errorf("got %d messages, %v; want %d, %v", len(ms), err, tt.n, tt.want)
			}
		})
	}
}

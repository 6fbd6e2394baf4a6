package sqs

import (
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/inbox/sourcetest"
)

func TestSource(t *testing.T) {
	sourcetest.Test(t, func(t *testing.T, acknowledged func([]byte)) sourcetest.Harness {
		f := &fake{acknowledged: acknowledged}
		client := f.open(t)
		return sourcetest.Harness{
			Source: func() ct2fluent.Source {
				s, err := New(Options{Name: "ct-queue", Client: client})
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Send: func(body []byte) { f.send(string(body)) },
			Taken: func() int {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.taken
			},
			Slow: 10 * visibility,
		}
	})
}

package webhook

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/inbox/sourcetest"
)

// The ct-queue of a webhook is its senders: each posts its body until it is
// answered 202.
func TestSource(t *testing.T) {
	sourcetest.Test(t, func(t *testing.T, acknowledged func([]byte)) sourcetest.Harness {
		network := &network{}
		client := &http.Client{Transport: &http.Transport{DialContext: network.dial}}
		var senders sync.WaitGroup
		t.Cleanup(func() {
			senders.Wait()
			client.CloseIdleConnections()
		})
		return sourcetest.Harness{
			Source: func() ct2fluent.Source {
				s, err := New(Options{Listener: network.listen(), Auth: Token(secret)})
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Send: func(body []byte) {
				senders.Go(func() {
					for wait := 5 * time.Second; t.Context().Err() == nil; wait = min(2*wait, 5*time.Minute) {
						if post(t, client, body) == http.StatusAccepted {
							acknowledged(body)
							return
						}
						select {
						case <-t.Context().Done():
						case <-time.After(wait):
						}
					}
				})
			},
			Slow: putLimit - time.Second,
		}
	})
}

// post is the status of the answer, 0 without one.
func post(t *testing.T, client *http.Client, body []byte) int {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://webhook/notifications", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

const token = "correct horse"

func secret() (string, error) { return token, nil }

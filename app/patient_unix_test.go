//go:build unix

package app

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A verb that waits for what never comes ends with its context, as the first
// signal has it.
func TestAVerbThatWaitsCanBeStopped(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "c.yml")
	if err := os.WriteFile(good, []byte(`
accounts:
  - commercetools: { project-key: shop, api-url: "http://127.0.0.1:1", auth-url: "http://127.0.0.1:1", client-id: c, client-secret: s }
    fluent: { base-url: "http://127.0.0.1:1", account: A, retailer-id: "1", client-id: c, client-secret: s, username: u, password: p }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "--offline", "--config", pipe},
		{"status", "--config", pipe},
		{"run", "--config", pipe},
		{"route", "--config", good, "-"},
		{"map", "--config", good, pipe},
		{"route", "--config", good, pipe},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			asked := make(chan struct{}, 10)
			ended := make(chan int, 1)
			setup := func(s *Setup) {
				s.Handlers = []HandlerType{{Name: "FluentCustomerUpsert", New: func(Env) (ct2fluent.Handler, error) { return nil, nil }}}
			}
			go func() { ended <- Run(ctx, setup, args, silent(asked), io.Discard, io.Discard) }()
			if args[len(args)-1] == "-" {
				select {
				case <-asked:
				case <-ended:
					t.Fatal("it ended before it read")
				}
			} else {
				// Nothing tells when a pipe is being opened; a stop before it is one, too.
				time.AfterFunc(20*time.Millisecond, stop)
				<-ctx.Done()
			}
			stop()
			select {
			case code := <-ended:
				want := exitFailed
				if args[0] == "run" {
					want = 0
				}
				if code != want {
					t.Errorf("exit code %d, want %d", code, want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it still waits")
			}
		})
	}
}

// What was read is the same as without patience, to the end.
func TestPatientReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for _, part := range []string{"one", " two", " three"} {
				time.Sleep(time.Hour)
				_, _ = io.WriteString(out, part)
			}
			out.Close()
		}()
		got, err := io.ReadAll(patient{ctx, in})
		if err != nil || string(got) != "one two three" {
			t.Errorf("%q, %v", got, err)
		}
		stop()
		if n, err := (patient{ctx, io.NopCloser(blocked{})}).Read(make([]byte, 1)); n != 0 || err != context.Canceled {
			t.Errorf("after the stop: %d, %v", n, err)
		}
		time.Sleep(2 * time.Hour)
	})
}

type blocked struct{}

func (blocked) Read([]byte) (int, error) { time.Sleep(time.Hour); return 1, nil }

// silent tells that it is read from, and says nothing.
type silent chan<- struct{}

func (s silent) Read([]byte) (int, error) {
	s <- struct{}{}
	select {}
}

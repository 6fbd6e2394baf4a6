//go:build unix

package store

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// While the disk refuses writes there is no room; once it takes them again the
// store goes on by itself, with all that it had acknowledged (promises 1, 6).
func TestStoreOutlivesADiskThatRefuses(t *testing.T) {
	// A limit on the size of files stands for a full disk: a write beyond it
	// fails in the same way.
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var normal syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &normal); err != nil {
		t.Fatal(err)
	}
	limited := normal
	limited.Cur = 1
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &normal); err != nil {
			t.Fatal(err)
		}
	}
	defer restore()

	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Crash()
	if _, err := s.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, AllowAtomicPublish: true}); err != nil {
		t.Fatal(err)
	}
	put := func(n int, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		var msgs []*nats.Msg
		for range n {
			msgs = append(msgs, &nats.Msg{Subject: "s", Data: []byte("acknowledged")})
		}
		_, err := s.Append(ctx, msgs...)
		return err
	}
	acknowledged := 0
	for range 3 {
		for _, n := range []int{1, 2} {
			if err := put(n, time.Minute); err != nil {
				t.Fatal(err)
			}
			acknowledged += n
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
			t.Fatal(err)
		}
		for tries := 0; s.Room() == nil; tries++ {
			if tries == 100 {
				t.Fatal("it does not see that the disk refuses")
			}
			if put(1, 50*time.Millisecond) == nil {
				t.Fatal("stored although the disk refuses")
			}
		}
		restore()
		limit := time.After(time.Minute)
		for tick := time.NewTicker(10 * time.Millisecond); s.Room() != nil; {
			select {
			case <-tick.C:
			case <-limit:
				t.Fatal("it does not go on")
			}
		}
	}
	if err := put(1, time.Minute); err != nil {
		t.Fatal(err)
	}
	stream, err := s.JetStream().Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	// A write that failed may have been stored all the same, an acknowledged
	// one must have been.
	if n := int(stream.CachedInfo().State.Msgs); n < acknowledged+1 {
		t.Errorf("%d messages of %d acknowledged", n, acknowledged+1)
	}
	if left, err := os.ReadDir(s.o.Dir); err != nil || len(left) > 2 {
		t.Errorf("%v, %v", left, err)
	}
}

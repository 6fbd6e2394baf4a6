package queue

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// killed names the directory in which this process is to work until it is
// killed.
const killed = "CT2FLUENT_TEST_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killed); dir != "" {
		fmt.Fprintln(os.Stderr, putUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// putUntilKilled puts and works, and prints what was acknowledged and what was
// handed out.
func putUntilKilled(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Dir: dir})
	if err != nil {
		return err
	}
	q, err := Open(ctx, Options{Store: s, Projects: []string{"p"}, Workers: 2, BatchSize: 5, UnclearWait: time.Millisecond})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for caller := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d/%d/%d", os.Getpid(), caller, i)
				if err := q.Put(ctx, note("p", id), note("p", id+"+")); err != nil {
					failed <- err
				}
				fmt.Printf("put %s\nput %s+\n", id, id)
			}
		}()
	}
	go func() {
		failed <- q.Work(ctx, ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
			for _, n := range batch {
				fmt.Println("got", n.ID)
			}
			time.Sleep(5 * time.Millisecond) // slower than they come
			return make([]error, len(batch))
		}))
	}()
	return <-failed
}

// Promise 1, as far as a machine that stays up can show it.
func TestWhatWasPutIsThereAfterKill9(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put, got := map[string]bool{}, map[string]bool{}
	for range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), killed+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 150 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			what, id, whole := strings.Cut(lines.Text(), " ")
			switch {
			case whole && what == "put":
				put[id] = true
			case whole && what == "got":
				got[id] = true
			}
		}
		_ = cmd.Wait() // killed
	}
	if len(put) < 100 {
		t.Fatalf("only %d were put", len(put))
	}

	q := openKept(t, store.Options{Dir: dir}, Options{Projects: []string{"p"}, UnclearWait: time.Millisecond})
	received, err := q.Received(t.Context())
	if err != nil || received < uint64(len(put)) {
		t.Errorf("%d received, %v; %d were acknowledged", received, err, len(put))
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var mu sync.Mutex
	var working sync.WaitGroup
	working.Go(func() {
		_ = q.Work(ctx, ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
			mu.Lock()
			defer mu.Unlock()
			for _, n := range batch {
				got[n.ID] = true
			}
			return make([]error, len(batch))
		}))
	})
	eventually(t, "all is settled", func() bool { return q.Floor("p") == received })
	stop()
	working.Wait()
	for id := range put {
		if !got[id] {
			t.Errorf("%s was acknowledged and never handed out", id)
		}
	}
}

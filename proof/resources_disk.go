package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
)

// onDiskOf mounts a small file system in the place of the store.
func (w *world) onDiskOf(options string) (unmount func(), err error) {
	if os.Geteuid() != 0 {
		return nil, skip("mounting needs root")
	}
	if err := os.MkdirAll(w.store(), 0o700); err != nil {
		return nil, err
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", w.store()).CombinedOutput(); err != nil {
		return nil, skip(fmt.Sprintf("mount: %v: %s", err, bytes.TrimSpace(out)))
	}
	return func() { _ = exec.Command("umount", "-l", w.store()).Run() }, nil
}

// diskFull fills the disk under a process at work but for some bytes. By what
// is to stay free the process finds out before a write fails, or by the write
// that does.
func diskFull(ctx context.Context, p *prover, minFree string, left int64) error {
	w, err := p.newWorld(ctx, setup{config: "queue: { store: STORE, min-free: " + minFree + " }\n"})
	if err != nil {
		return err
	}
	unmount, err := w.onDiskOf("size=96m,mode=700")
	if err != nil {
		w.close()
		return err
	}
	defer unmount()
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.create("", 20); err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	for range 3 {
		changing, stop := context.WithCancel(ctx)
		var changes sync.WaitGroup
		changes.Go(func() {
			for changing.Err() == nil {
				_ = w.change(1) // an error of the stand-in shows in what the check compares
				time.Sleep(time.Millisecond)
			}
		})
		err := w.fillDisk(left)
		stop()
		changes.Wait()
		if err != nil {
			return err
		}
		if err := w.rest(restWithin); err != nil {
			return fmt.Errorf("after there was room again: %w\n%s", err, w.lastSaid())
		}
	}
	failed := bytes.Count(w.said(w.process), []byte("the disk takes writes again"))
	if left > 0 && failed == 0 {
		return errors.New("no write has failed")
	}
	p.note("disk full three times, %s to stay free: 503 while it was, went on by itself; %d times after a write had failed", minFree, failed)
	return w.verify(nil)
}

// fillDisk leaves no more than these bytes until the process has said so, and
// then makes room.
func (w *world) fillDisk(left int64) error {
	name := filepath.Join(w.store(), "filler")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	if full, err := f.Seek(0, io.SeekCurrent); err != nil || f.Truncate(full-left) != nil {
		return errors.Join(err, errors.New("the filler cannot be made smaller"))
	}
	ready := func() int {
		c, err := control.ReadFile(filepath.Join(w.store(), "control.json"))
		if err != nil {
			return 0
		}
		res, err := w.client.Get("http://" + c.Address + "/readyz")
		if err != nil {
			return 0
		}
		res.Body.Close()
		return res.StatusCode
	}
	if err := w.until("the process to be unready", 30*time.Second, func() bool { return ready() == http.StatusServiceUnavailable }); err != nil {
		return err
	}
	return w.until("a notification to be refused", 30*time.Second, func() bool {
		_, status, err := w.post(context.Background(), []byte(`{"notificationType":"ResourceUpdated"}`))
		return err == nil && status == http.StatusServiceUnavailable
	})
}

// readOnly starts a process where nothing can be written.
func readOnly(ctx context.Context, p *prover) error {
	w, err := p.newWorld(ctx, setup{})
	if err != nil {
		return err
	}
	defer w.close()
	unmount, err := w.onDiskOf("size=96m,ro")
	if err != nil {
		return err
	}
	defer unmount()
	out, err := exec.Command(w.binary, "run", "--config", w.config()).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		return fmt.Errorf("started where nothing can be written: %w, want exit code 3: %s", err, out)
	}
	if !bytes.Contains(out, []byte("read-only file system")) || !bytes.Contains(out, []byte(w.store())) {
		return fmt.Errorf("it does not say what is wrong, and where: %s", out)
	}
	p.note("a disk that cannot be written stops the start with 3")
	return nil
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// imageSize is that of the file system the store lies on.
const imageSize = 256 << 20

// deviceCut takes the image of an ext4 under a process at work, as a loss of
// power would leave it: what the file system still holds back in memory is not
// in it. A process is started on each image.
func deviceCut(ctx context.Context, p *prover) error {
	if os.Geteuid() != 0 {
		return skip("-device needs root")
	}
	w, err := p.newWorld(ctx, setup{sameEmails: true})
	if err != nil {
		return err
	}
	image := w.dir + ".image"
	if err := command("truncate", "-s", strconv.Itoa(imageSize), image); err != nil {
		w.close()
		return err
	}
	if err := command("mkfs.ext4", "-q", image); err != nil {
		w.close()
		return skip(err.Error())
	}
	// The file system is to write nothing of its own accord.
	unmount, err := w.mountImage(image, "loop,commit=300")
	if err != nil {
		w.close()
		return err
	}
	defer unmount()
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.create("", 40); err != nil {
		return err
	}
	n := pick(p, 5, 50)
	for i := range n {
		if err := w.imageIsWhole(ctx, image); err != nil {
			return fmt.Errorf("image %d of the file system: %w", i+1, err)
		}
	}
	p.note("started from %d images of an ext4 taken while it was written", n)
	return nil
}

func (w *world) mountImage(image, options string) (unmount func(), err error) {
	if err := os.MkdirAll(w.store(), 0o700); err != nil {
		return nil, err
	}
	if err := command("mount", "-o", options, image, w.store()); err != nil {
		return nil, skip(err.Error())
	}
	return func() { _ = command("umount", "-l", w.store()) }, nil
}

// imageIsWhole takes an image in the middle of changes and starts from it.
func (w *world) imageIsWhole(ctx context.Context, image string) error {
	changing, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for changing.Err() == nil {
			if err := w.change(1); err != nil {
				done <- err
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		done <- nil
	}()
	time.Sleep(time.Duration(200+w.rngInt(500)) * time.Millisecond)
	pid := strconv.Itoa(w.process.pid)
	v, err := w.taken(pid, image)
	stop()
	if changeErr := <-done; err == nil {
		err = changeErr
	}
	if err != nil {
		return err
	}
	if err := w.rest(restWithin); err != nil {
		return err
	}
	unmount, err := v.mountImage(v.dir+".image", "loop")
	if err != nil {
		return err
	}
	defer unmount()
	return v.recovers()
}

// taken holds the process, so that nothing is written, and copies the image
// until two copies are alike. What had been acknowledged is noted before.
func (w *world) taken(pid, image string) (v *world, err error) {
	if err := command("kill", "-STOP", pid); err != nil {
		return nil, err
	}
	defer func() {
		if contErr := command("kill", "-CONT", pid); err == nil {
			err = contErr
		}
	}()
	if v, err = w.beside(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	v.history.Puts = slices.Clone(w.history.Puts)
	w.mu.Unlock()
	var before []byte
	for range 10 {
		now, err := os.ReadFile(image)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(now, before) {
			return v, os.WriteFile(v.dir+".image", now, 0o600)
		}
		before = now
	}
	return nil, fmt.Errorf("%s does not stand still", image)
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

//go:build unix

package store

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that was forked to start a program has every file until it executes
// it.
func TestALockIsFreeThoughAForkHasTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), lockFile)
	f, err := lock(name)
	if err != nil {
		t.Fatal(err)
	}
	forked, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(forked)
	if _, err := lock(name); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	unlock(f)
	again, err := lock(name)
	if err != nil {
		t.Fatal(err)
	}
	unlock(again)
}

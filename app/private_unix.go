//go:build unix

package app

import "golang.org/x/sys/unix"

// private makes the files of the store readable by their owner alone: they
// hold bodies and usernames.
func private() { unix.Umask(0o077) }

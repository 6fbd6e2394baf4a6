package outside

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limitMemory bounds the private writable memory of a process, and of what it
// starts from now on. The address space as a whole is not bounded: many
// runtimes reserve far more of it than they use.
func limitMemory(pid int, bytes int64) error {
	l := unix.Rlimit{Cur: uint64(bytes), Max: uint64(bytes)}
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, &l, nil); err != nil {
		return fmt.Errorf("set RLIMIT_DATA: %w", err)
	}
	return nil
}

package ct2fluent

import (
	"context"
	"errors"
)

// A Queue keeps notifications between the inbox and the handlers.
type Queue interface {
	// Put returns nil once the notifications would outlive a crash of this
	// machine (promise 1): all of them, or an error and any number of them.
	// ErrFull says that there is no room now. One that is Again waits as if it
	// had come back unclear. Safe for concurrent use.
	Put(ctx context.Context, ns ...Notification) error

	// Work hands batches to h until ctx is done, then lets the batches at hand
	// finish. Several calls of h run at once.
	Work(ctx context.Context, h Handler) error
}

// ErrFull is returned by Put when the queue or the disk has no room. The
// caller keeps the body and tries again later.
var ErrFull = errors.New("queue is full")

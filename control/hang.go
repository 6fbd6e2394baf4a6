package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ErrHangs: a process takes requests and answers none, as one that is stopped.
var ErrHangs = errors.New("it does not answer")

// patience is how long an answer may fail to come before a Client asks whether
// the process lives, and how long it may take to say so.
const patience = 5 * time.Second

// A vigil is kept while a request waits for its answer or for the rest of it.
// How long that takes says nothing, as replays and followers take as long as
// they need: so it is asked beside it whether the process lives.
type vigil struct {
	context.Context
	end   context.CancelCauseFunc
	ended chan struct{}
}

func (c *Client) watch(ctx context.Context) *vigil {
	v := &vigil{ended: make(chan struct{})}
	v.Context, v.end = context.WithCancelCause(ctx)
	go func() {
		defer close(v.ended)
		for {
			select {
			case <-time.After(c.patience):
			case <-v.Done():
				return
			}
			if c.hangs(v) {
				v.end(fmt.Errorf("%s: %w; see whether the process is stopped or its machine overloaded", c.base, ErrHangs))
			}
		}
	}()
	return v
}

// hangs tells whether the process leaves even this without an answer. One that
// refuses the connection stops in order, and finishes what is at hand.
func (c *Client) hangs(ctx context.Context) bool {
	limit, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	req, err := http.NewRequestWithContext(limit, http.MethodGet, c.base+"/healthz", nil)
	if err != nil {
		return false
	}
	res, err := c.http.Do(req)
	if err == nil {
		res.Body.Close()
	}
	return err != nil && limit.Err() != nil && ctx.Err() == nil
}

// why is the reason for which the vigil ended the request, nil if it did not.
func (v *vigil) why() error {
	if cause := context.Cause(v); errors.Is(cause, ErrHangs) {
		return cause
	}
	return nil
}

// over ends the vigil.
func (v *vigil) over() {
	v.end(nil)
	<-v.ended
}

// A watched body is read under a vigil.
type watched struct {
	io.ReadCloser
	vigil *vigil
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil {
		if why := w.vigil.why(); why != nil {
			err = why
		}
	}
	return n, err
}

func (w *watched) Close() error {
	defer w.vigil.over()
	return w.ReadCloser.Close()
}

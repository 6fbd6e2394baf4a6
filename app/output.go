package app

import (
	"io"
	"os"
	"sync/atomic"
)

// An output remembers that something could not be printed, so that a verb does
// not end as done whose answer nobody has. Safe for as many at once as its
// Writer is.
type output struct {
	io.Writer
	lost atomic.Pointer[error] // the first; nil: none
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		o.lost.CompareAndSwap(nil, &err)
	}
	return n, err
}

// whole is nil unless something could not be printed.
func (o *output) whole() error {
	if err := o.lost.Load(); err != nil {
		return *err
	}
	return nil
}

// fileOf is the file that is written to, if it is one.
func fileOf(w any) (*os.File, bool) {
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

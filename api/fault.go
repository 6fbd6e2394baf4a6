package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A Reason says what is certain about a request that has no answer.
type Reason uint8

const (
	// Refused: there is no token, and trying again will not mend it: wrong
	// credentials, a scope that is not granted, a secret that cannot be read.
	Refused Reason = iota + 1
	// Limited: the API has asked everyone to wait. Nothing was sent.
	Limited
	// Unsent: the request did not leave as a whole, so that it cannot have
	// been applied.
	Unsent
	// Lost: the request left and its answer did not come, or cannot be used.
	// It may have been applied.
	Lost
)

func (r Reason) String() string {
	switch r {
	case Refused:
		return "no token"
	case Limited:
		return "asked to wait"
	case Unsent:
		return "not sent"
	case Lost:
		return "answer lost"
	}
	return fmt.Sprintf("Reason(%d)", r)
}

// A Fault is why a request has no answer.
type Fault struct {
	Reason     Reason
	Status     int           // of the token's or the broken answer; 0 for none
	Code       string        // OAuth's error code, where that is the reason
	RetryAfter time.Duration // what the API asked for; 0 for nothing
	Err        error         // the cause, free of what an API wrote; may be nil
}

func (f *Fault) Error() string {
	s := f.Reason.String()
	if f.Code != "" {
		s += ": " + f.Code
	}
	if f.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", f.Status)
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

func (f *Fault) Unwrap() error { return f.Err }

// ErrTooLarge is the cause of a [Lost] answer that is larger than the client
// reads.
var ErrTooLarge = errors.New("answer too large")

var (
	errTimeout  = errors.New("no answer in time")
	errCut      = errors.New("connection cut")
	errUnusable = errors.New("unusable answer")
)

// cause gives back of err what may be shown. Promise 7: some errors of net/http
// quote the bytes that came, and these may be anything, so only kinds of
// errors that are known to name hosts and system calls pass as they are.
func cause(err error) error {
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return errTimeout
	case errors.Is(err, ErrTooLarge):
		return ErrTooLarge
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &op):
		return op
	case errors.As(err, &cert):
		return cert
	case errors.As(err, &record):
		return record
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errCut
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errTimeout
	}
	return errUnusable
}

package api

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"
)

// newTransport makes a transport that keeps a connection for each of conns
// requests at once. It speaks HTTP/2 only if shared says that requests may
// share a connection: one that breaks puts all of them in doubt, in HTTP/1.1
// only one.
func newTransport(conns int, shared bool) *http.Transport {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(shared)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		Protocols:           &p,
		// A connection that went dead without a word must not take each
		// request to its deadline.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConns:        conns + 2,
		MaxIdleConnsPerHost: conns + 2,
		// Shorter than what load balancers keep theirs (60 s and more): a
		// request written to a connection that the other side has just closed
		// is in doubt.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// outgoing tells whether a request's body has left as a whole. Until its last
// byte was handed to the transport the API cannot have applied it. The
// transport may still be reading when a call is given up, so the last byte and
// the verdict exclude each other.
type outgoing struct {
	data  []byte
	state atomic.Int32 // open, gone or sealed
}

const (
	open int32 = iota
	gone
	sealed
)

var errSealed = errors.New("given up")

// attach makes o the body of req. The transport rewinds it only after a reused
// connection took not one byte. A request without a body leaves with its
// headers.
func (o *outgoing) attach(req *http.Request) *http.Request {
	if o.data == nil {
		trace := &httptrace.ClientTrace{WroteHeaders: func() { o.state.CompareAndSwap(open, gone) }}
		return req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	}
	req.ContentLength = int64(len(o.data))
	req.GetBody = func() (io.ReadCloser, error) {
		return &reading{o: o, r: bytes.NewReader(o.data)}, nil
	}
	req.Body, _ = req.GetBody()
	return req
}

// sent is asked once there will be no answer: may the request have arrived?
func (o *outgoing) sent() bool {
	return !o.state.CompareAndSwap(open, sealed)
}

type reading struct {
	o *outgoing
	r *bytes.Reader
}

func (b *reading) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.r.Len() == 0 && !b.o.state.CompareAndSwap(open, gone) && b.o.state.Load() == sealed {
		return 0, errSealed
	}
	return n, err
}

func (b *reading) Close() error { return nil }

// read takes the whole body, so that the connection can be used again, but
// never more than most bytes of it, unpacked.
func read(r *http.Response, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, ErrTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err == nil && int64(len(body)) > most {
		return nil, ErrTooLarge
	}
	return body, err
}

// RetryAfter reads the header of that name: seconds or a date. 0 for none.
func RetryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// correlationID is made anew for each request, so that one can be found in the
// logs of the other side.
func correlationID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rawServer answers each connection with h, which gets what was read of it.
func rawServer(t *testing.T, h func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				h(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String()
}

func whole(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// What is certain about a write without an answer decides whether it may be
// sent again (rule 2 of convergence).
func TestWhatIsCertain(t *testing.T) {
	nobody := rawServer(t, func(net.Conn, *bufio.Reader) {})
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	closed.Close()
	hang := make(chan struct{})
	defer close(hang)
	gone, leave := context.WithCancel(t.Context())
	leave()
	going, leave := context.WithCancel(t.Context())
	tests := []struct {
		name  string
		url   string
		body  int
		ctx   context.Context
		want  Reason
		cause error
	}{
		{name: "connection refused", url: "http://" + closed.Addr().String(), want: Unsent},
		{name: "no TLS there", url: strings.Replace(rawServer(t, func(c net.Conn, r *bufio.Reader) {
			r.Peek(1)
			io.WriteString(c, "HTTP/1.1 400 "+secret+"\r\n\r\n")
		}), "http:", "https:", 1), want: Unsent},
		{name: "a certificate nobody knows", url: func() string {
			s := httptest.NewUnstartedServer(nil)
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			s.StartTLS()
			t.Cleanup(s.Close)
			return s.URL
		}(), want: Unsent},
		{name: "given up before", url: nobody, ctx: gone, want: Unsent, cause: context.Canceled},
		{name: "not read to its end", url: rawServer(t, func(_ net.Conn, r *bufio.Reader) {
			r.ReadString('\n') // the connection is closed on a body that is on its way
		}), body: 16 << 20, want: Unsent},
		{name: "cut after it was read", want: Lost, url: rawServer(t, func(_ net.Conn, r *bufio.Reader) { whole(r) })},
		{name: "no answer in time", want: Lost, cause: errTimeout, url: rawServer(t, func(_ net.Conn, r *bufio.Reader) {
			whole(r)
			<-hang
		})},
		{name: "given up after it was sent", ctx: going, want: Lost, cause: context.Canceled, url: rawServer(t, func(_ net.Conn, r *bufio.Reader) {
			whole(r)
			leave()
			<-hang
		})},
		{name: "no HTTP", want: Lost, cause: errUnusable, url: rawServer(t, func(c net.Conn, r *bufio.Reader) {
			whole(r)
			io.WriteString(c, secret+"\r\n\r\n")
		})},
		{name: "a broken header", want: Lost, cause: errUnusable, url: rawServer(t, func(c net.Conn, r *bufio.Reader) {
			whole(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n"+secret+"\r\n\r\n")
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{}
			if tt.cause == errTimeout {
				o.Timeout = 500 * time.Millisecond
			}
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx
			}
			r := post(tt.url)
			if tt.body > 0 {
				r.Body = bytes.Repeat([]byte{' '}, tt.body)
			}
			_, err := client(t, o).Do(ctx, r)
			if f := wantFault(t, err, tt.want); tt.cause != nil && !errors.Is(f, tt.cause) {
				t.Errorf("err = %v, want %v", err, tt.cause)
			}
		})
	}
}

// net/http itself sends some requests again when a connection that it used
// before breaks. A write that has left must not be among them.
func TestWriteIsNeverSentTwice(t *testing.T) {
	var seen atomic.Int64
	url := rawServer(t, func(c net.Conn, r *bufio.Reader) {
		for i := 0; whole(r); i++ {
			seen.Add(1)
			if i == 1 {
				return // the second on a connection: read, and no answer
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	})
	c := client(t, Options{})
	if _, err := c.Do(t.Context(), post(url)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Do(t.Context(), post(url))
	wantFault(t, err, Lost)
	if seen.Load() != 2 {
		t.Errorf("two writes were sent %d times", seen.Load())
	}
}

// A connection that the server has closed meanwhile costs nothing: either
// another is used, or the write was not sent or is in doubt; never is it sent
// twice.
func TestWriteOnAConnectionClosedMeanwhile(t *testing.T) {
	var seen atomic.Int64
	url := rawServer(t, func(c net.Conn, r *bufio.Reader) {
		if whole(r) {
			seen.Add(1)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		}
	})
	c := client(t, Options{})
	applied, unsent := 0, 0
	for range 50 {
		_, err := c.Do(t.Context(), post(url))
		var fault *Fault
		switch {
		case err == nil:
			applied++
		case errors.As(err, &fault) && fault.Reason == Unsent:
			unsent++
		default:
			wantFault(t, err, Lost)
		}
	}
	if n := int(seen.Load()); n > 50-unsent || n < applied {
		t.Errorf("50 writes were seen %d times, answered %d times and %d times not sent", n, applied, unsent)
	}
}

func TestOutgoingIsSealed(t *testing.T) {
	out := outgoing{data: []byte("body")}
	req, _ := http.NewRequest(http.MethodPost, "http://localhost", nil)
	req = out.attach(req)
	p := make([]byte, 2)
	if _, err := req.Body.Read(p); err != nil {
		t.Fatal(err)
	}
	if out.sent() {
		t.Fatal("half a body counts as sent")
	}
	if n, err := req.Body.Read(p); n != 0 || err == nil {
		t.Error("the rest leaves after it was called unsent")
	}
}

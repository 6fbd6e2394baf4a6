package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Server is a stand-in that listens.
type Server struct {
	URL string // http://127.0.0.1:…

	handler http.Handler
	ctx     context.Context
	cancel  context.CancelFunc
	addr    string
	active  sync.WaitGroup // requests; one more while the server is up

	mu      sync.Mutex
	up      *http.Server
	serving chan struct{}
	release func() // of the address, which is kept while the server is down
	closed  bool
}

// Start opens addr (127.0.0.1:0 if empty) and serves h there until ctx is done
// or Close is called.
func Start(ctx context.Context, addr string, h http.Handler) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	s := &Server{handler: h, addr: addr}
	s.ctx, s.cancel = context.WithCancel(ctx)
	if err := s.Up(); err != nil {
		s.cancel()
		return nil, err
	}
	context.AfterFunc(s.ctx, s.Down)
	return s, nil
}

// Down stops listening and cuts every connection: callers are refused until
// Up.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil {
		return
	}
	_ = s.up.Close()
	<-s.serving
	s.up = nil
	if s.ctx.Err() == nil {
		s.release = reserve(s.addr)
	}
}

// Up listens again, at the same address.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up != nil {
		return nil
	}
	if s.ctx.Err() != nil {
		return errors.New("sandbox: server is closed")
	}
	l, err := new(net.ListenConfig).Listen(s.ctx, "tcp", s.addr)
	s.letGo()
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	s.addr = l.Addr().String()
	s.URL = "http://" + s.addr
	s.up = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ReadHeaderTimeout: 10 * time.Second,
	}
	s.serving = make(chan struct{})
	go func(up *http.Server, done chan struct{}) {
		defer close(done)
		_ = up.Serve(l) // ends with Close only
	}(s.up, s.serving)
	return nil
}

// letGo ends the keeping of the address.
func (s *Server) letGo() {
	if s.release != nil {
		s.release()
		s.release = nil
	}
}

// Close stops the server and waits for the requests at hand, those whose
// connection was cut included.
func (s *Server) Close() {
	s.cancel()
	s.Down()
	s.mu.Lock()
	s.closed = true
	s.letGo()
	s.mu.Unlock()
	s.active.Wait()
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.active.Add(1)
	s.mu.Unlock()
	defer s.active.Done()
	s.handler.ServeHTTP(w, r)
}

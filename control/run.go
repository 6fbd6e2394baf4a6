package control

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// How long a client may take.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = time.Minute // pprof refuses profiles that take longer; the default is 30 s
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// Listen takes the address, if that has not been done, and returns the one in
// use. An error is an ErrAddress. Run calls it; calling it before finds a
// taken address early. Not for concurrent use.
func (s *Server) Listen() (net.Addr, error) {
	if s.o.Listener == nil {
		l, err := net.Listen("tcp", s.o.Address)
		if err != nil {
			return nil, fmt.Errorf("control address %q: %w: %w", s.o.Address, ErrAddress, err)
		}
		s.o.Listener = l
	}
	return s.o.Listener.Addr(), nil
}

// Run serves until ctx is done, then lets the requests at hand finish for
// StopTimeout, ends at once those that follow something, and returns nil. To be
// called once.
func (s *Server) Run(ctx context.Context) error {
	addr, err := s.Listen()
	if err != nil {
		return err
	}
	defer s.o.Listener.Close()
	if s.o.File != "" {
		if err := WriteFile(s.o.File, s.file(addr)); err != nil {
			return err
		}
		defer removeFile(s.o.File, s.token)
	}
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          s.errorLog(),
		BaseContext:       func(net.Listener) context.Context { return requests },
	}
	served := make(chan error, 1)
	go func() {
		if s.tls == nil {
			served <- server.Serve(s.o.Listener)
			return
		}
		server.TLSConfig = s.tls
		served <- server.ServeTLS(s.o.Listener, "", "")
	}()
	s.log.Info("control listens", "address", addr.String(), "tls", s.tls != nil)
	select {
	case err = <-served:
		err = fmt.Errorf("control: serve: %w", err)
	case <-ctx.Done():
		err = nil
	}
	s.letGo()
	stop(server, cancel, s.o.StopTimeout)
	if err == nil {
		<-served
	}
	return err
}

// file is what the verbs need to find this run.
func (s *Server) file(addr net.Addr) File {
	f := File{Address: reachable(addr), Token: s.token, Certificate: s.certificate}
	if s.tls != nil {
		f.Address = "https://" + f.Address
	}
	return f
}

// stop lets requests finish, then cancels them, then cuts them off.
func stop(server *http.Server, cancel context.CancelFunc, timeout time.Duration) {
	for _, last := range []func(){cancel, func() { _ = server.Close() }} {
		limit, done := context.WithTimeout(context.Background(), timeout)
		err := server.Shutdown(limit)
		done()
		if !errors.Is(err, context.DeadlineExceeded) {
			return
		}
		last()
	}
}

// errorLog takes what net/http and promhttp have to say: mostly of clients
// that went away.
func (s *Server) errorLog() *log.Logger {
	return slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
}

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is the server in this process; its zero value with a cluster.
//
// A stream of JetStream that could not be written once, because the disk was
// full, stores nothing more until its server is started anew, and gives those
// who put no answer. So the server is replaced as soon as the disk takes
// writes again (promise 6: it goes on by itself).
type embedded struct {
	mu      sync.Mutex // held while the server is replaced
	server  *server.Server
	wounds  atomic.Uint64 // counts the writes that failed
	healed  atomic.Uint64 // of these, those before the server of now
	hurt    chan struct{} // wakes mend
	stop    context.CancelFunc
	mending sync.WaitGroup
}

// mendPause is between two attempts to go on.
const mendPause = 200 * time.Millisecond

var errBroken = errors.New("the disk refused a write; the store goes on when it takes writes again")

// serve starts a server over what is in the directory.
func (s *Store) serve() (*server.Server, error) {
	one, err := server.NewServer(&server.Options{
		ServerName: "ct2fluent",
		DontListen: true,
		JetStream:  true,
		StoreDir:   s.o.Dir,
		// Promise 1: JetStream left to itself syncs every two minutes.
		SyncAlways: true,
		MaxPayload: MaxPayload,
		// The server would refuse streams larger than what is free now; how
		// full the disk may get is decided by Room.
		JetStreamMaxStore: 1 << 60,
		NoSigs:            true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the JetStream server: %w", err)
	}
	one.SetLoggerV2(logger{s.o.Log, s.wound}, false, false, false)
	one.Start()
	if !one.ReadyForConnections(30*time.Second) || !one.JetStreamEnabled() {
		one.Shutdown()
		one.WaitForShutdown()
		return nil, fmt.Errorf("start JetStream in %s: see the log", s.o.Dir)
	}
	return one, nil
}

// InProcessConn connects to the server of now. The connection calls it again
// when it was lost.
func (s *Store) InProcessConn() (net.Conn, error) {
	if !s.mu.TryLock() {
		return nil, errBroken // being replaced
	}
	defer s.mu.Unlock()
	return s.server.InProcessConn()
}

// whole is nil unless a write has failed that the server does not get over.
func (s *Store) whole() error {
	if s.Embedded() && s.mu.TryLock() {
		if !s.server.JetStreamEnabled() {
			s.wound()
		}
		s.mu.Unlock()
	}
	if s.broken() {
		return errBroken
	}
	return nil
}

// broken tells that a write has failed since the server began.
func (e *embedded) broken() bool { return e.wounds.Load() != e.healed.Load() }

// wound notes that the server has to be replaced.
func (s *Store) wound() {
	s.wounds.Add(1)
	select {
	case s.hurt <- struct{}{}:
	default:
	}
}

// mend replaces the server after a write has failed, once the disk takes
// writes, until ctx is done.
func (s *Store) mend(ctx context.Context) {
	for wait(ctx, s.hurt) {
		for s.broken() && wait(ctx, time.After(mendPause)) {
			if s.writable() != nil {
				continue
			}
			if err := s.replace(ctx); err != nil {
				s.o.Log.Error("the store cannot go on, trying again", "error", err)
			}
		}
	}
}

func wait[T any](ctx context.Context, c <-chan T) bool {
	select {
	case <-c:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// writable tries the disk.
func (s *Store) writable() error {
	if err := s.room(); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.o.Dir, ".try-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	err = errors.Join(err, f.Sync(), f.Close())
	return errors.Join(err, os.Remove(f.Name()))
}

// replace ends the server and starts another, as a start after a kill would:
// what was acknowledged is on disk (promise 1), and those whose answer is
// lost find out by themselves.
func (s *Store) replace(ctx context.Context) error {
	s.mu.Lock()
	s.server.Shutdown()
	s.server.WaitForShutdown()
	wounds := s.wounds.Load() // any later one is the new server's
	one, err := s.serve()
	if err == nil {
		s.server = one
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := s.js.Stream(asking, runStream)
		cancel()
		if err == nil {
			break
		}
		if s.wounds.Load() != wounds || !one.JetStreamEnabled() {
			return errBroken // and again
		}
		if !wait(ctx, time.After(mendPause)) {
			return ctx.Err()
		}
	}
	s.healed.Store(wounds)
	s.o.Log.Info("the disk takes writes again; the store goes on")
	return nil
}

// logger passes on what the server warns of, and hears from it that a stream
// will store nothing more.
type logger struct {
	log   *slog.Logger
	wound func()
}

func (l logger) Noticef(string, ...any) {}
func (l logger) Debugf(string, ...any)  {}
func (l logger) Tracef(string, ...any)  {}

func (l logger) Warnf(f string, v ...any) { l.log.Warn("store: " + fmt.Sprintf(f, v...)) }

func (l logger) Errorf(f string, v ...any) {
	text := fmt.Sprintf(f, v...)
	if strings.Contains(text, "failed to store a msg") || strings.Contains(text, "ritical write error") {
		l.wound()
	}
	l.log.Error("store: " + text)
}

func (l logger) Fatalf(f string, v ...any) { l.log.Error("store: " + fmt.Sprintf(f, v...)) }

// Package store opens the JetStream in which queue and ledger live: a server
// in this process with a directory of its own and no port, or a cluster.
//
// What Append has acknowledged outlives a loss of power (promise 1): the
// embedded server syncs every write before it answers. A cluster has to be
// set up so (sync_interval: always), which a client cannot see.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// MaxBatch is the largest number of messages one Append takes.
const MaxBatch = 1000

// MaxPayload is the largest message of the embedded server, in bytes.
const MaxPayload = 8 << 20

// Duplicates is the duplicate window of every stream, the least that JetStream
// takes. At a start the server reads all that is younger than it, for ids that
// no message of ours has: of a million customers that were written in the last
// two minutes, which is the default, that is half of the start.
const Duplicates = 100 * time.Millisecond

var (
	// ErrLocked says that another process works in the directory.
	ErrLocked = errors.New("directory is in use by another process")
	// ErrOvertaken says that a subject has moved past the sequence that a
	// message of Append expected it at. Nothing was stored.
	ErrOvertaken = errors.New("overtaken by another writer")
	// ErrNoRoom says that less than Options.Reserve is free on the disk.
	ErrNoRoom = errors.New("disk is nearly full")
	// ErrUnreachable says that the cluster does not answer.
	ErrUnreachable = errors.New("cluster cannot be reached")
	// ErrRefused says that the cluster does not take the credentials of the
	// URL, or that they may not use JetStream.
	ErrRefused = errors.New("cluster refuses the credentials")
)

// Options say where the store lies.
type Options struct {
	Dir      string // of the embedded server; made with mode 0700; empty with URL
	URL      string // of a cluster: nats://host:4222
	Replicas int    // of each stream; default 1
	Reserve  int64  // bytes that must stay free on Dir's disk; default 64 MiB
	Log      *slog.Logger

	// Free tells how many bytes are free in a directory; default: the system's
	// answer.
	Free func(dir string) (int64, error)
}

// A Store is a connection to JetStream. All methods are safe for concurrent
// use.
type Store struct {
	o     Options
	lock  *os.File
	conn  *nats.Conn
	js    jetstream.JetStream
	clean bool
	start uint64
	embedded

	silent atomic.Bool // the cluster gave no answer to the last Append
}

// The stream that tells how the last run ended.
const (
	runStream  = "CT2FLUENT_RUN"
	runSubject = "run"
	running    = "running"
	stopped    = "stopped"
)

// Open starts the embedded server, or connects to the cluster. It returns
// ErrLocked, ErrUnreachable, ErrRefused, ErrNoRoom or an error of the file
// system.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Reserve == 0 {
		o.Reserve = 64 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Free == nil {
		o.Free = free
	}
	s := &Store{o: o}
	s.embedded.hurt = make(chan struct{}, 1)
	if err := s.open(ctx); err != nil {
		s.shutdown()
		return nil, err
	}
	return s, nil
}

// lockFile is what a process holds while it works in the directory.
const lockFile = "lock"

func (s *Store) open(ctx context.Context) (err error) {
	if s.o.URL != "" {
		s.conn, err = nats.Connect(s.o.URL, append(s.options(), nats.IgnoreAuthErrorAbort(), nats.PingInterval(pingEvery))...)
		if err != nil {
			return unconnected(err)
		}
	} else if err := s.embed(); err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	if err := s.begin(ctx); err != nil {
		return mayNot(s.conn, err)
	}
	return nil
}

// answersAtOnce is for how many messages of one answer of JetStream there is
// room: more than any answer has, which is 1,024 for the newest of subjects. By
// default there is room for 65,536, half a MiB for each request.
const answersAtOnce = 4096

// pingEvery is how often a cluster is asked whether it is there: a connection
// that has died without a word is noticed after two unanswered.
const pingEvery = 15 * time.Second

// sayAgain is after what time the same trouble of a connection is told again.
const sayAgain = time.Minute

func (s *Store) options() []nats.Option {
	var mu sync.Mutex
	var said string
	var at time.Time
	return []nats.Option{
		nats.Name("ct2fluent"),
		nats.MaxReconnects(-1),
		nats.SyncQueueLen(answersAtOnce),
		// Left to itself the client writes to standard error.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err.Error() == said && time.Since(at) < sayAgain {
				return
			}
			said, at = err.Error(), time.Now()
			s.o.Log.Warn("store: connection", "error", err)
		}),
	}
}

func (s *Store) embed() error {
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the store's directory: %w", err)
	}
	if err := os.Chmod(s.o.Dir, 0o700); err != nil {
		return fmt.Errorf("keep the store's directory private: %w", err)
	}
	var err error
	if s.lock, err = lock(filepath.Join(s.o.Dir, lockFile)); err != nil {
		return fmt.Errorf("lock %s: %w", s.o.Dir, err)
	}
	if err := s.room(); err != nil {
		return err
	}
	if s.server, err = s.serve(); err != nil {
		return err
	}
	s.conn, err = nats.Connect("", append(s.options(), nats.InProcessServer(s), nats.ReconnectWait(mendPause), nats.ReconnectBufSize(-1))...)
	if err != nil {
		return fmt.Errorf("connect to the JetStream server: %w", err)
	}
	mending, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.mending.Go(func() { s.mend(mending) })
	return nil
}

// begin reads how the last run ended and notes that this one runs.
func (s *Store) begin(ctx context.Context) error {
	stream, err := s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: runStream, Subjects: []string{runSubject}, MaxMsgs: 1, Replicas: s.o.Replicas, Duplicates: Duplicates,
	})
	if err != nil {
		return fmt.Errorf("open stream %s: %w", runStream, err)
	}
	last, err := stream.GetLastMsgForSubject(ctx, runSubject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		s.clean = true
	case err != nil:
		return fmt.Errorf("read how the last run ended: %w", err)
	default:
		s.clean = string(last.Data) == stopped
	}
	s.start, err = s.Append(ctx, &nats.Msg{Subject: runSubject, Data: []byte(running)})
	if err != nil {
		return fmt.Errorf("note the start: %w", err)
	}
	return nil
}

// JetStream is the connection's JetStream.
func (s *Store) JetStream() jetstream.JetStream { return s.js }

// Replicas is how many replicas a stream is to have.
func (s *Store) Replicas() int { return s.o.Replicas }

// Embedded tells that the server runs in this process, which alone has the
// store.
func (s *Store) Embedded() bool { return s.o.URL == "" }

// Clean tells that the run before this one ended by Close, or that there was
// none.
func (s *Store) Clean() bool { return s.clean }

// Start is the number of this run: each later run of the same store has a
// higher one.
func (s *Store) Start() uint64 { return s.start }

// Room returns nil when more may be written, ErrNoRoom when the disk is nearly
// full, and another error while the disk refuses what the server writes. Both
// pass by themselves once there is room.
func (s *Store) Room() error {
	if err := s.whole(); err != nil {
		return err
	}
	return s.room()
}

// Ready returns nil when more may be written, as far as can be told without
// trying: there is Room, and the cluster is connected and gave an answer to the
// last Append. Otherwise the error is ErrUnreachable, which passes once it is
// connected, and with the next Append or Probe.
func (s *Store) Ready() error {
	if !s.Embedded() && !s.conn.IsConnected() {
		return fmt.Errorf("%w: connection is %s", ErrUnreachable, strings.ToLower(s.conn.Status().String()))
	}
	if s.silent.Load() {
		return fmt.Errorf("%w: it gives no answer to what is to be stored", ErrUnreachable)
	}
	return s.Room()
}

// Probe asks a cluster that gave no answer whether it does now: Ready knows then.
// It stores what is there already.
func (s *Store) Probe(ctx context.Context) error {
	if s.Embedded() || !s.silent.Load() || !s.conn.IsConnected() {
		return s.Ready()
	}
	if _, err := s.Append(ctx, &nats.Msg{Subject: runSubject, Data: []byte(running)}); err != nil {
		return err
	}
	return s.Ready()
}

func (s *Store) room() error {
	if s.o.Dir == "" {
		return nil
	}
	n, err := s.o.Free(s.o.Dir)
	return enough(s.o.Dir, n, s.o.Reserve, err)
}

// Room tells what a store in the directory dir would have: ErrNoRoom where
// less than reserve bytes are free.
func Room(dir string, reserve int64) error {
	n, err := free(dir)
	return enough(dir, n, reserve, err)
}

// Reach tells whether the cluster of a URL is there, takes its credentials and
// has JetStream: ErrUnreachable, ErrRefused.
func Reach(ctx context.Context, url string) error {
	conn, err := nats.Connect(url, nats.Name("ct2fluent check"), nats.Timeout(reachLimit),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return unconnected(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, reachLimit)
		defer cancel()
		_, err = js.AccountInfo(ctx)
	}
	if err != nil {
		return mayNot(conn, fmt.Errorf("%w: JetStream: %w", ErrUnreachable, err))
	}
	return nil
}

const reachLimit = 5 * time.Second

// Free is how many bytes are free on the disk of a directory.
func Free(dir string) (int64, error) { return free(dir) }

// Locked tells whether a process works in the directory now.
func Locked(dir string) bool {
	name := filepath.Join(dir, lockFile)
	if _, err := os.Stat(name); err != nil {
		return false
	}
	f, err := lock(name)
	if err != nil {
		return errors.Is(err, ErrLocked)
	}
	unlock(f)
	return false
}

func enough(dir string, n, reserve int64, err error) error {
	if err != nil {
		return fmt.Errorf("read the free space of %s: %w", dir, err)
	}
	if n < reserve {
		return fmt.Errorf("%w: %d MiB free in %s, %d MiB are kept free", ErrNoRoom, n>>20, dir, reserve>>20)
	}
	return nil
}

// Append stores messages of one stream: all of them, or none and an error. nil
// means that they are on disk (promise 1). A message may carry the last
// sequence its subject is expected at (jetstream.ExpectedLastSubjSeqHeader);
// where one is wrong the error is ErrOvertaken. After another error it is not
// known whether they were stored; where a cluster gave no answer, it is
// ErrUnreachable. At most MaxBatch messages; their headers are written to.
func (s *Store) Append(ctx context.Context, msgs ...*nats.Msg) (last uint64, err error) {
	defer func() { s.silent.Store(errors.Is(err, ErrUnreachable)) }()
	for _, m := range msgs {
		if m.Header == nil {
			m.Header = nats.Header{}
		}
	}
	if len(msgs) == 1 {
		ack, err := s.js.PublishMsg(ctx, msgs[0])
		if err != nil {
			return 0, s.unstored(err)
		}
		return ack.Sequence, nil
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, s.js, msgs)
	if err != nil {
		return 0, s.unstored(err)
	}
	return ack.Sequence, nil
}

// The codes of a wrong expected sequence: of one message, of a batch.
const (
	wrongLastSequence      jetstream.ErrorCode = 10071
	wrongLastSequenceBatch jetstream.ErrorCode = 10164
)

func (s *Store) unstored(err error) error {
	if !s.Embedded() && unanswered(err) {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return overtaken(err)
}

func overtaken(err error) error {
	var e jetstream.JetStreamError
	if errors.As(err, &e) && e.APIError() != nil {
		if c := e.APIError().ErrorCode; c == wrongLastSequence || c == wrongLastSequenceBatch {
			return fmt.Errorf("%w: %w", ErrOvertaken, err)
		}
	}
	return err
}

// Close notes the orderly stop and ends the server. Nothing may use the store
// any more.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := s.Append(ctx, &nats.Msg{Subject: runSubject, Data: []byte(stopped)})
	if err != nil {
		err = fmt.Errorf("note the stop: %w", err)
	}
	s.shutdown()
	return err
}

// Crash ends the server without noting the stop: for a start that failed, and
// for tests, where it is as near to a kill as one process can come.
func (s *Store) Crash() { s.shutdown() }

func (s *Store) shutdown() {
	if s.stop != nil {
		s.stop()
		s.mending.Wait()
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	if s.lock != nil {
		unlock(s.lock)
	}
}

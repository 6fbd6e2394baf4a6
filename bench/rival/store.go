package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	workStream = "NOTIFICATIONS"
	workName   = "notifications"
	deadStream = "DEAD"
	deadName   = "dead"
	consumer   = "rival"

	maxPayload  = 8 << 20
	atomicBatch = 1000 // messages of one publish, the server's limit
)

// A store is the JetStream server in this process, set up as the product's: no
// port, every write synced before it is answered.
type store struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	work   jetstream.Stream
	dead   jetstream.Stream

	ackWait time.Duration // after which what is not acknowledged is handed out again
}

func openStore(ctx context.Context, dir string) (s *store, err error) {
	s = &store{ackWait: 2 * time.Minute}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.server, err = server.NewServer(&server.Options{
		ServerName: "rival", DontListen: true, JetStream: true, StoreDir: dir,
		SyncAlways: true, MaxPayload: maxPayload, JetStreamMaxStore: 1 << 60,
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		return s, err
	}
	s.server.Start()
	if !s.server.ReadyForConnections(time.Minute) || !s.server.JetStreamEnabled() {
		return s, fmt.Errorf("JetStream does not start in %s", dir)
	}
	if s.conn, err = nats.Connect("", nats.InProcessServer(s.server)); err != nil {
		return s, err
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return s, err
	}
	// Limits retention: an acknowledgement removes nothing, which would cost a
	// sync of its own.
	if s.work, err = s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: workStream, Subjects: []string{workName}, AllowAtomicPublish: true,
	}); err != nil {
		return s, err
	}
	s.dead, err = s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: deadStream, Subjects: []string{deadName}})
	return s, err
}

// close ends the server; what was acknowledged to it is on disk then.
func (s *store) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
}

func (s *store) consumer(ctx context.Context) (jetstream.Consumer, error) {
	return s.work.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: s.ackWait, MaxAckPending: 100_000,
	})
}

// fill puts every line into the stream, on disk when it returns.
func fill(ctx context.Context, dir string, in io.Reader) error {
	s, err := openStore(ctx, dir)
	if err != nil {
		return err
	}
	defer s.close()
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxPayload)
	var batch []*nats.Msg
	put := func() error {
		if len(batch) == 0 {
			return nil
		}
		_, err := jetstreamext.PublishMsgBatch(ctx, s.js, batch)
		batch = batch[:0]
		return err
	}
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		batch = append(batch, &nats.Msg{Subject: workName, Data: bytes.Clone(lines.Bytes()), Header: nats.Header{}})
		if len(batch) == atomicBatch {
			if err := put(); err != nil {
				return err
			}
		}
	}
	return errors.Join(lines.Err(), put())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ct2fluent/ct2fluent/inbox"
	"github.com/ct2fluent/ct2fluent/queue"
	"github.com/ct2fluent/ct2fluent/store"
)

// notification is one as commercetools sends it.
func notification(i int) []byte {
	return fmt.Appendf(nil, `{"notificationType":"ResourceCreated","projectKey":%q,"resource":{"typeId":"customer","id":"00000000-0000-4000-8000-%012d"},`+
		`"resourceUserProvidedIdentifiers":{},"version":1,"modifiedAt":"2026-01-01T00:00:00.000Z"}`, project, i)
}

// ingest: how quickly notifications are safe.
func (b *bench) ingest(ctx context.Context) error {
	const name = "ingest"
	const callers = 64
	var many, plainly, ones, syncs, ratios []float64
	for range b.runs {
		i, err := b.ingestOnce(ctx, callers)
		if err != nil {
			return err
		}
		many, plainly = append(many, i.many), append(plainly, i.plainly)
		ones, syncs = append(ones, ms(i.one.P50)), append(syncs, ms(i.sync.P50))
		ratios = append(ratios, ratio(ms(i.one.P50), ms(i.sync.P50)))
	}
	r := b.report
	r.figure(name, "puts a second by 64 callers", spread(many).Median, "", atLeast(20_000))
	r.figure(name, "publishes a second by 64 callers to JetStream that syncs always", spread(plainly).Median, "", nil)
	r.figure(name, "the puts, to these", ratio(spread(many).Median, spread(plainly).Median), "times", nil)
	r.figure(name, "one put by one caller, p50", spread(ones).Median, "ms", nil)
	r.figure(name, "a bare write and fsync of the same size, p50", spread(syncs).Median, "ms", nil)
	r.figure(name, "one put to a bare fsync", spread(ratios).Median, "times", atMost(2))
	return nil
}

type ingested struct {
	many, plainly float64 // a second
	one, sync     Times
}

func (b *bench) ingestOnce(ctx context.Context, callers int) (out ingested, err error) {
	dir, err := b.dir()
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(ctx, store.Options{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return out, err
	}
	q, err := queue.Open(ctx, queue.Options{Store: s, Projects: []string{project}})
	if err != nil {
		s.Crash()
		return out, err
	}
	defer func() { err = errors.Join(err, q.Close(), s.Close()) }()
	in := inbox.New(inbox.Options{Put: q.Put, Projects: []string{project}})

	n := b.of(3000, 50_000)
	began := time.Now()
	if err := atOnce(callers, n, func(i int) error { _, err := in.Put(ctx, notification(i)); return err }); err != nil {
		return out, err
	}
	out.many = float64(n) / time.Since(began).Seconds()

	f, err := os.OpenFile(filepath.Join(dir, "bare"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return out, err
	}
	defer f.Close()
	// In turns, as a disk has moods.
	var ones, syncs []time.Duration
	for i := range b.of(200, 1000) {
		body := notification(n + i)
		began := time.Now()
		if _, err := in.Put(ctx, body); err != nil {
			return out, err
		}
		ones = append(ones, time.Since(began))
		began = time.Now()
		if _, err := f.Write(body); err != nil {
			return out, err
		}
		if err := f.Sync(); err != nil {
			return out, err
		}
		syncs = append(syncs, time.Since(began))
	}
	out.one, out.sync = timesOf(ones), timesOf(syncs)
	received, err := q.Received(ctx)
	if err != nil {
		return out, err
	}
	if want := uint64(n + len(ones)); received != want {
		b.report.wrong("ingest: %d puts returned, the queue has received %d", want, received)
	}

	js := s.JetStream()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "BENCH", Subjects: []string{"bench"}}); err != nil {
		return out, err
	}
	n = b.of(500, 5000)
	began = time.Now()
	if err := atOnce(callers, n, func(i int) error { _, err := js.Publish(ctx, "bench", notification(i)); return err }); err != nil {
		return out, err
	}
	out.plainly = float64(n) / time.Since(began).Seconds()
	return out, nil
}

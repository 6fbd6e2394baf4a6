package main

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// prefetch is how many messages at least are asked for and held ready.
const prefetch = 1000

// An input is the plugin `jetstream`: a durable pull consumer. Each batch is
// acknowledged when the pipeline has settled it; acknowledgements are not
// waited for, the server has them on disk within 100 ms, and all of them when
// it is closed.
type input struct {
	store  *store
	size   int           // of a batch, at most
	period time.Duration // waited for a batch to fill
	stay   bool
	first  *time.Time // set at the first fetch

	fetching jetstream.ConsumeContext
	msgs     chan jetstream.Msg
	empty    chan struct{} // closed when the backlog is acknowledged

	mu   sync.Mutex
	open int // of the backlog, not acknowledged yet
}

func inputSpec() *service.ConfigSpec {
	return service.NewConfigSpec().Summary("Takes the notifications from JetStream.").
		Field(service.NewIntField("batch").Default(1)).
		Field(service.NewDurationField("period").Default("0s"))
}

func (i *input) Connect(ctx context.Context) error {
	c, err := i.store.consumer(ctx)
	if err != nil {
		return err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	i.msgs, i.empty = make(chan jetstream.Msg, i.size), make(chan struct{})
	i.open = int(info.NumPending) + info.NumAckPending
	if i.open == 0 && !i.stay {
		close(i.empty)
	}
	*i.first = time.Now()
	i.fetching, err = c.Consume(func(m jetstream.Msg) {
		select {
		case i.msgs <- m:
		case <-i.empty:
		}
	}, jetstream.PullMaxMessages(max(prefetch, 2*i.size)))
	return err
}

func (i *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	got := make([]jetstream.Msg, 0, i.size)
	select {
	case m := <-i.msgs:
		got = append(got, m)
	case <-i.empty:
		return nil, nil, service.ErrEndOfInput
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if i.size > 1 {
		got = i.more(ctx, got)
	}
	batch := make(service.MessageBatch, len(got))
	for n, m := range got {
		batch[n] = service.NewMessage(m.Data())
	}
	return batch, func(_ context.Context, err error) error { return i.settle(got, err) }, nil
}

// more fills a batch with what comes within the period.
func (i *input) more(ctx context.Context, got []jetstream.Msg) []jetstream.Msg {
	t := time.NewTimer(i.period)
	defer t.Stop()
	for len(got) < i.size {
		select {
		case m := <-i.msgs:
			got = append(got, m)
		case <-t.C:
			return got
		case <-ctx.Done():
			return got
		}
	}
	return got
}

// settle acknowledges, or has the messages delivered again after a second.
func (i *input) settle(msgs []jetstream.Msg, failed error) error {
	for _, m := range msgs {
		if failed != nil {
			if err := m.NakWithDelay(time.Second); err != nil {
				return err
			}
			continue
		}
		if err := m.Ack(); err != nil {
			return err
		}
	}
	if failed != nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	before := i.open
	i.open -= len(msgs)
	if before > 0 && i.open <= 0 && !i.stay {
		close(i.empty)
	}
	return nil
}

// Close stops fetching. What was fetched and not handed out comes again after
// the consumer's AckWait: the server forgets at its end what was given back.
func (i *input) Close(context.Context) error {
	if i.fetching != nil {
		i.fetching.Stop()
	}
	return nil
}

// A newest is the plugin `newest`: of each batch it keeps the message of the
// highest version of each customer, each in a batch of its own, so that the
// pipeline's threads work them at once. The others share its acknowledgement.
type newest struct{}

func (newest) ProcessBatch(_ context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	type place struct {
		at      int
		version string
	}
	seen := make(map[string]place, len(batch))
	kept := make([]service.MessageBatch, 0, len(batch))
	for _, m := range batch {
		id, ok := m.MetaGet("id")
		version, _ := m.MetaGet("version")
		if !ok || m.GetError() != nil {
			kept = append(kept, service.MessageBatch{m})
			continue
		}
		p, again := seen[id]
		switch {
		case !again:
			seen[id] = place{len(kept), version}
			kept = append(kept, service.MessageBatch{m})
		case older(p.version, version):
			seen[id] = place{p.at, version}
			kept[p.at] = service.MessageBatch{m}
		}
	}
	return kept, nil
}

// older compares whole numbers as they are written.
func older(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a < b }

func (newest) Close(context.Context) error { return nil }

// A deadLetter is the output `dead_letter`: the notification as it came, and
// why, on disk when it returns.
type deadLetter struct{ js jetstream.JetStream }

func (deadLetter) Connect(context.Context) error { return nil }

func (d deadLetter) Write(ctx context.Context, m *service.Message) error {
	original, _ := m.MetaGet("original")
	reason, _ := m.MetaGet("fallback_error")
	_, err := d.js.PublishMsg(ctx, &nats.Msg{
		Subject: deadName, Data: []byte(original), Header: nats.Header{"Reason": {reason}},
	})
	return err
}

func (deadLetter) Close(context.Context) error { return nil }

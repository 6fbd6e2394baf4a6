package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/std"
)

// An idling says what the child of the case idle does.
type idling struct {
	Dir     string // of a configuration whose only listener is of type bench
	Control string // of the stand-ins
	Samples int    // of new customers, and of changed ones
}

// idled is its answer: from the beginning of put until Fluent's answer, less
// the time inside the stand-ins.
type idled struct{ Put, Created, Updated, BareCreated, BareUpdated Times }

// A hand gives the put of a running inbox to who holds it.
type hand chan func(ctx context.Context, body []byte) error

// Run implements ct2fluent.Source.
func (h hand) Run(ctx context.Context, put func(context.Context, []byte) error) error {
	select {
	case h <- put:
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// newApp wires the stock binary in this process, with h as the only listener,
// and with more handlers.
func newApp(ctx context.Context, dir string, h hand, more ...app.HandlerType) (*app.App, error) {
	s := &app.Setup{Sources: map[string]app.SourceType{}}
	std.Setup(s)
	none := func() any { return new(struct{}) }
	s.Sources["bench"] = app.SourceType{Options: none, New: func(any, app.SourceEnv) (ct2fluent.Source, error) { return h, nil }}
	s.Handlers = append(s.Handlers, more...)
	c, err := app.Load(configOf(dir), app.LoadOptions{Listeners: map[string]func() any{"bench": none}})
	if err != nil {
		return nil, err
	}
	return app.New(ctx, s, c, slog.New(slog.DiscardHandler))
}

const byHand = "bench: { type: bench }"

func idleChild(ctx context.Context, spec *json.Decoder) (err error) {
	var i idling
	if err := spec.Decode(&i); err != nil {
		return err
	}
	h := make(hand)
	a, err := newApp(ctx, i.Dir, h)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	defer func() {
		stop()
		for _, e := range []error{<-ended, a.Close()} {
			if err == nil {
				err = e
			}
		}
	}()
	d := &driver{app: a, put: <-h, sides: newSides(i.Control)}
	// The first ones wait for the scan of Fluent, and for connections.
	if _, _, err := d.samples(ctx, warm, false); err != nil {
		return err
	}
	var out idled
	var puts []time.Duration
	for _, one := range []struct {
		change bool
		to     *Times
	}{{false, &out.Created}, {true, &out.Updated}} {
		took, put, err := d.samples(ctx, i.Samples, one.change)
		if err != nil {
			return err
		}
		*one.to, puts = timesOf(took), append(puts, put...)
	}
	out.Put = timesOf(puts)
	for _, one := range []struct {
		syncs, calls int
		to           *Times
	}{{2, 3, &out.BareCreated}, {1, 2, &out.BareUpdated}} {
		took, err := d.bare(ctx, i.Dir, i.Samples, one.syncs, one.calls)
		if err != nil {
			return err
		}
		*one.to = timesOf(took)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

const warm = 10

// A driver brings one notification at a time.
type driver struct {
	app   *app.App
	put   func(context.Context, []byte) error
	sides *sides
	made  int // notifications put
}

func (d *driver) samples(ctx context.Context, n int, change bool) (took, puts []time.Duration, err error) {
	for i := range n {
		path := "/one"
		if change {
			path = fmt.Sprintf("/one?change=%d", i)
		}
		var body []byte
		if err := d.sides.ask(ctx, "POST", path, nil, &body); err != nil {
			return nil, nil, err
		}
		var before, after Answered
		if err := d.sides.ask(ctx, "GET", "/answered?after=-1", nil, &before); err != nil {
			return nil, nil, err
		}
		began := time.Now()
		if err := d.put(ctx, body); err != nil {
			return nil, nil, err
		}
		puts = append(puts, time.Since(began))
		d.made++
		if err := d.sides.ask(ctx, "GET", fmt.Sprintf("/answered?after=%d", before.N), nil, &after); err != nil {
			return nil, nil, err
		}
		took = append(took, after.At.Sub(began)-(after.Busy-before.Busy))
		if err := d.settle(ctx); err != nil {
			return nil, nil, err
		}
	}
	return took, puts, nil
}

// bare does nothing but what cannot be left out: it writes and syncs as much as
// a notification takes, and makes as many exchanges with the stand-ins' process
// as a customer takes, one after the other.
func (d *driver) bare(ctx context.Context, dir string, n, syncs, calls int) (took []time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, 1024)
	for range n {
		began := time.Now()
		for range syncs {
			if _, err := f.Write(data); err != nil {
				return nil, err
			}
			if err := f.Sync(); err != nil {
				return nil, err
			}
		}
		for range calls {
			var a Answered
			if err := d.sides.ask(ctx, "GET", "/answered?after=-1", nil, &a); err != nil {
				return nil, err
			}
		}
		took = append(took, time.Since(began))
		time.Sleep(2 * time.Millisecond) // as idle as the process it is compared with
	}
	return took, nil
}

func (d *driver) settle(ctx context.Context) error {
	return until(ctx, "the one to be settled", time.Minute, time.Millisecond, func() (bool, error) {
		s, err := d.app.Status(ctx)
		return s.Waiting == 0 && s.Written == uint64(d.made), err
	})
}

// idle: one notification at a time.
func (b *bench) idle(ctx context.Context) error {
	s, err := b.sides(ctx, Scene{Latency: latency})
	if err != nil {
		return err
	}
	defer s.close()
	dir, err := b.dir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := configure(dir, s.Addresses, setup{Listener: byHand}); err != nil {
		return err
	}
	samples := b.of(40, 500)
	var out idled
	if _, err := work(ctx, "idle", idling{dir, s.Control, samples}, "", &out); err != nil {
		return err
	}
	for _, one := range []struct {
		name string
		Times
		p50, p99 goal
	}{
		{"a change of a known customer", out.Updated, atMost(2), atMost(10)},
		{"a new customer", out.Created, atMost(2), atMost(10)},
		{"of that, until put has returned", out.Put, nil, nil},
		{"bare: 1 sync and 2 exchanges", out.BareUpdated, nil, nil},
		{"bare: 2 syncs and 3 exchanges", out.BareCreated, nil, nil},
	} {
		b.report.figure("idle", one.name+", p50", ms(one.P50), "ms", one.p50)
		b.report.figure("idle", one.name+", p99", ms(one.P99), "ms", one.p99)
	}
	var v Verdict
	if err := s.ask(ctx, "GET", "/verdict", nil, &v); err != nil {
		return err
	}
	b.judge("idle", v, samples+warm)
	return nil
}

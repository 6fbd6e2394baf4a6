package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
)

//go:embed pipeline.yaml
var pipelineText string

var pipeline = template.Must(template.New("pipeline.yaml").Parse(pipelineText))

// run works the backlog, until it is empty or, with stay, until ctx is done.
func run(ctx context.Context, o options) (*report, error) {
	if o.threads < 1 || o.merge < 0 || o.project == "" || o.commercetools == "" || o.auth == "" || o.fluent == "" {
		return nil, errUsage
	}
	s, err := openStore(ctx, o.store)
	if err != nil {
		return nil, err
	}
	s.ackWait = o.ackWait
	open := true
	defer func() {
		if open {
			s.close()
		}
	}()
	before, err := s.progress(ctx)
	if err != nil {
		return nil, err
	}
	var first time.Time
	stream, err := build(o, s, &first)
	if err != nil {
		return nil, err
	}
	if err := work(ctx, stream); err != nil {
		return nil, err
	}
	after, err := s.settled(ctx, !o.stay && ctx.Err() == nil)
	if err != nil {
		return nil, err
	}
	// Only the closed server has the last acknowledgements on disk for certain.
	s.close()
	open = false
	r := &report{
		Notifications: after.received - before.acknowledged, Settled: after.acknowledged - before.acknowledged,
		Dead: after.dead - before.dead, Seconds: time.Since(first).Seconds(),
	}
	r.CPUSeconds, r.MaxRSS = usage()
	return r, nil
}

// work runs the stream to its end, or stops it in order when ctx is done.
func work(ctx context.Context, stream *service.Stream) error {
	ended := make(chan error, 1)
	go func() { ended <- stream.Run(context.WithoutCancel(ctx)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if err := stream.StopWithin(20 * time.Second); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return <-ended
}

// A progress is how far the streams have come; received and acknowledged are
// sequences.
type progress struct{ received, acknowledged, dead uint64 }

func (s *store) progress(ctx context.Context) (p progress, err error) {
	c, err := s.consumer(ctx)
	if err != nil {
		return p, err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return p, err
	}
	work, err := s.work.Info(ctx)
	if err != nil {
		return p, err
	}
	dead, err := s.dead.Info(ctx)
	if err != nil {
		return p, err
	}
	p = progress{received: work.State.LastSeq, acknowledged: info.AckFloor.Stream, dead: dead.State.Msgs}
	return p, nil
}

// settled waits, where all has been acknowledged, until the server knows.
func (s *store) settled(ctx context.Context, all bool) (progress, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := s.conn.FlushWithContext(ctx); err != nil {
		return progress{}, err
	}
	for {
		p, err := s.progress(ctx)
		if err != nil || !all || p.acknowledged == p.received {
			return p, err
		}
	}
}

// build makes the stream of pipeline.yaml and the plugins.
func build(o options, s *store, first *time.Time) (*service.Stream, error) {
	client, err := newClient(o.threads, o.ca)
	if err != nil {
		return nil, err
	}
	env := service.NewEnvironment()
	if err := register(env, o, s, newCommercetools(o, client), newFluent(o, client), first); err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := pipeline.Execute(&text, map[string]any{"Threads": o.threads, "Merge": o.merge, "Retailer": o.retailer}); err != nil {
		return nil, err
	}
	b := env.NewStreamBuilder()
	if err := b.SetYAML(text.String()); err != nil {
		return nil, err
	}
	return b.Build()
}

func register(env *service.Environment, o options, s *store, from, to *api, first *time.Time) error {
	plugins := []error{
		env.RegisterBatchInput("jetstream", inputSpec(), func(c *service.ParsedConfig, _ *service.Resources) (service.BatchInput, error) {
			size, err := c.FieldInt("batch")
			if err != nil {
				return nil, err
			}
			period, err := c.FieldDuration("period")
			return &input{store: s, size: size, period: period, stay: o.stay, first: first}, err
		}),
		env.RegisterBatchProcessor("newest", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchProcessor, error) {
			return newest{}, nil
		}),
		env.RegisterProcessor("commercetools", getterSpec(), func(c *service.ParsedConfig, _ *service.Resources) (service.Processor, error) {
			id, err := c.FieldInterpolatedString("id")
			return &getter{api: from, customers: o.commercetools + "/" + o.project + "/customers/", id: id}, err
		}),
		env.RegisterProcessor("fluent", callerSpec(), func(c *service.ParsedConfig, _ *service.Resources) (service.Processor, error) {
			query, err := c.FieldString("query")
			if err != nil {
				return nil, err
			}
			required, err := c.FieldBool("required")
			if err != nil {
				return nil, err
			}
			variables, err := c.FieldBloblang("variables")
			return &caller{api: to, url: o.fluent + "/graphql", query: query, variables: variables, required: required}, err
		}),
		env.RegisterOutput("dead_letter", service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.Output, int, error) {
			return deadLetter{s.js}, 64, nil
		}),
	}
	for _, err := range plugins {
		if err != nil {
			return err
		}
	}
	return nil
}

// usage is what this process has used so far.
func usage() (cpuSeconds float64, maxRSS int64) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0, 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(u.Utime) + seconds(u.Stime), int64(u.Maxrss) << 10
}

package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/app"
)

// spoolOptions are the keys of a listener of type spool.
type spoolOptions struct {
	// Directory whose *.json files are notifications.
	Dir string `yaml:"dir" required:"true"`

	// How often it is looked into.
	Every time.Duration `yaml:"every" default:"1s" min:"10ms"`
}

// A spool is a source that takes each file of a directory and removes it when
// it is safe.
type spool struct {
	*spoolOptions
	log *slog.Logger
}

func newSpool(options any, env app.SourceEnv) (ct2fluent.Source, error) {
	return &spool{options.(*spoolOptions), env.Log}, nil
}

// Run implements ct2fluent.Source.
func (s *spool) Run(ctx context.Context, put func(context.Context, []byte) error) error {
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		if err := s.sweep(ctx, put); err != nil && ctx.Err() == nil {
			s.log.Warn("spool waits", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *spool) sweep(ctx context.Context, put func(context.Context, []byte) error) error {
	names, err := filepath.Glob(filepath.Join(s.Dir, "*.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		// The file is the acknowledgement: it goes when put has returned nil.
		if err := put(ctx, body); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

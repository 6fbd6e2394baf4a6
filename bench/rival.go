package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// rivalRun has the rival work a backlog. merge is how many messages it looks
// at to keep the newest of each resource; 0: it does not.
func (b *bench) rivalRun(ctx context.Context, s *sides, bodies [][]byte, customers, merge int) (Run, error) {
	dir, err := b.dir()
	if err != nil {
		return Run{}, err
	}
	stream := filepath.Join(dir, "data")
	fill := exec.CommandContext(ctx, b.rivals, "fill", "--store", stream)
	fill.Stdin = bytes.NewReader(lines(bodies))
	if said, err := fill.CombinedOutput(); err != nil {
		return Run{}, fmt.Errorf("rival fill: %w\n%s", err, tail(said))
	}
	args := []string{"run", "--store", stream,
		"--commercetools", s.Commercetools, "--commercetools-auth", s.Commercetools, "--project", project,
		"--fluent", s.Fluent, "--account", account, "--retailer", retailer,
		"--client-id", clientID, "--client-secret", clientSecret, "--username", apiUser, "--password", apiPassword,
		"--threads", "64", "--merge", strconv.Itoa(merge)}
	if s.CA != "" {
		args = append(args, "--ca", s.CA)
	}
	before, err := s.counts(ctx)
	if err != nil {
		return Run{}, err
	}
	var said struct {
		Notifications, Settled, Dead int
		Seconds                      float64
		MaxRSS                       int64 `json:"max_rss_bytes"`
	}
	used, err := answer(exec.CommandContext(ctx, b.rivals, args...), &said)
	if err != nil {
		return Run{}, err
	}
	after, err := s.counts(ctx)
	if err != nil {
		return Run{}, err
	}
	if said.Dead > 0 || said.Notifications != len(bodies) {
		b.told("   the rival: %d of %d notifications, %d dead", said.Notifications, len(bodies), said.Dead)
	}
	used.Max = said.MaxRSS
	return measured(before, after, len(bodies), customers, time.Duration(said.Seconds*float64(time.Second)), used), nil
}

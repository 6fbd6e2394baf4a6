package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/store"
)

// A Finding is one thing that check has looked at.
type Finding struct {
	What   string `json:"what"`
	State  string `json:"state"` // ok, warning, failed
	Detail string `json:"detail,omitempty"`
	Remedy string `json:"remedy,omitempty"`

	err error // why it failed
}

func (c *cli) check() *cobra.Command {
	var offline bool
	verb := c.asJSON(&cobra.Command{
		Use: "check", Short: "Check the configuration, then both sides, the queue and the disk", Args: cobra.NoArgs,
		Long: "Check prints the configuration as understood, secrets as <secret>, then asks both\nsides, the listeners, the queue's directory and its disk. --offline checks the\nconfiguration alone.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load(cmd.Context(), false)
			if err != nil {
				return err
			}
			p, err := newPlan(c.setup, cfg, c.logger(LogConfig{Level: "error"}))
			if err != nil {
				return err
			}
			if err := checkDoor(cfg); err != nil {
				return err
			}
			var found []Finding
			for _, n := range cfg.Ignored {
				found = append(found, Finding{What: "configuration", State: "warning", Detail: n.String()})
			}
			found = append(found, p.warnings()...)
			found = append(found, Finding{What: "configuration", State: "ok", Detail: c.file})
			found = append(found, selections(cfg)...)
			found = append(found, doorFindings(cfg)...)
			found = append(found, outsideFindings(cfg)...)
			if !offline {
				found = append(found, c.surroundings(cmd.Context(), p)...)
			}
			return c.report(cfg, found)
		},
	})
	verb.Flags().BoolVar(&offline, "offline", false, "check the configuration alone")
	return verb
}

func (c *cli) report(cfg *Config, found []Finding) error {
	if c.json {
		if err := c.printJSON(struct {
			Config   *Config   `json:"config"`
			Findings []Finding `json:"findings"`
		}{cfg, found}); err != nil {
			return err
		}
	} else {
		if err := cfg.Print(c.out); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
		if err := printFindings(c.out, found); err != nil {
			return err
		}
	}
	return worst(found)
}

func printFindings(out io.Writer, found []Finding) error {
	for _, f := range found {
		if _, err := fmt.Fprintf(out, "%-7s  %s: %s\n", f.State, f.What, f.Detail); err != nil {
			return err
		}
		if f.Remedy != "" {
			fmt.Fprintf(out, "         %s\n", f.Remedy)
		}
	}
	return nil
}

// worst is the most telling failure, which decides the exit code: what has to
// be corrected first, then what cannot be reached.
func worst(found []Finding) error {
	var err error
	for _, one := range []int{exitConfig, exitSurroundings, exitFailed} {
		for _, f := range found {
			if err == nil && f.State == "failed" && exitCode(f.err) == one {
				err = f.err
			}
		}
	}
	if err != nil {
		return &kindError{errSaid, err}
	}
	return nil
}

// warnings are what the sources say of how they were set up.
func (p *plan) warnings() (found []Finding) {
	for _, l := range p.config.Listeners {
		if s, ok := p.sources[l.ID].(interface{ Warnings() [][2]string }); ok {
			for _, w := range s.Warnings() {
				found = append(found, Finding{What: "listener " + l.ID, State: "warning", Detail: w[0], Remedy: w[1]})
			}
		}
	}
	return append(found, configured(p)...)
}

// surroundings looks at what a run needs besides its configuration.
func (c *cli) surroundings(ctx context.Context, p *plan) []Finding {
	ctx, cancel := context.WithTimeout(ctx, 2*startLimit)
	defer cancel()
	var found []Finding
	for i := range p.accounts {
		found = append(found, p.checkAccount(ctx, i)...)
	}
	found = append(found, p.clocks(ctx)...)
	runs := running(ctx, p.config)
	if !runs { // else they are taken, by the process that runs
		found = append(found, p.vacancies()...)
	}
	for _, l := range p.config.Listeners {
		what := "listener " + l.ID
		s, ok := p.sources[l.ID].(interface{ Check(context.Context) error })
		if !ok {
			continue
		}
		began := time.Now()
		err := s.Check(ctx)
		found = append(found, answered(what, began, err, "", "see the listener's name, region and permissions"))
		if e, ok := s.(interface {
			Examine(ctx context.Context, running bool) ([][3]string, error)
		}); ok && err == nil {
			found = append(found, examined(ctx, what, e.Examine, runs)...)
		}
	}
	found = append(found, disk(ctx, p.config)...)
	return append(found, otherTargets(p.config)...)
}

// vacancies tell of each address to listen on whether it can be taken.
func (p *plan) vacancies() []Finding {
	vacant := func(what, address, remedy string) Finding {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return Finding{What: what, State: "failed", Detail: err.Error(), Remedy: remedy, err: surroundings(err)}
		}
		l.Close()
		return Finding{What: what, State: "ok", Detail: "the address can be listened on"}
	}
	at := string(p.config.Control.Address)
	found := []Finding{vacant("control "+at, at, "see who has the address, or give control.address another")}
	for _, l := range p.config.Listeners {
		if s, ok := p.sources[l.ID].(interface{ Address() string }); ok {
			found = append(found, vacant("listener "+l.ID, s.Address(), "see who has the address, or give the listener another"))
		}
	}
	return found
}

// examined is what a source says of its queue.
func examined(ctx context.Context, what string, examine func(context.Context, bool) ([][3]string, error), running bool) []Finding {
	facts, err := examine(ctx, running)
	if err != nil {
		return []Finding{{What: what, State: "warning", Detail: err.Error(), Remedy: "let these credentials look at the queue's attributes"}}
	}
	var found []Finding
	for _, fact := range facts {
		f := Finding{What: what, State: fact[0], Detail: fact[1], Remedy: fact[2]}
		if f.State == "failed" {
			f.err = &kindError{ErrConfig, errors.New(f.Detail)}
		}
		found = append(found, f)
	}
	return found
}

// disk looks at the store's directory without opening it: a process may run.
func disk(ctx context.Context, c *Config) []Finding {
	if c.Queue.URL != "" {
		began := time.Now()
		err, remedy := store.Reach(ctx, string(c.Queue.URL)), "start the cluster with JetStream, or correct queue.url"
		if errors.Is(err, store.ErrRefused) {
			err, remedy = &kindError{ErrConfig, err}, remedyOfStore(err)
		}
		return []Finding{answered("cluster "+c.Queue.URL.String(), began, err, "", remedy)}
	}
	what := "directory " + c.Queue.Store
	failed := func(err error, remedy string) []Finding {
		return []Finding{{What: what, State: "failed", Detail: err.Error(), Remedy: remedy, err: surroundings(err)}}
	}
	dir := c.Queue.Store
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	took, err := syncTime(dir)
	if err != nil {
		return failed(err, "give queue.store a directory that can be written")
	}
	if err := store.Room(dir, int64(c.Queue.MinFree)); err != nil {
		return failed(err, "free space, or lower queue.min-free")
	}
	f := Finding{What: what, State: "ok", Detail: fmt.Sprintf("a sync takes %.1f ms", float64(took.Microseconds())/1000)}
	if n, err := store.Free(dir); err == nil {
		f.Detail += fmt.Sprintf("; %d MiB are free", n>>20)
	}
	switch runs := running(ctx, c); {
	case runs:
		f.Detail += "; in use by a running process"
	case store.Locked(c.Queue.Store):
		return append([]Finding{f}, failed(fmt.Errorf("%w, which does not answer", store.ErrLocked), "see which process has it open: it cannot be started a second time")...)
	default:
		f.Detail += "; no process uses it"
	}
	if took > 20*time.Millisecond {
		f.State, f.Remedy = "warning", "every notification waits for a sync: a faster disk makes this faster"
	}
	return []Finding{f}
}

// running tells whether a process answers at the address it has left.
func running(ctx context.Context, c *Config) bool {
	p, err := control.Dial(controlFile(c), "")
	return err == nil && p.Do(ctx, "GET", "/healthz", nil, nil) == nil
}

// syncTime is how long the disk takes to keep 4 KiB for certain.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".ct2fluent-check-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	began := time.Now()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return 0, err
	}
	err = f.Sync()
	return time.Since(began), err
}

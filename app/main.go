// Package app puts the stations together: the configuration, the wiring and
// the command line.
//
// New connects the stations of a configuration and Run works them; Main is the
// command line around these. What a binary can listen to and work is not
// known here: it is said by a Setup, which package std fills for the stock
// binary and a partner for his own.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ct2fluent/ct2fluent/control"
)

// Exit codes, as CONTRACT says.
const (
	exitDone         = 0
	exitFailed       = 1
	exitConfig       = 2
	exitSurroundings = 3
)

// Main is the command line of a binary with this set-up. It does not return.
func Main(setup func(*Setup)) {
	os.Exit(Run(context.Background(), setup, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Run runs one command line and returns its exit code. SIGINT and SIGTERM end
// it in order; a second one ends it at once.
func Run(ctx context.Context, setup func(*Setup), args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := untilSignal(ctx, stderr)
	defer stop()
	s := &Setup{Sources: map[string]SourceType{}}
	setup(s)
	out := &output{Writer: stdout}
	c := &cli{setup: s, in: stdin, out: out, err: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.whole()
	}
	if err == nil {
		return exitDone
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintf(stderr, "ct2fluent: %v\n", err)
	}
	return exitCode(err)
}

// errSaid is a failure whose reason stands in the output already.
var errSaid = errors.New("failed")

// errUsage is a command line that cannot be understood.
var errUsage = errors.New("usage")

func exitCode(err error) int {
	var bad *ConfigError
	switch {
	case errors.As(err, &bad), errors.Is(err, ErrConfig), errors.Is(err, errUsage), errors.Is(err, control.ErrRefused):
		return exitConfig
	case errors.Is(err, ErrSurroundings), errors.Is(err, control.ErrNotRunning), errors.Is(err, control.ErrHangs), errors.Is(err, control.ErrAddress):
		return exitSurroundings
	}
	return exitFailed
}

// untilSignal is done at the first signal; the second ends the process.
func untilSignal(ctx context.Context, stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ended:
			return
		}
		select {
		case <-signals:
			fmt.Fprintln(stderr, "ct2fluent: second signal: stopped at once; what was at hand will be worked again")
			os.Exit(exitFailed)
		case <-ended:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(ended)
		cancel()
	}
}

// cli holds what all verbs share.
type cli struct {
	setup *Setup
	in    io.Reader
	out   io.Writer
	err   io.Writer

	file string
	json bool
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "ct2fluent",
		Short:         "ct2fluent keeps the customers of Fluent Order Management equal to those of commercetools.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(misused)
	root.PersistentFlags().StringVarP(&c.file, "config", "c", "application-connector.yml", "configuration file")
	root.AddCommand(
		c.run(), c.check(), c.route(), c.mapping(), c.put(), c.status(), c.subscription(), c.show(), c.dead(),
		c.jobs(), c.bulk(), c.reconcile(), c.sync(),
		c.pause(), c.resume(), c.audit(),
		c.handler(),
		c.sandbox(), c.version(),
	)
	usage(root)
	return root
}

// misused is a command line that does not fit its verb.
func misused(verb *cobra.Command, err error) error {
	return &kindError{errUsage, fmt.Errorf("%w; see %s --help", err, verb.CommandPath())}
}

// usage makes wrong arguments exit as usage errors do.
func usage(verb *cobra.Command) {
	if check := verb.Args; check != nil {
		verb.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return misused(cmd, err)
			}
			return nil
		}
	}
	for _, sub := range verb.Commands() {
		usage(sub)
	}
}

// asJSON adds --json to a verb.
func (c *cli) asJSON(verb *cobra.Command) *cobra.Command {
	verb.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return verb
}

// load reads the configuration for a verb.
func (c *cli) load(ctx context.Context, withoutListeners bool) (*Config, error) {
	return await(ctx, func() (*Config, error) {
		return Load(c.file, LoadOptions{Listeners: c.setup.listeners(), WithoutListeners: withoutListeners})
	})
}

// await gives what f does, or the error of ctx once that is done: a pipe, a
// terminal and their like may have nothing to read for ever.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// listeners are the options of each type of listener.
func (s *Setup) listeners() map[string]func() any {
	types := map[string]func() any{}
	for name, t := range s.Sources {
		types[name] = t.Options
	}
	return types
}

// logger writes to stderr: text for a person, JSON for a machine.
func (c *cli) logger(l LogConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "text" || l.Format == "auto" && terminal(c.err) {
		return slog.New(slog.NewTextHandler(c.err, o))
	}
	return slog.New(slog.NewJSONHandler(c.err, o))
}

func terminal(w any) bool {
	f, ok := fileOf(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this binary", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(c.out, "ct2fluent %s\n", c.setup.version())
			return err
		},
	}
}

func (c *cli) run() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Keep Fluent's customers equal, until a signal", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load(cmd.Context(), false)
			switch {
			case cmd.Context().Err() != nil:
				return nil // stopped, as by a signal later on
			case err != nil:
				return err
			}
			return c.runConfig(cmd.Context(), cfg)
		},
	}
}

func (c *cli) runConfig(ctx context.Context, cfg *Config) error {
	log := c.logger(cfg.Log)
	for _, n := range cfg.Ignored {
		log.Info("configuration key is not used", "where", n.Where.String(), "key", n.Key, "why", n.Why)
	}
	private()
	a, err := New(ctx, c.setup, cfg, log)
	switch {
	case err != nil && ctx.Err() != nil:
		log.Info("stopped before it had started", "while", err)
		return nil
	case err != nil:
		return err
	}
	log.Info("started", "version", c.setup.version(), "accounts", len(cfg.Accounts), "listeners", len(cfg.Listeners))
	err = a.Run(ctx)
	err = errors.Join(err, a.Close())
	log.Info("stopped")
	return err
}

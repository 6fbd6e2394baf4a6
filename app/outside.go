package app

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/outside"
)

// outsiders are the handlers of the configuration as types of handlers.
func outsiders(c *Config, version string, log *slog.Logger) (types []HandlerType, err error) {
	var errs []error
	for _, h := range c.Handlers {
		t := HandlerType{Name: h.Name}
		if h.kind == "http" {
			t.Description = "a service at " + string(h.HTTP.URL)
			t.New = func(Env) (ct2fluent.Handler, error) {
				return outside.NewHTTP(outside.HTTPOptions{
					Name: h.Name, URL: string(h.HTTP.URL), Timeout: h.HTTP.Timeout, Concurrent: h.HTTP.Concurrent,
					BatchSize: h.HTTP.BatchSize, Headers: h.HTTP.header, UserAgent: "ct2fluent/" + version, Log: log,
				}), nil
			}
		} else {
			// It is looked for now, before anything is opened (promise 6).
			e, err := outside.NewExec(outside.ExecOptions{
				Name: h.Name, Command: h.Exec.Command, Timeout: h.Exec.Timeout, Processes: h.Exec.Processes,
				MaxMemory: int64(h.Exec.MaxMemory), Environment: h.Exec.environment, Log: log,
			})
			if err != nil {
				errs = append(errs, configError(h.At, fmt.Errorf("handler %s: %w", h.Name, err)))
				continue
			}
			t.Description = "the program " + h.Exec.Command[0]
			t.New = func(Env) (ct2fluent.Handler, error) { return e, nil }
		}
		types = append(types, t)
	}
	return types, errors.Join(errs...)
}

// outsideFindings tell of the handlers in other processes.
func outsideFindings(c *Config) (found []Finding) {
	for _, h := range c.Handlers {
		f := Finding{What: "handler " + h.Name, State: "ok", Detail: "a service at " + string(h.HTTP.URL)}
		if h.kind == "exec" {
			f.Detail = "the program " + h.Exec.Command[0] + " is there"
			if h.Exec.MaxMemory > 0 && runtime.GOOS != "linux" {
				f.State, f.Remedy = "warning", "exec.max-memory limits nothing on "+runtime.GOOS+"; limit it by other means"
			}
		}
		found = append(found, f)
	}
	return found
}

func (c *cli) handler() *cobra.Command {
	verb := &cobra.Command{
		Use: "handler", Short: "Try a handler of your own", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verb.AddCommand(c.handlerTest())
	return verb
}

func (c *cli) handlerTest() *cobra.Command {
	var url string
	var timeout time.Duration
	var verbose bool
	verb := c.asJSON(&cobra.Command{
		Use: "test -- COMMAND…", Short: "See whether a handler in another process keeps the rules",
		Long: `Test starts the command of a handler, asks it a fixed set of notifications, and
says of each rule whether it is kept and what to do if not. --http tries a
service instead. The handler does its work meanwhile: let it work on something
that is not used.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) == (url == "") {
				return fmt.Errorf("%w: handler test takes -- and a command, or --http: one of these", errUsage)
			}
			level := "error"
			if verbose {
				level = "info"
			}
			log := c.logger(LogConfig{Level: level, Format: "text"})
			var found iter.Seq[outside.Finding]
			if url != "" {
				var to ServiceURL
				if err := to.UnmarshalText([]byte(url)); err != nil {
					return fmt.Errorf("%w: --http: %w", errUsage, err)
				}
				found = outside.ConformHTTP(cmd.Context(), outside.HTTPOptions{Name: "test", URL: string(to), Timeout: timeout, Log: log})
			} else {
				var err error
				found, err = outside.ConformExec(cmd.Context(), outside.ExecOptions{Name: "test", Command: args, Timeout: timeout, Log: log})
				if err != nil {
					return fmt.Errorf("%w: %w", errUsage, err)
				}
			}
			err := c.tell(found)
			if stopped := cmd.Context().Err(); stopped != nil {
				return stopped
			}
			return err
		},
	})
	verb.Flags().StringVar(&url, "http", "", "URL of a service to try")
	verb.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long an answer may take")
	verb.Flags().BoolVar(&verbose, "verbose", false, "log what the handler says on standard error, too")
	return verb
}

// tell prints what is found, as it is found, and fails where a rule is broken.
func (c *cli) tell(found iter.Seq[outside.Finding]) error {
	all, broken := []outside.Finding{}, 0
	for f := range found {
		all = append(all, f)
		if !f.OK {
			broken++
		}
		switch {
		case c.json:
		case f.OK:
			fmt.Fprintf(c.out, "ok      %s\n", f.Rule)
		default:
			fmt.Fprintf(c.out, "failed  %s: %s\n        %s\n", f.Rule, f.What, f.Remedy)
		}
	}
	if c.json {
		if err := c.printJSON(all); err != nil {
			return err
		}
	}
	if broken > 0 {
		return fmt.Errorf("%w: %d of %d rules are not kept", errSaid, broken, len(all))
	}
	return nil
}

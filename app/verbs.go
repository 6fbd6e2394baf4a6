package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent/control"
)

// process finds the running process of the configuration.
func (c *cli) process(ctx context.Context) (*control.Client, error) {
	cfg, err := c.load(ctx, true)
	if err != nil {
		return nil, err
	}
	p, err := control.Dial(controlFile(cfg), "")
	if errors.Is(err, control.ErrNotRunning) {
		return nil, fmt.Errorf("%w; start ct2fluent run, in this directory if queue.store is relative", err)
	}
	return p, err
}

// ask sends a request to the running process.
func (c *cli) ask(cmd *cobra.Command, method, path string, body, out any) error {
	p, err := c.process(cmd.Context())
	if err != nil {
		return err
	}
	return p.Do(cmd.Context(), method, path, body, out)
}

// asked gives what the process finds wrong with a request the exit code of a
// command line that cannot be understood, where that is what was sent.
func asked(err error) error {
	if errors.Is(err, control.ErrInvalid) {
		return &kindError{errUsage, err}
	}
	return err
}

func (c *cli) printJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// open reads a file, or standard input for "-", until ctx is done.
func (c *cli) open(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == "-" {
		return patient{ctx, io.NopCloser(c.in)}, nil
	}
	f, err := await(ctx, func() (*os.File, error) { return os.Open(name) })
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &kindError{errUsage, err}
	}
	if i, err := f.Stat(); err == nil && i.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%w: %s is a directory", errUsage, name)
	}
	return patient{ctx, f}, nil
}

// A patient waits for what may never come, but no longer than its context.
type patient struct {
	ctx context.Context
	io.ReadCloser
}

func (p patient) Read(to []byte) (int, error) {
	// What is read after the end must not be written into the caller's memory.
	got, err := await(p.ctx, func() ([]byte, error) {
		own := make([]byte, len(to))
		n, err := p.ReadCloser.Read(own)
		return own[:n], err
	})
	return copy(to, got), err
}

func (c *cli) put() *cobra.Command {
	return c.asJSON(&cobra.Command{
		Use: "put FILE|-", Short: "Put notifications into the running process: JSON values one after another", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := c.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			var done struct {
				Put int `json:"put"`
			}
			if err := c.ask(cmd, "POST", "/admin/put", io.Reader(f), &done); err != nil {
				return fmt.Errorf("put %s: %w", args[0], err)
			}
			if c.json {
				return c.printJSON(done)
			}
			fmt.Fprintf(c.out, "%s put\n", count(done.Put, "notification"))
			return nil
		},
	})
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func (c *cli) status() *cobra.Command {
	return c.asJSON(&cobra.Command{
		Use: "status", Short: "Print what became of all notifications received", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s control.Status
			if err := c.ask(cmd, "GET", "/admin/status", nil, &s); err != nil {
				return err
			}
			if c.json {
				// One line, as CONTRACT shows it.
				return json.NewEncoder(c.out).Encode(s)
			}
			return printStatus(c.out, s)
		},
	})
}

// printStatus shows the ledger as the sum that it is (promise 2).
func printStatus(out io.Writer, s control.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, n uint64, by map[string]uint64) {
		why := ""
		for _, reason := range slices.Sorted(maps.Keys(by)) {
			if why != "" {
				why += ", "
			}
			why += fmt.Sprintf("%s %d", reason, by[reason])
		}
		fmt.Fprintf(w, "%s\t%d\t  %s\n", name, n, why)
	}
	row("received", s.Received, nil)
	row("written", s.Written, nil)
	row("unchanged", s.Unchanged, nil)
	row("merged", s.Merged, nil)
	row("skipped", s.Skipped, s.SkippedBy)
	row("dead", s.Dead, s.DeadBy)
	row("waiting", s.Waiting, nil)
	if err := w.Flush(); err != nil {
		return err
	}
	if s.DeadLetters > 0 {
		fmt.Fprintf(out, "%s lying; see ct2fluent dead ls\n", count(int(s.DeadLetters), "dead letter"))
	}
	if s.Waiting > 0 {
		fmt.Fprintf(out, "the oldest waits for %v\n", time.Duration(s.OldestWaitingSeconds)*time.Second)
	}
	for _, h := range s.Held {
		what := fmt.Sprintf("account %s, project %s", h.Account, h.Project)
		if h.Route != "" {
			what = "route " + h.Route
		}
		fmt.Fprintf(out, "held since %s: %s: %s\n", h.Since.Format(time.RFC3339), what, h.Why)
	}
	return nil
}

func (c *cli) show() *cobra.Command {
	var project string
	verb := c.asJSON(&cobra.Command{
		Use: "show ID", Short: "Print the timeline of a customer", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !idText.MatchString(args[0]) {
				return fmt.Errorf("%w: %q is no id of a customer", errUsage, args[0])
			}
			path := "/admin/resources/customer/" + url.PathEscape(args[0]) + "?project=" + url.QueryEscape(project)
			var all []Timeline
			if err := c.ask(cmd, "GET", path, nil, &all); err != nil {
				return fmt.Errorf("show %s: %w", args[0], err)
			}
			if c.json {
				return c.printJSON(all)
			}
			for _, t := range all {
				if err := t.print(c.out); err != nil {
					return err
				}
			}
			return nil
		},
	})
	verb.Flags().StringVar(&project, "project", "", "commercetools project key; default: any")
	return verb
}

func (c *cli) dead() *cobra.Command {
	verb := &cobra.Command{
		Use: "dead", Short: "List, show, replay and drop dead letters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verb.AddCommand(c.deadList(), c.deadShow(),
		c.deadWork("replay", "Put dead letters into the queue again", "replayed"),
		c.deadWork("drop", "Remove dead letters for good", "dropped"))
	return verb
}

func (c *cli) deadList() *cobra.Command {
	var reason string
	verb := c.asJSON(&cobra.Command{
		Use: "ls", Short: "List the dead letters, oldest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.process(cmd.Context())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
			if !c.json {
				fmt.Fprintln(w, "SEQ\tWHEN\tREASON\tPROJECT\tTYPE\tID\tVERSION\tWHY")
			}
			for after := uint64(0); ; {
				var page control.DeadPage
				path := fmt.Sprintf("/admin/dead?limit=1000&after=%d&reason=%s", after, url.QueryEscape(reason))
				if err := p.Do(cmd.Context(), "GET", path, nil, &page); err != nil {
					return err
				}
				if after == 0 && len(page.Letters) == 0 {
					c.tellReasons(cmd, p, reason)
				}
				for _, l := range page.Letters {
					if c.json {
						if err := json.NewEncoder(c.out).Encode(l); err != nil {
							return err
						}
						continue
					}
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Seq, l.At.Format(time.RFC3339), l.Reason, l.Project, l.TypeID, l.ID, l.Version, l.Why)
				}
				if after = page.After; after == 0 {
					return w.Flush()
				}
			}
		},
	})
	verb.Flags().StringVar(&reason, "reason", "", "only those of this reason")
	return verb
}

// tellReasons names the reasons that there were where no dead letter was ever
// of this one: it is likely misspelt. It is no error, as handlers have reasons
// of their own, which may still come.
func (c *cli) tellReasons(cmd *cobra.Command, p *control.Client, reason string) {
	var s control.Status
	if reason == "" || p.Do(cmd.Context(), "GET", "/admin/status", nil, &s) != nil || s.DeadBy[reason] > 0 {
		return
	}
	var were []string
	for _, known := range slices.Sorted(maps.Keys(s.DeadBy)) {
		were = append(were, fmt.Sprintf("%s %d", known, s.DeadBy[known]))
	}
	if len(were) == 0 {
		were = []string{"none at all"}
	}
	fmt.Fprintf(c.err, "ct2fluent: no dead letter was ever of the reason %q; there were %s\n", reason, strings.Join(were, ", "))
}

func (c *cli) deadShow() *cobra.Command {
	return c.asJSON(&cobra.Command{
		Use: "show SEQ", Short: "Print a dead letter with its body", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := strconv.ParseUint(args[0], 10, 64); err != nil {
				return fmt.Errorf("%w: %q is no sequence; see ct2fluent dead ls", errUsage, args[0])
			}
			var l control.DeadLetter
			if err := c.ask(cmd, "GET", "/admin/dead/"+args[0], nil, &l); err != nil {
				return fmt.Errorf("dead letter %s: %w", args[0], err)
			}
			if c.json {
				return c.printJSON(l)
			}
			fmt.Fprintf(c.out, "sequence  %d\ndied      %s\nreason    %s: %s\nresource  %s/%s/%s version %d\nname      %s\nattempts  %d\n\n%s\n",
				l.Seq, l.At.Format(time.RFC3339), l.Reason, l.Why, l.Project, l.TypeID, l.ID, l.Version, l.Name, l.Attempts, l.Body)
			return nil
		},
	})
}

func (c *cli) deadWork(name, short, done string) *cobra.Command {
	var q control.DeadRequest
	verb := c.asJSON(&cobra.Command{
		Use: name + " [SEQ…|--reason REASON|--all]", Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, a := range args {
				seq, err := strconv.ParseUint(a, 10, 64)
				if err != nil {
					return fmt.Errorf("%w: %q is no sequence; see ct2fluent dead ls", errUsage, a)
				}
				q.Seqs = append(q.Seqs, seq)
			}
			given := 0
			for _, is := range []bool{len(q.Seqs) > 0, q.Reason != "", q.All} {
				if is {
					given++
				}
			}
			if given != 1 {
				return fmt.Errorf("%w: dead %s takes sequences, --reason or --all: one of these", errUsage, name)
			}
			p, err := c.process(cmd.Context())
			if err != nil {
				return err
			}
			var r control.DeadResult
			if err := p.Do(cmd.Context(), "POST", "/admin/dead/"+name, q, &r); err != nil {
				return fmt.Errorf("dead %s: %w", name, err)
			}
			if r.Selected == 0 {
				c.tellReasons(cmd, p, q.Reason)
			}
			if c.json {
				return c.printJSON(r)
			}
			fmt.Fprintf(c.out, "%s selected, %d %s\n", count(r.Selected, "dead letter"), r.Done, done)
			return nil
		},
	})
	verb.Flags().StringVar(&q.Reason, "reason", "", "all of this reason")
	verb.Flags().BoolVar(&q.All, "all", false, "all there are")
	verb.Flags().BoolVar(&q.DryRun, "dry-run", false, "only count them")
	return verb
}

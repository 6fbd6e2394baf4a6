package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/job"
)

func (c *cli) jobs() *cobra.Command {
	verb := &cobra.Command{
		Use: "jobs", Short: "List, follow, stop and resume long work", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verb.AddCommand(
		c.jobList(),
		c.jobVerb("show", "Print a job", "GET", ""),
		c.jobVerb("stop", "Stop a job; it can be resumed", "POST", "/stop"),
		c.jobVerb("resume", "Have a stopped or failed job go on where it was", "POST", "/resume"),
		c.jobFollow(),
	)
	return verb
}

func (c *cli) jobList() *cobra.Command {
	return c.asJSON(&cobra.Command{
		Use: "ls", Short: "List the jobs, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []job.Job
			if err := c.ask(cmd, "GET", "/admin/jobs", nil, &all); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(all)
			}
			w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tPROJECT\tCREATED\tSTATE")
			for _, one := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", one.ID, one.Project, one.Created.Format(time.RFC3339), described(one))
			}
			return w.Flush()
		},
	})
}

// jobVerb asks something of a job and prints it.
func (c *cli) jobVerb(name, short, method, path string) *cobra.Command {
	return c.asJSON(&cobra.Command{
		Use: name + " ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var one job.Job
			if err := c.ask(cmd, method, "/admin/jobs/"+url.PathEscape(args[0])+path, nil, &one); err != nil {
				return err
			}
			if c.json {
				return c.printJSON(one)
			}
			_, err := fmt.Fprintf(c.out, "%s %s\n", one.ID, described(one))
			return err
		},
	})
}

func (c *cli) jobFollow() *cobra.Command {
	return c.asJSON(&cobra.Command{
		Use: "follow ID", Short: "Print how far a job is, until it ends", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.process(cmd.Context())
			if err != nil {
				return err
			}
			_, err = c.follow(cmd.Context(), p, args[0])
			return err
		},
	})
}

// startJob starts a job and follows it to its end, unless detach is set. Spec
// is sent as JSON. The error is that of the job, if it failed or was stopped.
func (c *cli) startJob(cmd *cobra.Command, kind, project string, spec any, detach bool) (job.Job, error) {
	doc, err := json.Marshal(spec)
	if err != nil {
		return job.Job{}, err
	}
	p, err := c.process(cmd.Context())
	if err != nil {
		return job.Job{}, err
	}
	var one job.Job
	if err := p.Do(cmd.Context(), "POST", "/admin/jobs", control.JobRequest{Kind: kind, Project: project, Spec: doc}, &one); err != nil {
		return one, asked(err)
	}
	if detach {
		if c.json {
			return one, c.printJSON(one)
		}
		_, err := fmt.Fprintf(c.out, "%s is %s; see ct2fluent jobs follow %s\n", one.ID, one.State, one.ID)
		return one, err
	}
	return c.follow(cmd.Context(), p, one.ID)
}

// lineEvery is how often a line is printed where there is no terminal.
const lineEvery = 5 * time.Second

// follow prints how far a job is until it has ended: on a terminal one line
// that changes, otherwise a line every few seconds; as JSON a line for each
// change.
func (c *cli) follow(ctx context.Context, p *control.Client, id string) (one job.Job, err error) {
	tty := terminal(c.out)
	var printed time.Time
	err = p.Lines(ctx, "/admin/jobs/"+url.PathEscape(id)+"/events", func(line json.RawMessage) error {
		one = job.Job{}
		if err := json.Unmarshal(line, &one); err != nil {
			return err
		}
		switch {
		case c.json:
			return json.NewEncoder(c.out).Encode(one)
		case tty && one.State.Ended():
			_, err := fmt.Fprintf(c.out, "\r\x1b[K%s %s", one.ID, described(one))
			return err
		case tty:
			// A line that is broken in two could not be written over.
			_, err := fmt.Fprintf(c.out, "\r\x1b[K%s", fitting(drawn(one), width(c.out)))
			return err
		case one.State.Ended() || time.Since(printed) >= lineEvery:
			printed = time.Now()
			_, err := fmt.Fprintf(c.out, "%s %s\n", one.ID, described(one))
			return err
		}
		return nil
	})
	if err == nil && !one.State.Ended() {
		err = io.ErrUnexpectedEOF // the process stops
	}
	if tty && !c.json {
		fmt.Fprintln(c.out)
	}
	switch {
	case ctx.Err() != nil || errors.Is(err, io.ErrUnexpectedEOF):
		return one, fmt.Errorf("no longer followed; the job goes on while ct2fluent runs: ct2fluent jobs follow %s, ct2fluent jobs stop %s", id, id)
	case err != nil:
		return one, err
	case one.State != job.Done:
		return one, &kindError{errSaid, fmt.Errorf("%s is %s", id, one.State)}
	}
	return one, nil
}

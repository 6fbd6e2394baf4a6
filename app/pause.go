package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/queue"
)

// pausesMark is the ledger's mark that holds what is paused, over restarts and
// kills.
const pausesMark = "pauses"

// A pause is of a project or of a route.
type pause struct {
	Project string    `json:"project,omitempty"`
	Route   string    `json:"route,omitempty"`
	Reason  string    `json:"reason"`
	By      string    `json:"by"`
	Since   time.Time `json:"since"`
}

func (p pause) hold() queue.Hold {
	return queue.Hold{Project: p.Project, Route: p.Route, Since: p.Since, Why: fmt.Sprintf("paused: %s by %s", p.Reason, p.By)}
}

// pauses is what people have paused: the mark first, then the queue, so that a
// kill between the two forgets nothing that was said to be paused.
type pauses struct {
	a  *App
	mu sync.Mutex // held from reading the mark to writing it
}

// restore pauses what was paused before the start. Nothing was handed out yet.
func (p *pauses) restore(ctx context.Context) error {
	all, err := p.read(ctx)
	if err != nil {
		return err
	}
	for _, one := range all {
		p.a.queue.Pause(one.hold())
		p.a.log.Warn("is paused since before this start", "project", one.Project, "route", one.Route, "reason", one.Reason, "by", one.By, "since", one.Since)
	}
	return nil
}

func (p *pauses) read(ctx context.Context) (all []pause, err error) {
	text, err := p.a.ledger.Mark(ctx, pausesMark)
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read what is paused: %w", err)
	}
	return all, nil
}

func (p *pauses) write(ctx context.Context, all []pause) error {
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("write what is paused: %w", err)
	}
	return p.a.ledger.SetMark(ctx, pausesMark, string(text))
}

// Pause pauses an account or a route.
func (p *pauses) Pause(ctx context.Context, q control.Pause) (control.PauseResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, err := p.read(ctx)
	if err != nil {
		return control.PauseResult{}, err
	}
	found, err := p.named(q)
	if err != nil {
		return control.PauseResult{}, err
	}
	for i := range found {
		found[i].Reason, found[i].By, found[i].Since = q.Reason, q.By, time.Now().UTC().Truncate(time.Second)
		at := slices.IndexFunc(all, found[i].same)
		if at < 0 {
			all = append(all, found[i])
			continue
		}
		found[i].Since = all[at].Since
		all[at] = found[i]
	}
	if err := p.write(ctx, all); err != nil {
		return control.PauseResult{}, err
	}
	res := result(found)
	for _, one := range found {
		res.AtHand += p.a.queue.Pause(one.hold())
	}
	return res, nil
}

// Resume takes a pause back, also of what the configuration has no longer.
func (p *pauses) Resume(ctx context.Context, q control.Pause) (control.PauseResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, err := p.read(ctx)
	if err != nil {
		return control.PauseResult{}, err
	}
	wanted, err := p.named(q)
	if err != nil {
		wanted = []pause{{Project: q.Account, Route: q.Route}}
	}
	var found, rest []pause
	for _, one := range all {
		if slices.ContainsFunc(wanted, one.same) {
			found = append(found, one)
		} else {
			rest = append(rest, one)
		}
	}
	if len(found) == 0 {
		if err == nil {
			err = fmt.Errorf("%w: it is not paused", control.ErrNotFound)
		}
		return control.PauseResult{}, err
	}
	if err := p.write(ctx, rest); err != nil {
		return control.PauseResult{}, err
	}
	for _, one := range found {
		p.a.queue.Resume(one.Project, one.Route)
	}
	return result(found), nil
}

func (p pause) same(other pause) bool { return p.Project == other.Project && p.Route == other.Route }

// named gives what a request names: a route, the account of a project key, or
// all accounts of a Fluent account's name.
func (p *pauses) named(q control.Pause) ([]pause, error) {
	if q.Route != "" {
		var known []string
		for _, r := range p.a.router.Routes() {
			if r.Route == q.Route {
				return []pause{{Route: q.Route}}, nil
			}
			known = append(known, r.Route)
		}
		return nil, fmt.Errorf("%w: no route is named so; there is %s", control.ErrNotFound, strings.Join(known, ", "))
	}
	var found []pause
	var known []string
	for _, a := range p.a.accounts {
		if a.Project == q.Account {
			return []pause{{Project: a.Project}}, nil
		}
		if a.Name == q.Account {
			found = append(found, pause{Project: a.Project})
		}
		known = append(known, fmt.Sprintf("%s (Fluent account %s)", a.Project, a.Name))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no account is named so; there is %s", control.ErrNotFound, strings.Join(known, ", "))
	}
	return found, nil
}

func result(found []pause) (res control.PauseResult) {
	for _, one := range found {
		if one.Route != "" {
			res.Route = one.Route
		} else {
			res.Projects = append(res.Projects, one.Project)
		}
	}
	return res
}

func (c *cli) pause() *cobra.Command {
	return c.pauseVerb("pause", "Stop working an account or a route, until it is resumed; what arrives is kept")
}

func (c *cli) resume() *cobra.Command {
	return c.pauseVerb("resume", "Go on with an account or a route that was paused")
}

func (c *cli) pauseVerb(name, short string) *cobra.Command {
	var q control.Pause
	pausing := name == "pause"
	verb := c.asJSON(&cobra.Command{
		Use: name + " --account ACCOUNT|--route ROUTE", Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case (q.Account == "") == (q.Route == ""):
				return fmt.Errorf("%w: %s takes --account or --route: one of these", errUsage, name)
			case pausing && q.Reason == "":
				return fmt.Errorf("%w: pause takes a --reason, for those who will see that it is paused", errUsage)
			}
			var res control.PauseResult
			if err := c.ask(cmd, "POST", "/admin/"+name, q, &res); err != nil {
				what := q.Account + q.Route
				if errors.Is(err, control.ErrNotFound) {
					return fmt.Errorf("%s %s: %w; see ct2fluent status for what is paused", name, what, err)
				}
				return fmt.Errorf("%s %s: %w", name, what, err)
			}
			if c.json {
				return c.printJSON(res)
			}
			what := "route " + res.Route
			if res.Route == "" {
				what = "account " + strings.Join(res.Projects, ", ")
			}
			if !pausing {
				fmt.Fprintf(c.out, "%s goes on\n", what)
				return nil
			}
			fmt.Fprintf(c.out, "%s is paused", what)
			switch res.AtHand {
			case 0:
			case 1:
				fmt.Fprint(c.out, "; 1 batch at hand finishes")
			default:
				fmt.Fprintf(c.out, "; %d batches at hand finish", res.AtHand)
			}
			fmt.Fprintln(c.out)
			return nil
		},
	})
	verb.Flags().StringVar(&q.Account, "account", "", "project key, or name of the Fluent account")
	verb.Flags().StringVar(&q.Route, "route", "", "name of a route")
	if pausing {
		verb.Flags().StringVar(&q.Reason, "reason", "", "why; it is shown to all who see the status")
	}
	return verb
}

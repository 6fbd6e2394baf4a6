package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
	"github.com/ct2fluent/ct2fluent/inbox"
	"github.com/ct2fluent/ct2fluent/route"
)

func (c *cli) route() *cobra.Command {
	return c.asJSON(&cobra.Command{
		Use: "route FILE|-", Short: "Say which handler would take the notifications of a file, and why", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load(cmd.Context(), true)
			if err != nil {
				return err
			}
			p := &plan{setup: c.setup, config: cfg, observe: newObserver(c.setup.version(), cfg)}
			r, err := p.explainer()
			if err != nil {
				return err
			}
			f, err := c.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			all := []route.Explanation{}
			for value, err := range inbox.Values(f) {
				switch {
				case cmd.Context().Err() != nil:
					return cmd.Context().Err()
				case err != nil:
					return fmt.Errorf("%w: %s: %w", errUsage, args[0], err)
				}
				all = append(all, explain(r, cfg, value)...)
			}
			if c.json {
				return c.printJSON(all)
			}
			for _, e := range all {
				fmt.Fprintln(c.out, e)
			}
			return nil
		},
	})
}

// explain says what would become of the notifications of a body.
func explain(r *route.Router, cfg *Config, body []byte) []route.Explanation {
	ns := inbox.Parse(body, time.Now())
	inbox.Assign(ns, projects(cfg))
	var all []route.Explanation
	for _, n := range ns {
		all = append(all, r.Explain(n))
	}
	return all
}

func (c *cli) mapping() *cobra.Command {
	var diff bool
	var project string
	verb := c.asJSON(&cobra.Command{
		Use: "map ID|FILE", Short: "Print what Fluent would get of a customer; nothing is written", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.previewed(cmd.Context(), args[0], project, diff)
			if err != nil {
				return fmt.Errorf("map %s: %w", args[0], err)
			}
			if c.json || !diff && p.Skipped == "" {
				return c.printJSON(p)
			}
			printDiff(c.out, p)
			return nil
		},
	})
	verb.Flags().BoolVar(&diff, "diff", false, "say how it differs from what Fluent has")
	verb.Flags().StringVar(&project, "project", "", "commercetools project key; default: the only account's")
	return verb
}

// idText is what the id of a resource looks like.
var idText = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

// previewed asks the running process, which knows the username that the ledger
// remembers, and does without where none runs.
func (c *cli) previewed(ctx context.Context, what, project string, diff bool) (p customer.Preview, err error) {
	cfg, err := c.load(ctx, true)
	if err != nil {
		return p, err
	}
	r := control.MapRequest{Project: project, Diff: diff}
	r.Document, err = await(ctx, func() ([]byte, error) { return os.ReadFile(what) })
	switch {
	case ctx.Err() != nil:
		return p, ctx.Err()
	case errors.Is(err, fs.ErrNotExist) && idText.MatchString(what):
		r.ID = what
	case err != nil:
		return p, &kindError{errUsage, err}
	case !json.Valid(r.Document):
		return p, fmt.Errorf("%w: %w", errUsage, errNoCustomer)
	}
	running, err := control.Dial(controlFile(cfg), "")
	if err == nil {
		query := fmt.Sprintf("?project=%s&diff=%t", url.QueryEscape(project), diff)
		if r.ID != "" {
			err = running.Do(ctx, "GET", "/admin/map/"+url.PathEscape(r.ID)+query, nil, &p)
		} else {
			err = running.Do(ctx, "POST", "/admin/map"+query, json.RawMessage(r.Document), &p)
		}
	}
	if !errors.Is(err, control.ErrNotRunning) {
		return p, asked(err)
	}
	plan, err := newPlan(c.setup, &Config{ConnectConfig: ConnectConfig{RouteMapping: cfg.RouteMapping, Routes: cfg.Routes}, Accounts: cfg.Accounts, Select: cfg.Select, Mapping: cfg.Mapping, at: cfg.at, file: cfg.file}, c.logger(cfg.Log))
	if err != nil {
		return p, err
	}
	p, err = preview(ctx, plan.accounts, deletes(cfg.Deletes), nil, r)
	p.LedgerNotAsked = err == nil && p.Skipped == ""
	return p, asked(ofSide(err))
}

var errNoCustomer = errors.New("not a commercetools customer in JSON")

// ofSide gives an error of either API the exit code that a check would give it.
func ofSide(err error) error {
	var ct *commercetools.Error
	var fl *fluent.Error
	errors.As(err, &ct)
	errors.As(err, &fl)
	switch {
	case ct != nil && ct.Kind == commercetools.Stopped, fl != nil && fl.Kind == fluent.Stopped:
		return &kindError{ErrConfig, err}
	case ct != nil && ct.Kind == commercetools.Down, fl != nil && fl.Kind == fluent.Down:
		return surroundings(err)
	}
	return err
}

// preview maps for the account of the project. Remembered gives the username a
// customer has in Fluent; nil: nothing is remembered.
func preview(ctx context.Context, accounts []Account, d customer.Deletes, remembered func(context.Context, ct2fluent.Ref) (string, error), r control.MapRequest) (customer.Preview, error) {
	a, err := accountOf(accounts, r.Project)
	if err != nil {
		return customer.Preview{}, err
	}
	q := customer.PreviewRequest{ID: r.ID, Diff: r.Diff, Deletes: d}
	if r.Document != nil {
		q.Customer = &commercetools.Customer{}
		if err := json.Unmarshal(r.Document, q.Customer); err != nil || q.Customer.ID == "" {
			return customer.Preview{}, fmt.Errorf("%w: %w", control.ErrInvalid, errNoCustomer)
		}
		q.ID = q.Customer.ID
	}
	if remembered != nil {
		if q.Username, err = remembered(ctx, ct2fluent.Ref{Project: a.Project, TypeID: "customer", ID: q.ID}); err != nil {
			return customer.Preview{}, err
		}
	}
	p, err := customer.Account{Project: a.Project, RetailerID: a.RetailerID, From: a.Commercetools, To: a.Fluent, Mapping: a.Mapping}.Preview(ctx, q)
	if errors.Is(err, commercetools.ErrNotFound) {
		return p, fmt.Errorf("%w: %w", control.ErrNotFound, err)
	}
	return p, err
}

func accountOf(accounts []Account, project string) (Account, error) {
	if project == "" && len(accounts) == 1 {
		return accounts[0], nil
	}
	for _, a := range accounts {
		if a.Project == project {
			return a, nil
		}
	}
	if project == "" {
		return Account{}, fmt.Errorf("%w: there are several accounts; name the project of one (--project): %s", control.ErrInvalid, keys(accounts))
	}
	return Account{}, fmt.Errorf("%w: no account has the project key %q; they have %s", control.ErrInvalid, project, keys(accounts))
}

// keys are the project keys of accounts, for a person.
func keys(accounts []Account) string {
	var all []string
	for _, a := range accounts {
		all = append(all, a.Project)
	}
	return strings.Join(all, ", ")
}

func printDiff(out io.Writer, p customer.Preview) {
	if p.Skipped != "" {
		fmt.Fprintf(out, "customer %s, version %d: %s, nothing would be written\n", p.ID, p.Version, strings.ReplaceAll(p.Skipped, "-", " "))
		return
	}
	switch {
	case p.Would == "":
		fmt.Fprintf(out, "customer %s, deleted in commercetools, %s\n", p.ID, p.Username)
	case p.Deleted:
		fmt.Fprintf(out, "customer %s, deleted in commercetools, would %s %s\n", p.ID, p.Would, p.Username)
	default:
		unless := ""
		if p.LedgerNotAsked {
			unless = ", unless the ledger remembers another username: no running process was asked"
		}
		fmt.Fprintf(out, "customer %s, version %d, would %s %s%s\n", p.ID, p.Version, p.Would, p.Username, unless)
	}
	if len(p.Differs) == 0 {
		fmt.Fprintln(out, "nothing differs")
	}
	for _, d := range p.Differs {
		fmt.Fprintf(out, "  %s: %s → %s\n", d.Field, inJSON(d.Has), inJSON(d.Gets))
	}
}

func inJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/control"
)

func (c *cli) subscription() *cobra.Command {
	verb := &cobra.Command{
		Use: "subscription", Short: "Compare, make, repair, check and remove the commercetools Subscription", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	verb.AddCommand(c.subscriptionPlan(), c.subscriptionApply(), c.subscriptionCheck(), c.subscriptionRemove())
	return verb
}

// planned is the plan of the configuration.
func (c *cli) planned(ctx context.Context) (*plan, error) {
	cfg, err := c.load(ctx, true)
	if err != nil {
		return nil, err
	}
	return newPlan(c.setup, cfg, c.logger(LogConfig{Level: "error"}))
}

// eachPlaced is that of a plan; left prints, or keeps, one that somebody else
// makes.
func (c *cli) eachPlaced(ctx context.Context, project string, left func(subscriber), work func(subscriber) error) error {
	p, err := c.planned(ctx)
	if err != nil {
		return err
	}
	return p.eachPlaced(project, func(s subscriber) error {
		left(s)
		if c.json {
			return nil
		}
		_, err := fmt.Fprintf(c.out, "subscription %s of project %s is left alone: %s\n", s.config.Key, s.project, isWatched)
		return err
	}, work)
}

// printAll prints what became of each, also where some of them failed: err is
// what they came to.
func (c *cli) printAll(list any, err error) error {
	if !c.json || list == nil {
		return err
	}
	return cmp.Or(err, c.printJSON(list))
}

// subscriber is what works the Subscription of an account. Its client has a
// token of its own, as the scope of the other one is for customers.
func (p *plan) subscriber(i int) (subscriber, error) {
	a := p.config.Accounts[i]
	key := a.Commercetools.ProjectKey
	calls, err := commercetools.New(p.commercetools(a, "manage_subscriptions:"+key))
	if err != nil {
		return subscriber{}, configError(a.At, err)
	}
	return subscriber{project: key, config: a.Subscription, calls: calls}, nil
}

// placed refuses what needs a destination where none is configured.
func (s subscriber) placed() error {
	if s.config.Destination.IsZero() {
		err := configError(s.config.At, fmt.Errorf("subscription %s has no destination: it is watched, and made by somebody else; add a destination to make it", s.config.Key))
		return &kindError{control.ErrInvalid, err} // nothing is done
	}
	return nil
}

func withProject(verb *cobra.Command, project *string) *cobra.Command {
	verb.Flags().StringVar(project, "project", "", "commercetools project key; default: all accounts with a subscription")
	return verb
}

func (c *cli) subscriptionPlan() *cobra.Command {
	var project string
	return withProject(c.asJSON(&cobra.Command{
		Use: "plan", Short: "Print what apply would do; exit code 1 where it would do anything", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var plans []SubscriptionPlan
			differ := false
			err := c.eachPlaced(cmd.Context(), project, func(s subscriber) { plans = append(plans, s.watched()) }, func(s subscriber) error {
				p, err := s.plan(cmd.Context())
				plans = append(plans, s.came(p, err))
				differ = differ || p.Do != doNothing
				if err == nil && !c.json {
					err = p.print(c.out)
				}
				return err
			})
			err = c.printAll(anyOf(plans), err)
			if err == nil && differ {
				err = errSaid
			}
			return err
		},
	}), &project)
}

func (c *cli) subscriptionApply() *cobra.Command {
	var project string
	var resend bool
	verb := withProject(c.asJSON(&cobra.Command{
		Use: "apply", Short: "Make or repair the Subscription; the plan is printed first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var plans []SubscriptionPlan
			err := c.eachPlaced(cmd.Context(), project, func(s subscriber) { plans = append(plans, s.watched()) }, func(s subscriber) error {
				s.resend = resend
				var printing error
				p, err := s.apply(cmd.Context(), func(p SubscriptionPlan) {
					if !c.json {
						printing = p.print(c.out)
					}
				})
				plans = append(plans, s.came(p, err))
				if err == nil && !c.json && p.Do != doNothing {
					_, printing = fmt.Fprintf(c.out, "subscription %s of project %s: %s\n", p.Key, p.Project, map[string]string{doCreate: "created", doUpdate: "updated"}[p.Do])
				}
				return cmp.Or(err, printing)
			})
			return c.printAll(anyOf(plans), err)
		},
	}), &project)
	verb.Flags().BoolVar(&resend, "destination", false, "send the destination again, for secrets that have changed")
	return verb
}

func (c *cli) subscriptionCheck() *cobra.Command {
	var project string
	return withProject(c.asJSON(&cobra.Command{
		Use: "check", Short: "Say whether the Subscription is there, delivers, and is as configured", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.planned(cmd.Context())
			if err != nil {
				return err
			}
			found := []Finding{}
			err = p.eachSubscription(project, func(s subscriber) error {
				found = append(found, s.check(cmd.Context()))
				return nil
			})
			if err != nil {
				return err
			}
			if c.json {
				if err := c.printJSON(found); err != nil {
					return err
				}
			} else if err := printFindings(c.out, found); err != nil {
				return err
			}
			return worst(found)
		},
	}), &project)
}

// check says how the Subscription is. It fails where nothing is delivered.
func (s subscriber) check(ctx context.Context) Finding {
	f, _ := s.look(ctx)
	return f
}

// look gives the Subscription as well, where there is one.
func (s subscriber) look(ctx context.Context) (Finding, *commercetools.Subscription) {
	f := Finding{What: fmt.Sprintf("subscription %s of project %s", s.config.Key, s.project), State: "failed"}
	has, err := s.calls.Subscription(ctx, s.config.Key)
	switch kind := kindOfCT(err); {
	case err == nil:
	case kind == commercetools.NotFound:
		f.Detail, f.Remedy = "there is none", "make it by: ct2fluent subscription apply"
		f.err = err
		return f, has
	case unscoped(err):
		f.State, f.Detail = "warning", "cannot be looked at: "+err.Error()
		f.Remedy = "give the API client the scope manage_subscriptions:" + s.project + ", or look at the Subscription yourself"
		return f, has
	default:
		f.Detail, f.err = err.Error(), ofSide(err)
		f.Remedy = cmp.Or(remedyOfStopped(s.project, err), "see whether commercetools can be reached from here")
		return f, has
	}
	f.Detail = fmt.Sprintf("%s, sends to %s", has.Status, has.Destination.Type())
	if has.Status != commercetools.Healthy {
		f.Remedy, f.err = remedyOfStatus(has.Status), fmt.Errorf("the status is %s", has.Status)
		if has.Status == commercetools.TemporaryError {
			f.State = "warning"
		}
		return f, has
	}
	f.State = "ok"
	wish := commercetools.SubscriptionDraft{}
	if !s.config.Destination.IsZero() {
		if wish, err = s.config.draft(); err != nil {
			f.State, f.Detail, f.err = "failed", err.Error(), err
			return f, has
		}
		if p := compare(s.project, wish, has, false); p.Do != doNothing {
			f.State, f.Detail = "warning", f.Detail+", and is not as configured"
			f.Remedy = "see ct2fluent subscription plan"
			return f, has
		}
	}
	if !heardOf(has) {
		f.State, f.Detail = "warning", f.Detail+", and tells of no change of customers"
		f.Remedy = "see ct2fluent subscription plan"
	}
	return f, has
}

// heardOf tells whether a Subscription has the changes or all messages of
// customers.
func heardOf(s *commercetools.Subscription) bool {
	for _, c := range s.Changes {
		if c.ResourceTypeID == "customer" {
			return true
		}
	}
	for _, m := range s.Messages {
		if m.ResourceTypeID == "customer" && len(m.Types) == 0 {
			return true
		}
	}
	return false
}

func remedyOfStatus(h commercetools.Health) string {
	switch h {
	case commercetools.ConfigurationError, commercetools.DeliveryStopped:
		return "see whether the destination is there and takes what commercetools sends, then: ct2fluent subscription apply --destination"
	case commercetools.TemporaryError:
		return "commercetools tries again by itself; see whether the destination is up"
	case commercetools.Suspended:
		return "somebody has suspended it; ask commercetools' support"
	}
	return "this status is not known here; see commercetools' documentation"
}

func (c *cli) subscriptionRemove() *cobra.Command {
	var project string
	var yes bool
	verb := withProject(c.asJSON(&cobra.Command{
		Use: "rm", Short: "Remove the Subscription: nothing is announced any more", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return fmt.Errorf("%w: what changes after it is removed is announced to nobody; say --yes if that is wanted", errUsage)
			}
			var results []SubscriptionRemoval
			err := c.eachPlaced(cmd.Context(), project, func(s subscriber) { results = append(results, s.left()) }, func(s subscriber) error {
				removed, err := s.remove(cmd.Context())
				results = append(results, s.gone(removed, err))
				if err == nil && !c.json {
					_, err = fmt.Fprintf(c.out, "subscription %s of project %s: %s\n", s.config.Key, s.project, map[bool]string{true: "removed", false: "there is none"}[removed])
				}
				return err
			})
			return c.printAll(anyOf(results), err)
		},
	}), &project)
	verb.Flags().BoolVar(&yes, "yes", false, "do it")
	return verb
}

func (p SubscriptionPlan) print(out io.Writer) error {
	what := map[string]string{
		doCreate: "is not there, and would be created", doUpdate: "would be updated",
		doNothing: "is as configured", doBlocked: "cannot be made as configured",
	}[p.Do]
	if p.Status != "" {
		what += fmt.Sprintf(" (status %s)", p.Status)
	}
	fmt.Fprintf(out, "subscription %s of project %s %s\n", p.Key, p.Project, what)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, d := range p.Differs {
		if d.Has == "" && d.Gets == "" {
			continue
		}
		fmt.Fprintf(w, "  %s\t%s → %s\n", d.Field, cmp.Or(d.Has, "nothing"), cmp.Or(d.Gets, "nothing"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range p.Notes {
		fmt.Fprintf(out, "  note: %s\n", n)
	}
	return nil
}

package app

import (
	"context"
	"fmt"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/control"
)

// eachSubscription calls work for the Subscription of every account, or of the
// one of a project.
func (p *plan) eachSubscription(project string, work func(subscriber) error) error {
	found, known := false, project == ""
	for i, a := range p.config.Accounts {
		known = known || a.Commercetools.ProjectKey == project
		if a.Subscription.IsZero() || project != "" && a.Commercetools.ProjectKey != project {
			continue
		}
		found = true
		s, err := p.subscriber(i)
		if err != nil {
			return err
		}
		err = work(s)
		if c, ok := s.calls.(*commercetools.Client); ok {
			c.Close()
		}
		if err != nil {
			return err
		}
	}
	switch {
	case !known:
		return fmt.Errorf("%w: no account has the project key %q", errUsage, project)
	case !found:
		return configError(p.config.At("accounts"), fmt.Errorf("no subscription is configured; add subscription: { key: ct2fluent, destination: … } to the account"))
	}
	return nil
}

// A SubscriptionRemoval says what became of a Subscription that was to be
// removed.
type SubscriptionRemoval struct {
	Project string `json:"project"`
	Key     string `json:"key"`
	Removed bool   `json:"removed"` // false: there was none
}

// subscribing is the Subscriptions as the HTTP side wants them.
type subscribing struct{ p *plan }

// each is eachSubscription for who asks over HTTP.
func (s subscribing) each(project string, work func(subscriber) error) error {
	wanted := false
	for _, a := range s.p.config.Accounts {
		wanted = wanted || !a.Subscription.IsZero() && (project == "" || a.Commercetools.ProjectKey == project)
	}
	if !wanted {
		return fmt.Errorf("%w: no account of that project has a subscription", control.ErrInvalid)
	}
	return s.p.eachSubscription(project, work)
}

func (s subscribing) Plan(ctx context.Context, project string) (any, error) {
	plans := []SubscriptionPlan{}
	err := s.each(project, func(one subscriber) error {
		if err := one.placed(); err != nil {
			return fmt.Errorf("%w: %w", control.ErrInvalid, err)
		}
		p, err := one.plan(ctx)
		plans = append(plans, p)
		return err
	})
	return plans, err
}

func (s subscribing) Check(ctx context.Context, project string) (any, error) {
	found := []Finding{}
	err := s.each(project, func(one subscriber) error {
		found = append(found, one.check(ctx))
		return nil
	})
	return found, err
}

func (s subscribing) Apply(ctx context.Context, r control.SubscriptionRequest) (did control.SubscriptionsDone, err error) {
	plans := []SubscriptionPlan{}
	err = s.each(r.Project, func(one subscriber) error {
		if err := one.placed(); err != nil {
			return fmt.Errorf("%w: %w", control.ErrInvalid, err)
		}
		one.resend = r.Destination
		did.Projects = append(did.Projects, one.project)
		p, err := one.apply(ctx, func(SubscriptionPlan) {})
		if err == nil && p.Do != doNothing {
			did.Changed++
		}
		plans = append(plans, p)
		return err
	})
	did.All = plans
	return did, err
}

func (s subscribing) Remove(ctx context.Context, r control.SubscriptionRequest) (did control.SubscriptionsDone, err error) {
	all := []SubscriptionRemoval{}
	err = s.each(r.Project, func(one subscriber) error {
		did.Projects = append(did.Projects, one.project)
		removed, err := one.remove(ctx)
		if removed {
			did.Changed++
		}
		all = append(all, SubscriptionRemoval{one.project, one.config.Key, removed})
		return err
	})
	did.All = all
	return did, err
}

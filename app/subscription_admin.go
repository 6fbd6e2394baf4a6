package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/control"
)

// eachSubscription calls work for the Subscription of every account, or of the
// one of a project, also after one that failed. The error is all of theirs: its
// exit code is that of the worst.
func (p *plan) eachSubscription(project string, work func(subscriber) error) error {
	found, known := false, project == ""
	var errs []error
	for i, a := range p.config.Accounts {
		known = known || a.Commercetools.ProjectKey == project
		if a.Subscription.IsZero() || project != "" && a.Commercetools.ProjectKey != project {
			continue
		}
		found = true
		s, err := p.subscriber(i)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := work(s); err != nil {
			errs = append(errs, err)
		}
		if c, ok := s.calls.(*commercetools.Client); ok {
			c.Close()
		}
	}
	switch {
	case !known:
		return fmt.Errorf("%w: no account has the project key %q", errUsage, project)
	case !found:
		return configError(p.config.At("accounts"), fmt.Errorf("no subscription is configured; add subscription: { key: ct2fluent, destination: … } to the account"))
	}
	return errors.Join(errs...)
}

// eachPlaced is eachSubscription for what needs a destination. One that has
// none, as somebody else makes it, is passed to watched, and refused where it
// was asked for or is all there is.
func (p *plan) eachPlaced(project string, watched, work func(subscriber) error) error {
	placed := slices.ContainsFunc(p.config.Accounts, func(a AccountConfig) bool {
		return !a.Subscription.IsZero() && !a.Subscription.Destination.IsZero()
	})
	return p.eachSubscription(project, func(s subscriber) error {
		switch err := s.placed(); {
		case err == nil:
			return work(s)
		case project == "" && placed:
			return watched(s)
		default:
			return err
		}
	})
}

// isWatched is what is said of a Subscription that has no destination.
const isWatched = "it has no destination, so it is watched only, and made by somebody else"

// watched is the plan for one that somebody else makes.
func (s subscriber) watched() SubscriptionPlan {
	return SubscriptionPlan{Project: s.project, Key: s.config.Key, Do: doNothing, Notes: []string{isWatched}}
}

// came is a plan and the error that it came to, if it did.
func (s subscriber) came(p SubscriptionPlan, err error) SubscriptionPlan {
	p.Project, p.Key, p.Do = s.project, s.config.Key, cmp.Or(p.Do, doUnknown)
	if err != nil {
		p.Error = err.Error()
	}
	return p
}

// A SubscriptionRemoval says what became of a Subscription that was to be
// removed.
type SubscriptionRemoval struct {
	Project string `json:"project"`
	Key     string `json:"key"`
	Removed bool   `json:"removed"`         // false: there was none, or the rest says why
	Note    string `json:"note,omitempty"`  // it was left
	Error   string `json:"error,omitempty"` // it failed
}

// gone is the removal of a Subscription and the error that it came to, if it
// did.
func (s subscriber) gone(removed bool, err error) SubscriptionRemoval {
	r := SubscriptionRemoval{Project: s.project, Key: s.config.Key, Removed: removed}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// left is that of one that somebody else makes.
func (s subscriber) left() SubscriptionRemoval {
	return SubscriptionRemoval{Project: s.project, Key: s.config.Key, Note: isWatched}
}

// subscribing is the Subscriptions as the HTTP side wants them.
type subscribing struct{ p *plan }

// wanted refuses what names no Subscription.
func (s subscribing) wanted(project string) error {
	for _, a := range s.p.config.Accounts {
		if !a.Subscription.IsZero() && (project == "" || a.Commercetools.ProjectKey == project) {
			return nil
		}
	}
	return fmt.Errorf("%w: no account of that project has a subscription", control.ErrInvalid)
}

func (s subscribing) Plan(ctx context.Context, project string) (any, error) {
	if err := s.wanted(project); err != nil {
		return nil, err
	}
	var plans []SubscriptionPlan
	err := s.p.eachPlaced(project, func(one subscriber) error {
		plans = append(plans, one.watched())
		return nil
	}, func(one subscriber) error {
		p, err := one.plan(ctx)
		plans = append(plans, one.came(p, err))
		return err
	})
	return anyOf(plans), err
}

// anyOf is a list as an answer, nil where there is nothing in it.
func anyOf[T any](list []T) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

func (s subscribing) Check(ctx context.Context, project string) (any, error) {
	if err := s.wanted(project); err != nil {
		return nil, err
	}
	var found []Finding
	err := s.p.eachSubscription(project, func(one subscriber) error {
		found = append(found, one.check(ctx))
		return nil
	})
	return anyOf(found), err
}

func (s subscribing) Apply(ctx context.Context, r control.SubscriptionRequest) (did control.SubscriptionsDone, err error) {
	if err := s.wanted(r.Project); err != nil {
		return did, err
	}
	var plans []SubscriptionPlan
	err = s.p.eachPlaced(r.Project, func(one subscriber) error {
		plans = append(plans, one.watched())
		return nil
	}, func(one subscriber) error {
		one.resend = r.Destination
		did.Projects = append(did.Projects, one.project)
		p, err := one.apply(ctx, func(SubscriptionPlan) {})
		if err == nil && p.Do != doNothing {
			did.Changed++
		}
		plans = append(plans, one.came(p, err))
		return err
	})
	did.All = anyOf(plans)
	return did, err
}

func (s subscribing) Remove(ctx context.Context, r control.SubscriptionRequest) (did control.SubscriptionsDone, err error) {
	if err := s.wanted(r.Project); err != nil {
		return did, err
	}
	var results []SubscriptionRemoval
	err = s.p.eachPlaced(r.Project, func(one subscriber) error {
		results = append(results, one.left())
		return nil
	}, func(one subscriber) error {
		did.Projects = append(did.Projects, one.project)
		removed, err := one.remove(ctx)
		if removed {
			did.Changed++
		}
		results = append(results, one.gone(removed, err))
		return err
	})
	did.All = anyOf(results)
	return did, err
}

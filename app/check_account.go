package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

const (
	// slowAnswer is from when on an API is called slow.
	slowAnswer = 2 * time.Second
	// How far this clock may be from that of an API: what changed since is asked
	// by time, and tokens expire by it.
	skewWarned = 5 * time.Second
	skewFailed = 5 * time.Minute
)

// answered is a call's finding: how long it took, or why it failed.
func answered(what string, began time.Time, err error, detail, remedy string) Finding {
	f := Finding{What: what, State: "ok"}
	if err != nil {
		if !errors.Is(err, ErrConfig) {
			err = surroundings(err)
		}
		f.State, f.Detail, f.Remedy, f.err = "failed", err.Error(), remedy, err
		return f
	}
	took := time.Since(began)
	f.Detail = fmt.Sprintf("%d ms", took.Milliseconds())
	if detail != "" {
		f.Detail += "; " + detail
	}
	if took > slowAnswer {
		f.State, f.Remedy = "warning", "this is slow: see the way from here to there"
	}
	return f
}

// checkAccount looks at both sides of an account.
func (p *plan) checkAccount(ctx context.Context, i int) []Finding {
	a, s := p.accounts[i], p.config.Accounts[i].Subscription
	side := func(what string, began time.Time, err error, detail string) Finding {
		if err != nil && refused(err) {
			return answered(what, began, &kindError{ErrConfig, err}, "", remedyOfRefusal(err))
		}
		return answered(what, began, err, detail, "see whether the address is right and can be reached from here")
	}
	var found []Finding
	began := time.Now()
	project := "commercetools project " + a.Project
	reads := a.Commercetools.Check(ctx)
	found = append(found, side(project, began, reads, "customers can be read"))
	if reads == nil {
		has, err := a.Commercetools.Scopes(ctx)
		found = append(found, scopes(project, a.Project, has, err, !s.IsZero()))
	}
	if s.IsZero() {
		found = append(found, Finding{What: "subscription of project " + a.Project, State: "ok", Detail: "none is configured, so none is looked at"})
	} else if reads == nil {
		one, err := p.subscriber(i)
		if err != nil {
			found = append(found, Finding{What: "subscription " + s.Key + " of project " + a.Project, State: "failed", Detail: err.Error(), err: err})
		} else {
			found = append(found, one.leads(ctx, p.config.Listeners))
		}
	}
	began = time.Now()
	found = append(found, side("Fluent account "+a.Name, began, a.Fluent.Check(ctx, a.RetailerID),
		"CUSTOMER_VIEW is there, and retailer "+a.RetailerID+"; CUSTOMER_CREATE and CUSTOMER_UPDATE cannot be told without writing"))
	return found
}

// scopes compares what an API client may with what is needed.
func scopes(what, project string, has []string, err error, subscribes bool) Finding {
	needed := []string{"view_customers:" + project}
	if subscribes {
		needed = append(needed, "manage_subscriptions:"+project)
	}
	f := Finding{What: what + ", scopes", State: "ok", Detail: strings.Join(has, ", ")}
	remedy := fmt.Sprintf("make an API client that may %s and nothing else", strings.Join(needed, " and "))
	whole := slices.Contains(has, "manage_project:"+project)
	var missing, more []string
	for _, scope := range needed {
		changes := strings.Replace(scope, "view_", "manage_", 1)
		if !whole && !slices.Contains(has, scope) && !slices.Contains(has, changes) {
			missing = append(missing, scope)
		}
	}
	for _, scope := range has {
		if !slices.Contains(needed, scope) {
			more = append(more, scope)
		}
	}
	switch {
	case err != nil:
		f.State, f.Detail, f.Remedy = "warning", "cannot be told: "+err.Error(), remedy
	case len(has) == 0:
		f.State, f.Detail, f.Remedy = "warning", "commercetools does not say what the API client may", remedy
	case len(missing) > 0:
		f.State, f.Detail, f.Remedy = "warning", "the API client may not "+strings.Join(missing, ", "), remedy
	case len(more) > 0:
		f.State, f.Detail, f.Remedy = "warning", "the API client may more than is needed: "+strings.Join(more, ", "), remedy
	}
	return f
}

// leads says how the Subscription is, and whether it leads to a listener.
func (s subscriber) leads(ctx context.Context, listeners Listeners) Finding {
	f, has := s.look(ctx)
	if f.State != "ok" {
		return f
	}
	var others []string
	for _, c := range has.Changes {
		if c.ResourceTypeID != "customer" {
			others = append(others, c.ResourceTypeID)
		}
	}
	for _, m := range has.Messages {
		if m.ResourceTypeID != "customer" {
			others = append(others, m.ResourceTypeID)
		}
	}
	if len(others) > 0 {
		f.State = "warning"
		f.Detail += "; it tells of other resources, too, which are skipped: " + strings.Join(others, ", ")
		f.Remedy = "give them a Subscription of their own"
	}
	queue, is := has.Destination.(commercetools.SQS)
	if !is {
		f.Detail += "; whether that leads to a listener cannot be told from here"
		return f
	}
	for _, l := range listeners {
		if o, ok := l.Options.(*SQSConfig); ok && (o.Name == queue.QueueURL || o.Name == path.Base(queue.QueueURL)) {
			f.Detail += ", which listener " + l.ID + " reads"
			return f
		}
	}
	f.State, f.Detail = "warning", f.Detail+" "+queue.QueueURL+", which no listener reads"
	f.Remedy = "correct the destination, or the name of the listener"
	return f
}

// clocks compares the clock of this machine with those of the APIs.
func (p *plan) clocks(ctx context.Context) []Finding {
	var found []Finding
	seen := map[string]bool{}
	for _, a := range p.config.Accounts {
		for _, side := range []struct{ name, url string }{
			{"commercetools", string(a.Commercetools.APIURL)}, {"Fluent", string(a.Fluent.BaseURL)},
		} {
			if seen[side.url] {
				continue
			}
			seen[side.url] = true
			skew, err := skewTo(ctx, side.url)
			if err != nil {
				continue // that it cannot be reached is told above
			}
			found = append(found, clock(side.name, skew))
		}
	}
	return found
}

func clock(name string, skew time.Duration) Finding {
	f := Finding{What: "clock", State: "ok", Detail: fmt.Sprintf("%.1f s from that of %s", skew.Abs().Seconds(), name)}
	switch away := skew.Abs(); {
	case away > skewFailed:
		f.State, f.err = "failed", surroundings(errors.New(f.Detail))
	case away > skewWarned:
		f.State = "warning"
	default:
		return f
	}
	where := "behind"
	if skew < 0 {
		where = "ahead of"
	}
	f.Detail = fmt.Sprintf("%.1f s %s that of %s", skew.Abs().Seconds(), where, name)
	f.Remedy = "have this machine's clock set by NTP: runs over changes ask by time, and tokens expire by it"
	return f
}

// skewTo is how far the clock of a server is ahead of this one, by the Date of
// its answer, whatever it answers. It is told in whole seconds.
func skewTo(ctx context.Context, url string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0, err
	}
	middle := began.Add(time.Since(began) / 2)
	skew := at.Add(time.Second / 2).Sub(middle)
	if skew.Abs() < time.Second {
		skew = 0 // no more can be told
	}
	return skew, nil
}

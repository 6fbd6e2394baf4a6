package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
	"github.com/ct2fluent/ct2fluent/route"
)

// A plan is a configuration checked as far as that goes without I/O.
type plan struct {
	setup    *Setup
	config   *Config
	log      *slog.Logger
	observe  *observer
	mapping  *customer.Mapping
	sources  map[string]ct2fluent.Source
	accounts []Account
	handlers []HandlerType // of this binary and of the configuration
	router   *route.Router // tells of routes, and does not work
	marks    shelf
}

func newPlan(s *Setup, c *Config, log *slog.Logger) (*plan, error) {
	p := &plan{setup: s, config: c, log: log, observe: newObserver(s.version(), c), sources: map[string]ct2fluent.Source{}}
	var err error
	p.handlers, err = outsiders(c, s.version(), log)
	p.handlers = slices.Concat(s.Handlers, p.handlers)
	errs := []error{p.compile(), p.checkRoutes(), err}
	for _, a := range c.Accounts {
		account, err := p.account(a)
		errs = append(errs, err)
		p.accounts = append(p.accounts, account)
	}
	earlier := map[string][]ct2fluent.Source{} // by type
	for _, l := range c.Listeners {
		src, err := p.source(l, earlier[l.Type])
		if err != nil {
			at := l.At
			if of := (interface{ Key() string })(nil); errors.As(err, &of) {
				at = p.config.At(join("fluent-connect.listeners", join(l.ID, of.Key())))
			}
			errs = append(errs, configError(at, fmt.Errorf("listener %s: %w", l.ID, err)))
			continue
		}
		p.sources[l.ID] = src
		earlier[l.Type] = append(earlier[l.Type], src)
	}
	return p, errors.Join(errs...)
}

// source makes the source of a listener, beside those of its type before it.
func (p *plan) source(l ListenerConfig, earlier []ct2fluent.Source) (ct2fluent.Source, error) {
	t := p.setup.Sources[l.Type]
	src, err := t.New(l.Options, SourceEnv{
		Name: l.ID, Log: p.log.With("listener", l.ID), Observe: p.observe.source(l.ID), Reached: p.observe.reached(l.ID),
		Accounts: p.accounts, Marks: p.marks.of(l.Type),
	})
	if err == nil && t.Join != nil {
		err = t.Join(src, earlier)
	}
	if err != nil {
		return nil, err
	}
	address := string(p.config.Control.Address)
	if o, ok := src.(interface{ Overlaps(address string) bool }); ok && o.Overlaps(address) {
		return nil, fmt.Errorf("its address and control.address (%s) cannot both be listened on; give one of them another port", address)
	}
	return src, nil
}

func (p *plan) compile() error {
	m, err := p.setup.mapping(mappingConfig(p.config))
	p.mapping = m
	return err
}

func (s *Setup) mapping(c customer.MappingConfig) (*customer.Mapping, error) {
	m, err := customer.CompileMapping(c)
	if err != nil {
		return nil, &kindError{ErrConfig, err}
	}
	if s.WrapMapping != nil {
		m = s.WrapMapping(m)
	}
	return m, nil
}

// mappingOf is the mapping of an account: that of all, unless it selects its
// customers itself.
func (p *plan) mappingOf(a AccountConfig) (*customer.Mapping, error) {
	if a.Select.IsZero() {
		return p.mapping, nil
	}
	c := mappingConfig(p.config)
	c.Select = expression(a.Select)
	return p.setup.mapping(c)
}

func (p *plan) account(a AccountConfig) (Account, error) {
	agent := p.agent()
	from, err := commercetools.New(p.commercetools(a, a.Commercetools.Scopes...))
	if err != nil {
		return Account{}, configError(a.At, err)
	}
	to, err := fluent.New(fluent.Options{
		BaseURL: string(a.Fluent.BaseURL), Account: a.Fluent.Account, RetailerID: a.Fluent.RetailerID,
		ClientID: a.Fluent.ClientID, ClientSecret: a.Fluent.ClientSecret.Value, Username: a.Fluent.Username, Password: a.Fluent.Password.Value,
		Secrets: whence(a.Fluent.ClientSecret, a.Fluent.Password),
		Timeout: a.Fluent.Timeout, MaxConcurrent: a.Fluent.MaxConcurrent, Rate: a.Fluent.MaxRate, MaxBatch: a.Fluent.BatchSize,
		UserAgent: agent, Log: p.log, Observe: p.observe.call,
	})
	if err != nil {
		return Account{}, configError(a.At, err)
	}
	m, err := p.mappingOf(a)
	if err != nil {
		return Account{}, err
	}
	return Account{
		Project: a.Commercetools.ProjectKey, Name: a.Fluent.Account, RetailerID: a.Fluent.RetailerID,
		Commercetools: from, Fluent: to, Mapping: m,
	}, nil
}

func (p *plan) agent() string { return "ct2fluent/" + p.setup.version() }

// commercetools are the options of a client of the account's project.
func (p *plan) commercetools(a AccountConfig, scopes ...string) commercetools.Options {
	c := a.Commercetools
	return commercetools.Options{
		ProjectKey: c.ProjectKey, APIURL: string(c.APIURL), AuthURL: string(c.AuthURL),
		ClientID: c.ClientID, ClientSecret: c.ClientSecret.Value, Secrets: whence(c.ClientSecret), Scopes: scopes,
		Timeout: c.Timeout, MaxConcurrent: c.MaxConcurrent, Rate: c.MaxRate,
		UserAgent: p.agent(), Log: p.log, Observe: p.observe.call,
	}
}

// routes are the router's options over these handlers.
func (p *plan) routes(handlers []route.Registered) route.Options {
	o := route.Options{Handlers: handlers, Own: defaultHandler, Log: p.log, Observe: p.observe.handled}
	for _, m := range p.config.RouteMapping {
		o.Mappings = append(o.Mappings, route.Mapping{
			Route: m.Route, Name: m.Props.Name, Include: m.Props.InclusionFilter, Exclude: m.Props.ExclusionFilter, Where: m.At.String(),
		})
	}
	for _, r := range p.config.Routes {
		o.Routes = append(o.Routes, route.Route{Route: r.Route, HandlerName: r.HandlerName, Where: r.At.String()})
	}
	return o
}

// checkRoutes sees whether every route leads to a handler, before one is made.
func (p *plan) checkRoutes() (err error) {
	p.router, err = p.explainer()
	return err
}

// explainer is a router that explains and does not work.
func (p *plan) explainer() (*route.Router, error) {
	idle := ct2fluent.HandlerFunc(func(_ context.Context, batch []ct2fluent.Notification) []error {
		return make([]error, len(batch))
	})
	var handlers []route.Registered
	for _, t := range p.setup.Handlers {
		handlers = append(handlers, route.Registered{Name: t.Name, Priority: t.Priority, Handler: idle, Description: t.Description})
	}
	for _, h := range p.config.Handlers {
		handlers = append(handlers, route.Registered{Name: h.Name, Handler: idle})
	}
	o := p.routes(handlers)
	o.Log = nil
	r, err := route.New(o)
	if err != nil {
		return nil, &kindError{ErrConfig, err}
	}
	return r, nil
}

// admitted asks all APIs at once whether they take the credentials. A definite
// no stops the start; what cannot be reached is held later (CONTRACT, Start).
func (p *plan) admitted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	found := make([]error, len(p.accounts))
	var wg sync.WaitGroup
	for i, a := range p.accounts {
		wg.Go(func() { found[i] = p.admittedTo(ctx, i, a) })
	}
	wg.Wait()
	return errors.Join(found...)
}

func (p *plan) admittedTo(ctx context.Context, i int, a Account) error {
	at := p.config.Accounts[i].At
	var errs []error
	for _, side := range []struct {
		name  string
		check func() error
	}{
		{"commercetools project " + a.Project, func() error { return a.Commercetools.Check(ctx) }},
		{"Fluent account " + a.Name, func() error { return a.Fluent.Check(ctx, a.RetailerID) }},
	} {
		err := side.check()
		switch {
		case err == nil:
		case refused(err):
			errs = append(errs, configError(at, fmt.Errorf("%s: %w; %s", side.name, err, remedyOfRefusal(err))))
		default:
			p.log.Warn("cannot be reached at the start; its work waits", "what", side.name, "error", err)
		}
	}
	return errors.Join(errs...)
}

// refused tells whether an API has definitely said no.
func refused(err error) bool {
	var ct *commercetools.Error
	var fl *fluent.Error
	switch {
	case errors.As(err, &ct):
		return ct.Kind == commercetools.Stopped || ct.Kind == commercetools.Refused
	case errors.As(err, &fl):
		return fl.Kind == fluent.Stopped || fl.Kind == fluent.Refused
	}
	return false
}

// remedyOfRefusal is what mends what an API has definitely said no to.
func remedyOfRefusal(err error) string {
	if errors.Is(err, fluent.ErrNoRetailer) {
		return "correct the account's retailer-id, or let its username see that retailer"
	}
	return "correct the credentials, or what they may do"
}

func (s *Setup) version() string {
	if s.Version != "" {
		return s.Version
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}

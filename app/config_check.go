package app

import (
	"fmt"
	"regexp"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
)

// The route and handler of a file that names none.
const (
	defaultRoute   = "commercetools.connect.customer.upsert"
	defaultHandler = "FluentCustomerUpsert"
)

// unclearMargin is what a server may still take after the client has given up.
const unclearMargin = 5 * time.Second

var tokenNameText = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,40}$`)

var projectKeyText = regexp.MustCompile(`^[A-Za-z0-9_-]{2,36}$`)

// check holds the values against each other, and fills in the defaults that
// depend on others. Values that were refused already are empty.
func (d *decoder) check(c *Config, o LoadOptions) {
	d.checkRoutes(c)
	for i := range c.Listeners {
		d.options(&c.Listeners[i], c.MessageListenerMode, o.Listeners)
	}
	const listeners = "fluent-connect.listeners"
	if _, given := d.at[listeners]; !given && !o.WithoutListeners {
		at := c.At(listeners)
		if at.Line == 0 {
			at = d.at[""] // where all is told that the file itself lacks
		}
		d.fail(at, listeners, "none is given; add the source of the notifications")
	}
	d.checkAccounts(c)
	d.checkMapping(c)
	d.checkDeletes(c)
	d.checkUnclearWait(c)
	if c.Queue.Replicas > 1 && c.Queue.URL == "" {
		d.fail(c.At("queue.replicas"), "queue.replicas", "more than 1 without a cluster; add queue.url or take it out")
	}
	d.checkControl(c)
	d.checkHandlers(c)
}

func (d *decoder) checkControl(c *Config) {
	if a := c.Control.Address; a != "" && !a.Loopback() && c.Control.Token.IsZero() && len(c.Control.Tokens) == 0 {
		d.fail(c.At("control.address"), "control.address", "others than this machine can reach it; add control.token or control.tokens, or listen on 127.0.0.1")
	}
	if a := c.Control.Address; a != "" && !a.Loopback() && c.Control.TLS.Certificate == "" && !c.Control.BehindProxy {
		d.fail(c.At("control.address"), "control.address", "others than this machine can reach it, and tokens would go over the network in clear text; add control.tls, or control.behind-proxy: true where a proxy brings TLS, or listen on 127.0.0.1")
	}
	first := map[string]Pos{}
	if !c.Control.Token.IsZero() {
		first[tokenName] = c.At("control.token")
	}
	for i, t := range c.Control.Tokens {
		path := fmt.Sprintf("control.tokens[%d].name", i)
		switch at, twice := first[t.Name]; {
		case t.Name == "":
		case t.Name == control.LocalName:
			d.fail(c.At(path), path, "%q is the token that is made for each run; take another name", t.Name)
		case twice:
			d.fail(c.At(path), path, "%q is the name of the token on line %d already; take another", t.Name, at.Line)
		case !tokenNameText.MatchString(t.Name):
			d.fail(c.At(path), path, "not a name; it has up to 40 letters, digits, - _ and .")
		}
		first[t.Name] = c.At(path)
	}
}

// checkRoutes fills in the defaults. Whether routes lead somewhere is known to
// package route, and to the handlers of this binary.
func (d *decoder) checkRoutes(c *Config) {
	const mapping, routes = "fluent-connect.route-mapping", "fluent-connect.routes"
	ofDefault := Pos{File: "default"} // no line of the file says so
	if _, given := d.at[mapping]; !given {
		c.RouteMapping = []RouteMappingConfig{{
			At:    ofDefault,
			Route: defaultRoute,
			Props: RoutePropsConfig{Name: "customer", InclusionFilter: []string{"ResourceUpdated", "ResourceCreated"}},
		}}
	} else if c.RouteMapping != nil && len(c.RouteMapping) == 0 {
		d.fail(c.At(mapping), mapping, "is empty; add an entry, or take it out for the default")
	}
	if _, given := d.at[routes]; !given {
		c.Routes = []RouteConfig{{At: ofDefault, Route: defaultRoute, HandlerName: defaultHandler}}
	} else if c.Routes != nil && len(c.Routes) == 0 {
		d.fail(c.At(routes), routes, "is empty; add an entry, or take it out for the default")
	}
}

func (d *decoder) checkAccounts(c *Config) {
	if c.Accounts != nil && len(c.Accounts) == 0 {
		d.fail(c.At("accounts"), "accounts", "none is given; add one with commercetools and fluent")
	}
	first := map[string]Pos{}
	for i, a := range c.Accounts {
		path := fmt.Sprintf("accounts[%d].commercetools.project-key", i)
		key := a.Commercetools.ProjectKey
		if key == "" {
			continue
		}
		if !projectKeyText.MatchString(key) {
			d.fail(c.At(path), path, "not a key of a project; it has 2 to 36 letters, digits, - and _")
		}
		if at, twice := first[key]; twice {
			d.fail(c.At(path), path, "%q has an account already, on line %d; a project goes to one", key, at.Line)
		}
		first[key] = c.At(path)
	}
	d.checkSubscriptions(c)
}

// checkUnclearWait keeps rule 3 of convergence: a write may land until its
// request's deadline and a margin for the server have passed.
func (d *decoder) checkUnclearWait(c *Config) {
	var longest time.Duration
	for _, a := range c.Accounts {
		longest = max(longest, a.Fluent.Timeout)
	}
	const path = "fluent.unclear-wait"
	if _, given := d.at[path]; !given || c.Fluent.UnclearWait == 0 {
		c.Fluent.UnclearWait = longest + unclearMargin
	} else if c.Fluent.UnclearWait <= longest {
		d.fail(c.At(path), path, "not longer than the longest timeout of the accounts (%v); an earlier write could land later: raise it", longest)
	}
}

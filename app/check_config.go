package app

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ct2fluent/ct2fluent"
)

// configured looks at what the configuration says together, and says where
// that is most likely not what was meant.
func configured(p *plan) []Finding {
	return slices.Concat(unheardDeletes(p), unroutedOwn(p), sharedRetailers(p.config))
}

// unheardDeletes warns where deletes are to be marked and no route lets them
// through.
func unheardDeletes(p *plan) []Finding {
	c := p.config
	r, err := p.explainer()
	if c.Deletes.Policy != "mark" || err != nil {
		return nil
	}
	heard := func(kind, name string) bool {
		n := ct2fluent.Notification{Kind: kind, Name: name, Version: 1}
		n.Ref = ct2fluent.Ref{Project: c.Accounts[0].Commercetools.ProjectKey, TypeID: "customer", ID: "any"}
		return r.Explain(n).Handler != ""
	}
	if heard("ResourceDeleted", "ResourceDeleted") {
		return nil
	}
	detail := "mark, and no route lets ResourceDeleted through: deletes are not heard of"
	if heard("Message", "CustomerDeleted") {
		detail = "mark, and of deletes the routes let through the message CustomerDeleted alone: a subscription to changes sends none"
	}
	return []Finding{{What: "deletes", State: "warning", Detail: detail, Remedy: letDeletesThrough(c)}}
}

// letDeletesThrough is the line to write.
func letDeletesThrough(c *Config) string {
	for i, m := range c.RouteMapping {
		if m.Props.Name != "customer" {
			continue
		}
		filter := append(slices.Clone(m.Props.InclusionFilter), "ResourceDeleted")
		line := fmt.Sprintf(`inclusion-filter: ["%s"]`, strings.Join(filter, `", "`))
		path := fmt.Sprintf("fluent-connect.route-mapping[%d].props", i)
		if _, given := c.at[path]; !given {
			return fmt.Sprintf("add to the file: route-mapping: [{ route: %q, props: { name: customer, %s } }]", m.Route, line)
		}
		at := c.At(path + ".inclusion-filter")
		if slices.Contains(m.Props.ExclusionFilter, "ResourceDeleted") {
			return fmt.Sprintf("%v: take ResourceDeleted out of the exclusion-filter", c.At(path+".exclusion-filter"))
		}
		return fmt.Sprintf("%v: write %s", at, line)
	}
	return "add a route-mapping with props.name customer"
}

// sharedRetailers warns where two projects go to one retailer: an email that
// both have makes one username there.
func sharedRetailers(c *Config) []Finding {
	var found []Finding
	first := map[string]AccountConfig{}
	for _, a := range c.Accounts {
		key := string(a.Fluent.BaseURL) + " " + a.Fluent.RetailerID
		if one, shared := first[key]; shared {
			found = append(found, Finding{What: "accounts", State: "warning",
				Detail: fmt.Sprintf("%v: project %s goes to the retailer of project %s (line %d); where both have one email, the second customer gets the username made of its id",
					a.At, a.Commercetools.ProjectKey, one.Commercetools.ProjectKey, one.At.Line),
				Remedy: `begin mapping.username with projectKey + "_", before the first customer is written`})
			continue
		}
		first[key] = a
	}
	return found
}

// selections says where customers are left out, by which a whole project may
// be: nobody should have to look for the reason.
func selections(c *Config) (found []Finding) {
	add := func(what string, e Expr) {
		if !e.IsZero() {
			found = append(found, Finding{What: what, State: "ok", Detail: fmt.Sprintf("%v: customers for whom this is not true are skipped (not-selected)", e.At)})
		}
	}
	add("select", c.Select)
	for _, a := range c.Accounts {
		add("select of project "+a.Commercetools.ProjectKey, a.Select)
	}
	return found
}

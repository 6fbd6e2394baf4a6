package customer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// examples is how many customers are named for each field.
const examples = 5

// mostFields is how many fields have examples: the progress of a job has an
// end.
const mostFields = 20

// A Comparison sums up what would change in Fluent. It names fields and ids,
// and holds no value.
type Comparison struct {
	Create  int            `json:"create"`
	Update  int            `json:"update"`
	Adopt   int            `json:"adopt,omitempty"` // of Update: customers that carry no commercetools id yet
	Equal   int            `json:"equal"`
	Skipped map[string]int `json:"skipped,omitempty"` // by reason
	Dead    map[string]int `json:"dead,omitempty"`    // by reason
	// Fields are those in which customers that would be updated differ.
	Fields map[string]Differing `json:"fields,omitempty"`
}

// Differing is how many customers differ in a field, and the ids of a few.
type Differing struct {
	Customers int      `json:"customers"`
	Examples  []string `json:"examples,omitempty"`
}

// sumUp adds up the parts of a run.
func sumUp(parts []*Comparison) *Comparison {
	sum := &Comparison{}
	for _, p := range parts {
		if p == nil {
			continue
		}
		sum.Create, sum.Update, sum.Adopt, sum.Equal = sum.Create+p.Create, sum.Update+p.Update, sum.Adopt+p.Adopt, sum.Equal+p.Equal
		for reason, n := range p.Skipped {
			countUp(&sum.Skipped, reason, n)
		}
		for reason, n := range p.Dead {
			countUp(&sum.Dead, reason, n)
		}
		for name, d := range p.Fields {
			sum.differ(name, d)
		}
	}
	return sum
}

func countUp(by *map[string]int, reason string, n int) {
	if *by == nil {
		*by = map[string]int{}
	}
	(*by)[reason] += n
}

func (c *Comparison) differ(name string, more Differing) {
	if c.Fields == nil {
		c.Fields = map[string]Differing{}
	}
	d := c.Fields[name]
	d.Customers += more.Customers
	if d.Customers == more.Customers && len(c.Fields) >= mostFields {
		more.Examples = nil
	}
	for _, id := range more.Examples {
		if len(d.Examples) < examples {
			d.Examples = append(slices.Clone(d.Examples), id)
		}
	}
	c.Fields[name] = d
}

// comparePage compares a page with what Fluent has, and adds it to the part's
// sum.
func (r *bulkRun) comparePage(ctx context.Context, i int, page *commercetools.Page, p *bulkPlace) error {
	refs := make([]ct2fluent.Ref, len(page.Customers))
	for i := range page.Customers {
		refs[i] = r.ref(page.Customers[i].ID)
	}
	var sum *Comparison
	err := r.retry(ctx, func() error {
		memories, err := r.Ledger.Recall(ctx, refs...)
		if err != nil {
			return err
		}
		sum, err = r.Account.compare(ctx, page, func(id string) string { return memories[r.ref(id)].Username })
		return err
	})
	if err != nil {
		return err
	}
	if r.spec.Rate > 0 {
		sleep(ctx, time.Until(r.pace.turn(len(refs), r.spec.Rate)))
	}
	p.Sum = sumUp([]*Comparison{p.Sum, sum})
	r.setSum(i, p.Sum)
	r.addRead(len(refs))
	return ctx.Err()
}

// A comparing is a customer of a page on its way to its Fluent customer.
type comparing struct {
	c      *commercetools.Customer
	mapped Mapped
	id     identity
	has    *fluent.Customer
}

// compare says what would become of the customers of a page. usernames are
// those that are remembered.
func (a Account) compare(ctx context.Context, page *commercetools.Page, username func(id string) string) (*Comparison, error) {
	sum := &Comparison{}
	var open []*comparing
	for i := range page.Customers {
		c := &page.Customers[i]
		if page.Bodies[i] == nil {
			countUp(&sum.Dead, "refused", 1) // it cannot be read
			continue
		}
		mapped, err := a.Mapping.Apply(ctx, c, a.Project, a.RetailerID)
		d := identify(ct2fluent.Memory{Username: username(c.ID)}, mapped.Username, alternativeUsername(a.RetailerID, c.ID))
		if err == nil {
			err = usable(d.username)
		}
		if err != nil {
			sum.end(err)
			continue
		}
		open = append(open, &comparing{c: c, mapped: mapped, id: d})
	}
	// A username that is another's leads to the alternative, which is the last.
	for range 2 {
		if err := a.locateAll(ctx, open); err != nil {
			return nil, err
		}
	}
	for _, one := range open {
		a.judge(sum, one)
	}
	return sum, nil
}

// locateAll looks up those of whom it is not known whether Fluent has them.
func (a Account) locateAll(ctx context.Context, all []*comparing) error {
	var names []string
	for _, one := range all {
		if one.id.next() == lookUp {
			names = append(names, one.id.username)
		}
	}
	if len(names) == 0 {
		return nil
	}
	found, err := a.To.Lookup(ctx, names, true)
	if err != nil {
		return fmt.Errorf("look up %d customers in Fluent: %w", len(names), err)
	}
	for _, one := range all {
		if one.id.next() != lookUp {
			continue
		}
		one.has = nil
		if c, ok := found[one.id.username]; ok {
			one.has = &c
		}
		one.id = one.id.looked(placeOf(one.has, a.Mapping.config.IDAttribute, one.c.ID, a.RetailerID))
	}
	return nil
}

// judge adds a customer to the sum.
func (a Account) judge(sum *Comparison, one *comparing) {
	switch one.id.next() {
	case create:
		sum.Create++
		return
	case update:
	default:
		countUp(&sum.Dead, "foreign-username", 1)
		return
	}
	w := a.Mapping.update(one.mapped, one.c.ID, one.id.username, func(name string) bool { return attributeOf(one.has, name) != nil })
	differs := slices.DeleteFunc(differences(one.has, w), standsIn)
	if len(differs) == 0 {
		sum.Equal++
		return
	}
	sum.Update++
	if one.id.place == unclaimed {
		sum.Adopt++
	}
	for _, d := range differs {
		sum.differ(d.Field, Differing{Customers: 1, Examples: []string{one.c.ID}})
	}
}

// standsIn tells whether Fluent has what a create sends in place of nothing.
func standsIn(d Difference) bool {
	return d.Field == "firstName" && d.Gets == nil && d.Has == noFirstName
}

// end counts a customer that would not be written.
func (c *Comparison) end(err error) {
	switch o, reason, _ := ct2fluent.OutcomeOf(err); o {
	case ct2fluent.Skipped:
		countUp(&c.Skipped, reason, 1)
	default:
		countUp(&c.Dead, reason, 1)
	}
}

// FieldNames are the fields of a comparison, those in which most customers
// differ first.
func (c *Comparison) FieldNames() []string {
	names := slices.Collect(maps.Keys(c.Fields))
	slices.SortFunc(names, func(a, b string) int {
		if d := c.Fields[b].Customers - c.Fields[a].Customers; d != 0 {
			return d
		}
		return slices.Compare([]string{a}, []string{b})
	})
	return names
}

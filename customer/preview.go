package customer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A PreviewRequest says what to preview.
type PreviewRequest struct {
	ID       string                  // of the customer to read; or
	Customer *commercetools.Customer // the customer itself
	Username string                  // as the ledger remembers it; empty: not known
	Diff     bool                    // also compare with what Fluent has
	Deletes  Deletes                 // what a delete does; see [Preview]
}

// A Preview is what Fluent would get for a customer. It holds personal data.
type Preview struct {
	ID       string       `json:"id"`
	Version  int64        `json:"version"`
	Username string       `json:"username,omitempty"`
	Create   fluent.Write `json:"create,omitzero"` // if Fluent does not have the customer
	Update   fluent.Write `json:"update,omitzero"` // if it does

	// LedgerNotAsked says that the username is none that the ledger remembers,
	// because it could not be asked: it may remember another, and what looks
	// like a new customer is then an update of that one.
	LedgerNotAsked bool `json:"ledgerNotAsked,omitempty"`

	// Skipped is why the customer is left out ("not-selected"); then all that
	// follows from its mapping is empty.
	Skipped string `json:"skipped,omitempty"`

	// Deleted says that commercetools no longer has the customer, and that
	// Fluent's is to be marked.
	Deleted bool `json:"deleted,omitempty"`

	// Filled by Diff: the write that would be sent (create, update or mark), whether
	// a Fluent customer would be adopted, and where it differs from what
	// Fluent has.
	Would   string       `json:"would,omitempty"`
	Adopts  bool         `json:"adopts,omitempty"`
	Differs []Difference `json:"differs,omitempty"`
}

// A Difference is a field, or "attributes." and a name: what Fluent has and
// what it would get; nil is null.
type Difference struct {
	Field string `json:"field"`
	Has   any    `json:"has"`
	Gets  any    `json:"gets"`
}

// Preview maps a customer and writes nothing. It needs From only to read by ID
// and To only for Diff. Its errors are those of reading, mapping and looking up.
func (a Account) Preview(ctx context.Context, r PreviewRequest) (Preview, error) {
	m := a.Mapping
	if m == nil {
		var err error
		if m, err = CompileMapping(MappingConfig{}); err != nil {
			return Preview{}, err
		}
	}
	c := r.Customer
	if c == nil {
		var err error
		if c, err = a.From.Customer(ctx, r.ID); err != nil {
			if r.Deletes.Mark && r.Username != "" && errors.Is(err, commercetools.ErrNotFound) {
				return a.previewDeleted(ctx, r)
			}
			return Preview{}, fmt.Errorf("read customer %s: %w", r.ID, err)
		}
	}
	mapped, err := m.Apply(ctx, c, a.Project, a.RetailerID)
	if o, reason, _ := ct2fluent.OutcomeOf(err); o == ct2fluent.Skipped {
		return Preview{ID: c.ID, Version: c.Version, Skipped: reason}, nil
	}
	if err != nil {
		return Preview{}, fmt.Errorf("map customer %s: %w", c.ID, err)
	}
	d := identify(ct2fluent.Memory{Username: r.Username}, mapped.Username, alternativeUsername(a.RetailerID, c.ID))
	if err := usable(d.username); err != nil {
		return Preview{}, fmt.Errorf("map customer %s: %w", c.ID, err)
	}
	var has *fluent.Customer
	if r.Diff {
		if d, has, err = a.locate(ctx, d, m.config.IDAttribute, c.ID); err != nil {
			return Preview{}, err
		}
	}
	p := Preview{ID: c.ID, Version: c.Version, Username: d.username,
		Create: m.create(mapped, c.ID, d.username, a.RetailerID),
		Update: m.update(mapped, c.ID, d.username, func(name string) bool { return has != nil && attributeOf(has, name) != nil }),
	}
	switch {
	case has != nil:
		p.Would, p.Adopts = "update", d.place == unclaimed
		p.Differs = differences(has, p.Update)
	case r.Diff:
		p.Would = "create"
		p.Differs = differences(&fluent.Customer{}, p.Create)
	}
	return p, nil
}

// previewDeleted says what becomes of the Fluent customer that the ledger
// remembers of one that is gone: its mark, unless it has one.
func (a Account) previewDeleted(ctx context.Context, r PreviewRequest) (Preview, error) {
	p := Preview{ID: r.ID, Username: r.Username, Deleted: true}
	if !r.Diff {
		return p, nil
	}
	found, err := a.To.Lookup(ctx, []string{r.Username}, true)
	if err != nil {
		return Preview{}, fmt.Errorf("look up customer %s in Fluent: %w", r.ID, err)
	}
	attribute := orElse(r.Deletes.Attribute, defaultDeleted)
	if has, there := found[r.Username]; there && !markedBy(&has, attribute) {
		p.Would = "mark"
		p.Differs = []Difference{{attributeField(attribute), decoded(attributeOf(&has, attribute)), stamp(time.Now())}}
	}
	return p, nil
}

// locate finds the Fluent customer as the handler would.
func (a Account) locate(ctx context.Context, d identity, idAttribute, customerID string) (identity, *fluent.Customer, error) {
	found, err := a.To.Lookup(ctx, slices.Compact([]string{d.username, d.alternative}), true)
	if err != nil {
		return d, nil, fmt.Errorf("look up customer %s in Fluent: %w", customerID, err)
	}
	var has *fluent.Customer
	for d.next() == lookUp {
		has = nil
		if c, ok := found[d.username]; ok {
			has = &c
		}
		d = d.looked(placeOf(has, idAttribute, customerID, a.RetailerID))
	}
	if d.next() == reject {
		return d, nil, errors.New("the username and its alternative belong to other Fluent customers")
	}
	return d, has, nil
}

// differences compares what a write sends with what Fluent has.
func differences(has *fluent.Customer, w fluent.Write) []Difference {
	now := map[string]any{
		"title": plain(has.Title), "firstName": plain(has.FirstName), "lastName": plain(has.LastName),
		"primaryEmail": plain(has.PrimaryEmail), "primaryPhone": plain(has.PrimaryPhone),
		"country": plain(has.Country), "timezone": plain(has.Timezone), "promotionOptIn": plain(has.PromotionOptIn),
	}
	var ds []Difference
	for _, field := range slices.Sorted(maps.Keys(w.Fields)) {
		if now[field] != w.Fields[field] {
			ds = append(ds, Difference{field, now[field], w.Fields[field]})
		}
	}
	for _, a := range w.Attributes {
		old := attributeOf(has, a.Name)
		if !isValue(old) || canonical(old) != canonical(a.Value) {
			ds = append(ds, Difference{attributeField(a.Name), decoded(old), decoded(a.Value)})
		}
	}
	return ds
}

// plain is what a pointer points to; nil for null.
func plain[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// attributeOf is the value of an attribute; nil where there is none.
func attributeOf(c *fluent.Customer, name string) json.RawMessage {
	for _, a := range c.Attributes {
		if a.Name == name && isValue(a.Value) {
			return a.Value
		}
	}
	return nil
}

// decoded is a value to be shown; nil for none.
func decoded(doc json.RawMessage) any {
	if !isValue(doc) {
		return nil
	}
	v, err := exactly(doc)
	if err != nil {
		return string(doc)
	}
	return v
}

package customer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A Mapping turns commercetools customers into Fluent customers. It does not
// change once made, and is safe for concurrent use.
type Mapping struct {
	config         MappingConfig // with every default but those of expressions
	selects        *expression
	username       *expression
	texts          []text
	promotionOptIn *expression
	attributes     []attribute
	wraps          []wrap
	fingerprint    string
}

type text struct {
	*expression
	name    string
	limit   int
	tooLong string
}

type attribute struct {
	*expression
	name, typ string
}

type wrap struct {
	name string
	f    Mapper
}

// notSelected is the outcome of a customer that is not to be synced.
var notSelected = ct2fluent.Skip("not-selected")

// A Mapper is a partner's step after the expressions: it gets their result and
// gives back what Fluent is to have. For one customer it must always give the
// same, or nothing is ever unchanged. Its errors are those of a
// [ct2fluent.Handler]: Skip("not-selected") leaves the customer out, Reject
// makes a dead letter, a plain error is tried again; their texts must hold no
// personal data. It is called by several workers at once, and may not change
// the customer.
type Mapper func(ctx context.Context, c *commercetools.Customer, m Mapped) (Mapped, error)

// Wrap returns the mapping followed by f. The name goes into the fingerprint:
// give it another one ("loyalty/2") when f starts to give other results, so
// that customers written under the old one are not taken for unchanged.
func (m *Mapping) Wrap(name string, f Mapper) *Mapping {
	w := *m
	w.wraps = append(slices.Clip(m.wraps), wrap{name, f})
	w.fingerprint = fingerprint(w.config, w.wraps)
	return &w
}

// Fingerprint changes whenever the mapping does.
func (m *Mapping) Fingerprint() string { return m.fingerprint }

func fingerprint(c MappingConfig, wraps []wrap) string {
	var parts []string
	add := func(s ...string) { parts = append(parts, s...) }
	add(fmt.Sprint(defaultsVersion), c.Username.Text, c.IDAttribute, c.Cleared, c.PromotionOptIn.Text)
	for _, f := range textFields(&c, new(Mapped)) {
		add(f.config.Value.Text, f.config.TooLong)
	}
	for _, a := range c.Attributes {
		add(a.Name, a.Type, a.Value.Text)
	}
	if c.Select.Text != "" {
		add("select", c.Select.Text)
	}
	add("")
	for _, w := range wraps {
		add(w.name)
	}
	return digest(parts)[:16]
}

// digest is a short stable hash. What goes in always encodes.
func digest(v any) string {
	doc, _ := json.Marshal(v)
	sum := sha256.Sum256(doc)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// A Mapped is what Fluent is to have of a customer. Empty text is absent.
type Mapped struct {
	// Username is for a customer that Fluent does not have yet.
	Username string `json:"username,omitempty"`

	Title        string `json:"title,omitempty"`
	FirstName    string `json:"firstName,omitempty"`
	LastName     string `json:"lastName,omitempty"`
	PrimaryEmail string `json:"primaryEmail,omitempty"`
	PrimaryPhone string `json:"primaryPhone,omitempty"`
	Country      string `json:"country,omitempty"`
	Timezone     string `json:"timezone,omitempty"`

	// PromotionOptIn is nil where it is to be left alone.
	PromotionOptIn *bool `json:"promotionOptIn,omitempty"`

	// Attributes without the id attribute. One without a value stays in the
	// list, so that an update can clear what Fluent has of it.
	Attributes []fluent.Attribute `json:"attributes,omitempty"`
}

// hash is of all that Fluent is to have, the username aside, which never
// changes. It is plain SHA-256, so whoever holds it can try guesses; it lies in
// the ledger beside the username, which tells more. The id in it keeps two
// customers with equal values from having one hash.
func (m Mapped) hash(customerID string) string {
	m.Username = ""
	return digest(struct {
		ID string
		Mapped
	}{customerID, m})
}

// Apply maps a customer for the account of project and retailer. The error is
// an outcome: Skip("not-selected"), a dead letter (mapping, too-long, no-email)
// or what a [Mapper] returned.
func (m *Mapping) Apply(ctx context.Context, c *commercetools.Customer, project, retailerID string) (Mapped, error) {
	env := &environment{Customer: c, Addresses: ordered(c), RetailerID: retailerID, ProjectKey: project}
	machine := &vm.VM{MemoryBudget: maxMemory}
	var out Mapped
	if m.selects != nil {
		selected, err := m.selects.truth(machine, env)
		if err != nil {
			return Mapped{}, err
		}
		if selected == nil || !*selected {
			return Mapped{}, notSelected
		}
	}
	var err error
	if out.Username, err = m.username.text(machine, env); err != nil {
		return Mapped{}, err
	}
	for i, f := range textFields(new(MappingConfig), &out) {
		if *f.value, err = m.texts[i].text(machine, env); err != nil {
			return Mapped{}, err
		}
	}
	if out.PromotionOptIn, err = m.promotionOptIn.truth(machine, env); err != nil {
		return Mapped{}, err
	}
	for _, a := range m.attributes {
		value, err := a.json(machine, env)
		if err != nil {
			return Mapped{}, err
		}
		out.Attributes = append(out.Attributes, fluent.Attribute{Name: a.name, Type: a.typ, Value: value})
	}
	for _, w := range m.wraps {
		if out, err = w.f(ctx, c, out); err != nil {
			return Mapped{}, err
		}
	}
	if err := m.check(&out); err != nil {
		return Mapped{}, err
	}
	return out, nil
}

// check makes sure that Fluent can take the result, whoever made it.
func (m *Mapping) check(out *Mapped) error {
	for i, f := range textFields(new(MappingConfig), out) {
		t := &m.texts[i]
		if strings.TrimSpace(*f.value) == "" {
			*f.value = ""
		}
		if t.limit == 0 || utf8.RuneCountInString(*f.value) <= t.limit {
			continue
		}
		switch t.tooLong {
		case tooLongCut:
			*f.value = strings.TrimSpace(string([]rune(*f.value)[:t.limit]))
		case tooLongOmit:
			*f.value = ""
		default:
			return tooLong(t.name, t.limit)
		}
	}
	if out.PrimaryEmail == "" {
		return ct2fluent.Reject(ct2fluent.WithReason("no-email", fmt.Errorf("mapping.primaryEmail: the customer has no email")))
	}
	names := map[string]bool{m.config.IDAttribute: true}
	for i := range out.Attributes {
		a := &out.Attributes[i]
		if v := string(a.Value); v == "null" || v == `""` {
			a.Value = nil
		}
		if a.Name == "" || a.Type == "" || names[a.Name] || a.Value != nil && !json.Valid(a.Value) {
			return unmappable(fmt.Errorf("attribute %q of a wrapped mapping is there twice, or has no name, type or JSON value", a.Name))
		}
		names[a.Name] = true
	}
	return nil
}

// usable tells why a username cannot be given to a new customer.
func usable(username string) error {
	if strings.TrimSpace(username) == "" {
		return unmappable(fmt.Errorf("mapping.username: the result is empty"))
	}
	if limit := fluent.Limits["username"]; utf8.RuneCountInString(username) > limit {
		return tooLong("username", limit)
	}
	return nil
}

func tooLong(field string, limit int) error {
	return ct2fluent.Reject(ct2fluent.WithReason("too-long",
		fmt.Errorf("mapping.%s: longer than the %d characters Fluent takes", field, limit)))
}

// noFirstName is sent by a create where there is none.
const noFirstName = "-"

// create is the write for a customer that Fluent does not have.
func (m *Mapping) create(out Mapped, customerID, username, retailerID string) fluent.Write {
	w := fluent.Write{Create: true, Username: username, RetailerID: retailerID, Fields: fluent.Fields{
		// Not null in older accounts.
		"firstName": noFirstName, "timezone": "UTC", "promotionOptIn": false,
	}}
	for _, f := range textFields(new(MappingConfig), &out) {
		if *f.value != "" {
			w.Fields[f.name] = *f.value
		}
	}
	m.finish(&w, out, customerID, func(string) bool { return false })
	return w
}

// update is the write for a customer that Fluent has. held tells of an
// attribute whether Fluent may hold a value of it.
func (m *Mapping) update(out Mapped, customerID, username string, held func(attribute string) bool) fluent.Write {
	w := fluent.Write{Username: username, Fields: fluent.Fields{}}
	for i, f := range textFields(new(MappingConfig), &out) {
		switch mapped := m.texts[i].expression != nil; {
		case *f.value != "":
			w.Fields[f.name] = *f.value
		case mapped && m.config.Cleared == clearedNull:
			w.Fields[f.name] = nil
		}
	}
	m.finish(&w, out, customerID, held)
	return w
}

// finish adds what creates and updates share. The id comes always, so that the
// customer can be found again when the ledger is lost (promise 4).
func (m *Mapping) finish(w *fluent.Write, out Mapped, customerID string, held func(string) bool) {
	if out.PromotionOptIn != nil {
		w.Fields["promotionOptIn"] = *out.PromotionOptIn
	}
	id, _ := json.Marshal(customerID)
	w.Attributes = []fluent.Attribute{{Name: m.config.IDAttribute, Type: "STRING", Value: id}}
	for _, a := range out.Attributes {
		if a.Value == nil && held(a.Name) {
			a.Value = wantOf(a.Type).empty()
		} else if a.Value == nil {
			continue
		}
		w.Attributes = append(w.Attributes, a)
	}
}

// holding names the attributes that have a value.
func (m Mapped) holding() []string {
	var names []string
	for _, a := range m.Attributes {
		if a.Value != nil {
			names = append(names, a.Name)
		}
	}
	return names
}

package customer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ct2fluent/ct2fluent/fluent"
)

// A MappingConfig says how a commercetools customer becomes a Fluent customer.
// Its zero value is the default mapping. Expressions are those of
// github.com/expr-lang/expr over
//
//	customer    the customer, with the names of commercetools' API
//	addresses   customer.addresses: the default shipping address first, the
//	            default billing address next, then the others
//	retailerId  of the Fluent account
//	projectKey  of the commercetools project
//
// A result that is nil or blank text counts as absent.
type MappingConfig struct {
	// Select says whether a customer is synced at all; what is absent is a no.
	// Default: every customer is.
	Select Expression

	// Username of a customer Fluent does not have yet; it is remembered and
	// never changes. Default: `retailerId + "_" + customer.email`.
	Username Expression

	// IDAttribute names the attribute that holds the customer's commercetools
	// id. Default: commercetoolsId.
	IDAttribute string

	// Cleared is what an update sends for a field that commercetools no longer
	// has: null, or nothing (omit). Default: null.
	Cleared string

	// Title. Default: the title, or else the salutation.
	Title Field

	// FirstName. Default: the first name. A create that has none sends `-`.
	FirstName Field

	// LastName. Default: the last name.
	LastName Field

	// PrimaryEmail. Default: the email. A customer without one is a dead
	// letter, so too-long can only be reject here.
	PrimaryEmail Field

	// PrimaryPhone. Default: the mobile, or else the phone, of the first of
	// addresses that has either.
	PrimaryPhone Field

	// Country. Default: that of the first of addresses that has one.
	Country Field

	// Timezone. Default: none; a create that has none sends `UTC`, and an
	// update leaves alone what is not mapped.
	Timezone Field

	// PromotionOptIn is true or false. Default: none; a create that has none
	// sends false, and an update leaves it alone.
	PromotionOptIn Expression

	// Attributes besides the id attribute. Default: none.
	Attributes []Attribute
}

// An Expression is its text and where it stands.
type Expression struct {
	Text  string // empty: the default
	Place string // such as "application-connector.yml:41", for error texts; may be empty
}

// A Field is an expression for text, and what is done with a result that is
// longer than Fluent takes.
type Field struct {
	Value Expression

	// TooLong: reject makes a dead letter of the notification, cut shortens
	// the value, omit treats it as absent. Default: reject.
	TooLong string
}

// An Attribute of the Fluent customer.
type Attribute struct {
	Name  string
	Type  string // Fluent's name of the type. Default: STRING.
	Value Expression
}

// What too-long and cleared may say.
const (
	tooLongReject = "reject"
	tooLongCut    = "cut"
	tooLongOmit   = "omit"
	clearedNull   = "null"
	clearedOmit   = "omit"
)

const defaultUsername = `retailerId + "_" + customer.email`

// defaultsVersion goes into every fingerprint: raise it when a default
// changes, so that customers written under the old one are written again.
const defaultsVersion = 1

// A textField is a field of Fluent that holds text: its name there, its default
// expression, and where its value lies.
type textField struct {
	name   string
	preset string
	config *Field
	value  *string
}

// textFields lists the text fields of Fluent in the order in which they are
// computed. Each call has the places of one configuration and one result.
func textFields(c *MappingConfig, m *Mapped) []textField {
	return []textField{
		{"title", `customer.title != "" ? customer.title : customer.salutation`, &c.Title, &m.Title},
		{"firstName", `customer.firstName`, &c.FirstName, &m.FirstName},
		{"lastName", `customer.lastName`, &c.LastName, &m.LastName},
		{"primaryEmail", `customer.email`, &c.PrimaryEmail, &m.PrimaryEmail},
		{"primaryPhone", `let a = find(addresses, .mobile != "" or .phone != ""); ` +
			`a == nil ? "" : a.mobile != "" ? a.mobile : a.phone`, &c.PrimaryPhone, &m.PrimaryPhone},
		{"country", `find(addresses, .country != "")?.country`, &c.Country, &m.Country},
		{"timezone", ``, &c.Timezone, &m.Timezone},
	}
}

// CompileMapping checks a mapping and makes it ready for use. The error names
// everything that is wrong with it: place, key, and for an expression line,
// column and a caret under the spot.
func CompileMapping(c MappingConfig) (*Mapping, error) {
	c.Attributes = slices.Clone(c.Attributes)
	c.IDAttribute = orElse(c.IDAttribute, "commercetoolsId")
	c.Cleared = orElse(c.Cleared, clearedNull)
	m := &Mapping{config: c}
	var errs []error
	note := func(err error) { errs = append(errs, err) }

	if c.Cleared != clearedNull && c.Cleared != clearedOmit {
		note(fmt.Errorf("mapping.cleared: %q is neither null nor omit", c.Cleared))
	}
	m.selects = compile("select", c.Select, "", wantBool, note)
	m.username = compile("mapping.username", c.Username, defaultUsername, wantText, note)
	for _, f := range textFields(&m.config, new(Mapped)) {
		f.config.TooLong = orElse(f.config.TooLong, tooLongReject)
		switch {
		case !slices.Contains([]string{tooLongReject, tooLongCut, tooLongOmit}, f.config.TooLong):
			note(fmt.Errorf("%smapping.%s.too-long: %q is none of reject, cut, omit",
				f.config.Value.prefix(), f.name, f.config.TooLong))
		case f.name == "primaryEmail" && f.config.TooLong != tooLongReject:
			note(fmt.Errorf("%smapping.primaryEmail.too-long: must be reject: Fluent needs the whole email",
				f.config.Value.prefix()))
		}
		m.texts = append(m.texts, text{
			expression: compile("mapping."+f.name, f.config.Value, f.preset, wantText, note),
			name:       f.name,
			limit:      fluent.Limits[f.name],
			tooLong:    f.config.TooLong,
		})
	}
	m.promotionOptIn = compile("mapping.promotionOptIn", c.PromotionOptIn, "", wantBool, note)
	names := map[string]bool{}
	for i := range m.config.Attributes {
		a := &m.config.Attributes[i]
		a.Type = orElse(a.Type, "STRING")
		key := fmt.Sprintf("attributes[%d]", i)
		switch {
		case strings.TrimSpace(a.Name) == "":
			note(fmt.Errorf("%smapping.%s: no name", a.Value.prefix(), key))
			continue
		case a.Name == c.IDAttribute:
			note(fmt.Errorf("%smapping.%s: %s is the id attribute, which is always sent (mapping.id-attribute)",
				a.Value.prefix(), key, a.Name))
			continue
		case names[a.Name]:
			note(fmt.Errorf("%smapping.%s: %s is there twice", a.Value.prefix(), key, a.Name))
			continue
		case a.Value.Text == "":
			note(fmt.Errorf("%smapping.%s: %s has no value", a.Value.prefix(), key, a.Name))
			continue
		}
		names[a.Name] = true
		m.attributes = append(m.attributes, attribute{
			expression: compile("mapping.attributes."+a.Name, a.Value, "", wantOf(a.Type), note),
			name:       a.Name,
			typ:        a.Type,
		})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	m.fingerprint = fingerprint(m.config, nil)
	return m, nil
}

func (e Expression) prefix() string {
	if e.Place == "" {
		return ""
	}
	return e.Place + ": "
}

func orElse(s, preset string) string {
	if s == "" {
		return preset
	}
	return s
}

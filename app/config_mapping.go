package app

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ct2fluent/ct2fluent/customer"
)

// checkMapping compiles the mapping for its mistakes alone, so that they are
// told together with all others.
func (d *decoder) checkMapping(c *Config) {
	d.checkCompiled(c, "", mappingConfig(c))
	for i, a := range c.Accounts {
		d.checkCompiled(c, fmt.Sprintf("accounts[%d]", i), customer.MappingConfig{Select: expression(a.Select)})
	}
}

// checkCompiled tells the mistakes of a mapping whose keys stand below path.
func (d *decoder) checkCompiled(c *Config, path string, m customer.MappingConfig) {
	_, err := customer.CompileMapping(m)
	if err == nil {
		return
	}
	mistakes := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		mistakes = joined.Unwrap()
	}
	for _, err := range mistakes {
		at, text := c.At("mapping"), err.Error()
		if place, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(place, d.file+":") {
			at.Line, _ = strconv.Atoi(strings.TrimPrefix(place, d.file+":"))
			text = rest
		}
		key, what, ok := strings.Cut(text, ": ")
		if !ok {
			key, what = "mapping", text
		}
		if key = join(path, key); !d.refused(key) {
			d.fail(at, key, "%s", what)
		}
	}
}

// checkDeletes holds the attribute that marks a delete against the others.
func (d *decoder) checkDeletes(c *Config) {
	const path = "deletes.attribute"
	name := c.Deletes.Attribute
	if name == "" {
		return // refused
	}
	at := ""
	if name == c.Mapping.IDAttribute {
		at = "mapping.id-attribute"
	}
	for i, a := range c.Mapping.Attributes {
		if a.Name == name {
			at = fmt.Sprintf("mapping.attributes[%d]", i)
		}
	}
	if _, given := d.at[path]; at != "" && given {
		d.fail(c.At(path), path, "%q is the name of %s; give it another", name, at)
	} else if at != "" {
		d.fail(c.At(at), at, "%q is the name of %s; give it another", name, path)
	}
}

func deletes(c DeletesConfig) customer.Deletes {
	return customer.Deletes{Mark: c.Policy == "mark", Attribute: c.Attribute}
}

// refused tells whether a key has a mistake already, so that what follows from
// it is not told too.
func (d *decoder) refused(key string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == key })
}

func expression(e Expr) customer.Expression {
	if e.IsZero() {
		return customer.Expression{}
	}
	return customer.Expression{Text: e.Text, Place: e.At.String()}
}

// mappingConfig is the mapping as package customer takes it.
func mappingConfig(c *Config) customer.MappingConfig {
	text := func(f FieldConfig) customer.Field {
		return customer.Field{Value: expression(f.Value), TooLong: f.TooLong}
	}
	m := c.Mapping
	out := customer.MappingConfig{
		Select:         expression(c.Select),
		Username:       expression(m.Username),
		IDAttribute:    m.IDAttribute,
		Cleared:        m.Cleared,
		Title:          text(m.Title),
		FirstName:      text(m.FirstName),
		LastName:       text(m.LastName),
		PrimaryEmail:   text(m.PrimaryEmail),
		PrimaryPhone:   text(m.PrimaryPhone),
		Country:        text(m.Country),
		Timezone:       text(m.Timezone),
		PromotionOptIn: expression(m.PromotionOptIn),
	}
	for _, a := range m.Attributes {
		out.Attributes = append(out.Attributes, customer.Attribute{Name: a.Name, Type: a.Type, Value: expression(a.Value)})
	}
	return out
}

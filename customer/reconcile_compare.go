package customer

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/ct2fluent/ct2fluent/fluent"
)

// Comparing, without I/O: what a customer of commercetools is to be in Fluent,
// beside what it is there.

// fallback is what a create sends for a field of which commercetools has
// nothing. An update sends null for it later: both are right.
func fallback(field string) string {
	switch field {
	case "firstName":
		return noFirstName
	case "timezone":
		return "UTC"
	}
	return ""
}

// drifted gives the fields in which a Fluent customer is not what the update
// would make of it. Where commercetools has nothing, null, empty text and what
// a create sends instead are alike.
func drifted(has *fluent.Customer, w fluent.Write, selected func(field string) bool) (fields []string) {
	for _, d := range differences(has, w) {
		if !selected(d.Field) || d.Gets == nil && (d.Has == "" || d.Has == fallback(d.Field)) {
			continue
		}
		fields = append(fields, d.Field)
	}
	return fields
}

// Columns are the fields that are kept of each Fluent customer, each as a
// digest of 32 bits with a seed of its own run: a difference that one run
// overlooks, once in four thousand million, the next one sees.
type columns struct {
	seed  maphash.Seed
	names []string // as a Difference has them
	place map[string]int
	all   bool // no field was chosen
}

// newColumns has the fields that a mapping can write, or those of them that are
// chosen. Attributes beyond those of the configuration are named by more.
func newColumns(m *Mapping, chosen, more []string) *columns {
	c := &columns{seed: maphash.MakeSeed(), place: map[string]int{}, all: len(chosen) == 0}
	for _, name := range append(m.fields(), more...) {
		if _, twice := c.place[name]; !twice && name != attributeField(m.config.IDAttribute) && (c.all || slices.Contains(chosen, name)) {
			c.place[name] = len(c.names)
			c.names = append(c.names, name)
		}
	}
	return c
}

// fields names what the mapping can write, as a Difference has it.
func (m *Mapping) fields() (names []string) {
	for i, f := range textFields(new(MappingConfig), new(Mapped)) {
		if m.texts[i].expression != nil || len(m.wraps) > 0 {
			names = append(names, f.name)
		}
	}
	if m.promotionOptIn != nil || len(m.wraps) > 0 {
		names = append(names, "promotionOptIn")
	}
	names = append(names, attributeField(m.config.IDAttribute))
	for _, a := range m.attributes {
		names = append(names, attributeField(a.name))
	}
	return names
}

func attributeField(name string) string { return "attributes." + name }

// selected tells whether a field is compared.
func (c *columns) selected(field string) bool {
	_, is := c.place[field]
	return c.all || is
}

// digest is never 0, which stands for nothing.
func (c *columns) digest(s string) uint32 {
	h := maphash.String(c.seed, s)
	return max(1, uint32(h^h>>32))
}

// of writes the digests of a customer: one for each column.
func (c *columns) of(has *fluent.Customer, digests []uint32) {
	clear(digests)
	set := func(field, value string) {
		if i, ok := c.place[field]; ok {
			digests[i] = c.digest(value)
		}
	}
	for field, v := range map[string]*string{
		"title": has.Title, "firstName": has.FirstName, "lastName": has.LastName, "primaryEmail": has.PrimaryEmail,
		"primaryPhone": has.PrimaryPhone, "country": has.Country, "timezone": has.Timezone,
	} {
		if v != nil && *v != "" {
			set(field, *v)
		}
	}
	if has.PromotionOptIn != nil {
		set("promotionOptIn", strconv.FormatBool(*has.PromotionOptIn))
	}
	for _, a := range has.Attributes {
		if isValue(a.Value) {
			set(attributeField(a.Name), canonical(a.Value))
		}
	}
}

// alike tells whether an update would leave a customer of these digests as it
// is. An attribute that has no column is not known: then it is not.
func (c *columns) alike(w fluent.Write, idAttribute string, digests []uint32) bool {
	for field, v := range w.Fields {
		i, ok := c.place[field]
		switch {
		case !ok && !c.selected(field):
			continue
		case !ok:
			return false
		case v == nil:
			if d := digests[i]; d != 0 && (fallback(field) == "" || d != c.digest(fallback(field))) {
				return false
			}
			continue
		}
		text, _ := v.(string)
		if b, is := v.(bool); is {
			text = strconv.FormatBool(b)
		}
		if digests[i] != c.digest(text) {
			return false
		}
	}
	for _, a := range w.Attributes {
		field := attributeField(a.Name)
		if a.Name == idAttribute || !c.selected(field) {
			continue
		}
		if i, ok := c.place[field]; !ok || digests[i] != c.digest(canonical(a.Value)) {
			return false
		}
	}
	return true
}

// holds tells whether a customer of these digests may have a value of an
// attribute.
func (c *columns) holds(digests []uint32, attribute string) bool {
	i, ok := c.place[attributeField(attribute)]
	return !ok || digests[i] != 0
}

func isValue(doc json.RawMessage) bool { return len(doc) > 0 && string(doc) != "null" }

// canonical writes a JSON value so that two that mean the same are equal:
// without white space, keys in order, and each number in one way, with every
// digit. What is no JSON stays as it is.
func canonical(doc json.RawMessage) string {
	v, err := exactly(doc)
	if err != nil {
		return string(doc)
	}
	out, err := json.Marshal(normal(v))
	if err != nil {
		return string(doc)
	}
	return string(out)
}

// exactly decodes JSON and keeps numbers as they are written.
func exactly(doc json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, one := range v {
			v[k] = normal(one)
		}
	case []any:
		for i, one := range v {
			v[i] = normal(one)
		}
	case json.Number:
		return json.Number(normalNumber(v.String()))
	}
	return v
}

// normalNumber writes a JSON number as digits that neither begin nor end with
// a zero, and an exponent where that is not 0: 10, 10.0 and 1e1 are 1e1.
func normalNumber(s string) string {
	rest, negative := strings.CutPrefix(s, "-")
	mantissa, power, _ := strings.Cut(strings.ToLower(rest), "e")
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil || exponent > 1<<30 || exponent < -1<<30 {
			return s
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	exponent += len(digits) - len(short) - len(fraction)
	if negative {
		short = "-" + short
	}
	if exponent != 0 {
		short += "e" + strconv.Itoa(exponent)
	}
	return short
}

package customer

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/fluent"
)

// What counts as a difference, by a fresh read and by what is kept of a
// customer: both must say the same.
func TestCompared(t *testing.T) {
	text := func(s string) *string { return &s }
	yes, no := true, false
	attributes := func(as ...string) (list []fluent.Attribute) {
		for i := 0; i < len(as); i += 2 {
			a := fluent.Attribute{Name: as[i], Type: "STRING"}
			if as[i+1] != "" {
				a.Value = json.RawMessage(as[i+1])
			}
			list = append(list, a)
		}
		return list
	}
	base := MappingConfig{Attributes: []Attribute{{Name: "key", Value: Expression{Text: "customer.key"}}, {Name: "sizes", Type: "JSON", Value: Expression{Text: "customer.key"}}}}
	with := func(change func(*MappingConfig)) MappingConfig { c := base; change(&c); return c }
	omitting := with(func(c *MappingConfig) { c.Cleared = clearedOmit })
	zoned := with(func(c *MappingConfig) { c.Timezone.Value.Text = `customer.locale` })
	opting := with(func(c *MappingConfig) { c.PromotionOptIn.Text = `customer.isEmailVerified` })
	tests := []struct {
		name    string
		mapping MappingConfig
		mapped  Mapped
		has     fluent.Customer
		only    string
		want    string
	}{
		{name: "equal", mapped: Mapped{LastName: "Doe"}, has: fluent.Customer{LastName: text("Doe")}},
		{name: "another value", mapped: Mapped{LastName: "Doe", FirstName: "Jo"}, has: fluent.Customer{LastName: text("Roe"), FirstName: text("Joe")}, want: "firstName lastName"},
		{name: "Fluent has none", mapped: Mapped{LastName: "Doe"}, want: "lastName"},
		{name: "commercetools has none", has: fluent.Customer{LastName: text("Doe")}, want: "lastName"},
		{name: "commercetools has none, and Fluent keeps what it had", mapping: omitting, has: fluent.Customer{LastName: text("Doe")}},
		{name: "null and empty text are alike", has: fluent.Customer{LastName: text(""), Title: text("")}},
		{name: "what a create sends in place of nothing", mapping: zoned, has: fluent.Customer{FirstName: text("-"), Timezone: text("UTC")}},
		{name: "but not elsewhere", has: fluent.Customer{LastName: text("-"), Country: text("UTC")}, want: "country lastName"},
		{name: "what is not mapped is left alone", has: fluent.Customer{Timezone: text("CET"), PromotionOptIn: &yes}},
		{name: "promotions", mapping: opting, mapped: Mapped{PromotionOptIn: &yes}, has: fluent.Customer{PromotionOptIn: &no}, want: "promotionOptIn"},
		{name: "promotions, equal", mapping: opting, mapped: Mapped{PromotionOptIn: &yes}, has: fluent.Customer{PromotionOptIn: &yes}},
		{name: "promotions, not told", mapping: opting, mapped: Mapped{PromotionOptIn: &no}, want: "promotionOptIn"},
		{name: "capitals count", mapped: Mapped{LastName: "Doe"}, has: fluent.Customer{LastName: text("doe")}, want: "lastName"},

		{name: "an attribute, equal", mapped: Mapped{Attributes: attributes("key", `"k"`)}, has: fluent.Customer{Attributes: attributes("key", `"k"`, "other", `7`)}},
		{name: "an attribute, another value", mapped: Mapped{Attributes: attributes("key", `"k"`)}, has: fluent.Customer{Attributes: attributes("key", `"l"`)}, want: "attributes.key"},
		{name: "an attribute, missing", mapped: Mapped{Attributes: attributes("key", `"k"`)}, want: "attributes.key"},
		{name: "an attribute, null", mapped: Mapped{Attributes: attributes("key", `"k"`)}, has: fluent.Customer{Attributes: attributes("key", `null`)}, want: "attributes.key"},
		{name: "an attribute whose source is gone", mapped: Mapped{Attributes: attributes("key", "")}, has: fluent.Customer{Attributes: attributes("key", `"k"`)}, want: "attributes.key"},
		{name: "an attribute whose source is gone, emptied", mapped: Mapped{Attributes: attributes("key", "")}, has: fluent.Customer{Attributes: attributes("key", `""`)}},
		{name: "an attribute that never was", mapped: Mapped{Attributes: attributes("key", "")}},
		{name: "a text is no number", mapped: Mapped{Attributes: attributes("key", `"1"`)}, has: fluent.Customer{Attributes: attributes("key", `1`)}, want: "attributes.key"},
		{name: "one number, written in two ways", mapped: Mapped{Attributes: attributes("sizes", `[10, -0.50, 0]`)}, has: fluent.Customer{Attributes: attributes("sizes", `[1e1,-5E-1,0.0]`)}},
		{name: "two numbers that one float64 holds", mapped: Mapped{Attributes: attributes("sizes", `9007199254740993`)}, has: fluent.Customer{Attributes: attributes("sizes", `9007199254740992`)}, want: "attributes.sizes"},
		{name: "keys in another order", mapped: Mapped{Attributes: attributes("sizes", `{"a":1,"b":{"c":"<"}}`)}, has: fluent.Customer{Attributes: attributes("sizes", `{ "b": {"c":"\u003c"}, "a": 1 }`)}},
		{name: "lists in another order", mapped: Mapped{Attributes: attributes("sizes", `[1,2]`)}, has: fluent.Customer{Attributes: attributes("sizes", `[2,1]`)}, want: "attributes.sizes"},
		{name: "an attribute that a partner's mapping adds", mapped: Mapped{Attributes: attributes("points", `7`)}, has: fluent.Customer{Attributes: attributes("points", `8`)}, want: "attributes.points"},

		{name: "some fields only", only: "lastName attributes.key", mapped: Mapped{LastName: "Doe", FirstName: "Jo", Attributes: attributes("key", `"k"`, "sizes", `1`)}, want: "lastName attributes.key"},
		{name: "and these are equal", only: "title", mapped: Mapped{LastName: "Doe"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.mapping.Attributes == nil {
				tt.mapping = base
			}
			m := mustCompile(t, tt.mapping)
			if tt.has.Attributes == nil {
				tt.has.Attributes = attributes()
			}
			tt.has.Attributes = append(tt.has.Attributes, attributes("commercetoolsId", `"jane"`)...)
			tt.mapped.PrimaryEmail, tt.has.PrimaryEmail = "jane@x", text("jane@x")
			c := newColumns(m, strings.Fields(tt.only), nil)
			fields := drifted(&tt.has, m.update(tt.mapped, "jane", "u", func(name string) bool { return attributeOf(&tt.has, name) != nil }), c.selected)
			if got := strings.Join(fields, " "); got != tt.want {
				t.Errorf("a fresh read differs in %q, want %q", got, tt.want)
			}
			digests := make([]uint32, len(c.names))
			c.of(&tt.has, digests)
			w := m.update(tt.mapped, "jane", "u", func(name string) bool { return c.holds(digests, name) })
			if alike := c.alike(w, "commercetoolsId", digests); alike != (tt.want == "") {
				t.Errorf("what is kept is alike: %v", alike)
			}
		})
	}
}

func TestColumnsNameWhatTheMappingWrites(t *testing.T) {
	m := mustCompile(t, MappingConfig{Attributes: []Attribute{{Name: "key", Value: Expression{Text: "customer.key"}}}})
	want := []string{"title", "firstName", "lastName", "primaryEmail", "primaryPhone", "country", "attributes.key"}
	if got := newColumns(m, nil, []string{"attributes.points", "attributes.key"}).names; !slices.Equal(got, append(want, "attributes.points")) {
		t.Errorf("%q", got)
	}
	if got := newColumns(m, []string{"country"}, nil).names; !slices.Equal(got, []string{"country"}) {
		t.Errorf("%q", got)
	}
}

func TestNormalNumber(t *testing.T) {
	for s, want := range map[string]string{
		"0": "0", "-0.0": "0", "10": "1e1", "1e1": "1e1", "10.0": "1e1", "0.5": "5e-1", "5E-1": "5e-1", "-12.340": "-1234e-2",
		"123456789012345678901": "123456789012345678901", "1e999999999999": "1e999999999999", "0e7": "0",
	} {
		if got := normalNumber(s); got != want {
			t.Errorf("%s is %s, want %s", s, got, want)
		}
	}
}

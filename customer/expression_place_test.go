package customer

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// What fails because something is absent is told where it stands, with what to
// write in its place.
func TestAnExpressionThatFailsSaysWhere(t *testing.T) {
	const doc = `{"id":"1","email":"MARKED@example.com","lastName":"MARKED","addresses":[{"country":"DE"}]}`
	const fields = `{"id":"1","email":"MARKED@example.com","lastName":"MARKED","custom":{"fields":{"s":"MARKED"}}}`
	tests := []struct {
		name, expression, customer, want string
	}{
		{"a field of what is absent", `customer.custom.fields.x == "y"`, doc,
			"1:17: custom is absent here; write custom?.fields"},
		{"in a part of it", `customer.locale == "de" || customer.custom.fields.x == "y"`, doc,
			"1:44: custom is absent here; write custom?.fields"},
		{"the second of two alike", `customer.custom?.fields.x == "y" || customer.custom.fields.x == "y"`, doc,
			"1:53: custom is absent here; write custom?.fields"},
		{"on a second line", "customer.locale == \"de\" ||\n  customer.custom.fields.x == \"y\"", doc,
			"2:19: custom is absent here; write custom?.fields"},
		{"another field", `customer.customerGroup.id == "vip"`, doc,
			"1:24: customerGroup is absent here; write customerGroup?.id"},
		{"by a variable", `let g = customer.customerGroup; g.id == "vip"`, doc,
			"1:35: what stands before it is absent here; write ?.id"},
		{"within a custom field", `customer.custom?.fields.x.y == "z"`, fields,
			"1:27: what stands before it is absent here; write ?.y"},
		{"by a name that a customer holds", `customer.custom?.fields.x[customer.lastName] == "z"`, fields,
			"1:26: what stands before it is absent here; write ?.["},
		{"of a text", `customer.custom?.fields.s.y == "z"`, fields, "1:27"},
		{"for another reason", `addresses[7].country == "DE"`, doc, "1:10"},
		{"of nothing", `customer.custom?.fields.x > 3`, fields, "1:27"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c commercetools.Customer
			if err := json.Unmarshal([]byte(tt.customer), &c); err != nil {
				t.Fatal(err)
			}
			m := mustCompile(t, MappingConfig{Select: Expression{Text: tt.expression, Place: "c.yml:7"}})
			_, err := m.Apply(t.Context(), &c, "shop", "1")
			if o, reason, _ := ct2fluent.OutcomeOf(err); o != ct2fluent.Dead || reason != "mapping" {
				t.Fatalf("%v %s: %v", o, reason, err)
			}
			if want := "c.yml:7: select: the expression fails at " + tt.want; err.Error() != want {
				t.Errorf("said %q\nwant %q", err, want)
			}
			if strings.Contains(err.Error(), "MARKED") {
				t.Errorf("a value is said: %v", err)
			}
		})
	}
}

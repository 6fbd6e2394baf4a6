package customer

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

// Whatever is written as an expression, and whatever a customer holds: no
// panic, no hang, and no value in what is said about it (promise 7).
func FuzzExpression(f *testing.F) {
	const mark = "MARKED"
	const jane = `{"id":"1","version":2,"email":"MARKED@example.com","firstName":"MARKED","addresses":[{"id":"a","country":"DE","mobile":"MARKED"}],` +
		`"custom":{"fields":{"n":12345678901234567890,"s":"MARKED","l":["MARKED",{"x":null}]}}}`
	for _, source := range []string{
		`customer.firstName`, `customer.title ?? customer.salutation`, `customer.custom?.fields?.n`, `customer.custom.fields.l[1].x.y`,
		`int(customer.firstName)`, `date(customer.firstName)`, `fromJSON(customer.firstName)`, `customer.firstName[99]`,
		`addresses[5].country`, `map(1..100000, #)`, `filter(1..99999, any(1..99999, # < 0))`, `repeat("x", 1000000)`,
		`let f = customer; f.firstName`, `customer.firstName matches "(a+)+$"`, `1 / 0`, `-9223372036854775808 / -1`, `2 ** 10000`,
		`customer | toJSON`, `reduce(1..1000, #acc + string(#), "")`, `"\xff"`, `((((((((((1))))))))))`, `customer.firstName |`,
		`sort(addresses)`, `groupBy(addresses, .country)`, `addresses[-1].mobile`, `customer.version % 0`, `get(customer, "firstName")`,
	} {
		f.Add(source, jane)
	}
	f.Add(`customer.custom.fields.n`, `{"custom":{"fields":{"n":1e400}}}`)
	f.Add(`customer.firstName`, `{"addresses":null,"custom":null,"firstName":""}`)
	f.Fuzz(func(t *testing.T, source, doc string) {
		if strings.Contains(strings.ToUpper(source), mark) {
			return // what an operator writes may be shown to him
		}
		begin := time.Now()
		defer func() {
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		}()
		e := Expression{Text: source}
		m, err := CompileMapping(MappingConfig{FirstName: Field{Value: e}, Attributes: []Attribute{
			{Name: "any", Type: "JSON", Value: e}, {Name: "text", Type: "STRING", Value: e}, {Name: "number", Type: "INTEGER", Value: e},
		}})
		if err != nil {
			// It fits not everywhere.
			if m, err = CompileMapping(MappingConfig{Attributes: []Attribute{{Name: "any", Type: "JSON", Value: e}}}); err != nil {
				return
			}
		}
		var c commercetools.Customer
		if json.Unmarshal([]byte(doc), &c) != nil {
			return
		}
		out, err := m.Apply(t.Context(), &c, "shop", "1")
		if err != nil {
			if strings.Contains(strings.ToUpper(err.Error()), mark) {
				t.Errorf("a value is said: %v", err)
			}
			return
		}
		again, err := m.Apply(t.Context(), &c, "shop", "1")
		if err != nil || again.hash(c.ID) != out.hash(c.ID) {
			t.Errorf("the same customer is mapped otherwise a second time, %v", err)
		}
	})
}

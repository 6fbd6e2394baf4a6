package main

import (
	"context"
	"strings"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// loyalty adds the tier that the customer number tells.
func loyalty(_ context.Context, c *commercetools.Customer, m customer.Mapped) (customer.Mapped, error) {
	tier := `"standard"`
	if strings.HasPrefix(c.CustomerNumber, "G-") {
		tier = `"gold"`
	}
	m.Attributes = append(m.Attributes, fluent.Attribute{Name: "loyaltyTier", Type: "STRING", Value: []byte(tier)})
	return m, nil
}

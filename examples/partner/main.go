// Command partner is ct2fluent with a partner's additions: a source, a handler
// and a step of the mapping.
package main

import (
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/std"
)

func main() {
	app.Main(func(s *app.Setup) {
		std.Setup(s)
		s.Sources["spool"] = app.SourceType{Options: func() any { return new(spoolOptions) }, New: newSpool}
		s.Handlers = append(s.Handlers, app.HandlerType{Name: "Welcome", Description: "writes a line for each new customer", New: newWelcome})
		s.WrapMapping = func(m *customer.Mapping) *customer.Mapping { return m.Wrap("loyalty/1", loyalty) }
	})
}

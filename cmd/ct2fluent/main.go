// Command ct2fluent keeps the customers of Fluent Order Management equal to
// those of commercetools.
package main

import (
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/std"
)

func main() { app.Main(std.Setup) }

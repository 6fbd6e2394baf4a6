// Command ct2fluent keeps the customers of Fluent Order Management equal to
// those of commercetools.
package main

import (
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/std"
)

// version is stamped by the linker into a release; elsewhere it is that of the
// module.
var version string

func main() {
	app.Main(func(s *app.Setup) {
		std.Setup(s)
		s.Version = version
	})
}

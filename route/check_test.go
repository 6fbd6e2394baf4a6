package route

import (
	"strings"
	"testing"
)

// A wrong set-up stops the start (promise 6), with the place and the remedy.
func TestNewRefuses(t *testing.T) {
	mapping := func(m Mapping) func(*Options) {
		return func(o *Options) { m.Where = "c.yml:14"; o.Mappings = append(o.Mappings, m) }
	}
	tests := []struct {
		name string
		with func(*Options)
		want string // "" : no error
	}{
		{"nothing wrong", func(*Options) {}, ""},
		{"a misspelt handler", func(o *Options) { o.Routes[0].HandlerName = "FluentCustomerUpsrt" },
			`c.yml:9: route commercetools.connect.customer.upsert: no handler "FluentCustomerUpsrt"; this binary has "FluentCustomerUpsert"`},
		{"the nearest handler comes first", func(o *Options) {
			o.Handlers = append(o.Handlers, Registered{Name: "Another", Handler: written})
			o.Routes[0].HandlerName = "Anothr"
		}, `c.yml:9: route commercetools.connect.customer.upsert: no handler "Anothr"; this binary has "Another", "FluentCustomerUpsert"`},
		{"no handlers at all", func(o *Options) { o.Handlers = nil },
			`c.yml:9: route commercetools.connect.customer.upsert: no handler "FluentCustomerUpsert"; this binary has none`},
		{"no handler-name", func(o *Options) { o.Routes[0].HandlerName = "" },
			`c.yml:9: route commercetools.connect.customer.upsert: no handler-name; this binary has "FluentCustomerUpsert"`},
		{"a route without a name", func(o *Options) { o.Routes = append(o.Routes, Route{Where: "c.yml:11"}) },
			`c.yml:11: routes: an entry without route; give it the name that route-mapping uses`},
		{"a route defined twice", func(o *Options) {
			o.Routes = append(o.Routes, Route{Route: upsert, HandlerName: upsertName, Where: "c.yml:11"})
		}, `c.yml:11: route commercetools.connect.customer.upsert: defined twice (c.yml:9); remove one`},
		{"a mapping to an undefined route", mapping(Mapping{Route: "commercetools.connect.customer.upset", Name: "order"}),
			`c.yml:14: route-mapping of "order": no route "commercetools.connect.customer.upset" in routes, which has "commercetools.connect.customer.upsert"`},
		{"no routes at all", func(o *Options) { o.Routes = nil },
			`c.yml:4: route-mapping of "customer": no route "commercetools.connect.customer.upsert" in routes; add it there with a handler-name`},
		{"a mapping without a route", mapping(Mapping{Name: "order"}), `c.yml:14: route-mapping of "order": no route; give it one of routes`},
		{"a mapping without a name", mapping(Mapping{Route: upsert}),
			`c.yml:14: route-mapping: an entry without props.name; give it the typeId of a resource, such as "customer"`},
		{"no mapping", func(o *Options) { o.Mappings = nil },
			`route-mapping is empty, every notification would be skipped; map at least the name "customer" to a route`},
		{"an empty entry", mapping(Mapping{Route: upsert, Name: "order", Exclude: []string{""}}),
			`c.yml:14: route-mapping of "order": exclusion-filter has an empty entry; remove it`},
		{"a star in the middle", mapping(Mapping{Route: upsert, Name: "order", Include: []string{"Order*Set"}}),
			`c.yml:14: route-mapping of "order": inclusion-filter entry "Order*Set": * may only stand at the end`},
		{"the same mapping twice", mapping(Mapping{Route: upsert, Name: "customer", Include: []string{"ResourceCreated", "ResourceUpdated"}}),
			`c.yml:14: route-mapping of "customer": never reached, an earlier one (c.yml:4) takes all of it; remove it or put it first`},
		{"two handlers of equal priority", func(o *Options) { o.Handlers = append(o.Handlers, o.Handlers[0]) },
			`handler "FluentCustomerUpsert" is registered twice with priority 0; give the one that shall work a higher priority`},
		{"two handlers of different priority", func(o *Options) {
			o.Handlers = append(o.Handlers, Registered{Name: upsertName, Priority: 1, Handler: written})
		}, ""},
		{"a handler without a name", func(o *Options) { o.Handlers = append(o.Handlers, Registered{Handler: written, Description: "d"}) },
			`handler 2 ("d") is registered without a name`},
		{"no handler behind a name", func(o *Options) { o.Handlers = append(o.Handlers, Registered{Name: "Nil"}) },
			`handler "Nil" is registered as nil`},
		{"a place that is not known", func(o *Options) { o.Routes[0].Where, o.Routes[0].HandlerName = "", "" },
			`route commercetools.connect.customer.upsert: no handler-name; this binary has "FluentCustomerUpsert"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := asInTheGuide()
			tt.with(&o)
			_, err := New(o)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestNewTellsAllAtOnce(t *testing.T) {
	o := asInTheGuide()
	o.Routes[0].HandlerName = "x"
	o.Mappings = append(o.Mappings, Mapping{Route: "y", Name: "z"})
	o.Handlers = append(o.Handlers, o.Handlers[0])
	_, err := New(o)
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three errors, got: %v", err)
	}
}

// A later mapping that an earlier one leaves nothing to is a mistake.
func TestCovers(t *testing.T) {
	f := func(entries ...string) []string { return entries }
	tests := []struct {
		name           string
		earlier, later Mapping
		want           bool
	}{
		{"everything, then some", Mapping{}, Mapping{Include: f("A")}, true},
		{"everything, twice", Mapping{}, Mapping{}, true},
		{"some, then everything", Mapping{Include: f("A")}, Mapping{}, false},
		{"some, then others", Mapping{Include: f("A")}, Mapping{Include: f("B")}, false},
		{"some, then some and others", Mapping{Include: f("A")}, Mapping{Include: f("A", "B")}, false},
		{"many, then some", Mapping{Include: f("A", "B")}, Mapping{Include: f("B")}, true},
		{"a beginning, then a longer one", Mapping{Include: f("A*")}, Mapping{Include: f("AB*", "AC")}, true},
		{"a beginning, then a shorter one", Mapping{Include: f("AB*")}, Mapping{Include: f("A*")}, false},
		{"a word is no beginning", Mapping{Include: f("A")}, Mapping{Include: f("A*")}, false},
		{"all but some, then some", Mapping{Exclude: f("A")}, Mapping{Include: f("A")}, false},
		{"all but some, then all but these and more", Mapping{Exclude: f("A")}, Mapping{Exclude: f("A", "B")}, true},
		{"another name", Mapping{Name: "n"}, Mapping{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.earlier.covers(&tt.later); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"Upsrt", "Upsert", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

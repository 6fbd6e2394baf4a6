package route

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	upsert     = "commercetools.connect.customer.upsert"
	upsertName = "FluentCustomerUpsert"
)

// written answers nil for each.
var written = ct2fluent.Each(nilEach)

// asInTheGuide is the configuration of Fluent's own guide.
func asInTheGuide() Options {
	return Options{
		Mappings: []Mapping{{Route: upsert, Name: "customer", Include: []string{"ResourceUpdated", "ResourceCreated"}, Where: "c.yml:4"}},
		Routes:   []Route{{Route: upsert, HandlerName: upsertName, Where: "c.yml:9"}},
		Handlers: []Registered{{Name: upsertName, Handler: written, Description: "creates or updates the customer in Fluent"}},
		Own:      upsertName,
	}
}

func note(typeID, kind, name string) ct2fluent.Notification {
	return ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "p", TypeID: typeID, ID: "1"}, Kind: kind, Name: name}
}

// welcomeFirst has a route of a partner before the stock one, with a filter of
// its own.
func welcomeFirst(include string) []Mapping {
	return []Mapping{
		{Route: "other", Name: "customer", Include: []string{"CustomerCreated"}},
		{Route: upsert, Name: "customer", Include: []string{include}},
		{Route: "other", Name: "order"},
	}
}

func own(typeID string) ct2fluent.Notification {
	n := note(typeID, "", "")
	n.Own = true
	return n
}

// Which notification takes which route. The Handle column is what Explain
// says, too.
func TestWhichHandler(t *testing.T) {
	of := func(include, exclude []string) []Mapping {
		return []Mapping{{Route: upsert, Name: "customer", Include: include, Exclude: exclude}}
	}
	tests := []struct {
		name     string
		mappings []Mapping // nil: as in the guide
		n        ct2fluent.Notification
		want     string // the handler, or outcome and reason
	}{
		{name: "an update", n: note("customer", "ResourceUpdated", "ResourceUpdated"), want: upsertName},
		{name: "a creation", n: note("customer", "ResourceCreated", "ResourceCreated"), want: upsertName},
		{name: "a deletion is not in the default filter", n: note("customer", "ResourceDeleted", "ResourceDeleted"), want: "skipped filtered"},
		{name: "nor is the sample of the documentation", n: note("customer", "Message", "CustomerDeleted"), want: "skipped filtered"},
		{name: "another resource", n: note("product", "ResourceUpdated", "ResourceUpdated"), want: "skipped no-route"},
		{name: "a typeId that only begins alike", n: note("customer-group", "ResourceUpdated", "ResourceUpdated"), want: "skipped no-route"},
		{name: "typeIds are told apart by case", n: note("Customer", "ResourceUpdated", "ResourceUpdated"), want: "skipped no-route"},
		{name: "kinds are told apart by case", n: note("customer", "resourceUpdated", ""), want: "skipped filtered"},
		{name: "no resource at all", n: ct2fluent.Notification{Kind: "Event"}, want: "skipped no-route"},

		{name: "what was put here passes every filter", mappings: of([]string{"CustomerCreated"}, []string{"*"}), n: own("customer"), want: upsertName},
		{name: "and takes the route of a change", mappings: welcomeFirst("ResourceUpdated"), n: own("customer"), want: upsertName},
		{name: "or else the first one to its handler", mappings: welcomeFirst("CustomerEmailChanged"), n: own("customer"), want: upsertName},
		{name: "and not the last one of its type", mappings: []Mapping{
			{Route: upsert, Name: "customer", Include: []string{"CustomerCreated"}},
			{Route: "other", Name: "customer", Include: []string{"CustomerEmailChanged"}},
		}, n: own("customer"), want: upsertName},
		{name: "nor one that takes changes to another handler", mappings: []Mapping{
			{Route: "other", Name: "customer", Include: []string{"ResourceUpdated"}},
			{Route: upsert, Name: "customer", Include: []string{"ResourceCreated"}},
		}, n: own("customer"), want: upsertName},
		{name: "to no other handler at all", mappings: []Mapping{{Route: "other", Name: "customer"}}, n: own("customer"), want: "skipped no-route"},
		{name: "but goes to its own type only", n: own("product"), want: "skipped no-route"},

		{name: "no filter is everything", mappings: of(nil, nil), n: note("customer", "Whatever", ""), want: upsertName},
		{name: "all messages", mappings: of([]string{"Message"}, nil), n: note("customer", "Message", "CustomerEmailChanged"), want: upsertName},
		{name: "one message type", mappings: of([]string{"CustomerEmailChanged"}, nil), n: note("customer", "Message", "CustomerEmailChanged"), want: upsertName},
		{name: "another message type", mappings: of([]string{"CustomerEmailChanged"}, nil), n: note("customer", "Message", "CustomerDeleted"), want: "skipped filtered"},
		{name: "a type counts of a Message only", mappings: of([]string{"CustomerDeleted"}, nil), n: note("customer", "ResourceDeleted", "CustomerDeleted"), want: "skipped filtered"},
		{name: "a beginning of message types", mappings: of([]string{"CustomerAddress*"}, nil), n: note("customer", "Message", "CustomerAddressAdded"), want: upsertName},
		{name: "a beginning of kinds", mappings: of([]string{"Resource*"}, nil), n: note("customer", "ResourceDeleted", "ResourceDeleted"), want: upsertName},
		{name: "a star alone", mappings: of([]string{"*"}, nil), n: note("customer", "Message", ""), want: upsertName},
		{name: "a Message whose type is missing, by its kind", mappings: of([]string{"Message"}, nil), n: note("customer", "Message", ""), want: upsertName},
		{name: "a Message whose type is missing, by a type", mappings: of([]string{"CustomerDeleted"}, nil), n: note("customer", "Message", ""), want: "skipped filtered"},

		{name: "excluded", mappings: of(nil, []string{"CustomerDeleted"}), n: note("customer", "Message", "CustomerDeleted"), want: "skipped filtered"},
		{name: "not excluded", mappings: of(nil, []string{"CustomerDeleted"}), n: note("customer", "Message", "CustomerCreated"), want: upsertName},
		{name: "exclusion wins", mappings: of([]string{"Message"}, []string{"CustomerPassword*"}), n: note("customer", "Message", "CustomerPasswordUpdated"), want: "skipped filtered"},
		{name: "exclusion by kind", mappings: of([]string{"CustomerCreated"}, []string{"Message"}), n: note("customer", "Message", "CustomerCreated"), want: "skipped filtered"},

		{name: "the first of two", mappings: []Mapping{
			{Route: "other", Name: "customer", Include: []string{"ResourceUpdated"}},
			{Route: upsert, Name: "customer"},
		}, n: note("customer", "ResourceUpdated", ""), want: "Other"},
		{name: "the second of two", mappings: []Mapping{
			{Route: "other", Name: "customer", Include: []string{"ResourceUpdated"}},
			{Route: upsert, Name: "customer"},
		}, n: note("customer", "ResourceCreated", ""), want: upsertName},

		{name: "the test notification", n: ct2fluent.Notification{Test: true, Ref: ct2fluent.Ref{TypeID: "customer"}, Kind: "ResourceCreated"}, want: "skipped test"},
		{name: "unreadable", n: ct2fluent.Notification{Fault: "unreadable"}, want: "dead unreadable"},
		{name: "a fault with a resource", n: ct2fluent.Notification{Fault: "unknown-project", Ref: ct2fluent.Ref{TypeID: "customer"}, Kind: "ResourceCreated"}, want: "dead unknown-project"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var worked string
			working := func(name string) ct2fluent.Handler {
				return ct2fluent.HandlerFunc(func(_ ctx, b []ct2fluent.Notification) []error {
					worked = name
					return make([]error, len(b))
				})
			}
			o := asInTheGuide()
			if tt.mappings != nil {
				o.Mappings = tt.mappings
			}
			o.Routes = append(o.Routes, Route{Route: "other", HandlerName: "Other"})
			o.Handlers = []Registered{{Name: upsertName, Handler: working(upsertName)}, {Name: "Other", Handler: working("Other")}}
			r, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			errs := r.Handle(t.Context(), []ct2fluent.Notification{tt.n})
			got := worked
			if got == "" {
				outcome, reason, _ := ct2fluent.OutcomeOf(errs[0])
				got = outcome.String() + " " + reason
			}
			if got != tt.want {
				t.Errorf("Handle: %s, want %s", got, tt.want)
			}
			e := r.Explain(tt.n)
			if got := strings.TrimSpace(e.Handler + e.Outcome + " " + e.Reason); got != tt.want {
				t.Errorf("Explain: %s, want %s\n%s", got, tt.want, e)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	o := asInTheGuide()
	o.Mappings = append([]Mapping{{Route: "groups", Name: "customer-group", Where: "c.yml:2"}}, o.Mappings...)
	o.Mappings = append(o.Mappings, Mapping{Route: "mail", Name: "customer", Include: []string{"CustomerEmail*"}, Exclude: []string{"CustomerEmailVerified"}})
	o.Routes = append(o.Routes, Route{Route: "groups", HandlerName: upsertName}, Route{Route: "mail", HandlerName: upsertName})
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		n    ct2fluent.Notification
		want string
	}{
		{"matched", note("customer", "ResourceCreated", "ResourceCreated"), `
customer ResourceCreated
  no  c.yml:2 groups: props.name is "customer-group", the resource is "customer"
  yes c.yml:4 commercetools.connect.customer.upsert: props.name is equal, inclusion-filter has "ResourceCreated"
worked by FluentCustomerUpsert, route commercetools.connect.customer.upsert
`},
		{"filtered", note("customer", "Message", "CustomerEmailVerified"), `
customer Message CustomerEmailVerified
  no  c.yml:2 groups: props.name is "customer-group", the resource is "customer"
  no  c.yml:4 commercetools.connect.customer.upsert: inclusion-filter has neither "Message" nor "CustomerEmailVerified"
  no  mail: exclusion-filter has "CustomerEmailVerified"
skipped: filtered
`},
		{"no filter", note("customer-group", "ResourceDeleted", "ResourceDeleted"), `
customer-group ResourceDeleted
  yes c.yml:2 groups: props.name is equal, there is no inclusion-filter
worked by FluentCustomerUpsert, route groups
`},
		{"a change that no filter has", note("customer", "ResourceDeleted", "ResourceDeleted"), `
customer ResourceDeleted
  no  c.yml:2 groups: props.name is "customer-group", the resource is "customer"
  no  c.yml:4 commercetools.connect.customer.upsert: inclusion-filter has no "ResourceDeleted"
  no  mail: inclusion-filter has no "ResourceDeleted"
skipped: filtered
`},
		{"unreadable", ct2fluent.Notification{Fault: "unreadable"}, `
- -
dead: unreadable
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := "\n" + r.Explain(tt.n).String(); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("as JSON", func(t *testing.T) {
		b, err := json.Marshal(r.Explain(note("customer-group", "ResourceDeleted", "ResourceDeleted")))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"typeId":"customer-group","notificationType":"ResourceDeleted","tried":[{"where":"c.yml:2","name":"customer-group","route":"groups","matched":true,"why":"props.name is equal, there is no inclusion-filter"}],"route":"groups","handler":"FluentCustomerUpsert"}`
		if string(b) != want {
			t.Errorf("got %s\nwant %s", b, want)
		}
	})
}

func TestListings(t *testing.T) {
	o := asInTheGuide()
	o.Routes = append(o.Routes, Route{Route: "spare", HandlerName: "Spare"})
	o.Handlers = append(o.Handlers,
		Registered{Name: upsertName, Priority: 10, Handler: written},
		Registered{Name: "Spare", Handler: written})
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	routes := r.Routes()
	if len(routes) != 2 || !routes[0].Active || len(routes[0].Mappings) != 1 || routes[1].Active {
		t.Errorf("Routes: %+v", routes)
	}
	type line struct {
		priority int
		active   bool
		why      string
		routes   []string
	}
	want := []line{
		{0, false, "another of this name has priority 10", []string{}},
		{10, true, "", []string{upsert}},
		{0, false, "no active route names it", []string{}},
	}
	for i, h := range r.Handlers() {
		if w := want[i]; h.Priority != w.priority || h.Active != w.active || h.Why != w.why || !slices.Equal(h.Routes, w.routes) {
			t.Errorf("handler %d: %+v, want %+v", i, h, w)
		}
	}
}

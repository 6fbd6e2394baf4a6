// Package route finds the handler of a notification: route-mapping and routes
// of application-connector.yml, as users of Fluent's own connector have them.
//
// A [Mapping] is tried by the resource's typeId and by its filters, in the
// order of the file; the first that matches names a [Route], and the route
// names a handler. A [Router] is itself a handler: it parts a batch by handler
// and puts the answers back in order. What no handler works ends here, with
// the reason (promise 2). A route that leads nowhere stops the start
// (promise 6).
package route

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A Mapping is an entry of route-mapping: which notifications take a route.
type Mapping struct {
	Route   string   // the route taken: one of routes
	Name    string   // props.name; equals the typeId of the notification's resource
	Include []string // inclusion-filter; empty lets everything of that name in
	Exclude []string // exclusion-filter; wins over the inclusion-filter
	Where   string   // file:line, for messages
}

// A Route is an entry of routes: which handler works what takes it.
type Route struct {
	Route       string
	HandlerName string
	Where       string // file:line, for messages
}

// A Registered handler can be named by routes. Of several with one name, the
// one of the highest priority works.
type Registered struct {
	Name        string
	Priority    int
	Handler     ct2fluent.Handler
	Description string // one line for people
}

// Options of a Router.
type Options struct {
	Mappings []Mapping // tried in this order; at least one
	Routes   []Route
	Handlers []Registered
	// Own names the handler that works what commercetools did not send.
	Own string
	Log *slog.Logger // nil discards
	// Observe is told of each call of a handler: how many notifications it
	// was given and how long it took. Called from several goroutines at once.
	Observe func(handler string, size int, took time.Duration)
}

// A Router is a handler that hands each notification to the handler of its
// route. It is safe for concurrent use.
type Router struct {
	mappings []Mapping
	routes   []Route
	handlers []Registered           // as registered
	chosen   map[string]*Registered // by handler name: the one that works
	targets  []*Registered          // by index of mappings
	own      string
	log      *slog.Logger
	observe  func(handler string, size int, took time.Duration)
	told     told
}

// New checks that every mapping leads to a handler. Its error joins all that
// is wrong, each with its place in the file and the remedy.
func New(o Options) (*Router, error) {
	r := &Router{
		mappings: slices.Clone(o.Mappings),
		routes:   slices.Clone(o.Routes),
		handlers: slices.Clone(o.Handlers),
		chosen:   map[string]*Registered{},
		own:      o.Own,
		log:      o.Log,
		observe:  o.Observe,
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.observe == nil {
		r.observe = func(string, int, time.Duration) {}
	}
	errs := r.checkHandlers()
	errs = append(errs, r.checkRoutes()...)
	errs = append(errs, r.checkMappings()...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// A place is how a notification fared with one mapping.
type place uint8

const (
	otherName   place = iota
	notIncluded       // an inclusion-filter without an entry for it
	excluded
	taken
)

// match tries a notification on m. The entry is that of the filter which
// decided, empty where none did.
func (m *Mapping) match(n *ct2fluent.Notification) (p place, entry string) {
	if m.Name != n.Ref.TypeID {
		return otherName, ""
	}
	if i := slices.IndexFunc(m.Exclude, func(e string) bool { return names(e, n) }); i >= 0 {
		return excluded, m.Exclude[i]
	}
	if len(m.Include) == 0 {
		return taken, ""
	}
	if i := slices.IndexFunc(m.Include, func(e string) bool { return names(e, n) }); i >= 0 {
		return taken, m.Include[i]
	}
	return notIncluded, ""
}

// message is the notificationType whose notifications have a type of their own.
const message = "Message"

// names tells whether an entry of a filter names the notification: its
// notificationType or, of a Message, the message type. A Message whose type
// was left out is named by "Message" and "*" only.
func names(entry string, n *ct2fluent.Notification) bool {
	return equals(entry, n.Kind) || n.Kind == message && equals(entry, n.Name)
}

// equals compares a filter's entry, which may end in *, with a word.
func equals(entry, word string) bool {
	if start, ok := strings.CutSuffix(entry, "*"); ok {
		return strings.HasPrefix(word, start)
	}
	return entry == word
}

// find gives the index of the mapping that takes the notification, or else
// what becomes of it.
func (r *Router) find(n *ct2fluent.Notification) (mapping int, end error) {
	if n.Fault != "" {
		return 0, ct2fluent.Reject(ct2fluent.WithReason(n.Fault, fmt.Errorf("no handler can work it: %s", n.Fault)))
	}
	if n.Test {
		return 0, ct2fluent.Skip("test")
	}
	if n.Own {
		return r.findOwn(*n)
	}
	reason := "no-route"
	for i := range r.mappings {
		switch p, _ := r.mappings[i].match(n); p {
		case taken:
			return i, nil
		case notIncluded, excluded:
			reason = "filtered"
		}
	}
	return 0, ct2fluent.Skip(reason)
}

// updated is the notificationType of a change.
const updated = "ResourceUpdated"

// findOwn is find for what commercetools did not send: of the routes of its
// type that lead to the handler of such work it takes that of a change or,
// where no filter lets one in, the first. Another handler's word for written
// would not say that Fluent has it.
func (r *Router) findOwn(n ct2fluent.Notification) (mapping int, end error) {
	n.Kind, n.Name = updated, updated
	mapping, end = 0, ct2fluent.Skip("no-route")
	for i := range r.mappings {
		p, _ := r.mappings[i].match(&n)
		switch {
		case p == otherName || r.targets[i].Name != r.own:
		case p == taken:
			return i, nil
		case end != nil:
			mapping, end = i, nil
		}
	}
	return mapping, end
}

// RouteOf names the route that a notification takes; empty where it takes none.
func (r *Router) RouteOf(n *ct2fluent.Notification) string {
	i, end := r.find(n)
	if end != nil {
		return ""
	}
	return r.mappings[i].Route
}

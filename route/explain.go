package route

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ct2fluent/ct2fluent"
)

// An Explanation says which handler would work a notification, and why.
type Explanation struct {
	TypeID  string  `json:"typeId"`
	Kind    string  `json:"notificationType"`
	Name    string  `json:"type,omitempty"` // of a Message
	Tried   []Tried `json:"tried"`          // in order; the last is the one that matched, if any did
	Route   string  `json:"route,omitempty"`
	Handler string  `json:"handler,omitempty"`
	Outcome string  `json:"outcome,omitempty"` // where no handler works it: skipped or dead
	Reason  string  `json:"reason,omitempty"`  // of the outcome
}

// Tried is how a notification fared with one mapping.
type Tried struct {
	Where   string `json:"where,omitempty"` // file:line
	Name    string `json:"name"`
	Route   string `json:"route"`
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
}

// Explain says what Handle would do with n, without doing it.
func (r *Router) Explain(n ct2fluent.Notification) Explanation {
	e := Explanation{TypeID: n.Ref.TypeID, Kind: n.Kind, Tried: []Tried{}}
	if n.Kind == message {
		e.Name = n.Name
	}
	mapping, end := r.find(&n)
	if n.Fault == "" && !n.Test {
		for i := range r.mappings {
			e.Tried = append(e.Tried, r.mappings[i].try(&n))
			if end == nil && i == mapping {
				break
			}
		}
	}
	if end != nil {
		outcome, reason, _ := ct2fluent.OutcomeOf(end)
		e.Outcome, e.Reason = outcome.String(), reason
		return e
	}
	e.Route, e.Handler = r.mappings[mapping].Route, r.targets[mapping].Name
	return e
}

func (m *Mapping) try(n *ct2fluent.Notification) Tried {
	place, entry := m.match(n)
	return Tried{Where: m.Where, Name: m.Name, Route: m.Route, Matched: place == taken, Why: place.why(n, m, entry)}
}

func (p place) why(n *ct2fluent.Notification, m *Mapping, entry string) string {
	switch {
	case p == otherName:
		return fmt.Sprintf("props.name is %q, the resource is %q", m.Name, n.Ref.TypeID)
	case p == excluded:
		return fmt.Sprintf("exclusion-filter has %q", entry)
	case p == notIncluded && n.Kind == message:
		return fmt.Sprintf("inclusion-filter has neither %q nor %q", n.Kind, n.Name)
	case p == notIncluded:
		return fmt.Sprintf("inclusion-filter has no %q", n.Kind)
	case entry == "":
		return "props.name is equal, there is no inclusion-filter"
	}
	return fmt.Sprintf("props.name is equal, inclusion-filter has %q", entry)
}

// String is the explanation for people, over several lines.
func (e Explanation) String() string {
	var b strings.Builder
	b.WriteString(word(e.TypeID) + " " + word(e.Kind))
	if e.Name != "" {
		b.WriteString(" " + word(e.Name))
	}
	b.WriteByte('\n')
	for _, t := range e.Tried {
		mark := "no "
		if t.Matched {
			mark = "yes"
		}
		fmt.Fprintf(&b, "  %s %s: %s\n", mark, strings.TrimSpace(t.Where+" "+t.Route), t.Why)
	}
	if e.Handler != "" {
		fmt.Fprintf(&b, "worked by %s, route %s\n", e.Handler, e.Route)
	} else {
		fmt.Fprintf(&b, "%s: %s\n", e.Outcome, e.Reason)
	}
	return b.String()
}

// word is a word from outside for a terminal.
func word(s string) string {
	if s == "" {
		return "-"
	}
	if q := strconv.Quote(s); len(q) > len(s)+2 {
		return q
	}
	return s
}

// A RouteInfo describes a route for /actuator/routes.
type RouteInfo struct {
	Route    string    `json:"route"`
	Handler  string    `json:"handler"`
	Active   bool      `json:"active"` // a mapping leads to it
	Where    string    `json:"where,omitempty"`
	Mappings []MapInfo `json:"mappings"`
}

// A MapInfo describes a mapping that leads to a route.
type MapInfo struct {
	Name    string   `json:"name"`
	Include []string `json:"inclusionFilter,omitempty"`
	Exclude []string `json:"exclusionFilter,omitempty"`
	Where   string   `json:"where,omitempty"`
}

// Routes lists all routes, in the order of the file.
func (r *Router) Routes() []RouteInfo {
	infos := make([]RouteInfo, 0, len(r.routes))
	for _, t := range r.routes {
		info := RouteInfo{Route: t.Route, Handler: t.HandlerName, Where: t.Where, Mappings: []MapInfo{}}
		for _, m := range r.mappings {
			if m.Route == t.Route {
				info.Mappings = append(info.Mappings, MapInfo{m.Name, slices.Clone(m.Include), slices.Clone(m.Exclude), m.Where})
			}
		}
		info.Active = len(info.Mappings) > 0
		infos = append(infos, info)
	}
	return infos
}

// A HandlerInfo describes a registered handler for /actuator/handlers.
type HandlerInfo struct {
	Name        string   `json:"name"`
	Priority    int      `json:"priority"`
	Description string   `json:"description,omitempty"`
	Active      bool     `json:"active"`
	Why         string   `json:"why,omitempty"` // why it is not active
	Routes      []string `json:"routes"`        // active routes that it works
}

// Handlers lists all registered handlers, in the order of registration.
func (r *Router) Handlers() []HandlerInfo {
	routes := r.Routes()
	infos := make([]HandlerInfo, 0, len(r.handlers))
	for i := range r.handlers {
		h := &r.handlers[i]
		info := HandlerInfo{Name: h.Name, Priority: h.Priority, Description: h.Description, Routes: []string{}}
		best := r.chosen[h.Name]
		if best == h {
			for _, t := range routes {
				if t.Active && t.Handler == h.Name {
					info.Routes = append(info.Routes, t.Route)
				}
			}
		}
		switch info.Active = len(info.Routes) > 0; {
		case best != h:
			info.Why = fmt.Sprintf("another of this name has priority %d", best.Priority)
		case !info.Active:
			info.Why = "no active route names it"
		}
		infos = append(infos, info)
	}
	return infos
}

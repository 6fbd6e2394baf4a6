package route

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checkHandlers chooses the handler of each name: the highest priority works.
func (r *Router) checkHandlers() (errs []error) {
	type rank struct {
		name     string
		priority int
	}
	ranks := map[rank]bool{}
	for i := range r.handlers {
		h := &r.handlers[i]
		switch k := (rank{h.Name, h.Priority}); {
		case h.Name == "":
			errs = append(errs, fmt.Errorf("handler %d (%q) is registered without a name", i+1, h.Description))
			continue
		case h.Handler == nil:
			errs = append(errs, fmt.Errorf("handler %q is registered as nil", h.Name))
			continue
		case ranks[k]:
			errs = append(errs, fmt.Errorf("handler %q is registered twice with priority %d; give the one that shall work a higher priority", h.Name, h.Priority))
		default:
			ranks[k] = true
		}
		if best := r.chosen[h.Name]; best == nil || h.Priority > best.Priority {
			r.chosen[h.Name] = h
		}
	}
	return errs
}

// checkRoutes finds routes without a handler, and names given twice.
func (r *Router) checkRoutes() (errs []error) {
	first := map[string]string{}
	for _, t := range r.routes {
		if t.Route == "" {
			errs = append(errs, at(t.Where, "routes: an entry without route; give it the name that route-mapping uses"))
			continue
		}
		if where, twice := first[t.Route]; twice {
			errs = append(errs, at(t.Where, "route %s: defined twice%s; remove one", t.Route, also(where)))
			continue
		}
		first[t.Route] = t.Where
		switch {
		case t.HandlerName == "":
			errs = append(errs, at(t.Where, "route %s: no handler-name; this binary has %s", t.Route, r.handlersNear("")))
		case r.chosen[t.HandlerName] == nil:
			errs = append(errs, at(t.Where, "route %s: no handler %q; this binary has %s", t.Route, t.HandlerName, r.handlersNear(t.HandlerName)))
		}
	}
	return errs
}

// checkMappings finds mappings that lead nowhere, that no notification can
// reach, and entries of filters that cannot match what they seem to say. It
// sets the handler of each mapping.
func (r *Router) checkMappings() (errs []error) {
	if len(r.mappings) == 0 {
		errs = append(errs, fmt.Errorf("route-mapping is empty, every notification would be skipped; map at least the name %q to a route", "customer"))
	}
	byName := map[string]string{}
	for _, t := range r.routes {
		byName[t.Route] = t.HandlerName
	}
	r.targets = make([]*Registered, len(r.mappings))
	for i := range r.mappings {
		m := &r.mappings[i]
		if m.Name == "" {
			errs = append(errs, at(m.Where, `route-mapping: an entry without props.name; give it the typeId of a resource, such as "customer"`))
		}
		errs = append(errs, m.checkFilter("inclusion-filter", m.Include)...)
		errs = append(errs, m.checkFilter("exclusion-filter", m.Exclude)...)
		handler, defined := byName[m.Route]
		switch {
		case m.Route == "":
			errs = append(errs, at(m.Where, "route-mapping of %q: no route; give it one of routes", m.Name))
		case !defined:
			errs = append(errs, at(m.Where, "route-mapping of %q: no route %q in routes%s", m.Name, m.Route, r.routesNear(m.Route)))
		default:
			r.targets[i] = r.chosen[handler]
		}
		for j := range r.mappings[:i] {
			if m.Name != "" && r.mappings[j].covers(m) {
				errs = append(errs, at(m.Where, "route-mapping of %q: never reached, an earlier one%s takes all of it; remove it or put it first", m.Name, also(r.mappings[j].Where)))
				break
			}
		}
	}
	return errs
}

func (m *Mapping) checkFilter(key string, entries []string) (errs []error) {
	for _, e := range entries {
		switch star := strings.IndexByte(e, '*'); {
		case e == "":
			errs = append(errs, at(m.Where, "route-mapping of %q: %s has an empty entry; remove it", m.Name, key))
		case star >= 0 && star < len(e)-1:
			errs = append(errs, at(m.Where, "route-mapping of %q: %s entry %q: * may only stand at the end", m.Name, key, e))
		}
	}
	return errs
}

// covers tells whether m, tried first, surely takes whatever later would. One
// with the same exclusions takes as much as one with none.
func (m *Mapping) covers(later *Mapping) bool {
	if m.Name != later.Name {
		return false
	}
	for _, e := range m.Exclude {
		if !slices.Contains(later.Exclude, e) {
			return false
		}
	}
	if len(m.Include) == 0 {
		return true
	}
	for _, e := range later.Include {
		if !slices.ContainsFunc(m.Include, func(mine string) bool {
			return mine == e || strings.HasSuffix(mine, "*") && equals(mine, strings.TrimSuffix(e, "*"))
		}) {
			return false
		}
	}
	return len(later.Include) > 0
}

// handlersNear lists the handlers of this binary, the nearest to name first.
func (r *Router) handlersNear(name string) string {
	var known []string
	for n := range r.chosen {
		known = append(known, n)
	}
	if len(known) == 0 {
		return "none"
	}
	return nearestFirst(known, name)
}

func (r *Router) routesNear(name string) string {
	var known []string
	for _, t := range r.routes {
		if t.Route != "" {
			known = append(known, t.Route)
		}
	}
	if len(known) == 0 {
		return "; add it there with a handler-name"
	}
	return ", which has " + nearestFirst(known, name)
}

func nearestFirst(known []string, name string) string {
	slices.SortFunc(known, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(a, name), distance(b, name)), strings.Compare(a, b))
	})
	for i, k := range known {
		known[i] = strconv.Quote(k)
	}
	return strings.Join(known, ", ")
}

// distance is the number of bytes to insert, remove or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := corner
			if a[i] != b[j] {
				replaced++
			}
			corner = row[j+1]
			row[j+1] = min(replaced, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

// at is an error that says where in the file it is.
func at(where, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if where == "" {
		return err
	}
	return fmt.Errorf("%s: %w", where, err)
}

// also names a second place in the file.
func also(where string) string {
	if where == "" {
		return ""
	}
	return " (" + where + ")"
}

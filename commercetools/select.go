package commercetools

import (
	"errors"
	"net/url"
	"strings"
)

// A Selection says which customers a reading is of; the zero value is all. It
// is made of what can be kept as JSON and given back later.
type Selection struct {
	// Where is a predicate in commercetools' language; empty: none.
	Where string `json:"where,omitempty"`
	// Store is the key of a store: only customers that name it. Those without
	// any store are not among them.
	Store string `json:"store,omitempty"`
	// From and To bound createdAt, From included and To not; times as
	// commercetools writes them; empty: no bound.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Check tells whether s can be asked for at all: whether Where is whole by
// itself and short enough, which the error is about. What its words mean, only commercetools can tell.
func (s Selection) Check() error {
	if !whole(s.Where) {
		return errors.New("a parenthesis or a quote is not closed")
	}
	// Half is enough for the bounds and the place to go on from.
	if len(url.QueryEscape(s.predicate())) > maxURL/2 {
		return errors.New("too long for a URL")
	}
	return nil
}

// predicate joins the parts of s, and more ones that must hold too.
func (s Selection) predicate(more ...string) string {
	var parts []string
	if s.Where != "" {
		parts = append(parts, "("+s.Where+")")
	}
	if s.Store != "" {
		parts = append(parts, "stores(key = "+quote(s.Store)+")")
	}
	if s.From != "" {
		parts = append(parts, "createdAt >= "+quote(s.From))
	}
	if s.To != "" {
		parts = append(parts, "createdAt < "+quote(s.To))
	}
	return strings.Join(append(parts, more...), " and ")
}

// whole tells whether where closes what it opens, and opens what it closes:
// put in parentheses, any other would break out of them and take the place to
// go on from with it.
func whole(where string) bool {
	depth, quoted := 0, false
	for i := 0; i < len(where); i++ {
		switch c := where[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0 && !quoted
}

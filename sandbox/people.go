package sandbox

import (
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// firstID is the id of the first customer.
const firstID = 1001

// FluentStats count what was applied.
type FluentStats struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	// EmptyTexts counts the texts of mutations that were empty: nobody should
	// send one.
	EmptyTexts int `json:"emptyTexts"`
}

// A Write is a mutation that was applied.
type Write struct {
	At        time.Time `json:"at"`
	Operation string    `json:"operation"` // createCustomer or updateCustomer
	Username  string    `json:"username"`
	after     *person
}

// Customer is the document as the mutation left it.
func (w Write) Customer() map[string]any { return w.after.document() }

// Writes returns the mutations applied, oldest first; of those undone, none.
func (s *Fluent) Writes() []Write {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.writes[max(0, len(s.writes)-s.o.Remember):])
}

// Stats returns the counts of what was applied.
func (s *Fluent) Stats() FluentStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.stats
}

func (s *Fluent) undoing() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.knobs.Undo
}

func (s *Fluent) named(name string) *person {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.byName[name]
	if !ok {
		return nil
	}
	return s.people[i]
}

func (s *Fluent) numbered(id string) *person {
	n, err := strconv.ParseInt(id, 10, 64)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i := n - firstID; err == nil && i >= 0 && i < int64(len(s.people)) && !s.people[i].removed {
		return s.people[i]
	}
	return nil
}

// find returns a page of the customers of a filter, and whether there are more
// beyond it.
func (s *Fluent) find(f filter, p page) (found []*person, more bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	people := s.people
	names, few := f.usernames()
	if few {
		var places []int
		for _, name := range names {
			if i, ok := s.byName[name]; ok {
				places = append(places, i)
			}
		}
		slices.Sort(places)
		people = nil
		for _, i := range slices.Compact(places) {
			people = append(people, s.people[i])
		}
	}
	step, i := 1, 0
	if p.backward {
		step, i = -1, len(people)-1
	}
	if p.cut {
		i = sort.Search(len(people), func(i int) bool { return people[i].id >= p.cursor })
		if p.backward {
			i--
		} else if i < len(people) && people[i].id == p.cursor {
			i++
		}
	}
	for ; i >= 0 && i < len(people); i += step {
		if people[i].removed || !f.holds(people[i]) {
			continue
		}
		if len(found) == p.n {
			more = true
			break
		}
		found = append(found, people[i])
	}
	if p.backward {
		slices.Reverse(found)
	}
	return found, more
}

// mutate works the root fields of a mutation, one after the other, and returns
// the first error. The whole request is one step for all other requests.
func (s *Fluent) mutate(c *call, fields []*ast.Field, results []result) (failed *fluentError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var undo []func()
	for i, f := range fields {
		if f.Name == "__typename" {
			results[i] = result{value: "Mutation"}
			continue
		}
		args, instead, work := s.admit(c, f)
		r := result{}
		if work {
			var back func()
			r, back = s.write(f.Name, args)
			undo = append(undo, back)
		}
		if instead != nil {
			r = *instead
		}
		s.countField(f.Name, r)
		if r.err != nil && failed == nil {
			failed = r.err.at(f.Alias)
		}
		results[i] = r
	}
	if failed != nil && s.knobs.Undo {
		for _, back := range slices.Backward(undo) {
			back()
		}
	}
	// Twice the number, so that forgetting is rare.
	if n := len(s.writes); n > 2*s.o.Remember {
		s.writes = slices.Clone(s.writes[n-s.o.Remember:])
	}
	return failed
}

// write applies one mutation and returns how to undo it.
func (s *Fluent) write(operation string, args map[string]any) (r result, undo func()) {
	undo = func() {}
	input, ok := args["input"].(map[string]any)
	if !ok {
		return result{err: fluentFault("C0140E", "input is missing")}, undo
	}
	name := text(input, "username")
	i, exists := s.byName[name]
	now := s.gate.now()
	old := &person{id: firstID + int64(len(s.people)), created: now.UnixMilli()}
	switch {
	case operation == "createCustomer":
		retailer, _ := input["retailer"].(map[string]any)
		old.retailer = text(retailer, "id")
		if exists {
			return result{err: fluentFault("C0121E", "A customer with username "+name+" already exists")}, undo
		}
		if s.retailers[old.retailer] == nil {
			return result{err: fluentFault("C0100E", "There is no retailer "+old.retailer)}, undo
		}
	case !exists:
		return result{err: fluentFault("C0120E", "A customer with username "+name+" is not found")}, undo
	default:
		old = s.people[i]
	}
	p, err := old.with(input, now)
	if err != nil {
		return result{err: err}, undo
	}
	stats, writes := s.stats, len(s.writes)
	if exists {
		s.people[i] = p
		s.stats.Updated++
	} else {
		s.byName[name] = len(s.people)
		s.people = append(s.people, p)
		s.stats.Created++
	}
	s.stats.EmptyTexts += empties(input)
	s.writes = append(s.writes, Write{now, operation, name, p})
	return result{value: p}, func() {
		if exists {
			s.people[i] = old
		} else {
			delete(s.byName, name)
			s.people = s.people[:len(s.people)-1]
		}
		s.stats, s.writes = stats, s.writes[:writes]
	}
}

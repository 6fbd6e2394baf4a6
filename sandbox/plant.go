package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Plant makes or changes a customer as somebody may who works in Fluent beside
// ct2fluent: input is that of createCustomer, or of updateCustomer where there
// is a customer of the username. It is among neither the calls nor the writes.
func (s *Fluent) Plant(input map[string]any) error {
	name := text(input, "username")
	if name == "" {
		return errors.New("sandbox: plant: no username")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.gate.now()
	old := &person{id: firstID + int64(len(s.people)), created: now.UnixMilli()}
	i, exists := s.byName[name]
	if exists {
		old = s.people[i]
	} else {
		retailer, _ := input["retailer"].(map[string]any)
		old.retailer = text(retailer, "id")
		if s.retailers[old.retailer] == nil {
			return fmt.Errorf("sandbox: plant: there is no retailer %q", old.retailer)
		}
	}
	p, err := old.with(input, now)
	if err != nil {
		return fmt.Errorf("sandbox: plant: %s: %s", err.code, err.message)
	}
	if exists {
		s.people[i] = p
		return nil
	}
	s.byName[name] = len(s.people)
	s.people = append(s.people, p)
	return nil
}

// Remove takes a customer away, as no call can, and tells whether there was one
// of this username.
func (s *Fluent) Remove(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, exists := s.byName[name]
	if exists {
		delete(s.byName, name)
		s.people[i] = &person{id: s.people[i].id, removed: true}
		s.removed++
	}
	return exists
}

// planting serves both over HTTP.
func (s *Fluent) planting() {
	s.admin.HandleFunc("POST /_sandbox/customers", func(w http.ResponseWriter, r *http.Request) {
		var input map[string]any
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = json.Unmarshal(body, &input)
		}
		if err == nil {
			err = s.Plant(input)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		doc, _ := s.Customer(text(input, "username"))
		writeJSON(w, doc)
	})
	s.admin.HandleFunc("DELETE /_sandbox/customers", func(w http.ResponseWriter, r *http.Request) {
		if !s.Remove(r.URL.Query().Get("username")) {
			http.Error(w, "there is no customer of this username", http.StatusNotFound)
		}
	})
}

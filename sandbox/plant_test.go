package sandbox

import (
	"testing"
)

// What is planted is there for every read, and what is removed for none; ids go
// on.
func TestPlantAndRemove(t *testing.T) {
	s, err := NewFluent(FluentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	retailer := map[string]any{"id": "1"}
	for _, name := range []string{"a", "b", "c"} {
		if err := s.Plant(map[string]any{"username": name, "retailer": retailer, "lastName": "Doe"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Plant(map[string]any{"username": "b", "lastName": "Roe", "attributes": []any{map[string]any{"name": "n", "type": "STRING", "value": "v"}}}); err != nil {
		t.Fatal(err)
	}
	if doc, _ := s.Customer("b"); doc["lastName"] != "Roe" {
		t.Errorf("%v", doc)
	}
	if !s.Remove("b") || s.Remove("b") || s.Len() != 2 || len(s.Writes()) != 0 || s.Stats() != (FluentStats{}) {
		t.Errorf("%d left, %d writes", s.Len(), len(s.Writes()))
	}
	var names []string
	s.Each(func(doc map[string]any) { names = append(names, doc["username"].(string)) })
	found, more := s.find(filter{}, page{n: 2})
	if len(names) != 2 || len(found) != 2 || more || s.numbered("1002") != nil || s.numbered("1003") == nil || s.named("b") != nil {
		t.Errorf("%q, found %d, more %v", names, len(found), more)
	}
	if err := s.Plant(map[string]any{"username": "b", "retailer": retailer}); err != nil || s.named("b").id != 1004 {
		t.Errorf("%v, b has the id %d", err, s.named("b").id)
	}
	for _, bad := range []map[string]any{{}, {"username": "d"}, {"username": "d", "retailer": map[string]any{"id": "9"}}, {"username": "a", "title": string(make([]rune, 51))}} {
		if s.Plant(bad) == nil {
			t.Errorf("planted %v", bad)
		}
	}
}

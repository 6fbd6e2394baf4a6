package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A Verdict compares both sides once all is worked.
type Verdict struct {
	Customers  int // of commercetools
	Present    int // of these in Fluent
	Duplicates int // further Fluent customers of one commercetools customer
	Foreign    int // Fluent customers of no commercetools customer
	Unequal    int // present, and not as the newest version has to be
	Stale      int // writes of an older version after a newer one
	Empty      int // empty texts sent
	Examples   []string
}

func (v *Verdict) example(format string, args ...any) {
	if len(v.Examples) < 5 {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// verdict is made without the product's code, so that a mistake there cannot
// hide here.
func (t *stage) verdict() Verdict {
	var v Verdict
	has := map[string]map[string]any{}
	t.fluent.Each(func(doc map[string]any) {
		id := idOf(doc)
		if has[id] != nil {
			v.Duplicates++
			v.example("two Fluent customers of %s", id)
		}
		has[id] = doc
	})
	t.ct.Each(func(doc map[string]any) {
		v.Customers++
		id := doc["id"].(string)
		got := has[id]
		if got == nil {
			return
		}
		v.Present++
		delete(has, id)
		for field, want := range wanted(doc) {
			if got[field] == want || field == "firstName" && want == nil && got[field] == "-" {
				continue
			}
			v.Unequal++
			v.example("%s: %s is %v in Fluent, %v wanted", id, field, got[field], want)
			break
		}
	})
	v.Foreign = len(has)
	newest := map[string]int{}
	for _, w := range t.fluent.Writes() {
		if len(t.moving) == 0 {
			break
		}
		doc := w.Customer()
		name, _ := doc["lastName"].(string)
		n, err := strconv.Atoi(strings.TrimPrefix(name, moved))
		if err != nil {
			continue
		}
		id := idOf(doc)
		if n < newest[id] {
			v.Stale++
			v.example("%s: change %d written after %d", id, n, newest[id])
		}
		newest[id] = max(newest[id], n)
	}
	v.Empty = t.fluent.Stats().EmptyTexts
	return v
}

// idOf is the commercetools id that a Fluent customer carries.
func idOf(doc map[string]any) string {
	list, _ := doc["attributes"].([]any)
	for _, a := range list {
		a, _ := a.(map[string]any)
		if a["name"] != "commercetoolsId" {
			continue
		}
		raw, _ := a["value"].(json.RawMessage)
		return string(bytes.Trim(raw, `"`))
	}
	return ""
}

// wanted is what Fluent is to have of a customer by the default mapping; nil
// where commercetools has nothing.
func wanted(doc map[string]any) map[string]any {
	want := map[string]any{
		"firstName": doc["firstName"], "lastName": doc["lastName"], "primaryEmail": doc["email"], "title": doc["title"],
		"primaryPhone": nil, "country": nil,
	}
	if want["title"] == nil {
		want["title"] = doc["salutation"]
	}
	for _, a := range inOrder(doc) {
		phone := a["mobile"]
		if phone == nil {
			phone = a["phone"]
		}
		if want["primaryPhone"] == nil {
			want["primaryPhone"] = phone
		}
		if want["country"] == nil {
			want["country"] = a["country"]
		}
	}
	return want
}

// inOrder gives the default shipping address, the default billing address, and
// all.
func inOrder(doc map[string]any) (order []map[string]any) {
	list, _ := doc["addresses"].([]any)
	for _, which := range []string{"defaultShippingAddressId", "defaultBillingAddressId"} {
		for _, a := range list {
			if a, _ := a.(map[string]any); a["id"] != nil && a["id"] == doc[which] {
				order = append(order, a)
			}
		}
	}
	for _, a := range list {
		if a, ok := a.(map[string]any); ok {
			order = append(order, a)
		}
	}
	return order
}

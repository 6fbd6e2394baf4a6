package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fromDraft makes the document of a new customer. What the reference does not
// list is refused: nobody's slip shall pass here in silence.
func (s *CommerceTools) fromDraft(draft map[string]any) (map[string]any, error) {
	doc := map[string]any{
		"addresses": []any{}, "shippingAddressIds": []any{}, "billingAddressIds": []any{},
		"isEmailVerified": false, "stores": []any{}, "customerGroupAssignments": []any{}, "authenticationMode": "Password",
	}
	// Addresses first: the others speak of them by index.
	list, err := objects(draft["addresses"])
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	for _, a := range list {
		if _, err := s.addAddress(doc, a); err != nil {
			return nil, err
		}
	}
	for _, field := range slices.Sorted(maps.Keys(draft)) {
		if err := setDraftField(doc, field, draft[field]); err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
	}
	return doc, nil
}

func setDraftField(doc map[string]any, field string, v any) error {
	switch field {
	case "addresses", "password":
		return nil
	case "email", "key", "customerNumber", "externalId", "firstName", "lastName", "middleName", "title", "salutation",
		"dateOfBirth", "companyName", "vatId", "locale", "authenticationMode":
		if _, ok := v.(string); !ok {
			return invalid("expected a text")
		}
		doc[field] = v
		return nil
	case "isEmailVerified":
		if _, ok := v.(bool); !ok {
			return invalid("expected a boolean")
		}
		doc[field] = v
		return nil
	case "custom":
		c, ok := v.(map[string]any)
		if !ok {
			return invalid("expected an object")
		}
		return setCustom(doc, c)
	case "stores", "customerGroup", "customerGroupAssignments":
		doc[field] = v
		return nil
	case "defaultShippingAddress", "defaultBillingAddress":
		id, err := addressAt(doc, v)
		if err != nil {
			return err
		}
		setDefault(doc, kindOf(field), id)
		return nil
	case "shippingAddresses", "billingAddresses":
		list, ok := v.([]any)
		if !ok {
			return invalid("expected a list of numbers")
		}
		for _, at := range list {
			id, err := addressAt(doc, at)
			if err != nil {
				return err
			}
			addTo(doc, kindOf(field)+"AddressIds", id)
		}
		return nil
	}
	return invalid("no such field in a draft of a customer")
}

func addressAt(doc map[string]any, index any) (string, error) {
	n, ok := integer(index)
	addresses := doc["addresses"].([]any)
	if !ok || n < 0 || n >= int64(len(addresses)) {
		return "", invalid("no address of that index")
	}
	return text(addresses[n].(map[string]any), "id"), nil
}

// integer reads a whole number, from JSON or from Go.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case int:
		return int64(v), true
	case int64:
		return v, true
	case float64:
		return int64(v), v == float64(int64(v))
	}
	return 0, false
}

// apply works one update action on doc and returns the messages it makes.
func (s *CommerceTools) apply(doc, a map[string]any) ([]message, error) {
	name := text(a, "action")
	if field, msg := textAction(name); field != "" {
		return setText(doc, a, field, msg)
	}
	switch name {
	case "changeEmail":
		email := text(a, "email")
		if email == "" || !strings.Contains(email, "@") {
			return nil, invalid("email is not an email")
		}
		doc["email"], doc["isEmailVerified"] = email, false
		return told("CustomerEmailChanged", "email", email)
	case "addAddress":
		address, ok := a["address"].(map[string]any)
		if !ok {
			return nil, invalid("address is missing")
		}
		added, err := s.addAddress(doc, address)
		if err != nil {
			return nil, err
		}
		return told("CustomerAddressAdded", "address", added)
	case "changeAddress":
		return changeAddress(doc, a)
	case "removeAddress":
		return removeAddress(doc, a)
	case "setDefaultShippingAddress", "setDefaultBillingAddress":
		return setDefaultAddress(doc, a, kindOf(name))
	case "addShippingAddressId", "addBillingAddressId":
		_, address, err := findAddress(doc, a)
		if err != nil {
			return nil, err
		}
		kind := kindOf(name)
		addTo(doc, kind+"AddressIds", text(address, "id"))
		return told("Customer"+capital(kind)+"AddressAdded", "address", address)
	case "setCustomType":
		custom := map[string]any{"type": a["type"], "fields": a["fields"]}
		if a["type"] == nil {
			delete(doc, "custom")
			return told("CustomerCustomTypeRemoved", "previousTypeId", "")
		}
		if err := setCustom(doc, custom); err != nil {
			return nil, err
		}
		return told("CustomerCustomTypeSet", "customFields", doc["custom"])
	case "setCustomField":
		return setCustomField(doc, a)
	}
	return nil, invalid("no such update action")
}

// textAction is the field an action sets and the message that tells of it.
func textAction(name string) (field, message string) {
	switch name {
	case "setFirstName":
		return "firstName", "CustomerFirstNameSet"
	case "setLastName":
		return "lastName", "CustomerLastNameSet"
	case "setTitle":
		return "title", "CustomerTitleSet"
	case "setCompanyName":
		return "companyName", "CustomerCompanyNameSet"
	case "setDateOfBirth":
		return "dateOfBirth", "CustomerDateOfBirthSet"
	case "setExternalId":
		return "externalId", "CustomerExternalIdSet"
	case "setKey", "setCustomerNumber", "setVatId", "setLocale", "setMiddleName", "setSalutation":
		return strings.ToLower(name[3:4]) + name[4:], ""
	}
	return "", ""
}

func setText(doc, a map[string]any, field, msg string) ([]message, error) {
	v := a[field]
	s, ok := v.(string)
	if v != nil && !ok {
		return nil, invalid(field + " is not a text")
	}
	if field == "customerNumber" && doc[field] != nil && doc[field] != s {
		return nil, &ctError{Status: 400, Code: "InvalidOperation", Message: "customerNumber is set already"}
	}
	if v == nil {
		delete(doc, field)
	} else {
		doc[field] = s
	}
	if msg == "" {
		return nil, nil
	}
	return told(msg, field, v)
}

func told(typ, field string, v any) ([]message, error) {
	return []message{{typ: typ, fields: map[string]any{field: v}}}, nil
}

// kindOf is "shipping" or "billing".
func kindOf(name string) string {
	if strings.Contains(strings.ToLower(name), "shipping") {
		return "shipping"
	}
	return "billing"
}

func capital(kind string) string { return strings.ToUpper(kind[:1]) + kind[1:] }

func (s *CommerceTools) addAddress(doc, draft map[string]any) (map[string]any, error) {
	if len(text(draft, "country")) != 2 {
		return nil, invalid("country of an address is not two letters")
	}
	a := maps.Clone(draft)
	a["id"] = newUUID(s.rng).String()[:8]
	doc["addresses"] = append(doc["addresses"].([]any), a)
	return a, nil
}

// findAddress finds the address an action names by id or key.
func findAddress(doc, a map[string]any) (int, map[string]any, error) {
	id, key := text(a, "addressId"), text(a, "addressKey")
	for i, v := range doc["addresses"].([]any) {
		address := v.(map[string]any)
		if id != "" && text(address, "id") == id || key != "" && text(address, "key") == key {
			return i, address, nil
		}
	}
	return 0, nil, invalid("the customer has no such address")
}

func changeAddress(doc, a map[string]any) ([]message, error) {
	i, old, err := findAddress(doc, a)
	if err != nil {
		return nil, err
	}
	draft, _ := a["address"].(map[string]any)
	if len(text(draft, "country")) != 2 {
		return nil, invalid("country of an address is not two letters")
	}
	address := maps.Clone(draft)
	address["id"] = old["id"]
	doc["addresses"].([]any)[i] = address
	return told("CustomerAddressChanged", "address", address)
}

func removeAddress(doc, a map[string]any) ([]message, error) {
	i, old, err := findAddress(doc, a)
	if err != nil {
		return nil, err
	}
	doc["addresses"] = slices.Delete(doc["addresses"].([]any), i, i+1)
	for _, kind := range []string{"shipping", "billing"} {
		if doc["default"+capital(kind)+"AddressId"] == old["id"] {
			delete(doc, "default"+capital(kind)+"AddressId")
		}
		list := doc[kind+"AddressIds"].([]any)
		doc[kind+"AddressIds"] = slices.DeleteFunc(list, func(id any) bool { return id == old["id"] })
	}
	return told("CustomerAddressRemoved", "address", old)
}

func setDefaultAddress(doc, a map[string]any, kind string) ([]message, error) {
	if a["addressId"] == nil && a["addressKey"] == nil {
		delete(doc, "default"+capital(kind)+"AddressId")
		return []message{{typ: "CustomerDefault" + capital(kind) + "AddressSet"}}, nil
	}
	_, address, err := findAddress(doc, a)
	if err != nil {
		return nil, err
	}
	setDefault(doc, kind, text(address, "id"))
	return told("CustomerDefault"+capital(kind)+"AddressSet", "address", address)
}

func setDefault(doc map[string]any, kind, id string) {
	doc["default"+capital(kind)+"AddressId"] = id
	addTo(doc, kind+"AddressIds", id)
}

func addTo(doc map[string]any, field, id string) {
	if list := doc[field].([]any); !slices.Contains(list, any(id)) {
		doc[field] = append(list, id)
	}
}

func setCustom(doc, custom map[string]any) error {
	ref, _ := custom["type"].(map[string]any)
	typ, err := reference(ref)
	if err != nil {
		return err
	}
	fields, ok := custom["fields"].(map[string]any)
	if custom["fields"] != nil && !ok {
		return invalid("fields is not an object")
	}
	doc["custom"] = map[string]any{"type": typ, "fields": fields}
	if fields == nil {
		doc["custom"] = map[string]any{"type": typ, "fields": map[string]any{}}
	}
	return nil
}

func setCustomField(doc, a map[string]any) ([]message, error) {
	custom, ok := doc["custom"].(map[string]any)
	name := text(a, "name")
	if !ok || name == "" {
		return nil, &ctError{Status: 400, Code: "InvalidOperation", Message: "a custom field needs a name and a custom type"}
	}
	fields := custom["fields"].(map[string]any)
	_, had := fields[name]
	v := a["value"]
	switch {
	case v == nil:
		delete(fields, name)
		return told("CustomerCustomFieldRemoved", "name", name)
	case had:
		fields[name] = v
		return []message{{typ: "CustomerCustomFieldChanged", fields: map[string]any{"name": name, "value": v}}}, nil
	}
	fields[name] = v
	return []message{{typ: "CustomerCustomFieldAdded", fields: map[string]any{"name": name, "value": v}}}, nil
}

// objects reads a list of objects, from JSON or from Go.
func objects(v any) ([]map[string]any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []map[string]any:
		return v, nil
	case []any:
		list := make([]map[string]any, len(v))
		for i := range v {
			o, ok := v[i].(map[string]any)
			if !ok {
				return nil, invalid("expected a list of objects")
			}
			list[i] = o
		}
		return list, nil
	}
	return nil, invalid("expected a list of objects")
}

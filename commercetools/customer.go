package commercetools

import "encoding/json"

// A Customer is the resource as commercetools gives it. Numbers in custom
// fields are kept as they were written: they can exceed float64.
type Customer struct {
	ID                       string            `json:"id" expr:"id"`
	Version                  int64             `json:"version" expr:"version"`
	Key                      string            `json:"key,omitempty" expr:"key"`
	CustomerNumber           string            `json:"customerNumber,omitempty" expr:"customerNumber"`
	ExternalID               string            `json:"externalId,omitempty" expr:"externalId"`
	CreatedAt                string            `json:"createdAt,omitempty" expr:"createdAt"`
	LastModifiedAt           string            `json:"lastModifiedAt,omitempty" expr:"lastModifiedAt"`
	Email                    string            `json:"email,omitempty" expr:"email"`
	FirstName                string            `json:"firstName,omitempty" expr:"firstName"`
	LastName                 string            `json:"lastName,omitempty" expr:"lastName"`
	MiddleName               string            `json:"middleName,omitempty" expr:"middleName"`
	Title                    string            `json:"title,omitempty" expr:"title"`
	Salutation               string            `json:"salutation,omitempty" expr:"salutation"`
	DateOfBirth              string            `json:"dateOfBirth,omitempty" expr:"dateOfBirth"`
	CompanyName              string            `json:"companyName,omitempty" expr:"companyName"`
	VatID                    string            `json:"vatId,omitempty" expr:"vatId"`
	Addresses                []Address         `json:"addresses,omitempty" expr:"addresses"`
	DefaultShippingAddressID string            `json:"defaultShippingAddressId,omitempty" expr:"defaultShippingAddressId"`
	ShippingAddressIDs       []string          `json:"shippingAddressIds,omitempty" expr:"shippingAddressIds"`
	DefaultBillingAddressID  string            `json:"defaultBillingAddressId,omitempty" expr:"defaultBillingAddressId"`
	BillingAddressIDs        []string          `json:"billingAddressIds,omitempty" expr:"billingAddressIds"`
	IsEmailVerified          bool              `json:"isEmailVerified,omitempty" expr:"isEmailVerified"`
	CustomerGroup            *Reference        `json:"customerGroup,omitempty" expr:"customerGroup"`
	CustomerGroupAssignments []GroupAssignment `json:"customerGroupAssignments,omitempty" expr:"customerGroupAssignments"`
	Custom                   *Custom           `json:"custom,omitempty" expr:"custom"`
	Locale                   string            `json:"locale,omitempty" expr:"locale"`
	Stores                   []KeyReference    `json:"stores,omitempty" expr:"stores"`
	AuthenticationMode       string            `json:"authenticationMode,omitempty" expr:"authenticationMode"`
}

// An Address of a customer. Only Country is mandatory.
type Address struct {
	ID                    string  `json:"id,omitempty" expr:"id"`
	Key                   string  `json:"key,omitempty" expr:"key"`
	ExternalID            string  `json:"externalId,omitempty" expr:"externalId"`
	Title                 string  `json:"title,omitempty" expr:"title"`
	Salutation            string  `json:"salutation,omitempty" expr:"salutation"`
	FirstName             string  `json:"firstName,omitempty" expr:"firstName"`
	LastName              string  `json:"lastName,omitempty" expr:"lastName"`
	StreetName            string  `json:"streetName,omitempty" expr:"streetName"`
	StreetNumber          string  `json:"streetNumber,omitempty" expr:"streetNumber"`
	AdditionalStreetInfo  string  `json:"additionalStreetInfo,omitempty" expr:"additionalStreetInfo"`
	PostalCode            string  `json:"postalCode,omitempty" expr:"postalCode"`
	City                  string  `json:"city,omitempty" expr:"city"`
	Region                string  `json:"region,omitempty" expr:"region"`
	State                 string  `json:"state,omitempty" expr:"state"`
	Country               string  `json:"country,omitempty" expr:"country"`
	Company               string  `json:"company,omitempty" expr:"company"`
	Department            string  `json:"department,omitempty" expr:"department"`
	Building              string  `json:"building,omitempty" expr:"building"`
	Apartment             string  `json:"apartment,omitempty" expr:"apartment"`
	POBox                 string  `json:"pOBox,omitempty" expr:"pOBox"`
	Phone                 string  `json:"phone,omitempty" expr:"phone"`
	Mobile                string  `json:"mobile,omitempty" expr:"mobile"`
	Email                 string  `json:"email,omitempty" expr:"email"`
	Fax                   string  `json:"fax,omitempty" expr:"fax"`
	AdditionalAddressInfo string  `json:"additionalAddressInfo,omitempty" expr:"additionalAddressInfo"`
	Custom                *Custom `json:"custom,omitempty" expr:"custom"`
}

// Custom holds the fields a project has added. A value is what encoding/json
// makes of it, but a number is an int where it fits one exactly, a float64
// where that holds it exactly, and a json.Number otherwise.
type Custom struct {
	Type   Reference      `json:"type" expr:"type"`
	Fields map[string]any `json:"fields" expr:"fields"`
}

// A Reference names another resource by id.
type Reference struct {
	TypeID string `json:"typeId" expr:"typeId"`
	ID     string `json:"id" expr:"id"`
}

// A KeyReference names another resource by key.
type KeyReference struct {
	TypeID string `json:"typeId" expr:"typeId"`
	Key    string `json:"key" expr:"key"`
}

// A GroupAssignment puts a customer into a group.
type GroupAssignment struct {
	CustomerGroup Reference `json:"customerGroup" expr:"customerGroup"`
}

var _ json.Unmarshaler = (*Custom)(nil)

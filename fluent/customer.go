package fluent

import "encoding/json"

// The lengths Fluent enforces, in characters. A longer value is C0141E.
var Limits = map[string]int{
	"username": 250, "primaryEmail": 250, "country": 100, "title": 50,
	"firstName": 50, "lastName": 50, "timezone": 32, "primaryPhone": 20,
}

// A Fields is the input of a create or an update without its username: the
// names of CreateCustomerInput and UpdateCustomerInput, nil for null.
type Fields map[string]any

// An Attribute of a customer. On update Fluent merges attributes by name.
type Attribute struct {
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// A Customer is what a read selects.
type Customer struct {
	ID         string      `json:"id"`
	Username   string      `json:"username"`
	Attributes []Attribute `json:"attributes"`
	Retailer   *struct {
		ID string `json:"id"`
	} `json:"retailer"`

	// Filled by what is asked to be full.
	Title          *string `json:"title"`
	Country        *string `json:"country"`
	FirstName      *string `json:"firstName"`
	LastName       *string `json:"lastName"`
	PrimaryEmail   *string `json:"primaryEmail"`
	PrimaryPhone   *string `json:"primaryPhone"`
	Timezone       *string `json:"timezone"`
	PromotionOptIn *bool   `json:"promotionOptIn"`
}

// A Write is one createCustomer or updateCustomer.
type Write struct {
	Create     bool        `json:"-"`
	Username   string      `json:"username"`
	RetailerID string      `json:"retailerId,omitempty"` // of a create
	Fields     Fields      `json:"fields"`               // besides username and retailer
	Attributes []Attribute `json:"attributes,omitempty"`
}

// A Page of a scan. Next is the cursor to go on from, empty at the end.
type Page struct {
	Customers []Customer
	Next      string
}

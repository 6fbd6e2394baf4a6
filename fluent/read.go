package fluent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ct2fluent/ct2fluent/api"
)

const (
	few  = `id username attributes { name type value } retailer { id }`
	many = few + ` title country firstName lastName primaryEmail primaryPhone timezone promotionOptIn`

	maxFirst = 5000 // customers of one page of Fluent
)

func selection(full bool) string {
	if full {
		return many
	}
	return few
}

// connection is a page as Fluent writes it.
type connection struct {
	Edges []*struct {
		Cursor string
		Node   *Customer
	}
	PageInfo struct{ HasNextPage bool }
}

// Lookup finds customers by their usernames, one request for many. The result
// has the usernames that exist, written exactly so; full fills all fields of a
// Customer. An error is an *[Error].
func (c *Client) Lookup(ctx context.Context, usernames []string, full bool) (map[string]Customer, error) {
	asked, found := map[string]bool{}, map[string]Customer{}
	var plain, alone []string
	for _, u := range usernames {
		if u == "" || asked[u] {
			continue
		}
		asked[u] = true
		// In a filter a % is a wildcard, which one name could use to crowd
		// out the others.
		if strings.Contains(u, "%") {
			alone = append(alone, u)
		} else {
			plain = append(plain, u)
		}
	}
	for len(plain)+len(alone) > 0 {
		list := plain[:min(len(plain), c.maxBatch)]
		each := alone[:min(len(alone), c.maxBatch-len(list))]
		plain, alone = plain[len(list):], alone[len(each):]
		cut, err := c.lookup(ctx, list, each, full, found)
		if err != nil {
			return nil, err
		}
		if cut {
			for _, u := range list {
				if _, ok := found[u]; !ok {
					alone = append(alone, u)
				}
			}
		}
	}
	return found, nil
}

// lookup asks for many in one list, and for each of the others by its ref,
// which is no filter. cut tells that there was more than the page of the list
// could hold, as when the server takes further characters for wildcards or
// capitals for small letters: what is not found may still be there.
func (c *Client) lookup(ctx context.Context, list, each []string, full bool, found map[string]Customer) (cut bool, err error) {
	var params, fields []string
	vars := map[string]any{}
	first := min(len(list)+10, maxFirst)
	if len(list) > 0 {
		params = append(params, "$usernames: [String], $first: Int")
		fields = append(fields, "customers(username: $usernames, first: $first) { edges { node { "+selection(full)+" } } pageInfo { hasNextPage } }")
		vars["usernames"], vars["first"] = list, first
	}
	for i, u := range each {
		alias := fmt.Sprintf("c%d", i)
		params = append(params, "$"+alias+": String!")
		fields = append(fields, alias+": customer(ref: $"+alias+") { "+selection(full)+" }")
		vars[alias] = u
	}
	data := map[string]json.RawMessage{}
	err = c.read(ctx, "lookup", request{
		Query:     "query lookup(" + strings.Join(params, ", ") + ") { " + strings.Join(fields, " ") + " }",
		Variables: vars,
	}, &data)
	if err != nil {
		return false, err
	}
	unusable := &Error{Operation: "lookup", Kind: Failed, Status: http.StatusOK, Err: errUnusable}
	for i, u := range each {
		var one *Customer
		// Promise 4: only null says that there is none.
		raw, answered := data[fmt.Sprintf("c%d", i)]
		if !answered || json.Unmarshal(raw, &one) != nil {
			return false, unusable
		}
		if one != nil && one.Username == u {
			found[u] = *one
		}
	}
	if len(list) == 0 {
		return false, nil
	}
	var page *connection
	if raw := data["customers"]; raw != nil && json.Unmarshal(raw, &page) != nil {
		return false, unusable
	}
	// Promise 4: null is none, and is not taken for one without customers.
	if page == nil || page.Edges == nil {
		return false, &Error{Operation: "lookup", Kind: Failed, Status: http.StatusOK, Err: errNull}
	}
	asked := map[string]bool{}
	for _, u := range list {
		asked[u] = true
	}
	for _, e := range page.Edges {
		if e == nil || e.Node == nil || !asked[e.Node.Username] {
			continue
		}
		// Should usernames be unique for each retailer alone, another's is no
		// answer where there is its own.
		first, twice := found[e.Node.Username]
		if twice && first.Retailer != nil && first.Retailer.ID == c.retailer {
			continue
		}
		found[e.Node.Username] = *e.Node
	}
	return page.PageInfo.HasNextPage || len(page.Edges) >= first, nil
}

// Scan reads a page of all customers, with their attributes: those after the
// cursor of the page before, or the first ones where that is empty. first is 1
// to 5000; 1000 for 0; full fills all fields of a Customer. A page that is too
// large to be answered or read is asked for again with half as many. An error
// is an *[Error].
func (c *Client) Scan(ctx context.Context, after string, first int, full bool) (Page, error) {
	if first <= 0 {
		first = 1000
	}
	for first = min(first, maxFirst); ; first /= 2 {
		page, err := c.scan(ctx, after, first, full)
		if err != nil && first > 1 && tooLarge(err) {
			continue
		}
		return page, err
	}
}

// tooLarge tells whether a smaller page may succeed where this one failed.
func tooLarge(err error) bool {
	var e *Error
	return errors.Is(err, api.ErrTooLarge) || errors.As(err, &e) && e.Kind == TooBig
}

func (c *Client) scan(ctx context.Context, after string, first int, full bool) (Page, error) {
	vars := map[string]any{"first": first}
	if after != "" {
		vars["after"] = after
	}
	got, err := c.customers(ctx, "scan", request{
		Query: `query scan($first: Int, $after: String) { customers(first: $first, after: $after) ` +
			`{ edges { cursor node { ` + selection(full) + ` } } pageInfo { hasNextPage } } }`,
		Variables: vars,
	})
	if err != nil {
		return Page{}, err
	}
	var page Page
	for _, e := range got.Edges {
		if e == nil {
			continue
		}
		page.Next = e.Cursor // the way on is on the last edge
		if e.Node != nil {
			page.Customers = append(page.Customers, *e.Node)
		}
	}
	if !got.PageInfo.HasNextPage {
		page.Next = ""
		return page, nil
	}
	if page.Next == "" || page.Next == after {
		// Taken as the end it would leave customers out, taken as it is it
		// would go round for ever.
		return Page{}, &Error{Operation: "scan", Kind: Failed, Status: http.StatusOK, Field: "cursor", Err: errUnusable}
	}
	return page, nil
}

// ByID finds customers by Fluent's own ids. The missing are just missing. An
// error is an *[Error].
func (c *Client) ByID(ctx context.Context, ids []string, full bool) (map[string]Customer, error) {
	found := map[string]Customer{}
	for part := range slices.Chunk(ids, c.maxBatch) {
		var params, fields []string
		vars := map[string]any{}
		for i, id := range part {
			alias := fmt.Sprintf("c%d", i)
			params = append(params, "$"+alias+": ID!")
			fields = append(fields, alias+": customerById(id: $"+alias+") { "+selection(full)+" }")
			vars[alias] = id
		}
		data := map[string]*Customer{}
		err := c.read(ctx, "find", request{
			Query:     "query find(" + strings.Join(params, ", ") + ") { " + strings.Join(fields, " ") + " }",
			Variables: vars,
		}, &data)
		if err != nil {
			return nil, err
		}
		for i, id := range part {
			one, answered := data[fmt.Sprintf("c%d", i)]
			// Only null says that there is none.
			if !answered || one != nil && one.ID != id {
				return nil, &Error{Operation: "find", Kind: Failed, Status: http.StatusOK, Err: errUnusable}
			}
			if one != nil {
				found[id] = *one
			}
		}
	}
	return found, nil
}

// Check finds out whether customers can be read and, where a retailer is
// named, whether it exists. An *[Error] of kind [Stopped] is a definite refusal;
// where it is [ErrNoRetailer], not of the credentials.
func (c *Client) Check(ctx context.Context, retailerID string) error {
	r := request{Query: `query check { customers(first: 1) { edges { node { id } } } }`}
	if retailerID != "" {
		r.Query = `query check($retailer: ID!) { customers(first: 1) { edges { node { id } } } retailerById(id: $retailer) { id } }`
		r.Variables = map[string]any{"retailer": retailerID}
	}
	var data struct {
		RetailerByID *json.RawMessage `json:"retailerById"`
	}
	if err := c.read(ctx, "check", r, &data); err != nil {
		return err
	}
	if retailerID != "" && data.RetailerByID == nil {
		return &Error{Operation: "check", Kind: Stopped, Status: http.StatusOK, Field: "retailer", Err: fmt.Errorf("%w: %q", ErrNoRetailer, retailerID)}
	}
	return nil
}

// customers sends a query whose answer is a page. Promise 4: null is none, and
// is not taken for one without customers.
func (c *Client) customers(ctx context.Context, operation string, r request) (*connection, error) {
	var data struct{ Customers *connection }
	if err := c.read(ctx, operation, r, &data); err != nil {
		return nil, err
	}
	if data.Customers == nil || data.Customers.Edges == nil {
		return nil, &Error{Operation: operation, Kind: Failed, Status: http.StatusOK, Err: errNull}
	}
	return data.Customers, nil
}

// read sends a query and reads its data into v.
func (c *Client) read(ctx context.Context, operation string, r request, v any) error {
	p, none := c.post(ctx, operation, r)
	if none != nil {
		return none
	}
	worst := p.heaviest(nil)
	if worst == nil {
		worst = p.rest()
	}
	if worst != nil {
		return p.finish(operation, worst)
	}
	return p.into(operation, v)
}

package commercetools

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/api"
)

// A Page is a part of a reading. Of a customer that cannot be read there are
// only ID, Version, CreatedAt and LastModifiedAt; [Client.Customer] says why.
type Page struct {
	Customers []Customer
	Bodies    [][]byte // of each, as commercetools wrote it; nil where it cannot be read
	Last      bool     // nothing comes after it
}

// A Mark is a place in the order of changes: after the customer ID that was
// changed At. With an empty ID it is before all that were changed At.
type Mark struct {
	At string `json:"at"` // as commercetools writes it
	ID string `json:"id,omitempty"`
}

// Mark is the place after c in the order of changes.
func (c *Customer) Mark() Mark { return Mark{At: c.LastModifiedAt, ID: c.ID} }

// Page reads up to limit customers (500 at most, and for 0) in commercetools'
// own order of ids, which is not that of texts: those after the id, as a page
// gave it, or the first ones where that is empty. An error is an *[Error]; of
// the code "unordered" where the page is not what was asked for, so that going
// on would lose customers or never end. A page too large to be read is asked
// for again in parts.
func (c *Client) Page(ctx context.Context, s Selection, after string, limit int) (*Page, error) {
	var more []string
	if after != "" {
		more = append(more, "id > "+quote(after))
	}
	p, err := c.page(ctx, "page", s, more, []string{"id asc"}, limit)
	if err != nil {
		return nil, err
	}
	if !distinct(p.Customers, after) {
		return nil, unordered("page")
	}
	return p, nil
}

// Changes reads up to limit customers (500 at most, and for 0) in the order of
// their changes: those after the mark that were last changed at until or
// before. A customer that is changed meanwhile moves towards the end, and
// beyond until it is out of this reading. Deletes never show. Errors are those
// of [Client.Page].
func (c *Client) Changes(ctx context.Context, s Selection, after Mark, until string, limit int) (*Page, error) {
	before, err := moment(after.At)
	if err != nil {
		return nil, &Error{Operation: "changes", Kind: Refused, Code: "impossible-time"}
	}
	at := quote(after.At)
	more := []string{"lastModifiedAt >= " + at}
	if after.ID != "" {
		more[0] = "(lastModifiedAt > " + at + " or (lastModifiedAt = " + at + " and id > " + quote(after.ID) + "))"
	}
	more = append(more, "lastModifiedAt <= "+quote(until))
	p, err := c.page(ctx, "changes", s, more, []string{"lastModifiedAt asc", "id asc"}, limit)
	if err != nil {
		return nil, err
	}
	for _, one := range p.Customers {
		at, err := moment(one.LastModifiedAt)
		if err != nil {
			return nil, &Error{Operation: "changes", Kind: Down, Status: http.StatusOK, Err: errUnusable}
		}
		if at.Before(before) {
			return nil, unordered("changes")
		}
		before = at
	}
	// The one that the mark names may come again: changed since.
	if !distinct(p.Customers, "") || len(p.Customers) > 0 && after.ID != "" && p.Customers[0].Mark() == after {
		return nil, unordered("changes")
	}
	return p, nil
}

// Ordered asks commercetools whether a page by id really is in the order of
// ids: going on after its last is right only then. It compares up to 50 of the
// page, its last among them, each with the one before, and is an *[Error] of
// the code "unordered" where one lies behind the next: a proxy or a stand-in
// that does not sort would lose customers without a word. One such question for
// a reading is enough.
func (c *Client) Ordered(ctx context.Context, p *Page) error {
	n := len(p.Customers)
	if n < 2 {
		return nil
	}
	step := (n-2)/49 + 1
	var pairs []string
	for i := n - 1; i > 0; i -= step {
		before := p.Customers[max(0, i-step)].ID
		pairs = append(pairs, "(id = "+quote(before)+" and id > "+quote(p.Customers[i].ID)+")")
	}
	behind := false
	_, err := c.query(ctx, "ordered", url.Values{
		"where": {strings.Join(pairs, " or ")}, "limit": {"1"},
	}, func([]byte) *Error { behind = true; return nil })
	if err == nil && behind {
		err = unordered("ordered")
	}
	return err
}

func unordered(operation string) error {
	return &Error{Operation: operation, Kind: Stopped, Status: http.StatusOK, Code: "unordered"}
}

// distinct tells whether no two customers have one id, nor one of them the id
// before.
func distinct(customers []Customer, before string) bool {
	seen := make(map[string]bool, len(customers)+1)
	seen[before] = true
	for i := range customers {
		if seen[customers[i].ID] {
			return false
		}
		seen[customers[i].ID] = true
	}
	return true
}

// page asks for one page and halves it while the answer is too large.
func (c *Client) page(ctx context.Context, operation string, s Selection, more, sort []string, limit int) (*Page, error) {
	if limit <= 0 || limit > maxLimit {
		limit = maxLimit
	}
	q, err := ask(operation, s, more...)
	if err != nil {
		return nil, err
	}
	q["sort"] = sort
	for ; ; limit /= 2 {
		p := &Page{Customers: make([]Customer, 0, limit)}
		q.Set("limit", strconv.Itoa(limit))
		_, err := c.query(ctx, operation, q, func(result []byte) *Error {
			one, bad := decodeCustomer(result)
			body := bytes.Clone(result)
			if bad != nil {
				body = nil
				// Left out it would make the page look like the last one, or
				// leave the next without a place to go on from.
				if one = decodeStub(result); one == nil {
					return &Error{Kind: Down, Err: errUnusable}
				}
			}
			p.Customers, p.Bodies = append(p.Customers, *one), append(p.Bodies, body)
			return nil
		})
		if errors.Is(err, api.ErrTooLarge) && limit > 1 {
			continue
		}
		if err != nil {
			return nil, err
		}
		p.Last = len(p.Customers) < limit
		return p, nil
	}
}

// ask begins a query for the customers of s for which more holds too.
func ask(operation string, s Selection, more ...string) (url.Values, error) {
	if !whole(s.Where) {
		return nil, &Error{Operation: operation, Kind: Refused, Code: "impossible-where"}
	}
	q := url.Values{}
	if where := s.predicate(more...); where != "" {
		q.Set("where", where)
	}
	return q, nil
}

// query sends one query and hands each result to each, which must not keep it.
// total is -1 where it was not told.
func (c *Client) query(ctx context.Context, operation string, q url.Values, each func(result []byte) *Error) (total int, err error) {
	if !q.Has("withTotal") {
		q.Set("withTotal", "false")
	}
	u := c.project + "/customers?" + q.Encode()
	if len(u) > maxURL {
		return 0, &Error{Operation: operation, Kind: Refused, Code: "too-long"}
	}
	body, err := c.get(ctx, operation, u)
	if err != nil {
		return 0, err
	}
	total, bad := decodePage(body, each)
	if bad != nil {
		bad.Operation, bad.Status = operation, http.StatusOK
		return 0, bad
	}
	return total, nil
}

// moment reads a time as commercetools writes it.
func moment(s string) (time.Time, error) { return time.Parse(time.RFC3339, s) }

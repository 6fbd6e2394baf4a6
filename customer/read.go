package customer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// atOnce is how many requests one batch makes at once where it has to make one
// per customer. The clients limit all batches together.
const atOnce = 16

// read gets the customers: first those that their notifications bring along,
// then many by one query, then by id those the query does not have or has too
// old.
func (a *account) read(ctx context.Context, items []*item) {
	var many []*item
	for _, it := range items {
		if it.takeCarried(); it.customer != nil {
			continue
		}
		// Rule 1: where the version to expect is not told, a query that lags
		// could not be found out. Nor could it where a customer is to be gone.
		if it.n.Version > 0 && !it.n.Force && !a.announcesDelete(it.n) {
			many = append(many, it)
		}
	}
	if len(many) > 1 {
		ids := make([]string, len(many))
		byID := map[string]*item{}
		for i, it := range many {
			ids[i], byID[it.n.Ref.ID] = it.n.Ref.ID, it
		}
		got, err := a.From.Customers(ctx, ids)
		// A query that is refused may be so for one strange id among many.
		if err != nil && readKind(err) != commercetools.Refused {
			endAll(items, readFault(fmt.Errorf("read %d customers: %w", len(many), err), false))
			return
		}
		for i := range got {
			if it := byID[got[i].ID]; it != nil {
				it.take(&got[i])
			}
		}
	}
	var single []*item
	for _, it := range items {
		if it.customer == nil {
			single = append(single, it)
		}
	}
	var reading errgroup.Group
	reading.SetLimit(atOnce)
	for _, it := range single {
		reading.Go(func() error {
			it.answer = a.readOne(ctx, it)
			return nil
		})
	}
	_ = reading.Wait() // each item has its own answer
	company := slices.ContainsFunc(items, func(it *item) bool { return it.answer == nil })
	for _, it := range single {
		switch {
		case it.answer == nil:
		case readKind(it.answer) == commercetools.NotFound && a.announcesDelete(it.n):
			it.gone = true
		case readKind(it.answer) == commercetools.NotFound && young(it.n, time.Now()):
			it.end(ct2fluent.RetryAfter(pause, it.answer))
		case readKind(it.answer) == commercetools.NotFound && a.deletes.Mark && it.memory.Username != "":
			it.gone = true
		default:
			it.end(readFault(it.answer, company))
		}
	}
}

// readOne reads a customer by id, which is the fresh read.
func (a *account) readOne(ctx context.Context, it *item) error {
	c, err := a.From.Customer(ctx, it.n.Ref.ID)
	if err != nil {
		return fmt.Errorf("read %s: %w", it.n.Ref, err)
	}
	if lags(it.n, a.announcesDelete(it.n), it.memory, c.Version, time.Now()) {
		it.end(ct2fluent.RetryAfter(lagPause, fmt.Errorf("read %s: it is to be deleted, and version %d is there still", it.n.Ref, c.Version)))
		return nil
	}
	if !it.believe(c) {
		it.end(staleRead(it.n, c.Version, floor(it.n, it.memory)))
	}
	return nil
}

// takeCarried takes the read that the notification brings along, which was made
// when it was put. The customer is read anew where something newer is known by
// now (rule 1), where the notification comes again (rule 4), and where what it
// brings is not this customer.
func (it *item) takeCarried() {
	if !it.n.HasRead() || it.n.Again {
		return
	}
	c, err := commercetools.Decode(it.n.Body)
	if err == nil && c.ID == it.n.Ref.ID && c.Version == it.n.Version {
		it.take(c)
	}
}

// take believes a read that is no read by id, unless it may be older than what
// is known: also than a delete, which leaves the version.
func (it *item) take(c *commercetools.Customer) bool {
	return c.Version > it.memory.Deleted && it.believe(c)
}

// believe believes a read, unless it is older than what is known (promise 3).
func (it *item) believe(c *commercetools.Customer) bool {
	if c.Version < floor(it.n, it.memory) {
		return false
	}
	it.customer = c
	it.memory = alive(it.memory, c.Version)
	return true
}

package customer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// atOnce is how many requests one batch makes at once where it has to make one
// per customer. The clients limit all batches together.
const atOnce = 16

// read gets the customers: many by one query, then by id those the query does
// not have or has too old.
func (a *account) read(ctx context.Context, items []*item) {
	mark := a.reads.now()
	if len(items) > 1 {
		ids := make([]string, len(items))
		byID := map[string]*item{}
		for i, it := range items {
			ids[i], byID[it.n.Ref.ID] = it.n.Ref.ID, it
		}
		got, err := a.From.Customers(ctx, ids)
		// A query that is refused may be so for one strange id among many.
		if err != nil && readKind(err) != commercetools.Refused {
			endAll(items, readFault(fmt.Errorf("read %d customers: %w", len(items), err)))
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
		} else {
			a.reads.succeeded(it.n.Ref)
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
	for _, it := range open(single) {
		if it.answer != nil {
			it.end(a.readAnswer(it, mark))
		}
	}
}

// readOne reads a customer by id, which is the fresh read.
func (a *account) readOne(ctx context.Context, it *item) error {
	c, err := a.From.Customer(ctx, it.n.Ref.ID)
	if err != nil {
		return fmt.Errorf("read %s: %w", it.n.Ref, err)
	}
	a.reads.succeeded(it.n.Ref)
	if !it.take(c) {
		it.end(staleRead(it.n, c.Version, floor(it.n, it.memory)))
	}
	return nil
}

// take believes a read, unless it is older than what is known (promise 3).
func (it *item) take(c *commercetools.Customer) bool {
	if c.Version < floor(it.n, it.memory) {
		return false
	}
	it.customer = c
	it.memory.Floor = c.Version
	return true
}

// readAnswer is the outcome of a read by id that gave no customer.
func (a *account) readAnswer(it *item, mark uint64) error {
	var e *commercetools.Error
	switch {
	case errors.Is(it.answer, commercetools.ErrNotFound):
		return ct2fluent.Skip("gone")
	case errors.As(it.answer, &e) && e.Status == http.StatusInternalServerError && a.reads.ownFault(it.n.Ref, mark):
		return it.answer
	}
	return readFault(it.answer)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// What the product has by default: customers in a request, batches at once.
const (
	bareBatch   = 200
	bareWorkers = 8
)

// bareChild sends what the product sends for new customers, by the product's
// own clients and mapping, without queue, ledger or retries.
func bareChild(ctx context.Context, spec *json.Decoder) error {
	var l loop
	if err := spec.Decode(&l); err != nil {
		return err
	}
	ct, to, err := clients(l.Addresses)
	if err != nil {
		return err
	}
	m, err := customer.CompileMapping(customer.MappingConfig{})
	if err != nil {
		return err
	}
	a := customer.Account{Project: project, RetailerID: retailer, From: ct, To: to, Mapping: m}
	batches := slices.Collect(slices.Chunk(l.IDs, bareBatch))
	began := time.Now()
	err = atOnce(bareWorkers, len(batches), func(i int) error { return create(ctx, a, batches[i], l.Lookup) })
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(looped{time.Since(began).Seconds(), usageOf("self").Max})
}

func clients(at Addresses) (*commercetools.Client, *fluent.Client, error) {
	plainly := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	ct, err := commercetools.New(commercetools.Options{
		ProjectKey: project, APIURL: at.Commercetools, AuthURL: at.Commercetools, ClientID: clientID, ClientSecret: plainly(clientSecret),
	})
	if err != nil {
		return nil, nil, err
	}
	to, err := fluent.New(fluent.Options{
		BaseURL: at.Fluent, Account: account, ClientID: clientID, ClientSecret: plainly(clientSecret),
		Username: apiUser, Password: plainly(apiPassword),
	})
	return ct, to, err
}

func create(ctx context.Context, a customer.Account, ids []string, lookup bool) error {
	got, err := a.From.Customers(ctx, ids)
	if err != nil {
		return err
	}
	if len(got) != len(ids) {
		return fmt.Errorf("%d of %d customers read", len(got), len(ids))
	}
	ws, names := make([]fluent.Write, len(got)), make([]string, len(got))
	for i := range got {
		p, err := a.Preview(ctx, customer.PreviewRequest{Customer: &got[i]})
		if err != nil {
			return err
		}
		ws[i], names[i] = p.Create, p.Username
	}
	if lookup {
		if _, err := a.To.Lookup(ctx, names, false); err != nil {
			return err
		}
	}
	return errors.Join(a.To.Write(ctx, ws)...)
}

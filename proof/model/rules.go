package model

import (
	"context"
	"errors"
	"slices"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A Rule of convergence, as DESIGN.md counts them.
type Rule uint8

// The rules, and what is left out with each.
const (
	Rule1      Rule = iota + 1 // a read is believed, whatever its version
	Rule2                      // an unclear write is taken for done
	Rule3                      // what comes again does not wait
	Rule4                      // what comes again may be known or unchanged
	Rule5                      // a kill is taken for an orderly stop
	Rule6                      // the username is in the ledger only once it is used
	Rule7                      // who was overtaken lets go, and that is all
	Rule2Sent                  // an unclear write is sent again at once
	Rule7Early                 // who was overtaken has the customer worked at once, though its write may still land
	Rule7Known                 // what comes again and was settled by another is not worked

	// Of a read that a notification brings along.
	CarriedFloor // it is believed, whatever is known by now
	CarriedAgain // what comes again with it is worked as if it came first
)

// product is the product without the rule.
func (r Rule) product() product {
	switch r {
	case Rule1:
		return product{
			handler: noting(func(n *ct2fluent.Notification) { n.Version = 0 }),
			ledger:  func(l customer.Ledger) customer.Ledger { return floorless{l} },
		}
	case Rule2:
		return product{writer: func(w customer.Writer) customer.Writer { return hopeful{w} }}
	case Rule2Sent:
		return product{writer: func(w customer.Writer) customer.Writer { return stubborn{w} }}
	case CarriedFloor:
		return product{ledger: func(l customer.Ledger) customer.Ledger { return gullible{l} }, handler: marking}
	case CarriedAgain:
		return product{handler: noting(func(n *ct2fluent.Notification) { n.Again = n.Again && !n.HasRead() })}
	case Rule4:
		return product{handler: noting(func(n *ct2fluent.Notification) { n.Again = false })}
	case Rule6:
		return product{ledger: func(l customer.Ledger) customer.Ledger { return unintending{l} }}
	case Rule7:
		return product{put: func(putter) putter {
			return func(context.Context, ...ct2fluent.Notification) error { return nil }
		}}
	case Rule7Early:
		return product{put: func(put putter) putter {
			return func(ctx context.Context, ns ...ct2fluent.Notification) error {
				ns = slices.Clone(ns)
				for i := range ns {
					ns[i].Again = false
				}
				return put(ctx, ns...)
			}
		}}
	case Rule7Known:
		return product{alone: true}
	}
	return product{}
}

// noting changes what the handler is told of notifications.
func noting(change func(*ct2fluent.Notification)) func(ct2fluent.Handler) ct2fluent.Handler {
	return func(h ct2fluent.Handler) ct2fluent.Handler {
		return ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
			told := append([]ct2fluent.Notification(nil), batch...)
			for i := range told {
				change(&told[i])
			}
			return h.Handle(ctx, told)
		})
	}
}

type floorless struct{ customer.Ledger }

func (l floorless) Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error) {
	ms, err := l.Ledger.Recall(ctx, refs...)
	for ref, m := range ms {
		m.Floor, m.Version = 0, 0
		ms[ref] = m
	}
	return ms, err
}

type carriedKey struct{}

// marking tells gullible of which customers of a batch there is nothing but
// reads that were brought along.
func marking(h ct2fluent.Handler) ct2fluent.Handler {
	return ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		carried := map[ct2fluent.Ref]bool{}
		for _, n := range batch {
			before, seen := carried[n.Ref]
			carried[n.Ref] = n.HasRead() && !n.Again && (before || !seen)
		}
		return h.Handle(context.WithValue(ctx, carriedKey{}, carried), batch)
	})
}

// gullible knows no floor for the customers that were marked.
type gullible struct{ customer.Ledger }

func (l gullible) Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error) {
	ms, err := l.Ledger.Recall(ctx, refs...)
	carried, _ := ctx.Value(carriedKey{}).(map[ct2fluent.Ref]bool)
	for ref, m := range ms {
		if carried[ref] {
			m.Floor, m.Version = 0, 0
			ms[ref] = m
		}
	}
	return ms, err
}

type hopeful struct{ customer.Writer }

func (w hopeful) Write(ctx context.Context, ws []fluent.Write) []error {
	errs := w.Writer.Write(ctx, ws)
	for i, err := range errs {
		if isUnclear(err) {
			errs[i] = nil
		}
	}
	return errs
}

type stubborn struct{ customer.Writer }

func (w stubborn) Write(ctx context.Context, ws []fluent.Write) []error {
	errs := w.Writer.Write(ctx, ws)
	for i, err := range errs {
		if isUnclear(err) {
			errs[i] = w.Writer.Write(ctx, ws[i:i+1])[0]
		}
	}
	return errs
}

func isUnclear(err error) bool {
	var e *fluent.Error
	return errors.As(err, &e) && e.Kind == fluent.Unclear
}

type unintending struct{ customer.Ledger }

func (unintending) Intend(context.Context, map[ct2fluent.Ref]ct2fluent.Memory) error { return nil }

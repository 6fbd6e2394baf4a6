package customer

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// What an API's errors mean for a notification. The texts of both clients'
// errors hold codes and statuses only (promise 7).

// pause is how long a notification waits that was asked to wait and not told
// how long.
const pause = time.Second

// readKind is the kind of a commercetools error; Down for one of no kind, as
// one that ended with its context.
func readKind(err error) commercetools.Kind {
	var e *commercetools.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return commercetools.Down
}

// readFault is the outcome where commercetools did not answer with customers.
func readFault(err error) error {
	var e *commercetools.Error
	errors.As(err, &e)
	switch readKind(err) {
	case commercetools.Refused:
		return ct2fluent.Reject(ct2fluent.WithReason("refused", err))
	case commercetools.Limited:
		return ct2fluent.RetryAfter(cmp.Or(e.RetryAfter, pause), err)
	}
	return ct2fluent.Unavailable(err)
}

// writeKind is the kind of a Fluent error. An error of no kind is Unclear:
// nothing says that a write did not arrive.
func writeKind(err error) fluent.Kind {
	var e *fluent.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return fluent.Unclear
}

// lookupFault is the outcome where Fluent did not answer a lookup. Nothing was
// written by it, so nothing is unclear.
func lookupFault(err error) error {
	var e *fluent.Error
	errors.As(err, &e)
	switch writeKind(err) {
	case fluent.Limited:
		return ct2fluent.RetryAfter(cmp.Or(e.RetryAfter, pause), err)
	case fluent.Refused, fluent.TooBig:
		return ct2fluent.Reject(ct2fluent.WithReason("refused", err))
	}
	return ct2fluent.Unavailable(err)
}

// writeFault is the outcome of a write that did not succeed and that neither a
// lookup nor another write can mend. Failed is judged by the company.
func writeFault(err error) error {
	var e *fluent.Error
	errors.As(err, &e)
	switch writeKind(err) {
	case fluent.Limited:
		return ct2fluent.RetryAfter(cmp.Or(e.RetryAfter, pause), err)
	case fluent.Refused, fluent.TooBig, fluent.Exists:
		return ct2fluent.Reject(ct2fluent.WithReason("refused", err))
	case fluent.Unclear:
		return ct2fluent.Unclear(err)
	case fluent.Missing:
		// A create names nothing that could be missing but the retailer.
		return ct2fluent.Unavailable(fmt.Errorf("create a customer, is the retailer there? %w", err))
	}
	return ct2fluent.Unavailable(err)
}

// A company tells an outage from a poisoned notification: a server error is a
// customer's own fault if others of the account succeeded since the customer
// was first sent. If nothing succeeds, the account is held and nothing counts.
// It is safe for concurrent use.
type company struct {
	mu     sync.Mutex
	good   uint64                   // successes so far
	failed map[ct2fluent.Ref]uint64 // good, when the customer that fails was first sent
}

// maxFailing bounds what a long outage collects. Forgetting costs each of the
// failing one more hold before it counts.
const maxFailing = 10_000

// now is the mark to hand to ownFault after a call.
func (c *company) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.good
}

func (c *company) succeeded(ref ct2fluent.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.good++
	delete(c.failed, ref)
}

// ownFault judges a server error of a call that began at the mark. All that
// succeeded in the call must have been told before.
func (c *company) ownFault(ref ct2fluent.Ref, mark uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.failed[ref]; ok {
		mark = min(mark, first)
	} else {
		if c.failed == nil || len(c.failed) >= maxFailing {
			c.failed = map[ct2fluent.Ref]uint64{}
		}
		c.failed[ref] = mark
	}
	return c.good > mark
}

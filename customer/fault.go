package customer

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// What an API's errors mean for a notification. The texts of both clients'
// errors hold codes and statuses only (promise 7).
//
// A server error is told from an outage by its company: if others succeeded by
// the same call, it is the customer's own fault and counts. If none did, the
// account is held; the queue sees more calls than one, and judges further.

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
func readFault(err error, company bool) error {
	var e *commercetools.Error
	errors.As(err, &e)
	switch readKind(err) {
	case commercetools.NotFound:
		return ct2fluent.Skip("gone")
	case commercetools.Refused:
		return ct2fluent.Reject(ct2fluent.WithReason("refused", err))
	case commercetools.Down:
		if company && e != nil && e.Status == http.StatusInternalServerError {
			return err
		}
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
func lookupFault(err error, company bool) error {
	var e *fluent.Error
	errors.As(err, &e)
	switch writeKind(err) {
	case fluent.Failed:
		if company {
			return err
		}
	case fluent.Limited:
		return ct2fluent.RetryAfter(cmp.Or(e.RetryAfter, pause), err)
	case fluent.Refused, fluent.TooBig:
		return ct2fluent.Reject(ct2fluent.WithReason("refused", err))
	}
	return ct2fluent.Unavailable(err)
}

// writeFault is the outcome of a write that did not succeed and that neither a
// lookup nor another write can mend.
func writeFault(err error, company bool) error {
	var e *fluent.Error
	errors.As(err, &e)
	switch writeKind(err) {
	case fluent.Failed:
		if company {
			return err
		}
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

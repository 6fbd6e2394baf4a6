// Package sandbox holds stand-ins of commercetools and of Fluent, faithful and
// faulty at will: for `ct2fluent sandbox`, for tests and for benchmarks.
//
// [CommerceTools] and [Fluent] are http.Handlers that keep their customers in
// memory. They speak in JSON documents and share no type with the clients of
// this project, so that a misreading of either API there cannot hide here.
// What goes wrong is said by knobs ([CTKnobs], [FluentKnobs]), from Go or over
// HTTP while the stand-in runs:
//
//	GET   /_sandbox/knobs      the knobs as they stand
//	PUT   /_sandbox/knobs      replaces them; what is left out is its default
//	PATCH /_sandbox/knobs      changes those that are named
//	GET   /_sandbox/calls      calls by operation and answer
//	POST  /_sandbox/reset      sets the counters to zero
//	GET   /_sandbox/customers  every customer, one JSON document a line
//	POST  /_sandbox/tokens     invalidates every token given out
//	POST  /_sandbox/redeliver  commercetools: every notification once more
//	PUT   /_sandbox/subscriptions/{id or key={key}}  commercetools: {"status":"TemporaryError"}
//	GET   /_sandbox/writes     Fluent: the mutations applied, one a line
//
// These routes ask for no credentials: the stand-ins are tools for one machine
// and belong on its loopback address.
package sandbox

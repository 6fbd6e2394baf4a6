// Package customer keeps Fluent's customers equal to those of commercetools.
//
// A [Handler] works a batch account by account: what the ledger knows already
// ends at once; the rest is read in one request, mapped by the expressions of
// a [Mapping], compared with what was written last, and written in one
// request. Each customer has an outcome of its own.
//
// The decisions (is a read new enough, did anything change, which username is
// to be looked up, created or updated) are plain functions without I/O, in
// decide.go. The files beside it carry them out: read.go, write.go, delete.go,
// fault.go, and fill.go, which fills an empty ledger from Fluent.
//
// Promise 3: a read is never older than what was notified or known, and only
// what Fluent confirmed counts as written. Promise 4: a username is in the
// ledger before Fluent hears of it, and no customer of another is written over.
// Promise 5: the customer is read; the notification only says which.
package customer

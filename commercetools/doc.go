// Package commercetools reads customers over the HTTP API of a project.
//
// A [Client] has three reads: one customer ([Client.Customer], the freshest
// there is), many by id ([Client.Customers], which may lag), and all of them
// page by page ([Client.Page]). Every error is an [*Error], whose [Kind] says
// what the caller is to do. The client repeats a read only after a 401, with
// another token; anything else is tried again by who called.
package commercetools

// Package commercetools reads customers over the HTTP API of a project, and
// reads and changes its subscriptions.
//
// A [Client] reads one customer ([Client.Customer], the freshest there is),
// many by id ([Client.Customers], which may lag), and page by page all that a
// [Selection] is of ([Client.Page], by id) or what has changed
// ([Client.Changes], by time). [Client.Ranges] parts all of them, so that
// several can be read at once; [Client.Ordered] finds out a server whose pages
// would lose some. Ids are never compared here: they do not sort as texts.
//
// Every error is an [*Error], whose [Kind] says what the caller is to do. The
// client repeats a request only after a 401, with another token; anything else
// is tried again by who called.
package commercetools

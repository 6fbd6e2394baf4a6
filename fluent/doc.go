// Package fluent reads and writes the customers of a Fluent account.
//
// Many customers travel in one GraphQL request, for reading
// ([Client.Lookup], [Client.Scan]) and for writing ([Client.Write]), and each
// write has an answer of its own. Every error is an [*Error], whose [Kind] says
// what the caller is to do. Above all it says whether a write may have been
// applied: an [Unclear] one is not sent again by this package, for one that is
// applied late could lay older data over newer (promise 4).
package fluent

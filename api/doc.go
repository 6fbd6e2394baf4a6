// Package api is what the clients of commercetools and Fluent have in common:
// one HTTP exchange with an API that wants a token and has limits.
//
// A [Client] sends a [Request] and gives back the [Answer], whatever its
// status. Under it lie a [Token] that all callers share and that is renewed
// before it expires, and a [Limiter] that finds out how many requests at once
// the API bears. Where there is no answer, a [Fault] says what is certain: was
// the request refused before it was sent, did it not leave, or may the API
// have applied it. A Client sends a request once; only after a 401, which is a
// clear refusal, it sends it a second time with another token.
//
// Faults, logs and observations hold statuses, codes and addresses of hosts,
// never what an API wrote in a body or a header (promise 7).
package api

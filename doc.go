// Package ct2fluent keeps the customers of Fluent Order Management equal to
// those of commercetools.
//
// This package is the words: what a [Notification] is, what a [Source], a
// [Queue] and a [Handler] promise each other, and the [Outcome] in which every
// notification ends. It imports the standard library only. The folders beside
// it are the stations a notification passes: inbox, queue, route, customer,
// ledger. The app package connects them.
//
// Comments name the promises they uphold by number:
//
//  1. Safe before acknowledged: on disk here before a source acknowledges.
//  2. Every notification ends in one outcome, and the ledger adds up.
//  3. It converges, whatever the order, the duplicates, the crashes.
//  4. Never older over newer, never one customer twice.
//  5. A notification is a hint, not a state.
//  6. A wrong set-up stops the start; what goes wrong later holds the work.
//  7. No personal data and no secret in logs, metrics, traces or errors.
package ct2fluent

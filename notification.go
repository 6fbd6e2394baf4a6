package ct2fluent

import "time"

// A Ref names a resource of a commercetools project. The zero Ref stands for
// notifications of which no resource could be read.
type Ref struct {
	Project string // projectKey
	TypeID  string // resource.typeId: "customer"
	ID      string // resource.id
}

func (r Ref) String() string {
	return r.Project + "/" + r.TypeID + "/" + r.ID
}

// A Notification says that a resource changed. It is a hint: what the resource
// looks like now is read from commercetools (promise 5).
type Notification struct {
	// ID is the same however often one change is delivered: the message's id,
	// or what a change is told from others by (resource, version, kind).
	ID       string
	Ref      Ref
	Name     string // the message type, or the notificationType of a change
	Kind     string // notificationType: Message, ResourceCreated, …
	Version  int64  // of the resource after the change; 0 where it is not told
	Bulk     bool   // put by bulk, reconcile or catch-up: yields to live traffic
	Body     []byte // the notification, unwrapped
	Received time.Time

	// Fault is the reason for which no handler can work this body
	// ("unreadable", "no-resource", "unknown-project"); empty otherwise. Such
	// a notification travels like any other and ends as a dead letter.
	Fault string
	// Test marks the notification commercetools sends when a subscription is
	// made. It is counted and acknowledged.
	Test bool

	Force bool // read and write even if the ledger knows this version

	// Own says that commercetools did not send it: a bulk run, a reconciliation
	// or a person put it. No filter of a route stops it. The Body is empty, or
	// the customer as a page of commercetools gave it; then Version is its.
	// Nothing that comes from outside is ever Own.
	Own bool

	// Run names the bulk run that put it; empty: none. A run counts what became
	// of each resource once, however often it was put.
	Run string

	// The queue sets these when it hands a notification out. Who puts one may
	// set Again.
	Seq      uint64 // its place in the queue
	Attempts int    // faults of its own so far
	// Handed out before and not settled: an earlier hand-out may have written,
	// and what it sent may still land.
	Again bool
}

// HasRead tells whether the notification brings along the resource as it was
// read when it was put.
func (n Notification) HasRead() bool { return n.Own && len(n.Body) > 0 }

// asksAnew tells whether n wants its resource read now: what was read before
// may be older than what n is about.
func (n Notification) asksAnew() bool {
	return !n.HasRead() && (n.Force || n.Version == 0) || n.Again || n.Deletes()
}

// Deletes tells whether it says that a customer is gone.
func (n Notification) Deletes() bool {
	return n.Kind == "ResourceDeleted" || n.Name == "CustomerDeleted"
}

package customer

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// The decisions of the handler, without I/O: what is known, what was read and
// what Fluent answered go in, the next step comes out.

// known tells whether the ledger has the notification's version already, so
// that there is nothing to do and nothing to ask. What comes again may have
// been written half, and is never known. Bulk work is what brings a changed
// mapping to customers that did not change: then only what was written under
// this one is known.
func known(n ct2fluent.Notification, m ct2fluent.Memory, mapping string) bool {
	if n.Bulk && m.Mapping != mapping {
		return false
	}
	return n.Version > 0 && m.Version >= n.Version && !n.Force && !n.Again
}

// floor is the version below which a read is not believed. Promise 3: it is at
// least what was notified and what was ever read or written, also when the
// rest of the memory is in doubt.
func floor(n ct2fluent.Notification, m ct2fluent.Memory) int64 {
	return max(n.Version, m.Floor, m.Version)
}

// freshFor is how long after a notification a customer that is not found may
// merely not be found yet.
const freshFor = 5 * time.Second

// young tells whether not finding the customer says nothing yet. Promise 3: a
// read by id that lags behind the announcement of a new customer would have it
// skipped as gone, and never looked at again.
func young(n ct2fluent.Notification, now time.Time) bool {
	return !n.Received.IsZero() && now.Sub(n.Received) < freshFor
}

// unchanged tells whether Fluent holds what was mapped, as far as the ledger
// is certain of what was written last and of the mapping it was written under.
func unchanged(n ct2fluent.Notification, m ct2fluent.Memory, hash, mapping string) bool {
	return m.Hash != "" && m.Hash == hash && m.Mapping == mapping && !n.Force && !n.Again
}

// leftOut is the memory of a customer that the mapping, at that version, leaves
// alone. What Fluent holds of it stays, and is remembered, unless an earlier
// write may lie above it or it was made by another mapping. Of a username that
// is merely intended nothing is certain, and no version is done.
func leftOut(n ct2fluent.Notification, m ct2fluent.Memory, version int64, mapping string) ct2fluent.Memory {
	if n.Again || n.Force || m.Mapping != mapping {
		m.Hash, m.Attributes = "", nil
	}
	m.Mapping = mapping
	if m.Username == "" || m.Version > 0 {
		m.Version = version
	}
	return m
}

// doubt is the memory of a customer of which a write was sent and its outcome
// is not known: all but the floor, the username and the delete is forgotten.
func doubt(m ct2fluent.Memory) ct2fluent.Memory {
	return ct2fluent.Memory{Floor: m.Floor, Username: m.Username, Deleted: m.Deleted, DeletedAt: m.DeletedAt, Gone: m.Gone}
}

// holds tells whether Fluent may have a value of an attribute. Of what comes
// again, and of what was overtaken and is forced, an earlier write may lie
// above all that is remembered: rule 4 writes everything.
func holds(n ct2fluent.Notification, m ct2fluent.Memory, attribute string) bool {
	return n.Again || n.Force || m.Hash == "" || slices.Contains(m.Attributes, attribute)
}

// A place is what is known of a username in Fluent.
type place uint8

const (
	unknown   place = iota // to be looked up
	vacant                 // no customer has it
	ours                   // the customer at hand has it
	unclaimed              // a customer has it that carries no commercetools id
	foreign                // another's
	hidden                 // it exists, and a lookup does not show it
)

var placeNames = [...]string{"unknown", "vacant", "ours", "unclaimed", "foreign", "hidden"}

func (p place) String() string { return placeNames[p] }

// placeOf reads a lookup's answer for a username: the customer found, or nil.
func placeOf(found *fluent.Customer, idAttribute, customerID, retailerID string) place {
	if found == nil {
		return vacant
	}
	id, readable := attributeText(found.Attributes, idAttribute)
	switch {
	case elsewhere(found, retailerID):
		return foreign
	case id == customerID:
		return ours
	case id != "" || !readable:
		return foreign
	}
	return unclaimed
}

// elsewhere tells whether a Fluent customer is of another retailer, whatever id
// it carries: two accounts of one project have customers of the same ids. One
// of which Fluent does not say whose it is, is not.
func elsewhere(c *fluent.Customer, retailerID string) bool {
	return c.Retailer != nil && c.Retailer.ID != "" && c.Retailer.ID != retailerID
}

// attributeText is the text an attribute holds; empty where there is none. It
// is not readable where the value is no text.
func attributeText(as []fluent.Attribute, name string) (text string, readable bool) {
	for _, a := range as {
		if a.Name != name || len(a.Value) == 0 || string(a.Value) == "null" {
			continue
		}
		err := json.Unmarshal(a.Value, &text)
		return text, err == nil
	}
	return "", true
}

// An action is what is to be done next for a customer.
type action uint8

const (
	lookUp action = iota
	create
	update
	reject // both usernames are others'
	retry  // the username exists and is not shown
)

// An identity is the search for the Fluent customer of a commercetools
// customer: the username at hand and what is known of it. Each step gives the
// next identity.
type identity struct {
	username    string
	alternative string // taken where username is another's
	place       place
	exists      bool // a create met "already exists", and no lookup showed why
}

// identify begins the search. Only a username under which something was
// written for certain is taken as ours unseen: one that is merely intended may
// have been taken by another before the create arrived.
func identify(m ct2fluent.Memory, mapped, alternative string) identity {
	switch {
	case m.Username == "":
		return identity{username: mapped, alternative: alternative}
	case m.Version == 0:
		return identity{username: m.Username, alternative: alternative}
	}
	return identity{username: m.Username, alternative: alternative, place: ours}
}

// alternativeUsername is taken where the mapped one is another customer's.
func alternativeUsername(retailerID, customerID string) string {
	return retailerID + "_" + customerID
}

func (d identity) next() action {
	switch d.place {
	case vacant:
		return create
	case ours, unclaimed:
		return update
	case foreign:
		return reject
	case hidden:
		return retry
	}
	return lookUp
}

// looked goes on after a lookup of the username.
func (d identity) looked(p place) identity {
	switch {
	case p == foreign && d.username != d.alternative:
		return identity{username: d.alternative, alternative: d.alternative}
	case p == vacant && d.exists:
		// Taking another username here could make a second customer: what
		// exists unseen may be our own create.
		p = hidden
	}
	d.place = p
	return d
}

// met goes on after a write that Fluent answered with "already exists" or "not
// found". It looks again before it writes again (promise 4: nothing is written
// blindly over what another may have made meanwhile).
func (d identity) met(k fluent.Kind) identity {
	d.place = unknown
	d.exists = k == fluent.Exists
	return d
}

// intended tells whether the ledger holds the username as one of which nothing
// is certain yet. It must before the first create or adoption under it is sent,
// or a crash would lose the customer it made (promise 4).
func intended(m ct2fluent.Memory, d identity) bool {
	return m.Username == d.username && (m.Version == 0 || d.place == ours)
}

// intent is the memory that makes it so.
func intent(m ct2fluent.Memory, d identity) ct2fluent.Memory {
	m = doubt(m)
	m.Username = d.username
	return m
}

func staleRead(n ct2fluent.Notification, got, want int64) error {
	return ct2fluent.WithReason("stale-read",
		fmt.Errorf("read %s: version %d is older than %d, which is known", n.Ref, got, want))
}

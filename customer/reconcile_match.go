package customer

import (
	"slices"

	"github.com/ct2fluent/ct2fluent"
)

// Matching, without I/O: which Fluent customer is that of a commercetools
// customer, by the ledger's memory, by the id attribute, and by the usernames
// that the mapping would give.

// A DriftKind is a way in which both sides disagree about a customer.
type DriftKind string

const (
	Missing   DriftKind = "missing"   // Fluent does not have the customer
	Different DriftKind = "different" // in some fields
	Extra     DriftKind = "extra"     // commercetools does not have the customer whose id it carries
	Ambiguous DriftKind = "ambiguous" // which Fluent customer it is, is not certain
)

// DriftKinds lists them.
func DriftKinds() []DriftKind { return []DriftKind{Missing, Different, Extra, Ambiguous} }

// Why a customer is ambiguous.
const (
	// Two Fluent customers are this one: both carry its id, or one does and
	// the ledger remembers the other.
	whyTwins = "twins"
	// Its username and its alternative are other Fluent customers'.
	whyUsername = "username"
	// The ledger remembers a username that Fluent does not have, and a customer
	// of another username carries the id.
	whyElsewhere = "elsewhere"
	// Its Fluent customer is another commercetools customer's, too.
	whyShared = "shared"
	// The ledger remembers a Fluent customer that is another retailer's.
	whyRetailer = "retailer"
)

// Why an extra one is not to be marked as deleted.
const (
	// The ledger does not remember that the project ever had the customer: it
	// may be another project's, or the retailer not the one that is meant.
	whyUnknown = "unknown"
)

// A match is what was found for a customer. Usernames tell Fluent customers
// from each other.
type match struct {
	kind     DriftKind // Missing or Ambiguous; empty: found
	why      string    // of Ambiguous
	username string    // the one found; of twins the one that stays
	others   []string  // of twins: those that are not to carry the id
	foreign  bool      // the one found carries another's id
	learn    bool      // the ledger does not know its username
}

// matched finds the Fluent customer. placed says of a username what placeOf
// does; carrying are the usernames of those that carry the id, the one that was
// made first before the others.
//
// A username under which something was written for certain is the customer's,
// whatever it carries: so the handler has it. One that is merely intended, or
// mapped, is only where no customer carries the id.
func matched(m ct2fluent.Memory, mapped, alternative string, placed func(username string) place, carrying []string) match {
	certain := m.Username != "" && m.Version > 0
	switch {
	case certain && placed(m.Username) != vacant:
		found := match{username: m.Username, foreign: placed(m.Username) == foreign}
		if found.others = without(carrying, m.Username); len(found.others) > 0 {
			found.kind, found.why = Ambiguous, whyTwins
		}
		return found
	case certain && len(carrying) == 0:
		return match{kind: Missing}
	case m.Username != "" && len(carrying) > 0 && !slices.Contains(carrying, m.Username):
		// A create under the username remembered would make a second one.
		return match{kind: Ambiguous, why: whyElsewhere, username: carrying[0]}
	case len(carrying) == 1:
		return match{username: carrying[0], learn: m.Username == ""}
	case len(carrying) > 1:
		stays := carrying[0]
		for _, name := range []string{alternative, mapped, m.Username} {
			if slices.Contains(carrying, name) {
				stays = name
			}
		}
		return match{kind: Ambiguous, why: whyTwins, username: stays, others: without(carrying, stays), learn: m.Username == ""}
	}
	d := identify(ct2fluent.Memory{Username: m.Username}, mapped, alternative)
	for d.next() == lookUp {
		d = d.looked(placed(d.username))
	}
	switch d.next() {
	case create:
		return match{kind: Missing}
	case update:
		return match{username: d.username}
	}
	return match{kind: Ambiguous, why: whyUsername}
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

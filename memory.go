package ct2fluent

// A Memory is what the ledger remembers of a resource between batches.
type Memory struct {
	// Floor is the highest version ever read, written or worked. A read below
	// it is stale, also when the rest of the memory is in doubt.
	Floor int64 `json:"floor,omitempty"`
	// Version is the version whose work is done for certain; 0 for none.
	Version int64 `json:"version,omitempty"`
	// Deleted is the version up to which the customer is gone; all is done about
	// that where it is Version, too. Once it is not 0, Fluent's customer may
	// have been marked; it is negative where no version is gone any more.
	Deleted int64 `json:"deleted,omitempty"`
	// DeletedAt is when that was found out, in seconds of Unix time.
	DeletedAt int64 `json:"deletedAt,omitempty"`
	// Gone is when the customer was deleted, in milliseconds of Unix time: what
	// commercetools told, else when it was found gone. 0: not known.
	Gone int64 `json:"gone,omitempty"`
	// Username is the key of the Fluent customer, in the ledger before the
	// customer is created.
	Username string `json:"username,omitempty"`
	// Hash is of what was written last; empty when that is in doubt.
	Hash string `json:"hash,omitempty"`
	// Mapping is the fingerprint of the mapping under which the work of Version
	// was done, and Hash made, or by which the customer was left out.
	Mapping string `json:"mapping,omitempty"`
	// Attributes names the attributes that hold a value in Fluent.
	Attributes []string `json:"attributes,omitempty"`
}

package customer

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// Deletes says what becomes of the Fluent customer of a customer that
// commercetools no longer has.
type Deletes struct {
	// Mark writes the time of the delete into Attribute. Without it Fluent's
	// customer is left as it is.
	Mark bool
	// Attribute of type STRING. Default: commercetoolsDeleted.
	Attribute string
}

// defaultDeleted is the attribute of the mark.
const defaultDeleted = "commercetoolsDeleted"

const (
	// lagsFor is how long after its delete was announced a customer that is
	// still there may merely not be gone yet for that read.
	lagsFor = time.Minute
	// lagPause is when it is looked at again.
	lagPause = 5 * time.Second
)

// announcesDelete tells whether the customer is to be looked for because
// commercetools says that it is gone.
func (a *account) announcesDelete(n ct2fluent.Notification) bool {
	return a.deletes.Mark && n.Deletes()
}

// deleteDone tells whether all is done about the delete of a customer that was
// remembered: Fluent's customer is marked, or there is none.
func deleteDone(m ct2fluent.Memory) bool { return m.Deleted > 0 && m.Version == m.Deleted }

// deleted tells whether the notification is of a version that is known to be
// deleted, so that there is nothing to do and nothing to ask. Promise 4: what
// comes late of a deleted customer does not bring it back.
func deleted(n ct2fluent.Notification, m ct2fluent.Memory) bool {
	return n.Version > 0 && n.Version <= m.Deleted && deleteDone(m) && !n.Force && !n.Again
}

// lags tells whether a read that found the customer may be older than its
// delete, which is remembered or announced.
func lags(n ct2fluent.Notification, announced bool, m ct2fluent.Memory, version int64, now time.Time) bool {
	if version <= m.Deleted && now.Sub(time.Unix(m.DeletedAt, 0)) < lagsFor {
		return true
	}
	return announced && (version <= n.Version || n.Version == 0) && now.Sub(n.Received) < lagsFor
}

// alive is the memory of a customer that was read at a version: what was
// deleted lies below it, and Fluent may still say so.
func alive(m ct2fluent.Memory, version int64) ct2fluent.Memory {
	m.Floor, m.DeletedAt, m.Gone = version, 0, 0
	if m.Deleted != 0 {
		if m.Deleted = min(m.Deleted, version-1); m.Deleted == 0 {
			m.Deleted = -1
		}
	}
	return m
}

// bury prepares the mark of a customer that is gone, or ends the item where
// there is nothing to mark.
func (a *account) bury(it *item) {
	m, now := it.memory, time.Now()
	version, at, gone := max(floor(it.n, m), 1), m.DeletedAt, goneSince(it.n, m, now).UnixMilli()
	if version > m.Deleted {
		at = now.Unix()
	}
	if m.Username == "" || deleteDone(m) && !it.n.Force && !it.n.Again {
		it.memory = ct2fluent.Memory{Floor: version, Version: version, Username: m.Username, Deleted: version, DeletedAt: at, Gone: gone}
		it.end(ct2fluent.Skip("deleted"))
		return
	}
	it.id = identity{username: m.Username, alternative: m.Username}
	if m.Version > 0 {
		it.id.place = ours
	}
	m = doubt(m)
	// The mark is not there yet: not even where the delete has the version of
	// what was written last.
	m.Floor, m.Version, m.Deleted, m.DeletedAt, m.Gone = version, min(it.memory.Version, version-1), version, at, gone
	it.memory = m
}

// unmarked ends an item whose customer Fluent does not have. Nothing is certain
// of the username: a create may still land, and what sent it comes again.
func (it *item) unmarked() {
	it.memory = doubt(it.memory)
	it.end(ct2fluent.Skip("deleted"))
}

// mark is the write that says that a customer is gone, and nothing else.
func (a *account) mark(it *item) fluent.Write {
	return fluent.Write{Username: it.id.username, Fields: fluent.Fields{},
		Attributes: []fluent.Attribute{a.deletedAt(stamp(time.UnixMilli(it.memory.Gone)))}}
}

// deletedAt is the attribute; the empty text says that the customer is there.
func (a *account) deletedAt(when string) fluent.Attribute {
	value, _ := json.Marshal(when) // a text always is JSON
	return fluent.Attribute{Name: a.deletes.Attribute, Type: "STRING", Value: value}
}

// goneSince is when the customer was deleted. Of a delete that is remembered it
// stays what it was, whoever asks again, unless a notification of it tells an
// earlier time: what was found gone had gone before.
func goneSince(n ct2fluent.Notification, m ct2fluent.Memory, now time.Time) time.Time {
	told := deleteTime(n, now)
	var known time.Time
	switch {
	case m.Deleted <= 0:
		return told
	case m.Gone != 0:
		known = time.UnixMilli(m.Gone)
	case m.DeletedAt != 0:
		known = time.Unix(m.DeletedAt, 0)
	default:
		return told
	}
	// What tells of an earlier version tells of an earlier delete.
	if n.Deletes() && (n.Version == 0 || n.Version >= m.Deleted) && told.Before(known) {
		return told
	}
	return known
}

// deleteTime is when commercetools says that the customer was deleted; else
// when that was announced, and of one that was found gone the time of now.
func deleteTime(n ct2fluent.Notification, now time.Time) time.Time {
	when := now
	if n.Deletes() {
		var body struct {
			CreatedAt  time.Time `json:"createdAt"`  // of a message
			ModifiedAt time.Time `json:"modifiedAt"` // of a change
		}
		_ = json.Unmarshal(n.Body, &body) // a body that cannot be read tells no time
		for _, t := range []time.Time{n.Received, body.CreatedAt, body.ModifiedAt} {
			if !t.IsZero() {
				when = t
			}
		}
	}
	return when
}

// stamp is a time as the attribute holds it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// check fills in the default and refuses an attribute that says something else.
func (d Deletes) check(m *Mapping) (Deletes, error) {
	d.Attribute = orElse(d.Attribute, defaultDeleted)
	if m.writes(d.Attribute) {
		return d, fmt.Errorf("deletes.attribute: %s is an attribute of the mapping already", d.Attribute)
	}
	return d, nil
}

// writes tells whether the mapping has an attribute of that name.
func (m *Mapping) writes(name string) bool {
	return name == m.config.IDAttribute ||
		slices.ContainsFunc(m.attributes, func(a attribute) bool { return a.name == name })
}

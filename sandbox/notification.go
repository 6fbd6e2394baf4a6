package sandbox

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"strconv"
	"time"
)

// The kinds of an event, named as a notification names them.
const (
	created = "ResourceCreated"
	updated = "ResourceUpdated"
	deleted = "ResourceDeleted"
)

// An event is one change of a resource: all that its notifications are made
// of, however often they are delivered.
type event struct {
	kind         string
	id           uuid
	version, old int64
	at           int64 // milliseconds since 1970
	erasure      bool
	subscription bool // the resource is a subscription, not a customer
}

// A message tells of a change in detail. Nine update actions make none.
type message struct {
	typ      string
	fields   map[string]any
	id       uuid
	sequence int64
	payload  json.RawMessage // fields, once it is known that somebody wants them
}

// A note is what one subscription is owed of one event: the change itself, or
// one of its messages.
type note struct {
	to      *subscription
	event   *event
	message *message // nil: the change
}

// tooLarge is the size of a message's own fields from which they are left out:
// no destination takes more than 256 KB.
const tooLarge = 200_000

// body is the notification as the destination's queue gets it.
func (n note) body(project string) []byte {
	typeID, plural := "customer", "customers"
	if n.event.subscription {
		typeID, plural = "subscription", "subscriptions"
	}
	at := stamp(time.UnixMilli(n.event.at))
	doc := map[string]any{
		"projectKey":                      project,
		"resource":                        map[string]any{"typeId": typeID, "id": n.event.id.String()},
		"resourceUserProvidedIdentifiers": map[string]any{},
	}
	id, name, class := n.changeID(), n.event.kind, "change"
	if n.message == nil {
		n.change(doc, at)
	} else {
		id, name, class = n.message.id.String(), n.message.typ, "message"
		n.message.tell(doc, n.event.version, at)
	}
	_, destination, cloudEvents := n.to.target()
	if cloudEvents {
		doc = map[string]any{
			"specversion": "1.0", "id": id, "type": "com.commercetools." + typeID + "." + class + "." + name,
			"source": "/" + project + "/" + plural, "subject": n.event.id.String(), "time": at, "data": doc,
		}
		if n.message != nil {
			doc["sequence"], doc["sequencetype"] = strconv.FormatInt(n.message.sequence, 10), "Integer"
		}
	}
	if destination["type"] == "EventBridge" {
		doc = map[string]any{
			"version": "0", "id": id, "detail-type": class, "source": "aws.partner/commercetools.com/" + project + "/" + n.to.name(),
			"account": destination["accountId"], "time": at, "region": destination["region"], "resources": []any{}, "detail": doc,
		}
	}
	return encode(doc)
}

func (n note) change(doc map[string]any, at string) {
	e := n.event
	doc["notificationType"], doc["version"], doc["modifiedAt"] = e.kind, e.version, at
	// The real ones lack it at times.
	if e.kind == updated && (int64(e.id[0])+e.version)%8 != 0 {
		doc["oldVersion"] = e.old
	}
	if e.erasure {
		doc["dataErasure"] = true
	}
}

func (m *message) tell(doc map[string]any, version int64, at string) {
	if len(m.payload) > tooLarge {
		doc["payloadNotIncluded"] = map[string]any{"reason": "The payload is too large.", "payloadType": m.typ}
	} else {
		doc["type"] = m.typ
		var fields map[string]json.RawMessage
		if json.Unmarshal(m.payload, &fields) == nil {
			for name, v := range fields {
				doc[name] = v
			}
		}
	}
	maps.Copy(doc, map[string]any{
		"notificationType": "Message", "id": m.id.String(), "version": 1, "sequenceNumber": m.sequence,
		"resourceVersion": version, "createdAt": at, "lastModifiedAt": at,
	})
}

// changeID is the same however often a change is delivered.
func (n note) changeID() string {
	sum := sha256.Sum256([]byte(n.to.id.String() + n.event.id.String() + n.event.kind + strconv.FormatInt(n.event.version, 10)))
	return uuid(sum[:16]).String()
}

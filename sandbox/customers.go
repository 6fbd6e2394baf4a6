package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A customer is one version of a customer of commercetools. It is replaced,
// never changed, so that readers need no lock once they have it.
type customer struct {
	id                uuid
	version           int64
	created, modified int64  // milliseconds since 1970
	email             string // in lower case: unique whatever the case
	key               string
	messages          int64    // made so far
	stores            []string // keys
	packed            string   // the document
}

// A shelf is a set of customers as queries see it.
type shelf struct {
	ids, created, changed order[*customer]
}

func newShelf() shelf {
	return shelf{
		ids:     order[*customer]{compare: byID},
		created: order[*customer]{compare: byCreated},
		changed: order[*customer]{compare: byModified},
	}
}

// put replaces old by new; either may be nil.
func (s *shelf) put(old, new *customer) {
	if old != nil {
		s.ids.remove(old)
		s.created.remove(old)
		s.changed.remove(old)
	}
	if new != nil {
		s.ids.insert(new)
		s.created.insert(new)
		s.changed.insert(new)
	}
}

// one is the customer of an id; nil: none.
func (s *shelf) one(id uuid) *customer {
	block, at, found := s.ids.find(&customer{id: id})
	if !found {
		return nil
	}
	return s.ids.blocks[block][at]
}

// A change that queries do not see yet.
type change struct {
	at       time.Time
	old, new *customer
}

// Create makes a customer of a draft, as POST /customers does, and returns the
// document. Unlike over HTTP, the email may be missing: a customer without one
// is a case to be tested.
func (s *CommerceTools) Create(draft map[string]any) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc, err := s.fromDraft(draft)
	if err != nil {
		return nil, err
	}
	now := s.gate.now()
	doc["id"] = newUUID(s.rng).String()
	doc["createdAt"] = stamp(now)
	if _, err := s.commit(nil, doc, now, []message{{typ: "CustomerCreated", fields: map[string]any{"customer": doc}}}); err != nil {
		return nil, err
	}
	return doc, nil
}

// Update works update actions such as {"action":"setFirstName","firstName":"Jo"}
// on a customer, all or none, and returns the new document. Actions that change
// nothing leave the version as it is and make no notification.
func (s *CommerceTools) Update(id string, actions ...map[string]any) (map[string]any, error) {
	c, err := s.update(id, 0, actions)
	if err != nil {
		return nil, err
	}
	return s.document(c), nil
}

// update expects the version, unless it is 0.
func (s *CommerceTools) update(id string, version int64, actions []map[string]any) (*customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.expect(id, version)
	if err != nil {
		return nil, err
	}
	doc := s.document(old)
	var messages []message
	for i, a := range actions {
		made, err := s.apply(doc, a)
		if err != nil {
			return nil, fmt.Errorf("actions[%d]: %w", i, err)
		}
		messages = append(messages, made...)
	}
	if bytes.Equal(encode(doc), s.json(nil, old)) {
		return old, nil
	}
	return s.commit(old, doc, s.gate.now(), messages)
}

// Delete removes a customer.
func (s *CommerceTools) Delete(id string) error {
	_, err := s.remove(id, 0, false)
	return err
}

func (s *CommerceTools) remove(id string, version int64, erasure bool) (*customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.expect(id, version)
	if err != nil {
		return nil, err
	}
	now := s.gate.now()
	s.replace(old, nil, now)
	s.notify(event{kind: deleted, id: old.id, version: old.version + 1, at: now.UnixMilli(), erasure: erasure},
		old.messages, []message{{typ: "CustomerDeleted"}})
	return old, nil
}

func (s *CommerceTools) expect(id string, version int64) (*customer, error) {
	u, ok := parseUUID(id)
	old := s.fresh[u]
	if !ok || old == nil {
		return nil, notFound(id)
	}
	if version != 0 && version != old.version {
		return nil, conflict(old.version)
	}
	return old, nil
}

// commit makes doc the next version of a customer, or the first.
func (s *CommerceTools) commit(old *customer, doc map[string]any, now time.Time, messages []message) (*customer, error) {
	id, _ := parseUUID(doc["id"].(string))
	c := &customer{id: id, version: 1, created: now.UnixMilli(), modified: now.UnixMilli(),
		email: strings.ToLower(text(doc, "email")), key: text(doc, "key"), stores: storesOf(doc)}
	e := event{kind: created, id: id, at: c.modified}
	c.messages = int64(len(messages))
	if old != nil {
		c.messages += old.messages
		// Versions jump: nobody may compute the next one.
		c.version, c.created = old.version+1+s.rng.Int64N(2), old.created
		e.kind, e.old = updated, old.version
	}
	if other, taken := s.emails[c.email]; taken && c.email != "" && other != id {
		return nil, duplicate("email", doc["email"])
	}
	if other, taken := s.keys[c.key]; taken && c.key != "" && other != id {
		return nil, duplicate("key", doc["key"])
	}
	doc["version"], doc["lastModifiedAt"] = c.version, stamp(now)
	c.packed = s.packer.pack(encode(doc))
	s.replace(old, c, now)
	e.version = c.version
	s.notify(e, c.messages-int64(len(messages)), messages)
	return c, nil
}

// storesOf are the keys of the stores that a document names.
func storesOf(doc map[string]any) (keys []string) {
	list, _ := objects(doc["stores"])
	for _, s := range list {
		keys = append(keys, text(s, "key"))
	}
	return keys
}

// replace puts new in the place of old; either may be nil.
func (s *CommerceTools) replace(old, new *customer, now time.Time) {
	if old != nil {
		delete(s.fresh, old.id)
		delete(s.emails, old.email)
		delete(s.keys, old.key)
	}
	if new != nil {
		s.fresh[new.id] = new
		if new.email != "" {
			s.emails[new.email] = new.id
		}
		if new.key != "" {
			s.keys[new.key] = new.id
		}
	}
	if s.knobs.Lag == 0 && len(s.unseen) == 0 {
		s.seen.put(old, new)
		return
	}
	s.unseen = append(s.unseen, change{now, old, new})
}

// look lets queries see what is older than the lag.
func (s *CommerceTools) look() {
	until := s.gate.now().Add(-time.Duration(s.knobs.Lag))
	n := 0
	for n < len(s.unseen) && !s.unseen[n].at.After(until) {
		s.seen.put(s.unseen[n].old, s.unseen[n].new)
		n++
	}
	s.unseen = slices.Delete(s.unseen, 0, n)
}

// Customer returns the document of a customer.
func (s *CommerceTools) Customer(id string) (map[string]any, bool) {
	u, ok := parseUUID(id)
	s.mu.RLock()
	c := s.fresh[u]
	s.mu.RUnlock()
	if !ok || c == nil {
		return nil, false
	}
	return s.document(c), true
}

// Each calls f with the document of every customer, in no order.
func (s *CommerceTools) Each(f func(doc map[string]any)) {
	for _, c := range s.all() {
		f(s.document(c))
	}
}

func (s *CommerceTools) all() []*customer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.fresh))
}

// Len is the number of customers.
func (s *CommerceTools) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.fresh)
}

// IDs returns the ids of all customers in commercetools' own order.
func (s *CommerceTools) IDs() []string {
	all := s.all()
	slices.SortFunc(all, byID)
	ids := make([]string, len(all))
	for i, c := range all {
		ids[i] = c.id.String()
	}
	return ids
}

// json appends the document of a customer to dst.
func (s *CommerceTools) json(dst []byte, c *customer) []byte { return s.packer.unpack(dst, c.packed) }

func (s *CommerceTools) document(c *customer) map[string]any {
	doc, err := decodeObject(s.json(nil, c))
	if err != nil {
		panic("sandbox: a document it wrote cannot be read: " + err.Error())
	}
	return doc
}

// decodeObject keeps numbers as they were written.
func decodeObject(body []byte) (doc map[string]any, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	err = dec.Decode(&doc)
	if err == nil && doc == nil {
		err = fmt.Errorf("null is no object")
	}
	return doc, err
}

// encode writes what was decoded, or made of plain values.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("sandbox: a document of plain values cannot be written: " + err.Error())
	}
	return bytes.Clone(bytes.TrimRight(b.Bytes(), "\n"))
}

func text(doc map[string]any, field string) string {
	s, _ := doc[field].(string)
	return s
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// reference resolves a reference by key, as commercetools does: one key is
// always one id.
func reference(r map[string]any) (map[string]any, error) {
	typeID, id, key := text(r, "typeId"), text(r, "id"), text(r, "key")
	if id == "" && key != "" {
		sum := sha256.Sum256([]byte(typeID + "/" + key))
		id = uuid(sum[:16]).String()
	}
	if typeID == "" || id == "" {
		return nil, invalid("a reference needs a typeId and an id or a key")
	}
	return map[string]any{"typeId": typeID, "id": id}, nil
}

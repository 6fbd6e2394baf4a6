package sandbox

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// serveCustomers works the requests under /{project}/customers and, if store is
// not empty, the reads under /{project}/in-store/key={store}/customers.
func (s *CommerceTools) serveCustomers(r *http.Request, operation, store, name string, body []byte) (int, any, error) {
	switch operation {
	case "customers.query":
		doc, err := s.query(r.URL.Query(), store)
		return http.StatusOK, doc, err
	case "customers.get":
		c, err := s.read(name)
		if err == nil && store != "" && !slices.Contains(c.stores, store) {
			err = notFound(name)
		}
		return s.reply(http.StatusOK, c, err)
	case "customers.key":
		s.mu.RLock()
		c := s.fresh[s.keys[strings.TrimPrefix(name, "key=")]]
		s.mu.RUnlock()
		if c == nil || store != "" && !slices.Contains(c.stores, store) {
			return 0, nil, notFound(name)
		}
		return s.reply(http.StatusOK, c, nil)
	case "customers.create":
		draft, err := readObject(body)
		if err != nil {
			return 0, nil, err
		}
		if !strings.Contains(text(draft, "email"), "@") {
			return 0, nil, invalid("email is missing")
		}
		doc, err := s.Create(draft)
		return http.StatusCreated, map[string]any{"customer": doc}, err
	case "customers.update":
		u, err := readUpdate(body)
		if err != nil {
			return 0, nil, err
		}
		c, err := s.update(name, u.version, u.actions)
		return s.reply(http.StatusOK, c, err)
	}
	version, err := queryVersion(r)
	if err != nil {
		return 0, nil, err
	}
	c, err := s.remove(name, version, r.URL.Query().Get("dataErasure") == "true")
	return s.reply(http.StatusOK, c, err)
}

func (s *CommerceTools) reply(status int, c *customer, err error) (int, any, error) {
	if err != nil {
		return 0, nil, err
	}
	return status, json.RawMessage(s.json(nil, c)), nil
}

// read is the fresh read, unless the knobs have it lag.
func (s *CommerceTools) read(id string) (*customer, error) {
	u, _ := parseUUID(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.fresh[u]
	if s.knobs.LagByID {
		s.look()
		c = s.seen.one(u)
	}
	if c == nil {
		return nil, notFound(id)
	}
	return c, nil
}

const (
	defaultLimit = 20
	maxLimit     = 500
	maxOffset    = 10_000
)

// query answers GET /customers, or that of a store.
func (s *CommerceTools) query(q url.Values, store string) (json.RawMessage, error) {
	where, err := predicate(q)
	if err != nil {
		return nil, err
	}
	sort, err := sorting(q["sort"])
	if err != nil {
		return nil, err
	}
	limit, err := number(q, "limit", defaultLimit, maxLimit)
	if err != nil {
		return nil, err
	}
	offset, err := number(q, "offset", 0, maxOffset)
	if err != nil {
		return nil, err
	}
	if store != "" {
		in := &term{field: "stores.key", op: "=", values: []string{store}}
		if where != nil {
			in = &term{op: "and", parts: []*term{in, where}}
		}
		where = in
	}
	page, total := s.find(where, sort, offset, limit, q.Get("withTotal") != "false")
	b := make([]byte, 0, 128+1024*len(page))
	b = append(b, `{"limit":`+strconv.Itoa(limit)+`,"offset":`+strconv.Itoa(offset)+`,"count":`+strconv.Itoa(len(page))...)
	if total >= 0 {
		b = append(b, `,"total":`+strconv.Itoa(total)...)
	}
	b = append(b, `,"results":[`...)
	for i, c := range page {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.json(b, c)
	}
	return append(b, `]}`...), nil
}

// predicate reads the where parameters, all of which must hold.
func predicate(q url.Values) (*term, error) {
	known := []string{"where", "sort", "limit", "offset", "withTotal", "expand"}
	for name := range q {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, "var.") {
			return nil, invalid("no query parameter " + name)
		}
	}
	var all *term
	for _, where := range q["where"] {
		t, err := parseWhere(where, q)
		if err != nil {
			return nil, err
		}
		if all != nil {
			t = &term{op: "and", parts: []*term{all, t}}
		}
		all = t
	}
	return all, nil
}

// A sortKey is a field and its direction.
type sortKey struct {
	field string
	desc  bool
}

func sorting(params []string) ([]sortKey, error) {
	var keys []sortKey
	for _, p := range params {
		field, direction, _ := strings.Cut(strings.TrimSpace(p), " ")
		if !slices.Contains([]string{"id", "createdAt", "lastModifiedAt"}, field) ||
			direction != "" && direction != "asc" && direction != "desc" {
			return nil, invalid("Malformed parameter: sort")
		}
		keys = append(keys, sortKey{field, direction == "desc"})
	}
	return keys, nil
}

func number(q url.Values, name string, def, highest int) (int, error) {
	v := q.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > highest {
		return 0, invalid("Malformed parameter: " + name + ": must be between 0 and " + strconv.Itoa(highest))
	}
	return n, nil
}

// find returns a page of the customers that queries see, and their number,
// which is -1 if it is not wanted. Of a predicate counting ends at maxOffset.
func (s *CommerceTools) find(where *term, sort []sortKey, offset, limit int, total bool) ([]*customer, int) {
	s.mu.Lock()
	s.look()
	s.mu.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var page []*customer
	n := 0
	document := s.document
	take := func(c *customer) bool {
		if !where.holds(c, document) {
			return true
		}
		if n++; n > offset && len(page) < limit {
			page = append(page, c)
		}
		return len(page) < limit || total && where != nil && n < maxOffset
	}
	if ids, ok := where.named(); ok {
		s.seen.some(ids, sort, take)
	} else {
		wanted := offset + limit
		if total {
			wanted = max(wanted, maxOffset/10)
		}
		s.seen.walk(where, sort, wanted, take)
	}
	switch {
	case !total:
		n = -1
	case where == nil:
		n = s.seen.ids.len()
	default:
		n = min(n, maxOffset)
	}
	return page, n
}

// some yields the customers of these ids.
func (s *shelf) some(ids []uuid, sort []sortKey, yield func(*customer) bool) {
	found := map[*customer]bool{}
	for _, id := range ids {
		if c := s.one(id); c != nil {
			found[c] = true
		}
	}
	for _, c := range slices.SortedFunc(maps.Keys(found), compareBy(sort)) {
		if !yield(c) {
			return
		}
	}
}

// walk yields customers in the order asked for, between the first and the last
// that the predicate can be true of: by the index of that order, or by that of
// the times if it is quicker to sort what is of these times. wanted is how many
// will be asked for.
func (s *shelf) walk(where *term, sort []sortKey, wanted int, yield func(*customer) bool) {
	index, field := &s.ids, "id"
	if len(sort) > 0 {
		index, field = s.index(sort[0].field)
	}
	ready := indexed(sort)
	if ready {
		wanted = max(1, wanted)
		for _, f := range times {
			other, _ := s.index(f)
			low, high := where.bounds(f, other.compare)
			if f == field || low == nil || high == nil {
				continue
			}
			// Found one by one they are met once in so many.
			if n := other.between(low, high); n*n < wanted*s.ids.len() {
				index, field, ready = other, f, false
				break
			}
		}
	}
	low, high := where.bounds(field, index.compare)
	if low == nil {
		low = &customer{}
	}
	values := index.from(low)
	if high != nil {
		values = until(values, func(c *customer) bool { return index.compare(c, high) <= 0 })
	}
	if !ready {
		values = slices.Values(slices.SortedFunc(values, compareBy(sort)))
	}
	for c := range values {
		if !yield(c) {
			return
		}
	}
}

// index is the one sorted by a field.
func (s *shelf) index(field string) (*order[*customer], string) {
	switch field {
	case "createdAt":
		return &s.created, field
	case "lastModifiedAt":
		return &s.changed, field
	}
	return &s.ids, field
}

func until[T any](values iter.Seq[T], holds func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range values {
			if !holds(v) || !yield(v) {
				return
			}
		}
	}
}

// indexed tells whether an index has the order as it is.
func indexed(sort []sortKey) bool {
	for i, k := range sort {
		if k.desc || i == 1 && k.field != "id" || i > 1 {
			return false
		}
	}
	return true
}

func compareBy(sort []sortKey) func(a, b *customer) int {
	return func(a, b *customer) int {
		for _, k := range sort {
			var n int
			switch k.field {
			case "id":
				n = byID(a, b)
			case "createdAt":
				n = cmp.Compare(a.created, b.created)
			case "lastModifiedAt":
				n = cmp.Compare(a.modified, b.modified)
			}
			if k.desc {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return byID(a, b)
	}
}

// An updateRequest is the body of an update.
type updateRequest struct {
	version int64
	actions []map[string]any
}

func readUpdate(body []byte) (updateRequest, error) {
	doc, err := readObject(body)
	if err != nil {
		return updateRequest{}, err
	}
	var u updateRequest
	if u.version, err = neededVersion(doc["version"]); err != nil {
		return u, err
	}
	u.actions, err = objects(doc["actions"])
	return u, err
}

func neededVersion(v any) (int64, error) {
	n, ok := integer(v)
	if !ok || n < 1 {
		return 0, invalid("version is missing")
	}
	return n, nil
}

func queryVersion(r *http.Request) (int64, error) {
	return neededVersion(json.Number(r.URL.Query().Get("version")))
}

func readObject(body []byte) (map[string]any, error) {
	doc, err := decodeObject(body)
	if err != nil {
		return nil, &ctError{Status: 400, Code: "InvalidJsonInput", Message: "Request body does not contain valid JSON."}
	}
	return doc, nil
}

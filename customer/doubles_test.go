package customer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A shop is commercetools in memory.
type shop struct {
	mu     sync.Mutex
	fresh  map[string]commercetools.Customer // what a GET by id gives
	lags   map[string]commercetools.Customer // what a query gives in its place; without an id: nothing
	errs   map[string]error                  // of a GET by id
	query  error
	gets   int
	querys int
}

func (s *shop) Customer(_ context.Context, id string) (*commercetools.Customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if err := s.errs[id]; err != nil {
		return nil, err
	}
	c, ok := s.fresh[id]
	if !ok {
		return nil, &commercetools.Error{Kind: commercetools.NotFound, Status: 404}
	}
	return &c, nil
}

func (s *shop) Customers(_ context.Context, ids []string) ([]commercetools.Customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.querys++
	var got []commercetools.Customer
	for _, id := range ids {
		c, ok := s.fresh[id]
		if old, lags := s.lags[id]; lags {
			c, ok = old, old.ID != ""
		}
		if ok {
			got = append(got, c)
		}
	}
	return got, s.query
}

func (s *shop) set(c commercetools.Customer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh[c.ID] = c
}

// An om is Fluent in memory: unique usernames, attributes merged by name.
type om struct {
	mu        sync.Mutex
	customers map[string]*fluent.Customer

	lookupErr func(usernames []string) error
	before    func(w fluent.Write) error // answers a write in place of applying it
	after     func(w fluent.Write) error // replaces the answer of a write that was applied
	hides     map[string]bool            // usernames that no lookup shows
	arrived   func(ws []fluent.Write)    // called without the lock

	lookups, requests int
	writes            []fluent.Write
}

func (o *om) Lookup(_ context.Context, usernames []string, _ bool) (map[string]fluent.Customer, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lookups++
	if o.lookupErr != nil {
		if err := o.lookupErr(usernames); err != nil {
			return nil, err
		}
	}
	found := map[string]fluent.Customer{}
	for _, u := range usernames {
		if c := o.customers[u]; c != nil && !o.hides[u] {
			found[u] = *c
		}
	}
	return found, nil
}

func (o *om) Write(_ context.Context, ws []fluent.Write) []error {
	if o.arrived != nil {
		o.arrived(ws)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests++
	errs := make([]error, len(ws))
	for i, w := range ws {
		o.writes = append(o.writes, w)
		if o.before != nil {
			if errs[i] = o.before(w); errs[i] != nil {
				continue
			}
		}
		errs[i] = o.apply(w)
		if o.after != nil && errs[i] == nil {
			errs[i] = o.after(w)
		}
	}
	return errs
}

func (o *om) apply(w fluent.Write) error {
	c := o.customers[w.Username]
	switch {
	case w.Create && c != nil:
		return &fluent.Error{Kind: fluent.Exists, Code: "C0121E"}
	case !w.Create && c == nil:
		return &fluent.Error{Kind: fluent.Missing, Code: "C0120E"}
	case w.Create:
		c = existing(w.Username, "", w.RetailerID)
		o.customers[w.Username] = c
	}
	texts := map[string]**string{"title": &c.Title, "country": &c.Country, "firstName": &c.FirstName, "lastName": &c.LastName,
		"primaryEmail": &c.PrimaryEmail, "primaryPhone": &c.PrimaryPhone, "timezone": &c.Timezone}
	for name, v := range w.Fields {
		if b, ok := v.(bool); ok {
			c.PromotionOptIn = &b
			continue
		}
		*texts[name] = nil
		if s, ok := v.(string); ok {
			*texts[name] = &s
		}
	}
	merged := slices.Clone(c.Attributes)
	for _, a := range w.Attributes {
		merged = slices.DeleteFunc(merged, func(old fluent.Attribute) bool { return old.Name == a.Name })
		merged = append(merged, a)
	}
	c.Attributes = merged
	return nil
}

func (o *om) Scan(_ context.Context, after string, first int, _ bool) (fluent.Page, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := slices.Sorted(maps.Keys(o.customers))
	from, _ := slices.BinarySearch(names, after+"\x00")
	var page fluent.Page
	for _, n := range names[from:min(from+first, len(names))] {
		page.Customers = append(page.Customers, *o.customers[n])
	}
	if from+first < len(names) {
		page.Next = names[from+first-1]
	}
	return page, nil
}

// id gives the commercetools id that the customer of a username carries.
func (o *om) id(username string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.customers[username] == nil {
		return "nobody"
	}
	id, _ := attributeText(o.customers[username].Attributes, "commercetoolsId")
	return id
}

// existing is a Fluent customer as some other program might have made it.
func existing(username, id, retailer string) *fluent.Customer {
	c := &fluent.Customer{ID: "f-" + strings.ReplaceAll(username, "@", "-"), Username: username}
	doc := fmt.Sprintf(`{"retailer":{"id":%q}}`, retailer)
	if retailer != "" {
		if err := json.Unmarshal([]byte(doc), c); err != nil {
			panic(err)
		}
	}
	if id != "" {
		c.Attributes = []fluent.Attribute{{Name: "commercetoolsId", Type: "STRING", Value: json.RawMessage(fmt.Sprintf("%q", id))}}
	}
	return c
}

// ofRetailer moves a customer.
func ofRetailer(c *fluent.Customer, retailer string) *fluent.Customer {
	c.Retailer = existing("", "", retailer).Retailer
	return c
}

// A notebook is a ledger in memory.
type notebook struct {
	mu        sync.Mutex
	memories  map[ct2fluent.Ref]ct2fluent.Memory
	marks     map[string]string
	err       error // of everything
	intendErr error
	intents   int
}

func (l *notebook) Recall(_ context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := map[ct2fluent.Ref]ct2fluent.Memory{}
	for _, r := range refs {
		if m, ok := l.memories[r]; ok {
			got[r] = m
		}
	}
	return got, l.err
}

func (l *notebook) Remember(_ context.Context, ref ct2fluent.Ref, m ct2fluent.Memory) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memories[ref] = m
}

func (l *notebook) Intend(_ context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intents++
	if l.intendErr == nil {
		maps.Copy(l.memories, ms)
	}
	return l.intendErr
}

func (l *notebook) Adopt(_ context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r, m := range ms {
		if _, ok := l.memories[r]; !ok {
			l.memories[r] = m
		}
	}
	return l.err
}

func (l *notebook) Known(context.Context, string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.memories) > 0, l.err
}

func (l *notebook) Mark(_ context.Context, name string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marks[name], l.err
}

func (l *notebook) SetMark(_ context.Context, name, value string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks[name] = value
	return l.err
}

func (l *notebook) of(id string) ct2fluent.Memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memories[ref(id)]
}

// A world is a handler and all that it talks to. Its ledger is filled.
type world struct {
	*Handler
	shop   *shop
	om     *om
	ledger *notebook
}

func newWorld(t testing.TB, options ...func(*Options)) *world {
	t.Helper()
	w := &world{
		shop:   &shop{fresh: map[string]commercetools.Customer{}, lags: map[string]commercetools.Customer{}, errs: map[string]error{}},
		om:     &om{customers: map[string]*fluent.Customer{}, hides: map[string]bool{}},
		ledger: &notebook{memories: map[ct2fluent.Ref]ct2fluent.Memory{}, marks: map[string]string{"fill/shop": markDone}},
	}
	o := Options{
		Accounts: []Account{{Project: "shop", RetailerID: "1", From: w.shop, To: w.om}},
		Ledger:   w.ledger,
		Mapping:  mustCompile(t, MappingConfig{Attributes: []Attribute{{Name: "key", Value: Expression{Text: "customer.key"}}}}),
	}
	for _, option := range options {
		option(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.Handler = h
	return w
}

// person is a customer of commercetools whose email is ID@x.
func person(id string, version int64) commercetools.Customer {
	return commercetools.Customer{ID: id, Version: version, Email: id + "@x", LastName: fmt.Sprintf("v%d", version)}
}

func ref(id string) ct2fluent.Ref {
	return ct2fluent.Ref{Project: "shop", TypeID: "customer", ID: id}
}

func updated(id string, version int64) ct2fluent.Notification {
	return ct2fluent.Notification{ID: fmt.Sprintf("%s/%d", id, version), Ref: ref(id), Kind: "ResourceUpdated", Name: "ResourceUpdated", Version: version}
}

// carried brings along a customer as a page gave it.
func carried(c commercetools.Customer) ct2fluent.Notification {
	n := updated(c.ID, c.Version)
	n.Own, n.Bulk, n.Run = true, true, "bulk-1"
	body, err := json.Marshal(c)
	if err != nil {
		panic(err) // it is made of texts
	}
	n.Body = body
	return n
}

func again(n ct2fluent.Notification) ct2fluent.Notification  { n.Again = true; return n }
func forced(n ct2fluent.Notification) ct2fluent.Notification { n.Force = true; return n }

// said renders an outcome: "written", "dead refused", "skipped known".
func said(err error) string {
	o, reason, _ := ct2fluent.OutcomeOf(err)
	return strings.TrimSpace(o.String() + " " + reason)
}

func (w *world) handle(t testing.TB, ns ...ct2fluent.Notification) []string {
	t.Helper()
	var words []string
	for i, err := range w.Handle(t.Context(), ns) {
		if err != nil && strings.Contains(err.Error(), "@") {
			t.Errorf("promise 7: %s: %v", ns[i].Ref, err)
		}
		words = append(words, said(err))
	}
	return words
}

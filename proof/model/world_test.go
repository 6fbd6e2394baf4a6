package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/nats-io/nats.go"
)

// A world is commercetools and Fluent, and what goes wrong with them.
type world struct {
	mu       sync.Mutex
	versions map[string][]commercetools.Customer // of each customer, oldest first
	fluent   map[string]*kept
	run      map[string]bool  // the customers that a bulk run has put
	notified map[string]int64 // the newest version that was acknowledged to its source
	faults   map[string][]string
	calls    map[string]int
	blamed   map[string]int             // how often a customer failed by a fault of its own
	deletes  map[string]map[int64]grave // the versions that are deletes
	down     bool
	busy     map[string]int // calls at hand, by process and customer
	flying   int
	wrong    []string
}

// A kept customer is one of Fluent's.
type kept struct {
	id     string
	fields map[string]any
	key    string // the attribute
	mark   string // when it was deleted; empty: it was not
}

// A grave is a delete.
type grave struct {
	at     time.Time
	stated int64 // the version that its notification tells
}

// buried gives the delete that is a customer's newest version.
func (w *world) buried(who string) (grave, bool) {
	g, ok := w.deletes[who][int64(len(w.versions[who]))]
	return g, ok
}

// lastDelete is the newest version of a customer that is a delete; 0 for none.
func (w *world) lastDelete(who string) (last int64) {
	for v := range w.deletes[who] {
		last = max(last, v)
	}
	return last
}

// bury deletes a customer: a version of its own, which its notification tells,
// or which it does not.
func (w *world) bury(who string, same bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, gone := w.buried(who); gone {
		return
	}
	vs := w.versions[who]
	v := int64(len(vs) + 1)
	g := grave{time.Now(), v}
	if same {
		g.stated = v - 1
	}
	if w.deletes[who] == nil {
		w.deletes[who] = map[int64]grave{}
	}
	last := vs[v-2]
	last.Version = v
	w.versions[who], w.deletes[who][v] = append(vs, last), g
}

func newWorld(h history) *world {
	return &world{
		versions: map[string][]commercetools.Customer{}, deletes: map[string]map[int64]grave{}, fluent: map[string]*kept{}, notified: map[string]int64{}, run: map[string]bool{},
		faults: h.faults, calls: map[string]int{}, blamed: map[string]int{}, busy: map[string]int{},
	}
}

func (w *world) violate(says string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(says, args...))
}

// change makes a new version of a customer.
func (w *world) change(who, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, gone := w.buried(who); gone && what != "return" {
		return
	}
	vs := w.versions[who]
	n := int64(len(vs) + 1)
	c := commercetools.Customer{ID: who, Version: n, Email: who + "@x"}
	if n > 1 {
		c = vs[n-2]
		c.Version = n
	}
	switch what {
	case "undo":
		if n > 2 {
			c = vs[n-3]
			c.Version = n
		}
	case "email":
		c.Email = fmt.Sprintf("%s%d@x", who, n)
	case "share":
		c.Email = "both@x"
	}
	if what != "undo" {
		// A title and a key that come and go: what is gone must be cleared.
		c.LastName, c.Title, c.Key = fmt.Sprint("v", n), "", ""
		if n%2 == 1 {
			c.Title, c.Key = "Dr", fmt.Sprint("k", n)
		}
	}
	w.versions[who] = append(vs, c)
}

// fault is what goes wrong with the next call.
func (w *world) fault(key string) string {
	if w.down && key != "ledger" {
		return "down"
	}
	i := w.calls[key]
	w.calls[key]++
	if i < len(w.faults[key]) {
		return w.faults[key][i]
	}
	return ""
}

// A side is the world as one process has it. Once the process is dead, nothing
// that it does is felt any more.
type side struct {
	*world
	name string
	*life
}

// gone tells whether the process is dead: then it sends nothing more. Nor is
// there more to see once something is wrong.
func (s side) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead || len(s.wrong) > 0
}

const latency = 50 * time.Millisecond

// at notes that a call about a customer is at hand, and gives its end. Promise
// 4: no two batches hold one customer.
func (s side) at(who string) func() {
	key := s.name + who
	s.mu.Lock()
	s.busy[key]++
	if s.busy[key] > 1 {
		s.violate("two batches hold %s", who)
	}
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.busy[key]--
		s.mu.Unlock()
	}
}

func (s side) Customer(_ context.Context, who string) (*commercetools.Customer, error) {
	if s.gone() {
		return nil, &commercetools.Error{Kind: commercetools.Down}
	}
	defer s.at(who)()
	time.Sleep(latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	vs := s.versions[who]
	newest := len(vs) - 1
	g, gone := s.buried(who)
	switch f := s.fault("read " + who); f {
	case "old":
		s.blamed[who]++
		newest = max(0, newest-1)
	case "older":
		s.blamed[who]++
		newest = max(0, newest-2)
	case "down":
		return nil, &commercetools.Error{Kind: commercetools.Down, Status: 503}
	case "500":
		s.blamed[who]++
		return nil, &commercetools.Error{Kind: commercetools.Down, Status: 500}
	case "limited":
		return nil, &commercetools.Error{Kind: commercetools.Limited, Status: 429}
	}
	// That a read which lags does not find a customer that is there is not made
	// good: docs/promises.md says so.
	if _, none := s.deletes[who][int64(newest+1)]; none && !gone {
		newest = len(vs) - 1
	}
	// A read that does not see a delete lags for less than a minute.
	if _, none := s.deletes[who][int64(newest+1)]; none || gone && time.Since(g.at) > 50*time.Second {
		return nil, &commercetools.Error{Kind: commercetools.NotFound, Status: 404}
	}
	c := vs[newest]
	return &c, nil
}

func (s side) Customers(_ context.Context, ids []string) ([]commercetools.Customer, error) {
	if s.gone() {
		return nil, &commercetools.Error{Kind: commercetools.Down}
	}
	time.Sleep(latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, &commercetools.Error{Kind: commercetools.Down, Status: 503}
	}
	var got []commercetools.Customer
	for _, id := range ids {
		vs := s.versions[id]
		if at := max(0, len(vs)-2); s.deletes[id][int64(at+1)] == (grave{}) {
			got = append(got, vs[at]) // a query lags
		}
	}
	return got, nil
}

func (s side) Lookup(_ context.Context, usernames []string, _ bool) (map[string]fluent.Customer, error) {
	if s.gone() {
		return nil, &fluent.Error{Kind: fluent.Down}
	}
	time.Sleep(latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, &fluent.Error{Kind: fluent.Down}
	}
	found := map[string]fluent.Customer{}
	for _, u := range usernames {
		if c := s.fluent[u]; c != nil {
			found[u] = fluent.Customer{Username: u, Attributes: []fluent.Attribute{
				{Name: "commercetoolsId", Type: "STRING", Value: json.RawMessage(fmt.Sprintf("%q", c.id))}}}
		}
	}
	return found, nil
}

func (s side) Write(_ context.Context, ws []fluent.Write) []error {
	errs := make([]error, len(ws))
	if s.gone() {
		for i := range errs {
			errs[i] = &fluent.Error{Kind: fluent.Down}
		}
		return errs
	}
	for _, w := range ws {
		defer s.at(s.whose(w))()
	}
	time.Sleep(latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range ws {
		if s.dead {
			s.fly(w, 10*time.Second) // it was killed with the request on its way
			errs[i] = &fluent.Error{Kind: fluent.Unclear}
			continue
		}
		errs[i] = s.write(w)
	}
	return errs
}

func (s side) write(w fluent.Write) error {
	unclear := &fluent.Error{Kind: fluent.Unclear}
	who := s.idOf(w)
	switch s.fault("write " + who) {
	case "applied, no answer":
		_ = s.apply(w)
		return unclear
	case "never arrives":
		return unclear
	case "late":
		s.fly(w, 14*time.Second)
		return unclear
	case "down":
		return &fluent.Error{Kind: fluent.Down, Status: 503}
	case "limited":
		return &fluent.Error{Kind: fluent.Limited, Status: 429}
	case "500":
		s.blamed[who]++
		return &fluent.Error{Kind: fluent.Failed, Status: 500}
	case "refused":
		s.blamed[who] += 100
		return &fluent.Error{Kind: fluent.Refused, Code: "C9999"}
	}
	return s.apply(w)
}

// fly lets a write land later, before D has passed.
func (s side) fly(w fluent.Write, after time.Duration) {
	s.flying++
	time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flying--
		_ = s.apply(w) // nobody hears of it
	})
}

// whose is whom a write is about.
func (s side) whose(w fluent.Write) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idOf(w)
}

// idOf is the same where s.mu is held: a mark does not say whose it is.
func (s side) idOf(w fluent.Write) string {
	if c := s.fluent[w.Username]; c != nil && idOf(w) == "" {
		return c.id
	}
	return idOf(w)
}

func idOf(w fluent.Write) string {
	var id string
	for _, a := range w.Attributes {
		if a.Name == "commercetoolsId" {
			_ = json.Unmarshal(a.Value, &id) // none is none
		}
	}
	return id
}

func (s side) apply(w fluent.Write) error {
	c := s.fluent[w.Username]
	switch {
	case w.Create && c != nil:
		return &fluent.Error{Kind: fluent.Exists, Code: "C0121E"}
	case !w.Create && c == nil:
		return &fluent.Error{Kind: fluent.Missing, Code: "C0120E"}
	case w.Create:
		c = &kept{fields: map[string]any{}}
		s.fluent[w.Username] = c
	}
	id := s.idOf(w)
	if c.id != "" && c.id != id {
		s.violate("%s was written over %s", id, c.id)
	}
	c.id = id
	for name, v := range w.Fields {
		c.fields[name] = v
	}
	for _, a := range w.Attributes {
		switch a.Name {
		case "key":
			c.key = strings.Trim(string(a.Value), `"`)
		case "commercetoolsDeleted":
			c.mark = strings.Trim(string(a.Value), `"`)
		}
	}
	return nil
}

func (side) Scan(context.Context, string, int, bool) (fluent.Page, error) { return fluent.Page{}, nil }

// A disk is the ledger's journal as one process has it.
type disk struct {
	ledger.Journal
	side
}

var errDisk = errors.New("the disk fails")

func (d disk) Append(ctx context.Context, msgs ...*nats.Msg) (uint64, error) {
	d.mu.Lock()
	f := ""
	if d.begun {
		f = d.fault("ledger")
	}
	dead := d.dead
	d.mu.Unlock()
	if dead || f == "fails" {
		return 0, errDisk
	}
	last, err := d.Journal.Append(ctx, msgs...)
	if f == "answer lost" && err == nil {
		return 0, errDisk
	}
	return last, err
}

func (d disk) Newest(ctx context.Context, subjects ...string) (map[string]ledger.Message, error) {
	d.mu.Lock()
	dead := d.dead
	d.mu.Unlock()
	if dead {
		return nil, errDisk
	}
	return d.Journal.Newest(ctx, subjects...)
}

package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// One hand-out is worked by the real handler under the real ledger. What it
// does next is a function of the batch and of the answers it has had so far:
// so it is run once for each such history, from the start, up to the next
// question, and what it asked is kept in a tree.

// A question is what a worker waits for.
type question struct {
	kind     kind
	username string       // of lookUp and write
	create   bool         // of write
	version  uint8        // of write: whose mapping is sent
	entry    ledger.Entry // of save
	after    uint64       // of save: the sequence of the entry it is written over
	settled  []uint8      // of save: the sequences that are settled by it
	dead     bool         // of save: a dead letter goes with it
	note     ct2fluent.Notification
}

type kind uint8

const (
	load   kind = iota // the newest entry of the customer
	save               // write an entry over the one that was loaded
	read               // the customer from commercetools
	lookUp             // who has the username in Fluent
	write              // create or update in Fluent
	put                // put a notification into the queue
	ended              // the batch is worked
)

// An answer to a question.
type answer struct {
	result  result
	version uint8  // of read: what was read; of lookUp: 0 for nobody
	seq     uint64 // of load and save: where the entry is, 0 for none
	entry   string // of load: the entry
	mine    bool   // of load: it is the one this worker saved last
}

type result uint8

const (
	fine      result = iota
	lost             // done, and the answer is lost
	unclear          // nobody knows
	exists           // create of what is there
	missing          // update of what is not there
	overtaken        // save over an entry that is not the newest
)

// A node is a worker after a history of answers.
type node struct {
	id    int
	batch []ct2fluent.Notification
	past  []answer
	ask   question
	errs  []error // of ended
	next  map[answer]*node
}

// floor is the version below which a read is stale, by what the worker knows.
func (n *node) floor() uint8 {
	floor := uint8(0)
	for _, b := range n.batch {
		floor = max(floor, uint8(b.Version))
	}
	for _, a := range n.past {
		if a.entry != "" {
			floor = max(floor, uint8(entryOf(a.entry).Memory.Floor))
		}
	}
	return floor
}

// runs keeps the nodes.
type runs struct {
	product product
	shared  bool // the ledger, by two processes
	roots   map[string]*node
	count   int
	mapping *customer.Mapping
}

// A product is what the model checks: how the parts are put together. The
// leave-outs of the rules wrap them.
type product struct {
	writer  func(customer.Writer) customer.Writer
	ledger  func(customer.Ledger) customer.Ledger
	handler func(ct2fluent.Handler) ct2fluent.Handler
	put     func(putter) putter
	alone   bool // it takes the ledger for its own
}

// A putter puts into the queue.
type putter = func(ctx context.Context, ns ...ct2fluent.Notification) error

func newRuns(p product, shared bool) (*runs, error) {
	m, err := customer.CompileMapping(customer.MappingConfig{})
	if err != nil {
		return nil, err
	}
	return &runs{product: p, shared: shared, roots: map[string]*node{}, mapping: m}, nil
}

// begin is a worker that was given a batch.
func (r *runs) begin(batch []ct2fluent.Notification) *node {
	var key strings.Builder
	for _, n := range batch {
		fmt.Fprintf(&key, "%d:%d:%v:%v:%d:%v ", n.Seq, n.Version, n.Force, n.Again, n.Attempts, n.HasRead())
	}
	n := r.roots[key.String()]
	if n == nil {
		n = r.run(batch, nil)
		r.roots[key.String()] = n
	}
	return n
}

// after is the worker once it has its answer.
func (r *runs) after(n *node, a answer) *node {
	next := n.next[a]
	if next == nil {
		past := append(append(make([]answer, 0, len(n.past)+1), n.past...), a)
		next = r.run(n.batch, past)
		n.next[a] = next
	}
	return next
}

// run works a batch up to the first question that past does not answer.
func (r *runs) run(batch []ct2fluent.Notification, past []answer) *node {
	r.count++
	n := &node{id: r.count, batch: batch, past: past, next: map[answer]*node{}}
	g := &gate{past: past}
	o := ledger.Options{Journal: journal{g}, Put: g.put, MaxAttempts: 8, Shared: r.shared && !r.product.alone}
	if r.product.put != nil {
		o.Put = r.product.put(g.put)
	}
	l, err := ledger.Open(context.Background(), o)
	if err != nil {
		panic(err) // the journal answers what Open asks
	}
	var memory customer.Ledger = l
	if r.product.ledger != nil {
		memory = r.product.ledger(l)
	}
	var to customer.Writer = om{g}
	if r.product.writer != nil {
		to = r.product.writer(to)
	}
	h, err := customer.New(customer.Options{
		Accounts: []customer.Account{{Project: project, RetailerID: retailer, From: shop{g}, To: to}},
		Ledger:   memory, Mapping: r.mapping,
	})
	if err != nil {
		panic(err)
	}
	var inner ct2fluent.Handler = h
	if r.product.handler != nil {
		inner = r.product.handler(inner)
	}
	errs := l.Settle(inner).Handle(context.Background(), append([]ct2fluent.Notification(nil), batch...))
	if g.asked {
		n.ask = g.open
		return n
	}
	n.ask.kind, n.errs = ended, errs
	return n
}

// A gate answers from the past, and notes the first question beyond it. From
// then on all fails, so that the run ends.
type gate struct {
	past  []answer
	at    int
	saved []byte // what was saved last
	asked bool
	open  question
}

var errEnd = errors.New("the run ends here")

func (g *gate) ask(q question) (answer, error) {
	switch {
	case g.asked:
		return answer{}, errEnd
	case g.at == len(g.past):
		g.asked, g.open = true, q
		return answer{}, errEnd
	}
	g.at++
	return g.past[g.at-1], nil
}

func (g *gate) put(_ context.Context, ns ...ct2fluent.Notification) error {
	_, err := g.ask(question{kind: put, note: ns[0]})
	return err
}

// A journal is the ledger's, of one customer. The totals of several processes
// are not modelled: each finds them where it expects them.
type journal struct{ g *gate }

const (
	entrySubject  = "l.r."
	letterSubject = "l.d."
	totalsSubject = "l.t"
	marksSubject  = "l.m."
	totalsAt      = 1
	// The entry that was there when a process began after a crash is at doubted
	// or below. All that is written later is above.
	doubted = 100
)

func (j journal) Newest(_ context.Context, subjects ...string) (map[string]ledger.Message, error) {
	found := map[string]ledger.Message{}
	for _, s := range subjects {
		m := ledger.Message{Subject: s, Seq: totalsAt}
		switch {
		case s == totalsSubject:
			m.Data = fmt.Appendf(nil, `{"doubt":%d}`, doubted)
		case strings.HasPrefix(s, marksSubject):
			m.Data = []byte("done")
		default:
			a, err := j.g.ask(question{kind: load})
			if err != nil {
				return nil, err
			}
			if a.seq == 0 {
				continue
			}
			m.Seq, m.Data = a.seq, []byte(a.entry)
			if a.mine {
				m.Data = j.g.saved
			}
		}
		found[s] = m
	}
	return found, nil
}

func (j journal) Append(_ context.Context, msgs ...*nats.Msg) (uint64, error) {
	q := question{kind: save}
	for _, m := range msgs {
		switch {
		case strings.HasPrefix(m.Subject, entrySubject):
			if err := json.Unmarshal(m.Data, &q.entry); err != nil {
				return 0, err
			}
			j.g.saved = m.Data
			after, err := strconv.ParseUint(m.Header.Get(jetstream.ExpectedLastSubjSeqHeader), 10, 64)
			if err != nil {
				return 0, err
			}
			q.after = after
		case strings.HasPrefix(m.Subject, letterSubject):
			q.dead = true
		}
	}
	for _, r := range q.entry.Results {
		switch r.Outcome {
		case "retry", "unclear":
		default:
			q.settled = append(q.settled, uint8(r.Seq))
		}
	}
	a, err := j.g.ask(q)
	switch {
	case err != nil:
		return 0, err
	case a.result == overtaken:
		return 0, store.ErrOvertaken
	case a.result == lost:
		return 0, context.DeadlineExceeded
	}
	return a.seq + uint64(len(msgs)) - 1, nil
}

func (journal) Page(context.Context, string, uint64, int) (ledger.Page, error) {
	return ledger.Page{}, nil
}
func (journal) Remove(context.Context, uint64) error { return nil }
func (journal) Last(context.Context) (uint64, error) { return 0, nil }
func (journal) Clean() bool                          { return true }

const (
	project  = "shop"
	retailer = "1"
	jane     = "jane"
)

// The customer's versions: the second changes the email, so that a username
// made of it changes, too.
const versions = 3

func email(version uint8) string {
	if version == 1 {
		return "old@x"
	}
	return "new@x"
}

// customerOf is a version of the customer.
func customerOf(version uint8) commercetools.Customer {
	return commercetools.Customer{ID: jane, Version: int64(version), Email: email(version), LastName: fmt.Sprint(version)}
}

type shop struct{ g *gate }

func (s shop) Customer(context.Context, string) (*commercetools.Customer, error) {
	a, err := s.g.ask(question{kind: read})
	if err != nil {
		return nil, &commercetools.Error{Kind: commercetools.Down}
	}
	c := customerOf(a.version)
	return &c, nil
}

func (s shop) Customers(context.Context, []string) ([]commercetools.Customer, error) {
	return nil, nil // as one that lags: the customer is read by id
}

type om struct{ g *gate }

func (o om) Lookup(_ context.Context, usernames []string, _ bool) (map[string]fluent.Customer, error) {
	found := map[string]fluent.Customer{}
	for _, u := range usernames {
		a, err := o.g.ask(question{kind: lookUp, username: u})
		if err != nil {
			return nil, &fluent.Error{Kind: fluent.Down}
		}
		if a.version > 0 {
			found[u] = fluent.Customer{Username: u, Attributes: []fluent.Attribute{
				{Name: "commercetoolsId", Type: "STRING", Value: json.RawMessage(strconv.Quote(jane))}}}
		}
	}
	return found, nil
}

func (o om) Write(_ context.Context, ws []fluent.Write) []error {
	errs := make([]error, len(ws))
	for i, w := range ws {
		version, err := strconv.Atoi(fmt.Sprint(w.Fields["lastName"]))
		if err != nil {
			panic(err) // every version has a last name
		}
		a, err := o.g.ask(question{kind: write, username: w.Username, create: w.Create, version: uint8(version)})
		switch {
		case err != nil, a.result == unclear:
			errs[i] = &fluent.Error{Operation: "write", Kind: fluent.Unclear}
		case a.result == exists:
			errs[i] = &fluent.Error{Operation: "write", Kind: fluent.Exists}
		case a.result == missing:
			errs[i] = &fluent.Error{Operation: "write", Kind: fluent.Missing}
		}
	}
	return errs
}

func (om) Scan(context.Context, string, int, bool) (fluent.Page, error) { return fluent.Page{}, nil }

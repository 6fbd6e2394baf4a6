package model

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/queue"
)

// A breakage is the product broken on purpose: what its parts are wrapped in.
type breakage struct {
	product
	journal func(ledger.Journal) ledger.Journal
	work    func(ct2fluent.Handler) ct2fluent.Handler // around the ledger
	noWait  bool                                      // what comes again does not wait
	forgets bool                                      // a kill is taken for an orderly stop
	early   bool                                      // acknowledged before it is stored
}

// A life is one process: from its start to its end.
type life struct {
	begun  bool
	dead   bool
	queue  *queue.Memory
	ledger *ledger.Ledger
	stop   context.CancelFunc
	ended  chan error
}

// A play is a history on its way.
type play struct {
	*world
	breakage
	shelf   queue.Shelf
	kept    ledger.MemoryJournal
	mapping *customer.Mapping
	lives   int
	crashed bool
	*life
}

func compiled() (*customer.Mapping, error) {
	return customer.CompileMapping(customer.MappingConfig{Attributes: []customer.Attribute{
		{Name: "key", Type: "STRING", Value: customer.Expression{Text: "customer.key"}}}})
}

// run plays a history in time of its own, and says what was broken.
func run(t *testing.T, h history, m *customer.Mapping, b breakage) (wrong []string) {
	synctest.Test(t, func(*testing.T) {
		p := &play{world: newWorld(h), breakage: b, mapping: m}
		for _, who := range people {
			p.change(who, "change") // so that there is one to be told of
		}
		first, err := ledger.Open(context.Background(), ledger.Options{Journal: &p.kept})
		if err == nil {
			err = first.SetMark(context.Background(), "fill/"+project, "done")
		}
		if err != nil {
			wrong = []string{err.Error()}
			return
		}
		p.start()
		for _, e := range h.events {
			time.Sleep(e.after)
			if p.broken() {
				break
			}
			p.happens(e)
		}
		wrong = p.end()
	})
	return wrong
}

func (p *play) start() {
	p.lives++
	l := &life{ended: make(chan error, 1)}
	p.life = l
	s := side{world: p.world, name: fmt.Sprint(p.lives, " "), life: l}
	var journal ledger.Journal = disk{&p.kept, s}
	if p.journal != nil {
		journal = p.journal(journal)
	}
	wait := 15 * time.Second
	if p.noWait || p.forgets && p.crashed {
		wait = time.Nanosecond
	}
	l.queue = queue.NewMemory(&p.shelf, queue.Options{Projects: []string{project}, Workers: 3, BatchSize: 10, UnclearWait: wait})
	var err error
	l.ledger, err = ledger.Open(context.Background(), ledger.Options{Journal: journal, Put: l.queue.Put})
	if err != nil {
		panic(err) // nothing fails before life begins
	}
	l.begun = true
	var memory customer.Ledger = l.ledger
	if p.product.ledger != nil {
		memory = p.product.ledger(memory)
	}
	var to customer.Writer = s
	if p.product.writer != nil {
		to = p.product.writer(to)
	}
	h, err := customer.New(customer.Options{
		Accounts: []customer.Account{{Project: project, RetailerID: retailer, From: s, To: to}},
		Ledger:   memory, Mapping: p.mapping, Deletes: customer.Deletes{Mark: true},
	})
	if err != nil {
		panic(err)
	}
	var inner ct2fluent.Handler = h
	if p.product.handler != nil {
		inner = p.product.handler(inner)
	}
	if p.forgets && p.crashed {
		inner = noting(func(n *ct2fluent.Notification) { n.Again = false })(inner)
	}
	outer := l.ledger.Settle(inner)
	if p.work != nil {
		outer = p.work(outer)
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go func() { l.ended <- l.queue.Work(ctx, outer) }()
}

func (p *play) happens(e event) {
	switch e.what {
	case "change":
		p.change(e.who, e.what)
	case "tell", "email", "share", "undo":
		p.change(e.who, e.what)
		p.notify(e.who, 0)
	case "return":
		if _, gone := p.buried(e.who); gone {
			p.change(e.who, e.what)
			p.notify(e.who, 0)
		}
	case "delete", "vanish":
		p.bury(e.who, e.back > 0)
		if e.what == "delete" {
			p.notify(e.who, 0)
		}
	case "notify":
		p.notify(e.who, e.back)
	case "bulk", "anew":
		p.bulk(e.who, e.back, e.what == "anew")
	case "crash":
		p.kill(e.back)
		p.start()
	case "stop":
		p.halt()
		p.start()
	case "outage":
		p.set(true)
		time.Sleep(2 * time.Minute)
		p.set(false)
	}
}

func (p *play) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// notify tells of a version, and acknowledges once the queue has it.
func (p *play) notify(who string, back int) {
	p.mu.Lock()
	v := max(1, int64(len(p.versions[who])-back))
	p.mu.Unlock()
	n := ct2fluent.Notification{
		ID: fmt.Sprint(who, "/", v), Ref: ct2fluent.Ref{Project: project, TypeID: "customer", ID: who},
		Kind: "ResourceUpdated", Name: "ResourceUpdated", Version: v, Received: time.Now(),
	}
	p.mu.Lock()
	g, gone := p.deletes[who][v]
	p.mu.Unlock()
	if gone {
		n.ID += "/deleted"
		n.Kind, n.Name, n.Version = "ResourceDeleted", "ResourceDeleted", g.stated
	}
	if p.early {
		l := p.life
		time.AfterFunc(latency, func() { _ = l.queue.Put(context.Background(), n) })
	} else if err := p.queue.Put(context.Background(), n); err != nil {
		return // the source keeps it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notified[who] = max(p.notified[who], v)
}

// bulk puts a customer as a bulk run has read it, a while ago.
func (p *play) bulk(who string, back int, force bool) {
	p.mu.Lock()
	v := max(1, len(p.versions[who])-back)
	c := p.versions[who][v-1]
	_, gone := p.deletes[who][int64(v)]
	p.mu.Unlock()
	if gone {
		return
	}
	body, err := json.Marshal(c)
	if err != nil {
		panic(err) // it is made of texts
	}
	n := ct2fluent.Notification{
		ID: fmt.Sprint("bulk/", who, "/", v), Ref: ct2fluent.Ref{Project: project, TypeID: "customer", ID: who},
		Name: "bulk", Version: c.Version, Received: time.Now(), Bulk: true, Own: true, Run: "bulk-1", Force: force, Body: body,
	}
	if p.queue.Put(context.Background(), n) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notified[who] = max(p.notified[who], c.Version)
	p.run[who] = true
}

// kill ends the process as a kill does.
func (p *play) kill(lost int) {
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
	p.queue.Crash(lost)
	p.stop()
	p.kept.Reopened(false)
	p.crashed = true
}

func (p *play) halt() {
	p.stop()
	<-p.ended
	_ = p.queue.Close()
	p.kept.Reopened(true)
	p.crashed = false
}

// end lets all go well, until nothing is left to be done, and says what is
// wrong then.
func (p *play) end() []string {
	p.mu.Lock()
	p.faults = nil
	p.mu.Unlock()
	for deadline := time.Now().Add(time.Hour); !p.rests() && !p.broken(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			p.violate("an hour after all faults ended, %d notifications still wait", len(p.queue.Waiting()))
			break
		}
	}
	p.halt()
	time.Sleep(time.Minute) // what was killed ends, too
	p.judge()
	return p.wrong
}

func (p *play) broken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.wrong) > 0
}

func (p *play) rests() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flying == 0 && len(p.queue.Waiting()) == 0
}

// judge is the checker: promises 2, 3 and 4, once all has come to rest.
func (p *play) judge() {
	l, err := ledger.Open(context.Background(), ledger.Options{Journal: &p.kept})
	if err != nil {
		p.violate("the ledger does not open: %v", err)
		return
	}
	if got, want := l.Totals().Settled(), p.queue.Received(); got != want {
		p.violate("%d were received, and %d settled", want, got)
	}
	if got, want := l.RunTotals("bulk-1").Settled(), uint64(len(p.run)); got != want {
		p.violate("a run has put %d customers, and has counted %d", want, got)
	}
	dead := map[string]bool{}
	for d, err := range l.DeadLetters(context.Background(), ledger.Filter{}) {
		if err != nil {
			p.violate("the dead letters cannot be read: %v", err)
			return
		}
		who := d.Notification.Ref.ID
		dead[who] = true
		if p.blamed[who] < 8 {
			p.violate("a notification about %s is dead (%s), and it was no fault of its own", who, d.Reason)
		}
	}
	for _, who := range people {
		var has []string
		for u, c := range p.fluent {
			if c.id == who {
				has = append(has, u)
			}
		}
		_, gone := p.buried(who)
		last := p.lastDelete(who)
		switch {
		case len(has) > 1:
			p.violate("Fluent has %d customers for %s", len(has), who)
		case dead[who] || p.notified[who] == 0:
		case gone && p.notified[who] < last, !gone && p.notified[who] <= last:
			// What is true now was never told.
		case gone && len(has) == 1 && p.fluent[has[0]].mark == "":
			p.violate("%s was deleted, and Fluent's customer does not say so", who)
		case gone:
		case len(has) == 1 && p.fluent[has[0]].mark != "":
			p.violate("%s is there, and Fluent's customer says that it was deleted", who)
		case len(has) == 0:
			p.violate("version %d of %s was notified, and Fluent has no such customer", p.notified[who], who)
		default:
			p.same(who, p.fluent[has[0]])
		}
	}
}

// same checks that Fluent has the mapping of a version at least as new as any
// notified.
func (p *play) same(who string, c *kept) {
	for _, v := range p.versions[who][p.notified[who]-1:] {
		if _, gone := p.deletes[who][v.Version]; gone {
			continue
		}
		want := map[string]any{"title": nil, "lastName": v.LastName, "primaryEmail": v.Email}
		if v.Title != "" {
			want["title"] = v.Title
		}
		same := c.key == v.Key
		for name, value := range want {
			same = same && c.fields[name] == value
		}
		if same {
			return
		}
	}
	p.violate("version %d of %s was notified, and Fluent has %v %v %v, key %q, which is none since",
		p.notified[who], who, c.fields["title"], c.fields["lastName"], c.fields["primaryEmail"], c.key)
}

// Promises 2, 3 and 4 hold over random histories.
func TestHistories(t *testing.T) {
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		if wrong := run(t, h, m, breakage{}); len(wrong) > 0 {
			rt.Fatalf("%s  => %s", h, wrong[0])
		}
	})
}

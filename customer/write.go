package customer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// maxRounds bounds how often a batch looks again. Most need one round; a
// collision needs another, and so does every wait for a claim.
const maxRounds = 8

// write brings the items to Fluent, in rounds of at most one lookup and one
// request of writes.
func (a *account) write(ctx context.Context, items []*item) {
	for range maxRounds {
		if items = open(items); len(items) == 0 {
			return
		}
		a.round(ctx, items)
	}
	for _, it := range open(items) {
		if it.waits {
			it.end(ct2fluent.RetryAfter(pause, fmt.Errorf("write %s: its username is being decided for another customer", it.n.Ref)))
			continue
		}
		it.end(fmt.Errorf("write %s: Fluent keeps saying that the customer exists and that it does not", it.n.Ref))
	}
}

func (a *account) round(ctx context.Context, items []*item) {
	ready, claimed := a.claim(ctx, items)
	defer func() { a.claims.give(claimed...) }()

	a.stage("lookup", toDo(ready, lookUp), func(items []*item) { a.lookUp(ctx, items) })
	for _, it := range open(ready) {
		if it.gone && it.id.place != ours {
			it.unmarked()
		}
	}
	for _, it := range toDo(ready, reject) {
		it.end(ct2fluent.Reject(ct2fluent.WithReason("foreign-username",
			fmt.Errorf("write %s: the username and its alternative belong to other Fluent customers", it.n.Ref))))
	}
	for _, it := range toDo(ready, retry) {
		it.end(ct2fluent.WithReason("foreign-username",
			fmt.Errorf("write %s: Fluent says that the username exists, and does not show it", it.n.Ref)))
	}
	a.intend(ctx, toDo(ready, create, update))
	a.stage("write", toDo(ready, create, update), func(items []*item) { a.send(ctx, items) })
}

// toDo gives the open items whose next action is one of those.
func toDo(items []*item, actions ...action) []*item {
	return slices.DeleteFunc(open(items), func(it *item) bool { return !slices.Contains(actions, it.id.next()) })
}

// claim takes the usernames about which something is to be decided, and gives
// the items that can go on. Where none can, it waits until one could.
func (a *account) claim(ctx context.Context, items []*item) (ready []*item, claimed []string) {
	var busy <-chan struct{}
	for _, it := range items {
		it.waits = false
		if it.id.place == ours {
			ready = append(ready, it)
			continue
		}
		if b := a.claims.take(it.id.username); b != nil {
			it.waits, busy = true, b
			continue
		}
		claimed = append(claimed, it.id.username)
		ready = append(ready, it)
	}
	if len(ready) == 0 {
		select {
		case <-busy:
		case <-ctx.Done():
			endAll(items, ct2fluent.Unavailable(ctx.Err()))
		}
	}
	return ready, claimed
}

// lookUp asks who has the usernames: in one request, or, where that fails for
// a reason that may lie in one of them, one by one.
func (a *account) lookUp(ctx context.Context, items []*item) {
	err := a.lookUpTogether(ctx, items)
	if err == nil {
		return
	}
	if k := writeKind(err); len(items) == 1 || k != fluent.Refused && k != fluent.TooBig && k != fluent.Failed {
		endAll(items, lookupFault(err, false))
		return
	}
	var asking errgroup.Group
	asking.SetLimit(atOnce)
	for _, it := range items {
		asking.Go(func() error {
			it.answer = a.lookUpTogether(ctx, []*item{it})
			return nil
		})
	}
	_ = asking.Wait() // each item has its own answer
	company := slices.ContainsFunc(items, func(it *item) bool { return it.answer == nil })
	for _, it := range items {
		if it.answer != nil {
			it.end(lookupFault(it.answer, company))
		}
	}
}

func (a *account) lookUpTogether(ctx context.Context, items []*item) error {
	usernames := make([]string, len(items))
	for i, it := range items {
		usernames[i] = it.id.username
	}
	found, err := a.To.Lookup(ctx, usernames, false)
	if err != nil {
		return fmt.Errorf("look up %d customers: %w", len(items), err)
	}
	for _, it := range items {
		var has *fluent.Customer
		if c, ok := found[it.id.username]; ok {
			has = &c
		}
		p := placeOf(has, a.Mapping.config.IDAttribute, it.n.Ref.ID, a.RetailerID)
		before := it.id.username
		it.id = it.id.looked(p)
		if it.id.username != before {
			a.log.Warn("username belongs to another Fluent customer, trying the one made of the commercetools id", "customer", it.n.Ref.ID)
			count(a.observe.Collision, a.Project)
		}
		if p == unclaimed && !it.gone {
			count(a.observe.Adopted, a.Project)
		}
	}
	return nil
}

func count(f func(project string), project string) {
	if f != nil {
		f(project)
	}
}

// intend has in the ledger, before Fluent hears of them (promise 4), the
// usernames of customers to be created or adopted, and which are to be marked
// as deleted: a mark that lands unnoticed could not be taken back.
func (a *account) intend(ctx context.Context, items []*item) {
	intents := map[ct2fluent.Ref]ct2fluent.Memory{}
	var first []*item
	for _, it := range items {
		switch {
		case it.gone && it.stored.Deleted != it.memory.Deleted:
			intents[it.n.Ref] = it.memory
		case !it.gone && !intended(it.stored, it.id):
			intents[it.n.Ref] = intent(it.memory, it.id)
		default:
			continue
		}
		first = append(first, it)
	}
	if len(first) == 0 {
		return
	}
	if err := a.ledger.Intend(ctx, intents); err != nil {
		endAll(first, ct2fluent.RetryAfter(pause, fmt.Errorf("remember usernames: %w", err)))
		return
	}
	for _, it := range first {
		it.stored = intents[it.n.Ref]
		it.memory = it.stored
	}
}

// send writes the items and ends them by Fluent's answers. Those that met
// "already exists" or "not found" stay open for the next round.
func (a *account) send(ctx context.Context, items []*item) {
	var sending sync.WaitGroup
	for _, group := range groups(items) {
		sending.Go(func() { a.sendTogether(ctx, group) })
	}
	sending.Wait()
	company := slices.ContainsFunc(items, func(it *item) bool { return it.answer == nil })
	for _, it := range items {
		if it.answer == nil {
			it.memory = a.written(it)
			it.end(nil)
			continue
		}
		kind := writeKind(it.answer)
		if it.gone && kind == fluent.Missing {
			it.unmarked()
			continue
		}
		if creating := it.id.next() == create; kind == fluent.Exists && creating || kind == fluent.Missing && !creating {
			it.id = it.id.met(kind)
			continue
		}
		if kind == fluent.Unclear {
			it.memory = doubt(it.memory)
		}
		it.end(writeFault(fmt.Errorf("write %s: %w", it.n.Ref, it.answer), company))
	}
}

// groups parts the items into requests: all in one, but for those that come
// again, which go in two. A request whose answer is lost because of one of its
// customers would otherwise be lost again each time with all the others; so
// half of them are rid of it each time.
func groups(items []*item) [][]*item {
	var parts [3][]*item
	again := 0
	for _, it := range items {
		part := 0
		if it.n.Again {
			part = 1 + again%2
			again++
		}
		parts[part] = append(parts[part], it)
	}
	return slices.DeleteFunc(parts[:], func(part []*item) bool { return len(part) == 0 })
}

func (a *account) sendTogether(ctx context.Context, items []*item) {
	ws := make([]fluent.Write, len(items))
	for i, it := range items {
		if it.gone {
			ws[i] = a.mark(it)
			continue
		}
		if it.id.next() == create {
			ws[i] = a.Mapping.create(it.mapped, it.customer.ID, it.id.username, a.RetailerID)
			continue
		}
		ws[i] = a.Mapping.update(it.mapped, it.customer.ID, it.id.username,
			func(attribute string) bool { return holds(it.n, it.memory, attribute) })
		if it.memory.Deleted != 0 {
			ws[i].Attributes = append(ws[i].Attributes, a.deletedAt(""))
		}
	}
	errs := a.To.Write(ctx, ws)
	for i, it := range items {
		if i < len(errs) {
			it.answer = errs[i]
		} else {
			it.answer = errors.New("no answer")
		}
	}
}

// written is the memory of a customer that Fluent has confirmed.
func (a *account) written(it *item) ct2fluent.Memory {
	if it.gone {
		m := it.memory
		m.Version = m.Deleted
		return m
	}
	return ct2fluent.Memory{
		Floor:      it.customer.Version,
		Version:    it.customer.Version,
		Username:   it.id.username,
		Deleted:    it.memory.Deleted,
		Hash:       it.hash,
		Mapping:    a.Mapping.fingerprint,
		Attributes: it.mapped.holding(),
	}
}

package model

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
	"github.com/ct2fluent/ct2fluent/ledger"
)

// The product broken on purpose: the checker has to see each.
var breakages = []struct {
	name string
	breakage
}{
	{"the read floor is dropped", breakage{product: Rule1.product()}},
	{"an unclear write is taken for done", breakage{product: Rule2.product()}},
	{"an unclear write is sent again at once", breakage{product: Rule2Sent.product()}},
	{"Again is handed out without waiting D", breakage{noWait: true}},
	{"Again is skipped as known, or ends as unchanged", breakage{product: Rule4.product()}},
	{"a kill is taken for an orderly stop", breakage{forgets: true}},
	{"the username is not in the ledger before the create", breakage{product: Rule6.product()}},
	{"the username is lost", breakage{product: product{ledger: recalling(func(m *ct2fluent.Memory) { m.Username = "" })}}},
	{"two batches hold one customer", breakage{work: apart}},
	{"a hold counts as an attempt", breakage{product: product{handler: blaming}}},
	{"a null alias is not sent", breakage{product: product{writer: func(w customer.Writer) customer.Writer { return nullless{w} }}}},
	{"what has settled is settled again", breakage{journal: func(j ledger.Journal) ledger.Journal { return openless{j} }}},
	{"the hash survives a doubt, and what comes again may end as unchanged", breakage{product: product{
		ledger: func(l customer.Ledger) customer.Ledger {
			return &sure{Ledger: l, told: map[ct2fluent.Ref]ct2fluent.Memory{}}
		},
		handler: Rule4.product().handler,
	}}},
	{"a notification is acknowledged before it is stored", breakage{early: true}},
	{"another's customer is written over", breakage{product: product{writer: func(w customer.Writer) customer.Writer { return blind{w} }}}},
	{"a delete is forgotten", breakage{product: product{ledger: recalling(func(m *ct2fluent.Memory) { m.Deleted = 0 })}}},
	{"a delete that was noted counts as marked", breakage{product: product{ledger: recalling(func(m *ct2fluent.Memory) {
		if m.Deleted > 0 {
			m.Version = m.Deleted
		}
	})}}},
	{"what waits is acknowledged", breakage{work: hasty}},
	{"a read that was brought along is believed, whatever its version", breakage{product: CarriedFloor.product()}},
	{"what comes again with a read is worked as if it came first", breakage{product: CarriedAgain.product()}},
}

// Each of them is found among the histories that the product passes, and its
// shortest story is told.
func TestBroken(t *testing.T) {
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	histories := rapid.Custom(drawHistory)
	for _, tt := range breakages {
		t.Run(tt.name, func(t *testing.T) {
			fails := func(h history) bool { return len(run(t, h, m, tt.breakage)) > 0 }
			for seed := range 4000 {
				h := histories.Example(seed)
				if !fails(h) {
					continue
				}
				h = smaller(h, fails)
				// What is broken by chance alone may pass once more.
				t.Logf("seen in history %d:\n%s  => %v", seed, h, run(t, h, m, tt.breakage))
				return
			}
			t.Error("the checker does not see it")
		})
	}
}

// recalling passes on another memory than the ledger has.
func recalling(change func(*ct2fluent.Memory)) func(customer.Ledger) customer.Ledger {
	return func(l customer.Ledger) customer.Ledger { return forgetful{l, change} }
}

type forgetful struct {
	customer.Ledger
	change func(*ct2fluent.Memory)
}

func (l forgetful) Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error) {
	ms, err := l.Ledger.Recall(ctx, refs...)
	for ref, m := range ms {
		l.change(&m)
		ms[ref] = m
	}
	return ms, err
}

// apart works the notifications of a batch at once, each on its own.
func apart(h ct2fluent.Handler) ct2fluent.Handler {
	return ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		errs := make([]error, len(batch))
		var working sync.WaitGroup
		for i := range batch {
			working.Go(func() { errs[i] = h.Handle(ctx, batch[i:i+1])[0] })
		}
		working.Wait()
		return errs
	})
}

func blaming(h ct2fluent.Handler) ct2fluent.Handler {
	return ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		errs := h.Handle(ctx, batch)
		for i, err := range errs {
			if o, _, _ := ct2fluent.OutcomeOf(err); o == ct2fluent.Held {
				errs[i] = errors.New(err.Error())
			}
		}
		return errs
	})
}

// hasty acknowledges what is to be tried again.
func hasty(h ct2fluent.Handler) ct2fluent.Handler {
	return ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		errs := h.Handle(ctx, batch)
		for i, err := range errs {
			if o, _, _ := ct2fluent.OutcomeOf(err); o == ct2fluent.Later {
				errs[i] = nil
			}
		}
		return errs
	})
}

type nullless struct{ customer.Writer }

func (w nullless) Write(ctx context.Context, ws []fluent.Write) []error {
	ws = append([]fluent.Write(nil), ws...)
	for i := range ws {
		ws[i].Fields = maps.Clone(ws[i].Fields)
		maps.DeleteFunc(ws[i].Fields, func(_ string, v any) bool { return v == nil })
	}
	return w.Writer.Write(ctx, ws)
}

// blind does not see whose a customer is.
type blind struct{ customer.Writer }

func (w blind) Lookup(ctx context.Context, usernames []string, full bool) (map[string]fluent.Customer, error) {
	found, err := w.Writer.Lookup(ctx, usernames, full)
	for u, c := range found {
		c.Attributes = nil
		found[u] = c
	}
	return found, err
}

// openless forgets which sequences are settled.
type openless struct{ ledger.Journal }

func (j openless) Append(ctx context.Context, msgs ...*nats.Msg) (uint64, error) {
	for _, m := range msgs {
		var e ledger.Entry
		if !strings.HasPrefix(m.Subject, entrySubject) || json.Unmarshal(m.Data, &e) != nil {
			continue
		}
		e.Open = nil
		m.Data, _ = json.Marshal(e) // it was just read from JSON
	}
	return j.Journal.Append(ctx, msgs...)
}

// sure goes on believing what it has told the ledger last.
type sure struct {
	customer.Ledger
	mu   sync.Mutex
	told map[ct2fluent.Ref]ct2fluent.Memory
}

func (l *sure) Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error) {
	ms, err := l.Ledger.Recall(ctx, refs...)
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, m := range ms {
		if was, ok := l.told[ref]; ok && m.Hash == "" {
			m.Hash, m.Mapping, m.Attributes = was.Hash, was.Mapping, was.Attributes
		}
		m.Version = 0 // so that nothing is skipped as known
		ms[ref] = m
	}
	return ms, err
}

func (l *sure) Remember(ctx context.Context, ref ct2fluent.Ref, m ct2fluent.Memory) {
	l.mu.Lock()
	if m.Hash != "" {
		l.told[ref] = m
	}
	l.mu.Unlock()
	l.Ledger.Remember(ctx, ref, m)
}

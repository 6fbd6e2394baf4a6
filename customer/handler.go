package customer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A Reader reads customers of one commercetools project. Errors are
// *commercetools.Error. It is called by several goroutines at once.
type Reader interface {
	// Customer reads one, freshly. [commercetools.ErrNotFound] says that there
	// is none.
	Customer(ctx context.Context, id string) (*commercetools.Customer, error)
	// Customers reads many. The missing are just missing, and what it gives may
	// lag behind Customer.
	Customers(ctx context.Context, ids []string) ([]commercetools.Customer, error)
}

// A Writer looks up and writes customers of one Fluent account. Errors are
// *fluent.Error. It is called by several goroutines at once.
type Writer interface {
	// Lookup finds customers by username, exactly. The missing are just missing.
	Lookup(ctx context.Context, usernames []string, full bool) (map[string]fluent.Customer, error)
	// Write answers for each write, in order; nil says that Fluent has it.
	Write(ctx context.Context, ws []fluent.Write) []error
	// Scan gives a page of all customers, after the cursor of the last page.
	Scan(ctx context.Context, after string, first int, full bool) (fluent.Page, error)
}

// A Ledger remembers customers between batches.
type Ledger interface {
	// Recall gives the memories that there are. Inside Handle they cost no I/O.
	Recall(ctx context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error)
	// Remember has a memory written together with the batch's outcomes. It is
	// called inside Handle only, by several goroutines at once.
	Remember(ctx context.Context, ref ct2fluent.Ref, m ct2fluent.Memory)
	// Intend returns nil once the memories are on disk.
	Intend(ctx context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error
	// Adopt writes the memories of resources that have none yet.
	Adopt(ctx context.Context, ms map[ct2fluent.Ref]ct2fluent.Memory) error
	// Known tells whether there is any memory of the project's customers.
	Known(ctx context.Context, project string) (bool, error)
	// Mark gives the durable note of a name, empty where there is none.
	Mark(ctx context.Context, name string) (string, error)
	// SetMark writes one.
	SetMark(ctx context.Context, name, value string) error
}

// An Account is a commercetools project and the Fluent retailer it goes to.
type Account struct {
	Project    string // projectKey
	RetailerID string
	From       Reader
	To         Writer
	Mapping    *Mapping // default: that of Options
}

// Options of a Handler.
type Options struct {
	Accounts []Account // one per project
	Ledger   Ledger
	Mapping  *Mapping     // of accounts without their own; default: the default mapping
	Log      *slog.Logger // default: discard
	Observe  Observe
	Deletes  Deletes
}

// Observe is told what metrics are made of. Each function may be nil, must not
// block, and is called by several goroutines at once.
type Observe struct {
	// Stage: one of read, map, lookup, write took so long for so many customers.
	Stage func(project, stage string, customers int, took time.Duration)
	// Collision: a username was another Fluent customer's; the alternative,
	// made of the commercetools id, was tried instead.
	Collision func(project string)
	// Adopted: a Fluent customer without a commercetools id is to be given one.
	Adopted func(project string)
	// Twin: two Fluent customers carry one commercetools id.
	Twin func(project string)
}

// A Handler is a [ct2fluent.Handler] for notifications about customers.
type Handler struct {
	ct2fluent.Handler
	accounts map[string]*account
	ledger   Ledger
	log      *slog.Logger
	observe  Observe
	deletes  Deletes
	claims   claims
}

// An account is an Account at work.
type account struct {
	Account
	*Handler
	log  *slog.Logger
	fill fill
}

// New makes a handler. Run it as well: an account whose ledger is empty is held
// until Run has filled it.
func New(o Options) (*Handler, error) {
	if o.Ledger == nil {
		return nil, errors.New("customer handler: no ledger")
	}
	if o.Mapping == nil {
		m, err := CompileMapping(MappingConfig{})
		if err != nil {
			return nil, err
		}
		o.Mapping = m
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{accounts: map[string]*account{}, ledger: o.Ledger, log: o.Log, observe: o.Observe}
	var err error
	h.Handler = ct2fluent.Latest(ct2fluent.HandlerFunc(h.handle))
	for _, a := range o.Accounts {
		if a.Project == "" || a.RetailerID == "" || a.From == nil || a.To == nil {
			return nil, fmt.Errorf("customer handler: account of project %q: project, retailer, reader or writer is missing", a.Project)
		}
		if h.accounts[a.Project] != nil {
			return nil, fmt.Errorf("customer handler: two accounts of project %q", a.Project)
		}
		if a.Mapping == nil {
			a.Mapping = o.Mapping
		}
		if h.deletes, err = o.Deletes.check(a.Mapping); err != nil {
			return nil, err
		}
		h.accounts[a.Project] = &account{Account: a, Handler: h, log: o.Log.With("project", a.Project)}
	}
	return h, nil
}

// An item is a notification on its way through a batch.
type item struct {
	n        ct2fluent.Notification
	stored   ct2fluent.Memory // what the ledger holds
	memory   ct2fluent.Memory // what it shall hold
	customer *commercetools.Customer
	gone     bool // commercetools does not have it
	mapped   Mapped
	hash     string
	id       identity
	waits    bool  // another customer has a claim on the username
	answer   error // of the last write
	ended    bool
	err      error
}

func (it *item) end(err error) { it.err, it.ended = err, true }

func endAll(items []*item, err error) {
	for _, it := range items {
		it.end(err)
	}
}

// open gives the items that have not ended.
func open(items []*item) []*item {
	return slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.ended })
}

// handle works a batch in which no two notifications are of one customer.
func (h *Handler) handle(ctx context.Context, batch []ct2fluent.Notification) []error {
	refs := make([]ct2fluent.Ref, len(batch))
	for i, n := range batch {
		refs[i] = n.Ref
	}
	memories, err := h.ledger.Recall(ctx, refs...)
	items := make([]*item, len(batch))
	byAccount := map[*account][]*item{}
	for i, n := range batch {
		m := memories[n.Ref]
		it := &item{n: n, stored: m, memory: m}
		items[i] = it
		switch a := h.accounts[n.Ref.Project]; {
		case a == nil:
			it.end(ct2fluent.Reject(ct2fluent.WithReason("unknown-project",
				fmt.Errorf("%s: no account has this project", n.Ref))))
		case err != nil:
			it.end(ct2fluent.Unavailable(fmt.Errorf("recall customers: %w", err)))
		default:
			byAccount[a] = append(byAccount[a], it)
		}
	}
	// Accounts do not wait for each other's APIs.
	var working sync.WaitGroup
	for a, part := range byAccount {
		working.Go(func() { a.work(ctx, part) })
	}
	working.Wait()

	errs := make([]error, len(batch))
	for i, it := range items {
		errs[i] = it.err
		// What came again says so also where nothing is new: that this mapping's
		// work is done, whatever it wrote when it was handed out before.
		if it.n.Again || !same(it.memory, it.stored) {
			h.ledger.Remember(ctx, it.n.Ref, it.memory)
		}
	}
	return errs
}

func same(a, b ct2fluent.Memory) bool {
	return a.Floor == b.Floor && a.Version == b.Version && a.Username == b.Username &&
		a.Deleted == b.Deleted && a.DeletedAt == b.DeletedAt && a.Gone == b.Gone &&
		a.Hash == b.Hash && a.Mapping == b.Mapping && slices.Equal(a.Attributes, b.Attributes)
}

// work ends every item of one account.
func (a *account) work(ctx context.Context, items []*item) {
	if err := a.filled(ctx); err != nil {
		endAll(items, ct2fluent.Unavailable(err))
		return
	}
	for _, it := range items {
		switch {
		case deleted(it.n, it.memory):
			it.end(ct2fluent.Skip("deleted"))
		case known(it.n, it.memory, a.Mapping.fingerprint) && !a.announcesDelete(it.n):
			it.end(ct2fluent.Skip("known"))
		}
	}
	a.stage("read", open(items), func(items []*item) { a.read(ctx, items) })
	a.stage("map", open(items), func(items []*item) { a.apply(ctx, items) })
	a.write(ctx, open(items))
}

// stage does something for items, if there are any, and tells how long it took.
func (a *account) stage(name string, items []*item, do func([]*item)) {
	if len(items) == 0 {
		return
	}
	start := time.Now()
	do(items)
	if a.observe.Stage != nil {
		a.observe.Stage(a.Project, name, len(items), time.Since(start))
	}
}

// apply maps what was read, and ends what Fluent has already.
func (a *account) apply(ctx context.Context, items []*item) {
	for _, it := range items {
		if it.gone {
			a.bury(it)
			continue
		}
		mapped, err := a.Mapping.Apply(ctx, it.customer, a.Project, a.RetailerID)
		if err != nil {
			if o, _, _ := ct2fluent.OutcomeOf(err); o == ct2fluent.Skipped {
				it.memory = leftOut(it.n, it.memory, it.customer.Version, a.Mapping.fingerprint)
			}
			it.end(err)
			continue
		}
		it.mapped, it.hash = mapped, mapped.hash(it.customer.ID)
		if unchanged(it.n, it.memory, it.hash, a.Mapping.fingerprint) {
			it.memory.Version = it.customer.Version
			it.end(ct2fluent.Unchanged)
			continue
		}
		it.id = identify(it.memory, mapped.Username, alternativeUsername(a.RetailerID, it.customer.ID))
		if it.memory.Username == "" {
			if err := usable(mapped.Username); err != nil {
				it.end(err)
			}
		}
	}
}

package customer

import (
	"context"
	"fmt"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

const (
	customersAPage = 500
	confirmAtOnce  = 50     // customers, each with up to four usernames to look up
	mostLater      = 10_000 // candidates that wait to be looked at again
)

// A finder finds what differs. What looks different in what was read is a
// candidate: it is drift only if a fresh read of both sides says so.
type finder struct {
	*reconciliation
	columns *columns
	index   *index
	out     *driftWriter
	now     []candidate // to be looked at
	later   []candidate // to be looked at again
}

// A candidate is a customer that looks different.
type candidate struct {
	id      string
	version int64     // at least this was read
	since   time.Time // when it was first seen to be different
	due     time.Time // not before it is looked at again
	shared  bool      // its Fluent customer was taken by another
}

// find reads both sides, and has what it found on disk.
func (r *reconciliation) find(ctx context.Context) error {
	f := &finder{reconciliation: r}
	r.tell(phaseFluent)
	first, err := f.begin(ctx)
	if err != nil {
		return err
	}
	if f.out, err = createDrift(r.Dir, r.id, r.Remembered); err != nil {
		return err
	}
	defer func() { _ = f.out.close() }() // synced before
	if err := f.scan(ctx); err != nil {
		return err
	}
	if err := f.memories(ctx); err != nil {
		return err
	}
	if err := f.pages(ctx, first); err != nil {
		return err
	}
	r.tell(phaseConfirming)
	if err := f.doubts(ctx); err != nil {
		return err
	}
	if err := f.extras(ctx); err != nil {
		return err
	}
	if err := f.rest(ctx); err != nil {
		return err
	}
	f.leftover()
	if err := f.out.sync(); err != nil {
		return fmt.Errorf("write what was found: %w", err)
	}
	return r.keep(ctx, f.out.size)
}

// begin reads the first page of commercetools. It tells whether pages can be
// trusted, and which attributes a partner's mapping writes.
func (f *finder) begin(ctx context.Context) (first *commercetools.Page, err error) {
	err = f.steady(ctx, "count the customers of commercetools", func() error {
		f.report.Total, _, err = f.From.Count(ctx, commercetools.Selection{})
		return err
	})
	if err != nil {
		return nil, err
	}
	if first, err = f.page(ctx, ""); err != nil {
		return nil, err
	}
	err = f.steady(ctx, "ask commercetools for the order of its pages", func() error { return f.From.Ordered(ctx, first) })
	if err != nil {
		return nil, err
	}
	var more []string
	if len(f.Mapping.wraps) > 0 {
		for i := range first.Customers {
			mapped, err := f.Mapping.Apply(ctx, &first.Customers[i], f.Project, f.RetailerID)
			if err != nil {
				continue
			}
			for _, a := range mapped.Attributes {
				more = append(more, attributeField(a.Name))
			}
		}
	}
	f.columns = newColumns(f.Mapping, f.Spec.Fields, more)
	f.index = newIndex(f.columns, f.Mapping, f.Deleted, f.RetailerID)
	return first, nil
}

func (f *finder) page(ctx context.Context, after string) (p *commercetools.Page, err error) {
	err = f.steady(ctx, "read a page of commercetools", func() error {
		p, err = f.From.Page(ctx, commercetools.Selection{}, after, customersAPage)
		return err
	})
	return p, err
}

// scan reads all of Fluent. A page that fails is asked for again as a smaller
// one: it may be too much to come in time.
func (f *finder) scan(ctx context.Context) error {
	cursor, first := "", maxPage
	for {
		var page fluent.Page
		err := f.steady(ctx, "scan the customers of Fluent", func() (err error) {
			page, err = f.To.Scan(ctx, cursor, first, true)
			if err != nil {
				first = max(first/2, minPage)
			}
			return err
		})
		if err != nil {
			return err
		}
		for i := range page.Customers {
			if page.Customers[i].Username != "" {
				f.index.add(&page.Customers[i])
			}
		}
		f.report.Fluent = f.index.n
		f.tell(phaseFluent)
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// memories reads all that the ledger remembers.
func (f *finder) memories(ctx context.Context) error {
	f.tell(phaseLedger)
	err := f.steady(ctx, "read the ledger", func() error {
		return f.Ledger.EachMemory(ctx, f.Project, "customer", func(ref ct2fluent.Ref, m ct2fluent.Memory) error {
			f.index.remember(ref.ID, m)
			return ctx.Err()
		})
	})
	f.index.rememberedAll()
	return err
}

// pages reads all of commercetools.
func (f *finder) pages(ctx context.Context, p *commercetools.Page) (err error) {
	for {
		if err := f.look(ctx, p.Customers); err != nil {
			return err
		}
		f.tell(phaseCommerceTools)
		if p.Last {
			return nil
		}
		if p, err = f.page(ctx, p.Customers[len(p.Customers)-1].ID); err != nil {
			return err
		}
	}
}

// look compares a page of customers with what is kept of Fluent's.
func (f *finder) look(ctx context.Context, customers []commercetools.Customer) error {
	learned := map[ct2fluent.Ref]ct2fluent.Memory{}
	for i := range customers {
		c := &customers[i]
		f.report.Read++
		carrying := f.index.carrying(c.ID)
		for _, i := range carrying {
			f.index.row(i).flags |= seen
		}
		m := f.index.memory(c.ID, carrying)
		if c.Email == "" {
			// It could not be read in a page; a read by id tells why.
			f.doubt(c, false)
			continue
		}
		mapped, err := f.mapped(ctx, c)
		if err != nil {
			return err
		}
		if mapped == nil {
			continue
		}
		found := f.matched(c.ID, m, mapped, carrying)
		shared := found.kind == "" && f.index.flag(found.username, taken)&taken != 0
		switch {
		case found.kind == Ambiguous:
			// Which of them others remember is known only at the end.
			f.index.flag(found.username, taken)
			if found.why == whyTwins {
				for _, name := range found.others {
					f.index.flag(name, doubtful)
				}
				continue
			}
			f.doubt(c, false)
		case found.kind != "" || shared || f.index.placed(found.username, c.ID) != ours || !f.alike(c, mapped, found.username):
			f.doubt(c, shared)
		default:
			f.report.Equal++
			if found.learn {
				learned[f.ref(c.ID)] = ct2fluent.Memory{Username: found.username}
			}
		}
	}
	if f.Spec.Fix && len(learned) > 0 {
		// Promise 4: its next change would make a second customer.
		err := f.steady(ctx, "remember usernames", func() error { return f.Ledger.Adopt(ctx, learned) })
		if err != nil {
			return err
		}
	}
	return f.settle(ctx)
}

func (f *finder) recall(ctx context.Context, customers []commercetools.Customer) (ms map[ct2fluent.Ref]ct2fluent.Memory, err error) {
	refs := make([]ct2fluent.Ref, len(customers))
	for i := range customers {
		refs[i] = f.ref(customers[i].ID)
	}
	err = f.steady(ctx, "ask the ledger", func() error {
		ms, err = f.Ledger.Recall(ctx, refs...)
		return err
	})
	return ms, err
}

// mapped maps a customer; it is nil where the customer is not expected in
// Fluent, which is counted.
func (f *finder) mapped(ctx context.Context, c *commercetools.Customer) (*Mapped, error) {
	mapped, err := f.Mapping.Apply(ctx, c, f.Project, f.RetailerID)
	if err == nil {
		return &mapped, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f.unexpected(err)
	return nil, nil
}

func (f *finder) unexpected(err error) {
	switch outcome, reason, _ := ct2fluent.OutcomeOf(err); {
	case outcome == ct2fluent.Skipped:
		f.report.NotSelected++
	case reason == "":
		f.report.Unmappable["mapping"]++
	default:
		f.report.Unmappable[reason]++
	}
}

func (f *finder) matched(id string, m ct2fluent.Memory, mapped *Mapped, carrying []int) match {
	var names []string
	for _, i := range carrying {
		names = append(names, f.index.name(i))
	}
	return matched(m, mapped.Username, alternativeUsername(f.RetailerID, id),
		func(username string) place { return f.index.placed(username, id) }, names)
}

// alike compares by what is kept.
func (f *finder) alike(c *commercetools.Customer, mapped *Mapped, username string) bool {
	i, there := f.index.named(username)
	if !there {
		return false
	}
	digests := f.index.digestsOf(i)
	w := f.Mapping.update(*mapped, c.ID, username, func(attribute string) bool { return f.columns.holds(digests, attribute) })
	return f.columns.alike(w, f.Mapping.config.IDAttribute, digests)
}

// doubt makes a candidate of a customer.
func (f *finder) doubt(c *commercetools.Customer, shared bool) {
	f.now = append(f.now, candidate{id: c.ID, version: c.Version, since: time.Now(), shared: shared})
}

// settle confirms candidates while there are enough for a request.
func (f *finder) settle(ctx context.Context) error {
	for len(f.now) >= confirmAtOnce {
		if err := f.confirm(ctx, f.take(&f.now, confirmAtOnce)); err != nil {
			return err
		}
	}
	f.dueNow()
	for len(f.later) > mostLater {
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) take(from *[]candidate, n int) []candidate {
	n = min(n, len(*from))
	taken := (*from)[:n:n]
	*from = (*from)[n:]
	return taken
}

// dueNow takes up the candidates whose time has come.
func (f *finder) dueNow() {
	now := time.Now()
	var wait []candidate
	for _, c := range f.later {
		if c.due.After(now) {
			wait = append(wait, c)
		} else {
			f.now = append(f.now, c)
		}
	}
	f.later = wait
}

// wait until some are due, and confirms them.
func (f *finder) wait(ctx context.Context) error {
	if len(f.later) > 0 && len(f.now) == 0 {
		first := f.later[0].due
		for _, c := range f.later {
			if c.due.Before(first) {
				first = c.due
			}
		}
		f.tell(f.report.Phase)
		sleep(ctx, time.Until(first))
		f.dueNow()
	}
	for len(f.now) > 0 {
		if err := f.confirm(ctx, f.take(&f.now, confirmAtOnce)); err != nil {
			return err
		}
		f.tell(f.report.Phase)
	}
	return ctx.Err()
}

// rest confirms all that is left.
func (f *finder) rest(ctx context.Context) error {
	for len(f.now)+len(f.later) > 0 {
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// doubts confirms those of whom several Fluent customers were seen. By now it
// is known which of these others remember.
func (f *finder) doubts(ctx context.Context) error {
	asked := map[string]bool{}
	for i := range f.index.n {
		r := f.index.row(i)
		if r.flags&doubtful == 0 {
			continue
		}
		id := f.index.id(i)
		if asked[id] {
			continue
		}
		asked[id] = true
		f.now = append(f.now, candidate{id: id, since: time.Now()})
		if len(f.now) >= confirmAtOnce {
			if err := f.settle(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// leftover counts what is no drift.
func (f *finder) leftover() {
	for i := range f.index.n {
		switch flags := f.index.row(i).flags; {
		case flags&own == 0:
			if flags&taken == 0 {
				f.report.Elsewhere++
			}
		case flags&(carries|taken|unreadable) == 0:
			f.report.Unclaimed++
		case flags&marked != 0 && flags&(seen|taken) == 0:
			f.report.Deleted++
		}
	}
}

// found writes down what is certain.
func (f *finder) found(d Drift) error {
	f.report.count(d)
	if err := f.out.add(d); err != nil {
		return fmt.Errorf("write what was found: %w", err)
	}
	return nil
}

// postponed tells whether what differs may be under way: the customer was
// changed a moment ago, or notifications waited when Fluent was read. Whether
// they still do says nothing: one may have been worked since.
func (f *finder) postponed(c *candidate, changed string, waited bool) bool {
	now := time.Now()
	if at, err := time.Parse(time.RFC3339, changed); err == nil && now.Sub(at) < f.Grace {
		c.due = at.Add(f.Grace)
		if limit := now.Add(f.Grace); c.due.After(limit) {
			c.due = limit // its clock is ahead
		}
		return c.due.Sub(c.since) <= 2*f.Grace
	}
	if waited && now.Sub(c.since) < f.Grace {
		c.due = now.Add(min(time.Second, f.Grace))
		return true
	}
	return false
}

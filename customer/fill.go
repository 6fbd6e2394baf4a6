package customer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// Promise 4: an empty ledger knows no usernames, and a customer whose email
// changed since it was created could not be found again. So before the first
// write of an account, an empty ledger is filled from Fluent.

const (
	maxPage = 5000 // customers a page of the scan has, at most
	minPage = 100  // and at least, after pages that could not be read

	firstWait = time.Second
	longWait  = time.Minute
)

// What the note of a fill in the ledger says: markDone, or markFrom and the
// cursor to go on from. There is none before the first page.
const (
	markDone = "done"
	markFrom = "from "
)

// A fill is how far the ledger of one account is filled. Its mutex guards all
// of it; only Run changes what follows the phase.
type fill struct {
	mu     sync.Mutex
	phase  phase
	cursor string
	page   int
	read   int // customers of Fluent seen since the start of this process
	found  int // those of them of this retailer that carry a commercetools id
	others int // those that carry one and are of another retailer
	twins  int
	why    error // the last page could not be read

	changed chan struct{} // closed when another answer may be given
}

type phase uint8

const (
	undecided phase = iota // the ledger has not been asked yet
	filling
	ready
)

// soon is how long a batch waits for the fill: an account that has few
// customers need not be held.
const soon = time.Second

// filled returns nil once the account's customers may be worked, and else why
// not yet.
func (a *account) filled(ctx context.Context) error {
	limit := time.NewTimer(soon)
	defer limit.Stop()
	for {
		changed, err := a.askFilled(ctx)
		if changed == nil {
			return err
		}
		select {
		case <-changed:
		case <-limit.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// askFilled gives the error of filled, and what is closed when that may be
// another; nil when it is not to be waited for.
func (a *account) askFilled(ctx context.Context) (changed <-chan struct{}, err error) {
	f := &a.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase == undecided {
		if err := a.decideFill(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case f.phase == ready:
		return nil, nil
	case f.why != nil:
		return nil, fmt.Errorf("filling the ledger from Fluent, %d customers read: %w", f.read, f.why)
	}
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed, fmt.Errorf("filling the ledger from Fluent, %d customers read", f.read)
}

// change tells those who wait. f.mu is held.
func (f *fill) change() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// decideFill asks the ledger whether there is anything to fill.
func (a *account) decideFill(ctx context.Context) error {
	f := &a.fill
	mark, err := a.ledger.Mark(ctx, a.markName())
	if err != nil {
		return fmt.Errorf("ask the ledger how far it is filled: %w", err)
	}
	from, begun := strings.CutPrefix(mark, markFrom)
	if mark == "" {
		known, err := a.ledger.Known(ctx, a.Project)
		if err != nil {
			return fmt.Errorf("ask the ledger whether it is empty: %w", err)
		}
		begun = !known
	}
	f.phase = ready
	if begun {
		f.phase, f.cursor, f.page = filling, from, maxPage
	}
	return nil
}

func (a *account) markName() string { return fillMark(a.Project) }

func fillMark(project string) string { return "fill/" + project }

// Run fills the empty ledgers, account by account at once, going on where an
// earlier run was stopped. The notifications of an account are held meanwhile.
// It tries until ctx is done and returns nil then.
func (h *Handler) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, a := range h.accounts {
		running.Go(func() { a.runFill(ctx) })
	}
	running.Wait()
	<-ctx.Done()
	return nil
}

// runFill fills one account. What fails is logged when it starts to fail in
// another way, and when it goes on.
func (a *account) runFill(ctx context.Context) {
	wait, told := firstWait, ""
	begun := false
	for ctx.Err() == nil {
		done, err := a.fillMore(ctx, &begun)
		switch {
		case ctx.Err() != nil || err == nil && done:
			return
		case err == nil:
			if told != "" {
				a.log.Info("filling the ledger from Fluent goes on")
			}
			wait, told = firstWait, ""
			continue
		}
		if err.Error() != told {
			told = err.Error()
			a.log.Warn("filling the ledger from Fluent cannot go on, trying again", "err", err)
		}
		var limited *fluent.Error
		if errors.As(err, &limited) {
			wait = max(wait, limited.RetryAfter)
		}
		sleep(ctx, wait)
		wait = min(2*wait, longWait)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fillMore decides whether there is anything to fill, or fills one page.
func (a *account) fillMore(ctx context.Context, begun *bool) (done bool, err error) {
	f := &a.fill
	f.mu.Lock()
	if f.phase == undecided {
		err = a.decideFill(ctx)
	}
	cursor, first, now := f.cursor, f.page, f.phase
	f.mu.Unlock()
	if err != nil || now == ready {
		return now == ready, err
	}
	if !*begun {
		*begun = true
		a.log.Info("filling the empty ledger from Fluent; the account is held until that is done", "resumed", cursor != "")
		// From here on the ledger is no longer empty, and yet not full.
		if err := a.ledger.SetMark(ctx, a.markName(), markFrom+cursor); err != nil {
			*begun = false
			return false, fmt.Errorf("note the progress: %w", err)
		}
	}
	page, err := a.To.Scan(ctx, cursor, first, false)
	if err != nil {
		a.pageFailed(fmt.Errorf("scan the customers of Fluent: %w", err))
		return false, err
	}
	found, twins, others, err := a.adopt(ctx, page.Customers)
	if err == nil {
		done = page.Next == ""
		mark := markFrom + page.Next
		if done {
			mark = markDone
		}
		err = a.ledger.SetMark(ctx, a.markName(), mark)
	}
	if err != nil {
		err = fmt.Errorf("fill the ledger: %w", err)
		a.pageFailed(err)
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor, f.why = page.Next, nil
	f.read, f.found, f.twins = f.read+len(page.Customers), f.found+found, f.twins+twins
	f.others += others
	if done {
		f.phase = ready
		f.change()
		a.log.Info("the ledger is filled from Fluent", "customers", f.read, "with_id", f.found, "twins", f.twins, "other_retailers", f.others)
	}
	return done, nil
}

// pageFailed notes why for those who wait. The next try asks for less: a page
// may be too large to come in time.
func (a *account) pageFailed(err error) {
	a.fill.mu.Lock()
	defer a.fill.mu.Unlock()
	a.fill.why = err
	a.fill.change()
	a.fill.page = max(a.fill.page/2, minPage)
}

// adopt lays the usernames of those that carry a commercetools id into the
// ledger. Where two carry one id, the first that was seen stays. Those of
// another retailer are counted and left alone.
func (a *account) adopt(ctx context.Context, customers []fluent.Customer) (found, twins, others int, err error) {
	usernames := map[ct2fluent.Ref]ct2fluent.Memory{}
	var refs []ct2fluent.Ref
	twin := func(id string) {
		twins++
		count(a.observe.Twin, a.Project)
		a.log.Warn("two Fluent customers carry one commercetools id; the one found first is kept up to date", "customer", id)
	}
	for _, c := range customers {
		id, readable := attributeText(c.Attributes, a.Mapping.config.IDAttribute)
		if id == "" || !readable || c.Username == "" {
			continue
		}
		if elsewhere(&c, a.RetailerID) {
			others++
			continue
		}
		found++
		ref := ct2fluent.Ref{Project: a.Project, TypeID: "customer", ID: id}
		if _, twice := usernames[ref]; twice {
			twin(id)
			continue
		}
		usernames[ref] = ct2fluent.Memory{Username: c.Username}
		refs = append(refs, ref)
	}
	if len(refs) == 0 {
		return 0, 0, others, nil
	}
	earlier, err := a.ledger.Recall(ctx, refs...)
	if err != nil {
		return 0, 0, 0, err
	}
	for ref, m := range earlier {
		// A page read again after a stop meets what it laid down itself.
		if m.Username != "" && m.Username != usernames[ref].Username {
			twin(ref.ID)
			delete(usernames, ref)
		}
	}
	return found, twins, others, a.ledger.Adopt(ctx, usernames)
}

package customer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// A place is how far a part of the run is: its checkpoint.
type bulkPlace struct {
	At   bulkMark `json:"at"`   // all before are put
	Read int      `json:"read"` // of these
	// Page is what may have been put after that: it is written before the page
	// is put.
	Page *bulkPage   `json:"page,omitempty"`
	Done bool        `json:"done,omitempty"`
	Sum  *Comparison `json:"sum,omitempty"` // of a dry run
}

// A bulkMark is a place in the order of a reading: after an id, or in the
// order of changes.
type bulkMark struct {
	After  string              `json:"after,omitempty"`
	Change *commercetools.Mark `json:"change,omitempty"`
}

// A bulkPage is the customers of a page, and the place after it.
type bulkPage struct {
	IDs      []string `json:"ids"`
	Versions []int64  `json:"versions"`
	Next     bulkMark `json:"next"`
	Last     bool     `json:"last,omitempty"`
}

// readPart reads a part from its checkpoint to its end.
func (r *bulkRun) readPart(ctx context.Context, i int) error {
	name := "part-" + strconv.Itoa(i)
	var p bulkPlace
	found, err := r.load(ctx, name, &p)
	if err != nil {
		return err
	}
	if !found {
		p.At.Change = r.plan.From
	}
	r.addRead(p.Read)
	r.setSum(i, p.Sum)
	if p.Page != nil {
		if err := r.putAgain(ctx, p.Page); err != nil {
			return err
		}
		p = p.after()
	}
	if found && r.plan.From != nil && !r.spec.DryRun {
		// Which customers of before still wait is not known any more, and the
		// confirmed moment must not pass them.
		if err := r.settle(ctx); err != nil {
			return err
		}
	}
	asked := false
	for !p.Done {
		page, err := r.readPage(ctx, r.plan.Parts[i], p.At, &asked)
		if err != nil {
			return err
		}
		next := r.pageOf(page, p.At)
		if r.spec.DryRun {
			err = r.comparePage(ctx, i, page, &p)
		} else {
			err = r.putPage(ctx, name, page, next, &p)
		}
		if err != nil {
			return err
		}
		p.Page = next
		p = p.after()
		if r.spec.DryRun || p.Done {
			if err := r.save(ctx, name, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// after is the place once the page is put.
func (p bulkPlace) after() bulkPlace {
	p.At, p.Read, p.Done, p.Page = p.Page.Next, p.Read+len(p.Page.IDs), p.Page.Last, nil
	return p
}

// pageOf is what is kept of a page.
func (r *bulkRun) pageOf(page *commercetools.Page, at bulkMark) *bulkPage {
	kept := &bulkPage{Next: at, Last: page.Last}
	for i := range page.Customers {
		c := &page.Customers[i]
		kept.IDs, kept.Versions = append(kept.IDs, c.ID), append(kept.Versions, c.Version)
		kept.Next = bulkMark{After: c.ID}
		if at.Change != nil {
			mark := c.Mark()
			kept.Next = bulkMark{Change: &mark}
		}
	}
	return kept
}

// readPage reads the page after a place. Once for each reading it asks whether
// commercetools sorts; a place is only one if it does.
func (r *bulkRun) readPage(ctx context.Context, s commercetools.Selection, at bulkMark, asked *bool) (page *commercetools.Page, err error) {
	err = r.retry(ctx, func() (err error) {
		if at.Change != nil {
			page, err = r.From.Changes(ctx, s, *at.Change, r.plan.Until, pageSize)
		} else {
			page, err = r.From.Page(ctx, s, at.After, pageSize)
		}
		if err == nil && at.Change == nil && !page.Last && !*asked {
			err = r.From.Ordered(ctx, page)
			*asked = err == nil
		}
		return err
	})
	return page, err
}

// putPage puts a page, after its checkpoint is on disk.
func (r *bulkRun) putPage(ctx context.Context, name string, page *commercetools.Page, kept *bulkPage, p *bulkPlace) error {
	ns := make([]ct2fluent.Notification, len(page.Customers))
	for i := range page.Customers {
		c := &page.Customers[i]
		ns[i] = r.notification(c.ID, c.Version)
		if body := page.Bodies[i]; len(body) <= maxCarried {
			ns[i].Body = body
		}
	}
	if r.plan.From != nil {
		if err := r.once(ctx, ns, kept); err != nil {
			return err
		}
	}
	if len(ns) == 0 {
		return nil
	}
	ahead := *p
	ahead.Page = kept
	if err := r.save(ctx, name, ahead); err != nil {
		return err
	}
	if err := r.put(ctx, ns); err != nil {
		return err
	}
	return r.follow(ctx, kept)
}

// putAgain puts the customers of a page that may have been put before, without
// the page: the handler reads them.
func (r *bulkRun) putAgain(ctx context.Context, page *bulkPage) error {
	refs := make([]ct2fluent.Ref, len(page.IDs))
	for i, id := range page.IDs {
		refs[i] = r.ref(id)
	}
	var counted map[ct2fluent.Ref]bool
	err := r.retry(ctx, func() (err error) {
		counted, err = r.Ledger.Counted(ctx, r.id, refs...)
		return err
	})
	if err != nil {
		return err
	}
	var ns []ct2fluent.Notification
	for i, id := range page.IDs {
		if !counted[refs[i]] {
			ns = append(ns, r.notification(id, page.Versions[i]))
		}
	}
	r.addRead(len(page.IDs) - len(ns))
	return r.put(ctx, ns)
}

func (r *bulkRun) ref(id string) ct2fluent.Ref {
	return ct2fluent.Ref{Project: r.Account.Project, TypeID: "customer", ID: id}
}

// notification is one of the run about a customer.
func (r *bulkRun) notification(id string, version int64) ct2fluent.Notification {
	return ct2fluent.Notification{
		ID: r.id + "/" + id + "/" + strconv.FormatInt(version, 10), Ref: r.ref(id), Name: "bulk", Version: version,
		Bulk: true, Own: true, Run: r.id, Force: r.spec.Force,
	}
}

// put puts notifications when there is room for them: at once, or as many at a
// time as the rate has in a second. Those of the run count as read.
func (r *bulkRun) put(ctx context.Context, ns []ct2fluent.Notification) error {
	size := putSize
	if r.spec.Rate > 0 {
		size = max(1, min(size, int(r.spec.Rate)))
	}
	for len(ns) > 0 {
		n := min(size, len(ns))
		if err := r.room(ctx, ns[:n]); err != nil {
			return err
		}
		now := time.Now()
		for i := range ns[:n] {
			ns[i].Received = now
		}
		if err := r.retry(ctx, func() error { return r.Put(ctx, ns[:n]...) }); err != nil {
			return err
		}
		ns = ns[n:]
	}
	return nil
}

// How long the run waits before it tries again.
const (
	againFirst = time.Second
	againMost  = 30 * time.Second
)

// retry calls f until it works, with the reason told meanwhile, unless its
// error is one that trying again will not mend.
func (r *bulkRun) retry(ctx context.Context, f func() error) error {
	wait, told := againFirst, ""
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			if told != "" && err == nil {
				r.setWhy("")
			}
			return ctx.Err()
		}
		var ct *commercetools.Error
		if errors.As(err, &ct) {
			if final := finalFault(ct); final != nil {
				return final
			}
			wait = max(wait, ct.RetryAfter)
		}
		if why := err.Error(); why != told {
			told = why
			r.setWhy(why)
			r.keep.Log().Warn("the run waits and tries again", "why", err)
		}
		sleep(ctx, wait)
		wait = min(2*wait, againMost)
	}
}

// finalFault is the end of a run, or nil: commercetools may answer otherwise
// later.
func finalFault(e *commercetools.Error) error {
	switch {
	case e.Code == "unordered":
		return fmt.Errorf("%w: pages repeat customers or lose some, because what answers as commercetools does not sort "+
			"(a proxy, a cache or a stand-in that ignores the parameter sort?): going on would miss customers without a word, "+
			"so the run ends here; what was put until now is right. Have accounts[].commercetools.api-url lead to commercetools itself, "+
			"then resume the job", e)
	case e.Kind == commercetools.Refused:
		return fmt.Errorf("%w: commercetools takes no such query; correct --where, --store and the times, and start anew", e)
	}
	return nil
}

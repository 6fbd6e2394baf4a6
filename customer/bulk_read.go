package customer

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	Page *bulkPage `json:"page,omitempty"`
	// Again says that a customer was put once more, which no count tells of.
	Again bool        `json:"again,omitempty"`
	Done  bool        `json:"done,omitempty"`
	Sum   *Comparison `json:"sum,omitempty"` // of a dry run
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
	// Again are those of the customers that the run has put before: they are put
	// all the same, and do not count.
	Again []string `json:"again,omitempty"`
	Next  bulkMark `json:"next"`
	Last  bool     `json:"last,omitempty"`

	calm bool // since it was put, nothing of the project waited
}

// counting are the customers of the page that count for the run.
func (p *bulkPage) counting() []string {
	if len(p.Again) == 0 {
		return p.IDs
	}
	return slices.DeleteFunc(slices.Clone(p.IDs), func(id string) bool { return slices.Contains(p.Again, id) })
}

// A bulkPart is a part of the run, from its checkpoint on.
type bulkPart struct {
	i     int
	place bulkPlace
	found bool                     // it has a checkpoint
	left  []ct2fluent.Notification // of the page that may have been put, those that are to be put again
}

func partName(i int) string { return "part-" + strconv.Itoa(i) }

// loadParts reads the checkpoints of all parts. What they have read counts from
// then on, as what is settled of it does: also what may have been put, as that
// may wait.
func (r *bulkRun) loadParts(ctx context.Context) ([]bulkPart, error) {
	parts := make([]bulkPart, len(r.plan.Parts))
	for i := range parts {
		p := &parts[i]
		p.i = i
		var err error
		if p.found, err = r.load(ctx, partName(i), &p.place); err != nil {
			return nil, err
		}
		if !p.found {
			p.place.At.Change = r.plan.From
		}
		r.addRead(p.place.Read)
		r.setSum(i, p.place.Sum)
		if page := p.place.Page; page != nil {
			if p.left, err = r.left(ctx, page); err != nil {
				return nil, err
			}
			r.addRead(len(page.counting()))
		}
	}
	return parts, nil
}

// readPart reads a part from its checkpoint to its end.
func (r *bulkRun) readPart(ctx context.Context, part bulkPart) error {
	i, p := part.i, part.place
	if p.Page != nil {
		if err := r.put(ctx, part.left, true); err != nil {
			return err
		}
		p = p.after()
	}
	if part.found && r.plan.From != nil && !r.spec.DryRun {
		// Which customers of before still wait is not known any more, and the
		// confirmed moment must not pass them.
		r.moved.unknown = p.Again
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
			err = r.putPage(ctx, partName(i), page, next, &p)
		}
		if err != nil {
			return err
		}
		p.Page = next
		p = p.after()
		if r.spec.DryRun || p.Done {
			if err := r.save(ctx, partName(i), p); err != nil {
				return err
			}
		}
	}
	return nil
}

// after is the place once the page is put.
func (p bulkPlace) after() bulkPlace {
	p.Again = p.Again || len(p.Page.Again) > 0
	p.At, p.Read, p.Done, p.Page = p.Page.Next, p.Read+len(p.Page.IDs)-len(p.Page.Again), p.Page.Last, nil
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
	if err := r.put(ctx, ns, false); err != nil {
		return err
	}
	return r.follow(ctx, kept)
}

// left are the customers of a page that may have been put before, but for those
// that have counted. They come without the page: the handler reads them.
func (r *bulkRun) left(ctx context.Context, page *bulkPage) ([]ct2fluent.Notification, error) {
	counted, err := r.counted(ctx, page.IDs)
	if err != nil {
		return nil, err
	}
	var ns []ct2fluent.Notification
	for i, id := range page.IDs {
		n := r.notification(id, page.Versions[i])
		switch {
		case slices.Contains(page.Again, id):
			n.Run = ""
		case counted[n.Ref]:
			continue
		}
		ns = append(ns, n)
	}
	return ns, nil
}

// counted tells which customers the run has counted.
func (r *bulkRun) counted(ctx context.Context, ids []string) (counted map[ct2fluent.Ref]bool, err error) {
	refs := r.refs(ids)
	err = r.retry(ctx, func() (err error) {
		counted, err = r.Ledger.Counted(ctx, r.id, refs...)
		return err
	})
	return counted, err
}

func (r *bulkRun) refs(ids []string) []ct2fluent.Ref {
	refs := make([]ct2fluent.Ref, len(ids))
	for i, id := range ids {
		refs[i] = r.ref(id)
	}
	return refs
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
// time as the rate has in a second. Those of the run count as read, unless they
// are put again and did before.
func (r *bulkRun) put(ctx context.Context, ns []ct2fluent.Notification, again bool) error {
	size := putSize
	if r.spec.Rate > 0 {
		size = max(1, int(min(float64(size), r.spec.Rate)))
	}
	for len(ns) > 0 {
		n := min(size, len(ns))
		if err := r.room(ctx, ns[:n], again); err != nil {
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

package customer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// A run over changes reads in the order of lastModifiedAt and id, up to a
// minute ago: a change becomes queryable a little after its time. What it has
// brought is kept as the confirmed moment of the project: every customer that
// was changed before is settled or dead.

// timeShape is how commercetools writes a time.
const timeShape = "2006-01-02T15:04:05.000Z"

// ErrNoMoment says that nothing is known from when on changes are to be read.
var ErrNoMoment = errors.New("nothing is confirmed yet: give a time, or run ct2fluent bulk customers once for all customers")

// Notes are kept by name.
type Notes interface {
	Mark(ctx context.Context, name string) (string, error)
	SetMark(ctx context.Context, name, value string) error // nil: on disk
}

func confirmedName(project string) string { return "confirmed/" + project }

// Confirmed is the moment before which every change of the project's customers
// is settled or a dead letter; zero where there is none. Runs over all
// customers make and move it, and runs over changes that begin at it or before.
func Confirmed(ctx context.Context, notes Notes, project string) (time.Time, error) {
	text, err := notes.Mark(ctx, confirmedName(project))
	if err != nil || text == "" {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the confirmed moment of %s: %w", project, err)
	}
	return at, nil
}

// Confirm moves the confirmed moment of a project, never back. Not for several
// callers of one project at once; see [Bulk].
func Confirm(ctx context.Context, notes Notes, project string, at time.Time) error {
	before, err := Confirmed(ctx, notes, project)
	if err != nil || !at.After(before) {
		return err
	}
	return notes.SetMark(ctx, confirmedName(project), at.UTC().Format(timeShape))
}

// planChanges finds out from when to when changes are to be read.
func (r *bulkRun) planChanges(ctx context.Context) error {
	from := r.spec.ChangedSince
	if from == last {
		var at time.Time
		err := r.retry(ctx, func() (err error) {
			at, err = Confirmed(ctx, r.Ledger, r.Account.Project)
			return err
		})
		if err != nil {
			return err
		}
		if at.IsZero() {
			return ErrNoMoment
		}
		from = at.UTC().Format(timeShape)
	}
	r.plan.From = &commercetools.Mark{At: from}
	r.plan.Until = r.plan.Began.Add(-queryable).Format(timeShape)
	s := r.spec.selection()
	r.plan.Parts = []commercetools.Selection{s}
	bounds := fmt.Sprintf(`lastModifiedAt >= "%s" and lastModifiedAt <= "%s"`, from, r.plan.Until)
	if s.Where = strings.Join(nonEmpty(bracketed(s.Where), bounds), " and "); s.Check() != nil {
		return nil // how many there are is not known then
	}
	return r.retry(ctx, func() error {
		n, capped, err := r.From.Count(ctx, s)
		if err == nil && !capped {
			r.plan.Total = n
		}
		return err
	})
}

func bracketed(where string) string {
	if where == "" {
		return ""
	}
	return "(" + where + ")"
}

func nonEmpty(texts ...string) (all []string) {
	for _, t := range texts {
		if t != "" {
			all = append(all, t)
		}
	}
	return all
}

// A flight is the pages of a run over changes that are put and not settled, in
// their order.
type flight struct {
	pages []*bulkPage
	at    map[string]int // how many of them have a customer
	// unknown says that customers were put again before the process began, and
	// it is not known whether they are settled.
	unknown bool
	// lost says that what was put went without an outcome.
	lost bool
}

// once marks the customers of a page that the run has put before: changed
// since, though before until, as clocks differ. They are put all the same.
func (r *bulkRun) once(ctx context.Context, ns []ct2fluent.Notification, kept *bulkPage) error {
	counted, err := r.counted(ctx, kept.IDs)
	if err != nil {
		return err
	}
	for i := range ns {
		if counted[ns[i].Ref] || r.moved.at[ns[i].Ref.ID] > 0 {
			ns[i].Run = ""
			kept.Again = append(kept.Again, ns[i].Ref.ID)
		}
	}
	return nil
}

// follow has the confirmed moment move once the page is settled.
func (r *bulkRun) follow(ctx context.Context, page *bulkPage) error {
	if r.plan.From == nil {
		return nil
	}
	if r.moved.at == nil {
		r.moved.at = map[string]int{}
	}
	for _, id := range page.IDs {
		r.moved.at[id]++
	}
	r.moved.pages = append(r.moved.pages, page)
	return r.confirm(ctx)
}

// calm is called when nothing of the project waits: what was put again has its
// outcome.
func (r *bulkRun) calm() {
	r.moved.unknown = false
	for _, page := range r.moved.pages {
		page.calm = true
	}
}

// repeats tells whether customers that were put again may wait.
func (r *bulkRun) repeats() bool {
	return r.moved.unknown || slices.ContainsFunc(r.moved.pages, func(p *bulkPage) bool { return len(p.Again) > 0 && !p.calm })
}

// through tells whether those of a page that were put again have been worked.
// One that has died or was filtered is not known to be: that waits for calm.
func (r *bulkRun) through(ctx context.Context, page *bulkPage) (bool, error) {
	if len(page.Again) == 0 || page.calm {
		return true, nil
	}
	refs := r.refs(page.Again)
	var known map[ct2fluent.Ref]ct2fluent.Memory
	err := r.retry(ctx, func() (err error) {
		known, err = r.Ledger.Recall(ctx, refs...)
		return err
	})
	if err != nil {
		return false, err
	}
	for i, id := range page.IDs {
		if slices.Contains(page.Again, id) && known[r.ref(id)].Version < page.Versions[i] {
			return false, nil
		}
	}
	return true, nil
}

// confirms tells whether the run may move the confirmed moment: it leaves no
// customer out, and no time between. What was before a run over changes nobody
// knows where nothing is confirmed.
func (r *bulkRun) confirms(ctx context.Context) (bool, error) {
	if r.spec.DryRun || !r.spec.whole() || r.moved.lost {
		return false, nil
	}
	if r.plan.From == nil {
		return true, nil
	}
	before, err := Confirmed(ctx, r.Ledger, r.Account.Project)
	if err != nil {
		return false, err
	}
	from, err := time.Parse(time.RFC3339, r.plan.From.At)
	return err == nil && !before.IsZero() && !from.After(before), err
}

// confirm moves the confirmed moment past the pages that are settled.
func (r *bulkRun) confirm(ctx context.Context) error {
	for len(r.moved.pages) > 0 {
		page := r.moved.pages[0]
		ids := page.counting()
		counted, err := r.counted(ctx, ids)
		if err != nil || len(counted) < len(ids) {
			return err
		}
		if through, err := r.through(ctx, page); err != nil || !through {
			return err
		}
		for _, id := range page.IDs {
			if r.moved.at[id]--; r.moved.at[id] == 0 {
				delete(r.moved.at, id)
			}
		}
		r.moved.pages = r.moved.pages[1:]
		if page.Next.Change != nil {
			if err := r.confirmAt(ctx, page.Next.Change.At); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *bulkRun) confirmAt(ctx context.Context, at string) error {
	moment, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return nil // a page that has such a time is not given
	}
	return r.retry(ctx, func() error {
		// What another run confirms in between must not be taken back.
		r.Confirming.Lock()
		defer r.Confirming.Unlock()
		may, err := r.confirms(ctx)
		if err != nil || !may {
			return err
		}
		return Confirm(ctx, r.Ledger, r.Account.Project, moment)
	})
}

// confirmWhole moves the confirmed moment to where a run that is settled has
// read to. A run over all customers has read each as it was when it began, or
// later.
func (r *bulkRun) confirmWhole(ctx context.Context) error {
	at := r.plan.Until
	if r.plan.From == nil {
		at = r.plan.Began.Add(-queryable).Format(timeShape)
	}
	return r.confirmAt(ctx, at)
}

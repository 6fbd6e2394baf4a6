package customer

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// confirmGets is how many customers are read by id at once: a reconciliation
// yields to live traffic.
const confirmGets = 4

// A sight is what a fresh read says of a customer.
type sight struct {
	candidate
	customer *commercetools.Customer
	mapped   *Mapped
	drift    *Drift // nil: nothing is to be done
	learn    string // a username that the ledger does not know
}

// confirm looks at candidates again: it reads commercetools, then Fluent, then
// each customer that still differs from commercetools by id once more. If that
// has the version of the first read, Fluent was read while commercetools held
// what it was compared with.
func (f *finder) confirm(ctx context.Context, cs []candidate) error {
	f.report.Doubted += len(cs)
	sights, err := f.customers(ctx, cs)
	if err != nil {
		return err
	}
	_, waited := f.Waiting()
	if err := f.compare(ctx, sights); err != nil {
		return err
	}
	var differ []*sight
	for _, s := range sights {
		if s.drift != nil {
			differ = append(differ, s)
			continue
		}
		f.report.Equal++
		if f.Spec.Fix && s.learn != "" {
			ms := map[ct2fluent.Ref]ct2fluent.Memory{f.ref(s.id): {Username: s.learn}}
			if err := f.steady(ctx, "remember usernames", func() error { return f.Ledger.Adopt(ctx, ms) }); err != nil {
				return err
			}
		}
	}
	again, err := f.byID(ctx, differ)
	if err != nil {
		return err
	}
	for i, s := range differ {
		switch c := again[i]; {
		case c == nil:
			f.report.Gone++
		case c.Version != s.customer.Version:
			s.candidate.version, s.candidate.due = c.Version, time.Now().Add(time.Second)
			f.later = append(f.later, s.candidate)
		case f.postponed(&s.candidate, c.LastModifiedAt, waited):
			f.later = append(f.later, s.candidate)
		default:
			if err := f.found(*s.drift); err != nil {
				return err
			}
		}
	}
	return nil
}

// customers reads the candidates of commercetools and maps them: many by one
// query, and by id those that it does not have, or has too old.
func (f *finder) customers(ctx context.Context, cs []candidate) (sights []*sight, err error) {
	ids := make([]string, len(cs))
	for i, c := range cs {
		ids[i] = c.id
	}
	var got []commercetools.Customer
	err = f.steady(ctx, "read customers of commercetools", func() error {
		got, err = f.From.Customers(ctx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	byID := map[string]*commercetools.Customer{}
	for i := range got {
		byID[got[i].ID] = &got[i]
	}
	var single []*sight
	for _, c := range cs {
		s := &sight{candidate: c, customer: byID[c.id]}
		if s.customer == nil || s.customer.Version < c.version {
			s.customer = nil
			single = append(single, s)
		}
		sights = append(sights, s)
	}
	again, err := f.byID(ctx, single)
	if err != nil {
		return nil, err
	}
	for i, s := range single {
		s.customer = again[i]
	}
	kept := sights[:0]
	for _, s := range sights {
		if s.customer == nil {
			f.report.Gone++
			continue
		}
		if s.customer.Email == "" {
			f.report.Unmappable["refused"]++
			continue
		}
		if s.mapped, err = f.mapped(ctx, s.customer); err != nil {
			return nil, err
		}
		if s.mapped != nil {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// byID reads customers by id, which is the fresh read; nil where there is none.
// One that commercetools refuses to show is without an email.
func (f *finder) byID(ctx context.Context, sights []*sight) ([]*commercetools.Customer, error) {
	got := make([]*commercetools.Customer, len(sights))
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(confirmGets)
	for i, s := range sights {
		reading.Go(func() error {
			return f.steady(ctx, "read a customer of commercetools", func() error {
				c, err := f.From.Customer(ctx, s.id)
				switch {
				case err == nil:
					got[i] = c
				case readKind(err) == commercetools.Refused:
					got[i] = &commercetools.Customer{ID: s.id}
				case readKind(err) != commercetools.NotFound:
					return err
				}
				return nil
			})
		})
	}
	return got, reading.Wait()
}

// compare says of each customer whether Fluent has it as it should be.
func (f *finder) compare(ctx context.Context, sights []*sight) error {
	if len(sights) == 0 {
		return nil
	}
	customers := make([]commercetools.Customer, len(sights))
	for i, s := range sights {
		customers[i] = *s.customer
	}
	memories, err := f.recall(ctx, customers)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range sights {
		names = append(names, memories[f.ref(s.id)].Username, s.mapped.Username, alternativeUsername(f.RetailerID, s.id))
		for _, i := range f.index.carrying(s.id) {
			names = append(names, f.index.name(i))
		}
	}
	found, err := f.lookup(ctx, names)
	if err != nil {
		return err
	}
	for _, s := range sights {
		if err := f.judge(ctx, s, memories[f.ref(s.id)], found); err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) lookup(ctx context.Context, names []string) (found map[string]fluent.Customer, err error) {
	err = f.steady(ctx, "look up customers in Fluent", func() error {
		found, err = f.To.Lookup(ctx, names, true)
		return err
	})
	return found, err
}

// judge fills in what is to be said of a customer.
func (f *finder) judge(ctx context.Context, s *sight, m ct2fluent.Memory, fresh map[string]fluent.Customer) error {
	has := func(username string) *fluent.Customer {
		if c, ok := fresh[username]; ok {
			return &c
		}
		return nil
	}
	idAttribute := f.Mapping.config.IDAttribute
	alternative := alternativeUsername(f.RetailerID, s.id)
	var carrying []string
	note := func(username string) {
		if c := has(username); c != nil && placeOf(c, idAttribute, s.id, f.RetailerID) == ours && len(without(carrying, username)) == len(carrying) {
			carrying = append(carrying, username)
		}
	}
	for _, i := range f.index.carrying(s.id) {
		note(f.index.name(i))
	}
	note(m.Username)
	note(s.mapped.Username)
	note(alternative)
	found := matched(m, s.mapped.Username, alternative, func(username string) place {
		return placeOf(has(username), idAttribute, s.id, f.RetailerID)
	}, carrying)

	s.drift = &Drift{Kind: found.kind, ID: s.id, Why: found.why}
	c := has(found.username)
	if c != nil {
		s.drift.Fluent = []string{c.ID}
	}
	if found.learn {
		s.learn = found.username
	}
	switch {
	case found.kind == Missing:
		return nil
	case c != nil && found.kind == "" && elsewhere(c, f.RetailerID), found.why == whyTwins && elsewhere(c, f.RetailerID):
		// A write would alter what is another retailer's.
		s.drift.Kind, s.drift.Why = Ambiguous, whyRetailer
		return nil
	case found.kind == Ambiguous && found.why == whyTwins:
		for _, name := range found.others {
			if i, there := f.index.named(name); there && f.index.row(i).flags&another != 0 {
				// The ledger remembers it as another customer's.
				s.drift.Why = whyShared
			}
			s.drift.Fluent = append(s.drift.Fluent, has(name).ID)
		}
		return nil
	case found.kind == Ambiguous:
		return nil
	case s.shared:
		s.drift.Kind, s.drift.Why = Ambiguous, whyShared
		return nil
	case found.foreign:
		theirs, err := f.exists(ctx, c)
		if err != nil {
			return err
		}
		if theirs {
			s.drift.Kind, s.drift.Why = Ambiguous, whyShared
			return nil
		}
	}
	w := f.Mapping.update(*s.mapped, s.id, found.username, func(name string) bool { return attributeOf(c, name) != nil })
	fields := drifted(c, w, func(field string) bool {
		return field == attributeField(idAttribute) || f.columns.selected(field)
	})
	if len(fields) == 0 {
		s.drift = nil
		return nil
	}
	s.drift.Kind, s.drift.Fields = Different, fields
	return nil
}

// exists tells whether the id that a Fluent customer carries is another
// commercetools customer's.
func (f *finder) exists(ctx context.Context, c *fluent.Customer) (is bool, err error) {
	id, _ := attributeText(c.Attributes, f.Mapping.config.IDAttribute)
	if id == "" {
		return false, nil
	}
	got, err := f.byID(ctx, []*sight{{candidate: candidate{id: id}}})
	if err != nil {
		return false, fmt.Errorf("read who has a Fluent customer's id: %w", err)
	}
	return got[0] != nil && got[0].Email != "", nil
}

// extras looks at the Fluent customers that carry an id of which commercetools
// gave no customer. Of each it asks commercetools first, and Fluent then: who
// is not there has not been made since, and nobody takes the id away any more.
func (f *finder) extras(ctx context.Context) error {
	none := true
	err := f.eachExtra(ctx, func(rows []int) error {
		none = false
		return f.locate(ctx, rows)
	})
	if err != nil || none {
		return err
	}
	if f.Deleted != "" {
		// A delete may be under way.
		sleep(ctx, f.Grace)
	}
	return f.eachExtra(ctx, func(rows []int) error { return f.confirmExtras(ctx, rows) })
}

// eachExtra gives the rows in question, the first of each id, some at once.
func (f *finder) eachExtra(ctx context.Context, do func(rows []int) error) error {
	const extra = carries | own
	var rows []int
	for i := range f.index.n {
		if f.index.row(i).flags&(extra|seen|taken|marked) != extra || !f.firstOfID(i) {
			continue
		}
		if rows = append(rows, i); len(rows) < confirmAtOnce {
			continue
		}
		if err := do(rows); err != nil {
			return err
		}
		f.tell(phaseConfirming)
		rows = rows[:0]
	}
	if len(rows) == 0 {
		return ctx.Err()
	}
	return do(rows)
}

// firstOfID tells whether no customer of this retailer that was made before
// carries the id of a row.
func (f *finder) firstOfID(i int) bool {
	rows := f.index.carrying(f.index.id(i))
	return len(rows) == 0 || rows[0] == i
}

// locate asks all projects for the customers of rows. One that is there is no
// extra.
func (f *finder) locate(ctx context.Context, rows []int) error {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = f.index.id(row)
	}
	at, err := f.whereabouts(ctx, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		for _, row := range f.index.carrying(id) {
			switch at[i] {
			case here:
				f.index.row(row).flags |= seen
			case inAnother:
				f.index.row(row).flags &^= own
			}
		}
		if at[i] == here {
			// Made while this ran.
			f.report.Read++
			f.now = append(f.now, candidate{id: id, since: time.Now()})
		}
	}
	return f.settle(ctx)
}

func (f *finder) confirmExtras(ctx context.Context, rows []int) error {
	var names []string
	for _, row := range rows {
		for _, same := range f.index.carrying(f.index.id(row)) {
			names = append(names, f.index.name(same))
		}
	}
	found, err := f.lookup(ctx, names)
	if err != nil {
		return err
	}
	for _, row := range rows {
		d := Drift{Kind: Extra, ID: f.index.id(row)}
		if f.Deleted != "" {
			d.Why = whyUnknown
		}
		for _, same := range f.index.carrying(d.ID) {
			if f.index.row(same).flags&worked != 0 {
				d.Why = ""
			}
			c, ok := found[f.index.name(same)]
			id, _ := attributeText(c.Attributes, f.Mapping.config.IDAttribute)
			if ok && id == d.ID && !markedBy(&c, f.Deleted) {
				d.Fluent = append(d.Fluent, c.ID)
			}
		}
		if len(d.Fluent) == 0 {
			f.report.Deleted++ // meanwhile
			f.index.row(row).flags |= seen
			continue
		}
		if err := f.found(d); err != nil {
			return err
		}
	}
	return nil
}

// A whereabout says where commercetools has a customer.
type whereabout uint8

const (
	nowhere whereabout = iota
	here
	inAnother // project whose customers go to the same retailer
)

func (f *finder) whereabouts(ctx context.Context, ids []string) ([]whereabout, error) {
	at := make([]whereabout, len(ids))
	for n, from := range append([]Reader{f.From}, f.Others...) {
		var left []string
		place := map[string]int{}
		for i, id := range ids {
			if at[i] == nowhere {
				left, place[id] = append(left, id), i
			}
		}
		is := here
		if n > 0 {
			is = inAnother
		}
		err := f.steady(ctx, "read customers of commercetools", func() error {
			got, err := from.Customers(ctx, left)
			for i := range got {
				at[place[got[i].ID]] = is
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		reading, ctx := errgroup.WithContext(ctx)
		reading.SetLimit(confirmGets)
		for _, id := range left {
			i := place[id]
			if at[i] != nowhere {
				continue
			}
			reading.Go(func() error {
				return f.steady(ctx, "read a customer of commercetools", func() error {
					_, err := from.Customer(ctx, id)
					switch kind := readKind(err); {
					case err == nil:
						at[i] = is
					case kind != commercetools.NotFound && kind != commercetools.Refused:
						return err
					}
					return nil
				})
			})
		}
		if err := reading.Wait(); err != nil {
			return nil, err
		}
	}
	return at, nil
}

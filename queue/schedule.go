package queue

import (
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// An item is an unsettled notification in memory. n.Attempts and n.Again are
// its own; the lane it was read from keeps them over a restart.
type item struct {
	n         ct2fluent.Notification
	lane      *lane
	place     place
	of        *resource
	notBefore time.Time // not to be handed out before
	blocks    bool      // until notBefore the whole resource waits
	settled   bool
	tried     bool // came back unsettled at least once, or takes a paused route
}

// A resource is what must not be worked by two at once (promise 4).
type resource struct {
	ref     ct2fluent.Ref
	account *account
	items   []*item // unsettled, oldest first
	busy    bool    // a batch holds it

	// What tells a poisoned notification from an outage: see failed.
	failing  bool
	failedAt uint64
	alone    bool   // goes in a batch of its own
	together int    // goes with at most so many resources, itself included; 0: any number
	probed   uint64 // when it was last taken to ask whether the account works

	// The pile it lies in, its key and its place there.
	pile *pile
	key  int64
	at   int
}

// An account is held, and slowed down, on its own: a configured project, or
// all other projects together.
type account struct {
	name       string
	live, bulk pile // resources that are ready, by their oldest ready notification
	busy       int  // batches at hand
	bulkBusy   int  // of these
	writtenAt  uint64
	// The same by route: what one handler writes proves nothing of another.
	writtenBy map[string]uint64

	held    bool
	probing bool
	since   time.Time // of the trouble; zero when there is none
	why     string
	delay   time.Duration
	until   time.Time // no probe before
	limit   int       // of a batch while the account recovers; 0: none
	paused  bool      // by somebody: nothing is handed out
}

// A batch is what one worker is given: notifications of one account.
type batch struct {
	account *account
	items   []*item // by resource, oldest first
	only    bool    // one resource is in it
	bulk    bool
	probe   bool
	start   uint64
}

// resources is how many are in the batch.
func (b *batch) resources() int {
	n := 0
	for i, it := range b.items {
		if i == 0 || it.of != b.items[i-1].of {
			n++
		}
	}
	return n
}

func (b *batch) notifications() []ct2fluent.Notification {
	ns := make([]ct2fluent.Notification, len(b.items))
	for i, it := range b.items {
		ns[i] = it.n
	}
	return ns
}

// crowd is how many notifications a batch may hold for each of the resources
// that it may hold: what is at hand for one resource costs one read and one
// write, so a batch that counted notifications would be small in a burst.
const crowd = 5

// rules are the figures a schedule decides by.
type rules struct {
	Workers, BatchSize int
	UnclearWait        time.Duration
	Delays             Delays
	Jitter             func() float64 // in [0, 1)
	Route              func(*ct2fluent.Notification) string
}

// A schedule decides which notifications go to a worker next, and what becomes
// of those that come back. It does no I/O, starts no goroutine, reads no
// clock, and is not safe for concurrent use.
type schedule struct {
	rules
	epoch     time.Time
	projects  map[string]bool
	accounts  []*account // in the order of their turns
	byName    map[string]*account
	turn      int
	resources map[ct2fluent.Ref]*resource
	waiting   pile // resources of which nothing is ready, by when something will be
	busy      int
	bulkBusy  int
	live      time.Time // when a live batch was handed out last
	paused    pauses
	clock     uint64 // counts hand-outs and returns: what came before what
}

func newSchedule(r rules, projects []string, now time.Time) *schedule {
	s := &schedule{
		rules:     r,
		epoch:     now,
		projects:  map[string]bool{},
		byName:    map[string]*account{},
		resources: map[ct2fluent.Ref]*resource{},
		paused:    pauses{map[string]Hold{}, map[string]Hold{}},
	}
	for _, p := range projects {
		s.projects[p] = true
		s.account(p)
	}
	s.account("")
	return s
}

// account returns that of a project; the strangers share one.
func (s *schedule) account(project string) *account {
	if !s.projects[project] {
		project = ""
	}
	a := s.byName[project]
	if a == nil {
		a = &account{name: project, writtenBy: map[string]uint64{}}
		s.byName[project] = a
		s.accounts = append(s.accounts, a)
	}
	return a
}

// add takes in an unsettled notification. alone says that it has to go in a
// batch of its own, as it had before a restart.
func (s *schedule) add(it *item, alone bool, now time.Time) {
	r := s.resources[it.n.Ref]
	if r == nil {
		r = &resource{ref: it.n.Ref, account: s.account(it.n.Ref.Project)}
		s.resources[it.n.Ref] = r
	}
	if alone {
		r.alone, r.failing = true, true
	}
	it.of = r
	at := len(r.items)
	for at > 0 && r.items[at-1].n.Seq > it.n.Seq {
		at--
	}
	r.items = slices.Insert(r.items, at, it)
	if s.parked(&it.n) {
		return // it moves nothing
	}
	// A resource that is ready stays where it is unless the new one is older,
	// or makes it live: a hot resource must not cost a search each time.
	if r.pile == nil || r.pile == &s.waiting || it.n.Seq < uint64(r.key) || r.pile == &r.account.bulk && !it.n.Bulk {
		s.place(r, now)
	}
}

// isReady tells whether a notification may be handed out, if its resource may.
func (s *schedule) isReady(it *item, now time.Time) bool {
	return !it.notBefore.After(now) && !s.parked(&it.n)
}

// place puts r where it belongs: ready, waiting, or nowhere.
func (s *schedule) place(r *resource, now time.Time) {
	r.lift()
	if r.busy {
		return
	}
	if len(r.items) == 0 {
		delete(s.resources, r.ref)
		return
	}
	var blocked, first time.Time
	there := 0
	for _, it := range r.items {
		if s.parked(&it.n) {
			continue
		}
		if it.blocks && it.notBefore.After(blocked) {
			blocked = it.notBefore
		}
		if there++; there == 1 || it.notBefore.Before(first) {
			first = it.notBefore
		}
	}
	if there == 0 {
		return // it is placed when its route is resumed
	}
	if first.Before(blocked) {
		first = blocked
	}
	if first.After(now) {
		s.waiting.put(r, int64(first.Sub(s.epoch)))
		return
	}
	p := &r.account.bulk
	key := int64(0)
	for _, it := range r.items {
		if !s.isReady(it, now) {
			continue
		}
		if key == 0 {
			key = int64(it.n.Seq)
		}
		if !it.n.Bulk {
			p = &r.account.live
		}
	}
	p.put(r, key)
}

// due is when the schedule has to be asked again though nothing happened;
// zero when nothing waits for a time.
func (s *schedule) due(now time.Time) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if r := s.waiting.top(); r != nil {
		sooner(s.epoch.Add(time.Duration(r.key)))
	}
	for _, a := range s.accounts {
		if a.held && !a.probing && !a.paused && a.live.Len()+a.bulk.Len() > 0 && a.until.After(now) {
			sooner(a.until)
		}
	}
	return at
}

// next returns what a worker is to do now, nil when there is nothing. Live
// ones go before bulk ones, and the accounts take turns.
func (s *schedule) next(now time.Time) *batch {
	for r := s.waiting.top(); r != nil && r.key <= int64(now.Sub(s.epoch)); r = s.waiting.top() {
		s.place(r, now)
	}
	for _, bulk := range []bool{false, true} {
		if bulk && s.bulkBusy >= max(1, s.Workers-1) {
			return nil // a worker is kept for live ones
		}
		for i := range s.accounts {
			a := s.accounts[(s.turn+i)%len(s.accounts)]
			if !s.mayTake(a) || bulk && a.bulkBusy > 0 && s.beside(now) {
				continue
			}
			if b := s.take(a, bulk, now); b != nil {
				s.turn = (s.turn + i + 1) % len(s.accounts)
				return b
			}
		}
	}
	return nil
}

// mayTake keeps a worker free for each project that has none, up to half of
// them: a project whose every call takes until its deadline must not occupy
// them all.
func (s *schedule) mayTake(a *account) bool {
	if a.paused {
		return false
	}
	if a.busy == 0 {
		return true
	}
	without := 0
	for _, other := range s.accounts {
		if other.name != "" && other.busy == 0 && !other.paused {
			without++
		}
	}
	return s.Workers-s.busy-1 >= min(without, s.Workers/2)
}

// take makes a batch of one account. Slow start limits it after a hold.
func (s *schedule) take(a *account, bulk bool, now time.Time) *batch {
	b := &batch{account: a, bulk: bulk}
	switch {
	case a.held:
		r := s.probe(a, now)
		if r == nil {
			return nil
		}
		a.probing = true
		b.probe, b.only, b.bulk = true, true, false
		s.give(b, r, now)
	case bulk:
		s.fill(b, &a.bulk, now)
	default:
		s.fill(b, &a.live, now)
	}
	if len(b.items) == 0 {
		return nil
	}
	s.clock++
	b.start = s.clock
	a.busy++
	s.busy++
	if b.bulk {
		s.bulkBusy++
		a.bulkBusy++
	} else {
		s.live = now
	}
	return b
}

// besideFor is how long after a live batch the next one is expected.
const besideFor = 10 * time.Second

// beside tells whether bulk work goes on beside live traffic. Then it has one
// batch of an account at hand and no more: it would have all processors and all
// of the API's patience otherwise, and a live one would wait for these.
func (s *schedule) beside(now time.Time) bool {
	return !s.live.IsZero() && now.Sub(s.live) < besideFor
}

// fill takes resources from p as long as they fit, each with all of it that is
// ready.
func (s *schedule) fill(b *batch, p *pile, now time.Time) {
	r := p.top()
	if r == nil {
		return
	}
	limit := s.BatchSize
	if b.account.limit > 0 {
		limit = min(limit, b.account.limit)
	}
	most := limit // resources
	for n := 1; r != nil; n++ {
		if r.together > 0 {
			most = min(most, r.together)
		}
		if n > 1 && (r.alone || n > most || len(b.items)+s.ready(r, now) > crowd*s.BatchSize) {
			return
		}
		alone := r.alone
		s.give(b, r, now)
		b.only = n == 1
		if alone {
			return
		}
		r = p.top()
	}
}

// give puts what is ready of r into b. Of a resource that has more than a
// whole batch the oldest go first; the others follow when these are back.
func (s *schedule) give(b *batch, r *resource, now time.Time) {
	r.lift()
	r.busy = true
	for _, it := range r.items {
		if len(b.items) == crowd*s.BatchSize {
			return
		}
		if s.isReady(it, now) {
			b.items = append(b.items, it)
		}
	}
}

// ready is how much of r may be handed out.
func (s *schedule) ready(r *resource, now time.Time) int {
	n := 0
	for _, it := range r.items {
		if s.isReady(it, now) {
			n++
		}
	}
	return n
}

// probe chooses the resource by which a held account is asked: each in turn,
// so that a poisoned one is not the only one that asks.
func (s *schedule) probe(a *account, now time.Time) *resource {
	if a.probing || a.until.After(now) {
		return nil
	}
	var best *resource
	for _, p := range []*pile{&a.live, &a.bulk} {
		for _, r := range p.rs {
			if best == nil || r.probed < best.probed || r.probed == best.probed && r.pile == best.pile && r.key < best.key {
				best = r
			}
		}
	}
	if best != nil {
		best.probed = s.clock + 1
	}
	return best
}

// release takes back a batch that was not handed out after all.
func (s *schedule) release(b *batch, now time.Time) {
	b.account.busy--
	s.busy--
	if b.bulk {
		s.bulkBusy--
		b.account.bulkBusy--
	}
	if b.probe {
		b.account.probing = false
	}
	for _, it := range b.items {
		if r := it.of; r.busy {
			r.busy = false
			s.place(r, now)
		}
	}
}

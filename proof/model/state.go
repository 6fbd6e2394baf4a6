package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/ledger"
	"github.com/ct2fluent/ct2fluent/queue"
)

// Times are counted in ticks. D is so long that something else can happen
// before it ends, and no longer.
const (
	tick = time.Second
	d    = 2 // ticks
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// A state is all that there is at one moment. States are not changed: a step
// makes a copy.
type state struct {
	now    int
	toPut  [versions + 1]uint8 // how often a version's notification still comes
	put    []ct2fluent.Notification
	fluent map[string]uint8 // username: the version whose mapping it has
	flying []flight         // writes whose answer was lost, and that land later
	entry  string           // the ledger's newest, "" for none
	inOld  bool             // it was written before a crash: its hash proves nothing
	done   []uint8          // sequences that are settled
	procs  [2]process
	left   Limits
	wrong  string // what must never be, and is
}

// A flight is a write on its way.
type flight struct {
	create   bool
	username string
	version  uint8
	until    int // it lands before
}

// A process has a queue and one worker at the customer: within a process two
// batches never hold one customer, which the queue's suite tests.
type process struct {
	alive  bool
	items  []queue.Item
	worker *node // nil: idle
	fresh  bool  // the ledger's newest entry is the one the worker knows
	mine   bool  // and it wrote it
	seq    uint64
	lately []queue.Item // settled ones whose acknowledgement a crash may take away
}

// copy shares what s holds, or millions of states would not fit into memory: it
// may be appended to, but not changed in place.
func (s *state) copy() *state {
	c := *s
	c.put, c.flying, c.done = slices.Clip(s.put), slices.Clip(s.flying), slices.Clip(s.done)
	for i := range c.procs {
		p := &c.procs[i]
		p.items, p.lately = slices.Clip(p.items), slices.Clip(p.lately)
	}
	return &c
}

// key is the same for states from which the same can follow: times are told
// from now on, and what is past is past.
func (s *state) key(b []byte) []byte {
	num := func(n int) { b = append(b, byte(n), byte(n>>8)) }
	flag := func(f ...bool) {
		n := 0
		for i, f := range f {
			if f {
				n |= 1 << i
			}
		}
		b = append(b, byte(n))
	}
	b = append(b, s.toPut[:]...)
	for _, n := range []int{s.left.Crashes, s.left.Pauses, s.left.Lost, s.left.Unclear, s.left.Late, s.left.Stale, s.left.Carried, len(s.put)} {
		b = append(b, byte(n))
	}
	for v := uint8(1); v <= versions; v++ {
		b = append(b, s.fluent[retailer+"_"+email(v)])
	}
	b = append(append(b, s.entry...), 0)
	b = append(append(b, s.done...), 0)
	flag(s.inOld)
	b = append(b, byte(len(s.flying)))
	for _, f := range s.flying {
		flag(f.create)
		b = append(append(b, f.username...), f.version, byte(f.until-s.now))
	}
	for _, p := range s.procs {
		flag(p.alive, p.worker != nil, p.fresh, p.mine)
		if p.worker != nil {
			num(p.worker.id)
			num(p.worker.id >> 16)
			num(int(p.seq))
		}
		for i, items := range [][]queue.Item{p.items, p.lately} {
			b = append(b, byte(i), byte(len(items)))
			for _, it := range items {
				n := it.Notification
				b = append(b, byte(n.Seq), byte(n.Version), byte(n.Attempts), byte(max(0, s.ticks(it)-s.now)))
				flag(n.Force, n.Again, it.Blocks, it.AtHand, it.Tried, n.HasRead())
			}
		}
	}
	return b
}

func (s *state) ticks(it queue.Item) int {
	if it.NotBefore.IsZero() {
		return 0
	}
	// Rule 3 left out waits for less than a tick.
	return int((it.NotBefore.Sub(epoch) + tick - 1) / tick)
}

func (s *state) time() time.Time { return epoch.Add(time.Duration(s.now) * tick) }

// rests tells whether nothing is left to be done.
func (s *state) rests() bool {
	if len(s.flying) > 0 {
		return false
	}
	for _, p := range s.procs {
		if p.alive && (p.worker != nil || len(p.items) > 0) {
			return false
		}
	}
	return true
}

// check says what is wrong with the state: promises 2, 3 and 4.
func (s *state) check() string {
	if s.wrong != "" {
		return s.wrong
	}
	if len(s.fluent) > 1 {
		return "Fluent has two customers for one of commercetools"
	}
	if !s.rests() {
		return ""
	}
	newest := uint8(0)
	for _, n := range s.put {
		newest = max(newest, uint8(n.Version))
		if !slices.Contains(s.done, uint8(n.Seq)) {
			return fmt.Sprintf("notification %d is nowhere: not settled and not waiting", n.Seq)
		}
	}
	for _, v := range s.fluent {
		if v < newest {
			return fmt.Sprintf("all is settled, version %d was notified, and Fluent has version %d", newest, v)
		}
	}
	if newest > 0 && len(s.fluent) == 0 {
		return "all is settled, and Fluent has no customer"
	}
	return ""
}

// normal is an entry as the model keeps it: without times and timeline.
func normal(e ledger.Entry) string {
	open := slices.Clone(e.Open)
	slices.Sort(open)
	data, err := json.Marshal(ledger.Entry{Memory: e.Memory, Open: open})
	if err != nil {
		panic(err) // it was read from JSON
	}
	return string(data)
}

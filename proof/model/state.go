package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

func (s *state) copy() *state {
	c := *s
	c.put = slices.Clone(s.put)
	c.fluent = map[string]uint8{}
	for u, v := range s.fluent {
		c.fluent[u] = v
	}
	c.flying = slices.Clone(s.flying)
	c.done = slices.Clone(s.done)
	for i := range c.procs {
		c.procs[i].items = slices.Clone(s.procs[i].items)
		c.procs[i].lately = slices.Clone(s.procs[i].lately)
	}
	return &c
}

// key is the same for states from which the same can follow: times are told
// from now on, and what is past is past.
func (s *state) key() string {
	var b strings.Builder
	fmt.Fprint(&b, s.toPut, s.left, s.inOld, s.entry, s.done)
	for _, u := range []string{"1_old@x", "1_new@x"} {
		fmt.Fprint(&b, s.fluent[u], ",")
	}
	flying := make([]string, len(s.flying))
	for i, f := range s.flying {
		flying[i] = fmt.Sprint(f.create, f.username, f.version, f.until-s.now)
	}
	slices.Sort(flying)
	fmt.Fprint(&b, flying)
	for _, p := range s.procs {
		id := 0
		if p.worker != nil {
			id = p.worker.id
		}
		fmt.Fprint(&b, "|", p.alive, id)
		if id > 0 {
			fmt.Fprint(&b, p.fresh, p.mine, p.seq)
		}
		for _, it := range append(slices.Clone(p.items), p.lately...) {
			n := it.Notification
			fmt.Fprint(&b, ";", n.Seq, n.Version, n.Force, n.Again, n.Attempts, it.Blocks, it.AtHand, it.Tried, max(0, s.ticks(it)-s.now))
		}
	}
	return b.String()
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

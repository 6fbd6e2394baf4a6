package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/queue"
)

// A step is what can happen next, in words, and what comes of it.
type step struct {
	says string
	to   *state
}

// steps are all that can happen next.
func (m *machine) steps(s *state) []step {
	var all []step
	add := func(to *state, says string, args ...any) {
		if m.telling {
			says = fmt.Sprintf(says, args...)
		}
		all = append(all, step{says, to})
	}
	if s.procs[1].alive {
		// What a read gives, and what a queue takes back, nobody else sees or
		// changes: it need not be tried before and after what others do. That a
		// batch is taken back early makes its waiting end the sooner, which is the
		// harder case.
		for p := range s.procs {
			if w := s.procs[p].worker; w != nil && (w.ask.kind == read || w.ask.kind == ended) {
				m.work(s, p, add)
				return all
			}
		}
	}
	for v, n := range s.toPut {
		// Nobody but a queue that is asked for a batch sees what has come: that
		// it comes earlier makes no difference.
		if n == 0 || !s.idle() {
			continue
		}
		to := s.copy()
		to.toPut[v]--
		seq := m.receive(to, ct2fluent.Notification{Version: int64(v)})
		add(to, "notification %d comes: version %d of the customer", seq, v)
	}
	if s.left.Carried > 0 && s.idle() {
		for v := uint8(1); v <= versions; v++ {
			to := s.copy()
			to.left.Carried--
			body, err := json.Marshal(customerOf(v))
			if err != nil {
				panic(err) // it is made of texts
			}
			seq := m.receive(to, ct2fluent.Notification{Version: int64(v), Own: true, Bulk: true, Run: "bulk-1", Body: body})
			add(to, "notification %d comes: a bulk run brings version %d of the customer along", seq, v)
		}
	}
	for i, f := range s.flying {
		// Nobody but who asks Fluent sees what has landed.
		if !s.asksFluent() {
			break
		}
		to := s.copy()
		to.flying = slices.Delete(slices.Clone(to.flying), i, i+1)
		r := to.apply(f.create, f.username, f.version)
		add(to, "the late %s lands: %s", m.words(f.create, f.username, f.version), landed(r))
	}
	for p := range s.procs {
		if !s.procs[p].alive {
			continue
		}
		if s.procs[p].worker == nil {
			if to, batch := m.take(s, p); to != nil {
				add(to, "%s hands out %s", name(p), m.list(batch))
			}
		} else {
			m.work(s, p, add)
		}
	}
	if due := m.due(s); due > s.now {
		to := s.copy()
		to.now = due
		add(to, "time passes, until something is to be tried again")
	}
	if s.procs[0].alive && !s.procs[1].alive {
		m.crash(s, add)
	}
	if s.procs[0].alive && s.procs[1].alive && s.left.Crashes > 0 {
		m.late(s, add)
	}
	return all
}

// idle tells whether a process asks its queue for a batch.
func (s *state) idle() bool {
	return slices.ContainsFunc(s.procs[:], func(p process) bool { return p.alive && p.worker == nil })
}

// asksFluent tells whether someone does, or may soon because nobody works.
func (s *state) asksFluent() bool {
	busy := false
	for _, p := range s.procs {
		if p.worker != nil {
			busy = true
			if k := p.worker.ask.kind; k == lookUp || k == write {
				return true
			}
		}
	}
	return !busy
}

// receive puts a notification into the queue of whoever reads it.
func (m *machine) receive(s *state, n ct2fluent.Notification) uint64 {
	n.Seq = uint64(len(s.put) + 1)
	n.ID = fmt.Sprint(n.Version, n.Force, n.Seq*b2i(n.Force))
	n.Ref = ct2fluent.Ref{Project: project, TypeID: "customer", ID: jane}
	s.put = append(s.put, n)
	desk := m.desk(nil, s.time())
	desk.Put(s.time(), n)
	for p := range s.procs {
		if s.procs[p].alive && (p == 1 || m.o.Both || !s.procs[1].alive) {
			s.procs[p].items = append(s.procs[p].items, desk.Items()...)
		}
	}
	return n.Seq
}

func b2i(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (m *machine) desk(items []queue.Item, now time.Time) *queue.Desk {
	return queue.NewDesk(m.options, nil, now, items...)
}

// take lets the queue hand out a batch.
func (m *machine) take(s *state, p int) (*state, []ct2fluent.Notification) {
	if len(s.procs[p].items) == 0 {
		return nil, nil
	}
	b := m.desk(s.procs[p].items, s.time()).Next(s.time())
	if b == nil {
		return nil, nil
	}
	batch := b.Notifications()
	to := s.copy()
	q := &to.procs[p]
	q.items = slices.Clone(q.items)
	for i := range q.items {
		q.items[i].AtHand = slices.ContainsFunc(batch, func(n ct2fluent.Notification) bool { return n.Seq == q.items[i].Notification.Seq })
	}
	q.worker, q.fresh, q.mine, q.seq = m.runs.begin(batch), false, false, 0
	q.lately = nil // the records were saved meanwhile
	return to, batch
}

// due is when time has to pass to; a late write lands before its time.
func (m *machine) due(s *state) int {
	at := 0
	for _, p := range s.procs {
		if !p.alive || p.worker != nil || len(p.items) == 0 {
			continue
		}
		t := m.desk(p.items, s.time()).Due(s.time())
		if t.IsZero() {
			continue
		}
		if n := int((t.Sub(epoch) + tick - 1) / tick); at == 0 || n < at {
			at = n
		}
	}
	for _, f := range s.flying {
		if f.until <= at {
			return 0
		}
	}
	return at
}

// work lets a worker have its question answered.
func (m *machine) work(s *state, p int, add func(*state, string, ...any)) {
	w := s.procs[p].worker
	on := func(a answer) *state {
		to := s.copy()
		to.procs[p].worker = m.runs.after(w, a)
		return to
	}
	switch q := w.ask; q.kind {
	case ended:
		m.back(s, p, add)
	case load:
		a := answer{entry: s.entry, mine: s.procs[p].mine && s.procs[p].fresh, seq: s.procs[p].seq}
		if s.entry != "" && (!s.procs[p].fresh || a.seq == 0) {
			a.seq = max(a.seq+1, doubted+1)
			if s.inOld {
				a.seq = doubted
			}
		}
		if a.mine {
			a.entry = ""
		}
		to := on(a)
		to.procs[p].fresh, to.procs[p].seq = true, a.seq
		add(to, "%s reads the ledger: %s", name(p), m.memory(s))
	case save:
		m.save(s, p, q, on, add)
	case read:
		floor := w.floor()
		for v := uint8(1); v <= versions; v++ {
			to := on(answer{version: v})
			if v < floor {
				if to.left.Stale == 0 {
					continue
				}
				to.left.Stale--
			}
			add(to, "%s reads version %d from commercetools%s", name(p), v, lagging(v))
		}
	case lookUp:
		v := s.fluent[q.username]
		who := "nobody has it"
		if v > 0 {
			who = "our customer has it"
		}
		add(on(answer{version: v}), "%s looks up %s in Fluent: %s", name(p), q.username, who)
	case write:
		m.write(s, p, q, on, add)
	case put:
		to := on(answer{})
		seq := m.receive(to, ct2fluent.Notification{Version: q.note.Version, Force: q.note.Force, Again: q.note.Again})
		says := "%s was overtaken and puts the customer again: notification %d, forced"
		if q.note.Again {
			says += ", once its write can no longer land"
		}
		add(to, says, name(p), seq)
	}
}

func (m *machine) save(s *state, p int, q question, on func(answer) *state, add func(*state, string, ...any)) {
	if !s.procs[p].writable(q) {
		add(on(answer{result: overtaken}), "%s writes the ledger: refused, another has written there since", name(p))
		return
	}
	what := "what it intends"
	if len(q.settled) > 0 {
		what = "that " + numbers(q.settled) + " settled"
	} else if len(q.entry.Results) > 0 {
		what = "that its work waits"
	}
	seq := max(s.procs[p].seq, doubted) + 1
	for _, r := range []result{fine, lost} {
		to := on(answer{result: r, seq: seq})
		to.store(p, q, seq)
		if r == fine {
			add(to, "%s writes into the ledger %s", name(p), what)
			continue
		}
		if to.left.Lost == 0 {
			continue
		}
		to.left.Lost--
		add(to, "%s writes into the ledger %s, and the answer is lost", name(p), what)
	}
}

// writable tells whether the entry is written over the newest one.
func (p process) writable(q question) bool { return p.fresh && q.after == p.seq }

// store makes the entry the newest.
func (s *state) store(p int, q question, seq uint64) {
	s.entry, s.inOld = normal(q.entry), false
	for i := range s.procs {
		s.procs[i].fresh, s.procs[i].mine = false, false
	}
	s.procs[p].fresh, s.procs[p].mine, s.procs[p].seq = true, true, seq
	if q.dead {
		s.wrong = "a notification is dead"
	}
	for _, n := range q.settled {
		if slices.Contains(s.done, n) {
			s.wrong = fmt.Sprintf("notification %d is counted twice", n)
			return
		}
		s.done = append(s.done, n)
	}
	slices.Sort(s.done)
}

func (m *machine) write(s *state, p int, q question, on func(answer) *state, add func(*state, string, ...any)) {
	what := m.words(q.create, q.username, q.version)
	after := s.copy()
	r := after.apply(q.create, q.username, q.version)
	to := on(answer{result: r})
	to.fluent = after.fluent
	add(to, "%s sends the %s: %s", name(p), what, landed(r))
	if s.left.Unclear == 0 {
		return
	}
	never := on(answer{result: unclear})
	never.left.Unclear--
	add(never, "%s sends the %s: it never arrives, and no answer comes", name(p), what)
	lost := on(answer{result: unclear})
	lost.left.Unclear--
	lost.fluent = after.fluent
	add(lost, "%s sends the %s: %s, and the answer is lost", name(p), what, landed(r))
	if s.left.Late > 0 {
		late := on(answer{result: unclear})
		late.left.Unclear--
		late.fly(q)
		add(late, "%s sends the %s: no answer comes, it is still on its way", name(p), what)
	}
}

func (s *state) fly(q question) {
	s.left.Late--
	s.flying = append(s.flying, flight{q.create, q.username, q.version, s.now + d})
}

// apply writes to Fluent.
func (s *state) apply(create bool, username string, version uint8) result {
	_, there := s.fluent[username]
	switch {
	case create && there:
		return exists
	case !create && !there:
		return missing
	}
	s.fluent = maps.Clone(s.fluent)
	s.fluent[username] = version
	return fine
}

// back gives the queue what the handler said.
func (m *machine) back(s *state, p int, add func(*state, string, ...any)) {
	to := s.copy()
	q := &to.procs[p]
	w := q.worker
	q.worker = nil
	var atHand, others []queue.Item
	for _, it := range q.items {
		if it.AtHand {
			it.AtHand = false
			atHand = append(atHand, it)
		} else {
			others = append(others, it)
		}
	}
	desk := m.desk(atHand, s.time())
	b := desk.Next(s.time())
	desk.Done(b, w.errs, s.time())
	q.items = append(desk.Items(), others...)
	slices.SortFunc(q.items, func(a, b queue.Item) int { return int(a.Notification.Seq) - int(b.Notification.Seq) })
	var said []string
	for i, n := range w.batch {
		o, reason, _ := ct2fluent.OutcomeOf(w.errs[i])
		if o.Settled() {
			at := slices.IndexFunc(atHand, func(it queue.Item) bool { return it.Notification.Seq == n.Seq })
			it := atHand[at]
			it.AtHand = true
			if p == 0 && s.left.Lost > 0 && s.left.Crashes > 0 {
				q.lately = append(q.lately, it)
			}
			if !slices.Contains(to.done, uint8(n.Seq)) {
				to.wrong = fmt.Sprintf("notification %d is acknowledged, and the ledger does not count it", n.Seq)
			}
		}
		if !m.telling {
			continue
		}
		said = append(said, strings.TrimSpace(fmt.Sprintf("%d %v %s", n.Seq, o, reason)))
	}
	add(to, "%s is done: %s", name(p), strings.Join(said, ", "))
}

// crash ends the first process, or lets it be taken for dead: a second one
// goes on from what is on disk. What was sent may land until D has passed.
func (m *machine) crash(s *state, add func(*state, string, ...any)) {
	w := s.procs[0].worker
	next := func(pause, lost bool) *state {
		to := s.copy()
		items := slices.Clone(s.procs[0].items)
		if lost {
			items = append(items, s.procs[0].lately...)
			slices.SortFunc(items, func(a, b queue.Item) int { return int(a.Notification.Seq) - int(b.Notification.Seq) })
			to.left.Lost--
		}
		if !m.without(Rule5) {
			until := s.time().Add(m.options.UnclearWait)
			for i := range items {
				items[i] = items[i].Crashed(until)
			}
		}
		for i := range items {
			items[i].AtHand = false
		}
		to.procs[1] = process{alive: true, items: items}
		to.inOld = true
		if pause {
			to.left.Pauses--
			to.procs[0].lately = nil
			if !m.o.Both {
				to.procs[0].items = slices.DeleteFunc(slices.Clone(to.procs[0].items), func(it queue.Item) bool { return !it.AtHand })
			}
		} else {
			to.left.Crashes--
			to.procs[0] = process{}
		}
		return to
	}
	if s.left.Pauses > 0 && w != nil {
		add(next(true, false), "the first process is paused and taken for dead; a second one starts")
	}
	if s.left.Crashes == 0 {
		return
	}
	for _, lost := range []bool{false, true} {
		says := "the process is killed; a new one starts"
		if lost {
			if s.left.Lost == 0 || len(s.procs[0].lately) == 0 {
				continue
			}
			says += ", without the last acknowledgement"
		}
		add(next(false, lost), says)
		if w == nil {
			continue
		}
		switch q := w.ask; q.kind {
		case write:
			to := next(false, lost)
			r := to.apply(q.create, q.username, q.version)
			add(to, "%s, after the %s was sent: %s", says, m.words(q.create, q.username, q.version), landed(r))
			if to.left.Late > 0 {
				to := next(false, lost)
				to.fly(q)
				add(to, "%s, after the %s was sent, which is still on its way", says, m.words(q.create, q.username, q.version))
			}
		case save:
			if !s.procs[0].writable(q) {
				continue
			}
			before := s.copy()
			before.store(0, q, max(s.procs[0].seq, doubted)+1)
			to := next(false, lost)
			to.entry, to.done, to.wrong = before.entry, before.done, before.wrong
			add(to, "%s, after the ledger was written", says)
		case put:
			to := next(false, lost)
			m.receive(to, ct2fluent.Notification{Version: q.note.Version, Force: q.note.Force, Again: q.note.Again})
			add(to, "%s, after the customer was put again", says)
		}
	}
}

// late ends the process that was paused, and woke up to send.
func (m *machine) late(s *state, add func(*state, string, ...any)) {
	w := s.procs[0].worker
	if w == nil || w.ask.kind != write {
		return // nothing of it is left behind
	}
	to := s.copy()
	to.left.Crashes--
	to.procs[0] = process{}
	r := to.apply(w.ask.create, w.ask.username, w.ask.version)
	add(to, "the first process wakes up, sends the %s and is killed: %s", m.words(w.ask.create, w.ask.username, w.ask.version), landed(r))
}

// The words for a person.

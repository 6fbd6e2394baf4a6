// Package model checks the convergence protocol exhaustively.
//
// The protocol is queue, ledger with an expected sequence, read, write,
// settle. Explore takes every way in which its steps can follow each other for
// one customer of three versions, the second of which changes the email: the
// order of the notifications, two processes, reads that lag, and as many
// crashes, pauses, lost acknowledgements, unclear answers and late writes as
// its Limits allow. What decides is the real code, run as it is: the queue's
// schedule (queue.Desk), the ledger's Settle, the customer handler. The model
// is what lies between them: disk, commercetools, Fluent and time.
//
// run.go runs handler and ledger from one answer of the world to the next;
// state.go is the world and what must hold of it; steps.go is what can happen;
// rules.go leaves rules of convergence out, one at a time, to see that the
// explorer finds what they are for.
package model

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/queue"
)

// Limits say how much of each may go wrong.
type Limits struct {
	Crashes    int // processes killed; a new one starts
	Pauses     int // processes taken for dead that wake up later
	Lost       int // acknowledgements lost: of the queue in a crash, or of the ledger
	Unclear    int // writes without an answer
	Late       int // writes that land later, before D has passed
	Stale      int // reads older than what was notified or known
	Duplicates int // notifications that come once more
	Carried    int // customers that a bulk run puts, as it has read them
}

// Options of an exploration.
type Options struct {
	Limits
	Without Rule // left out; 0: none
	// Both says that a process that was paused goes on with all that its queue
	// holds, and not only with what it had at hand.
	Both bool
	// States is how many are looked at, at most; 0: all.
	States int
}

// A Report is what an exploration found.
type Report struct {
	States, Steps int
	Runs          int  // how often handler and ledger were run
	Whole         bool // every state was looked at
	// Violation is the promise that was broken, empty where none was; Story is
	// how it came to that, one step a line.
	Violation string
	Story     []string
}

func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d states, %d steps, handler and ledger run %d times", r.States, r.Steps, r.Runs)
	if r.Violation == "" {
		return b.String()
	}
	for i, s := range r.Story {
		fmt.Fprintf(&b, "\n%3d. %s", i+1, s)
	}
	fmt.Fprintf(&b, "\n  => %s", r.Violation)
	return b.String()
}

// A machine takes steps.
type machine struct {
	o       Options
	options queue.Options
	runs    *runs
	telling bool // the words are wanted, not only the states
}

func (m *machine) without(r Rule) bool { return m.o.Without == r }

// visit is where a state came from.
type visit struct {
	from int32
	step int16
}

// Explore looks at every state that can be reached, the nearest first, until
// one breaks a promise: so its story is as short as any. It ends with ctx.
func Explore(ctx context.Context, o Options) (Report, error) {
	m := &machine{o: o, options: queue.Options{
		Projects: []string{project}, Workers: 1, UnclearWait: d * tick,
		Delays: queue.Delays{Retry: tick, RetryMax: tick, Hold: tick, HoldMax: tick},
	}}
	if o.Without == Rule3 {
		m.options.UnclearWait = time.Nanosecond
	}
	var err error
	if m.runs, err = newRuns(o.Without.product(), o.Pauses > 0); err != nil {
		return Report{}, err
	}
	start := &state{fluent: map[string]uint8{}, left: o.Limits}
	start.left.Duplicates = 0
	for v := 1; v <= versions; v++ {
		start.toPut[v] = 1
	}
	// Which one comes twice makes no difference in kind: the one whose late
	// copy is the oldest is the hardest.
	start.toPut[1] += uint8(o.Duplicates)
	start.procs[0].alive = true

	seen := map[[16]byte]bool{digest(start): true}
	visits := []visit{{from: -1}}
	var report Report
	frontier, at := []*state{start}, []int32{0}
	for len(frontier) > 0 {
		var next []*state
		var nextAt []int32
		for i, s := range frontier {
			if err := ctx.Err(); err != nil {
				return report, err
			}
			if o.States > 0 && len(visits) > o.States {
				report.States, report.Runs = len(visits), m.runs.count
				return report, nil
			}
			for j, st := range m.steps(s) {
				report.Steps++
				key := digest(st.to)
				if seen[key] {
					continue
				}
				seen[key] = true
				visits = append(visits, visit{at[i], int16(j)})
				if wrong := st.to.check(); wrong != "" {
					report.States, report.Runs = len(visits), m.runs.count
					report.Violation, report.Story = wrong, m.story(start, visits)
					return report, nil
				}
				next, nextAt = append(next, st.to), append(nextAt, int32(len(visits)-1))
			}
		}
		frontier, at = next, nextAt
	}
	report.States, report.Runs, report.Whole = len(visits), m.runs.count, true
	return report, nil
}

func digest(s *state) [16]byte {
	sum := sha256.Sum256(s.key(make([]byte, 0, 512)))
	return [16]byte(sum[:16])
}

// story tells how the last visited state was reached.
func (m *machine) story(start *state, visits []visit) []string {
	var back []int16
	for at := int32(len(visits) - 1); visits[at].from >= 0; at = visits[at].from {
		back = append(back, visits[at].step)
	}
	m.telling = true
	var story []string
	s := start
	for i := len(back) - 1; i >= 0; i-- {
		st := m.steps(s)[back[i]]
		story, s = append(story, st.says), st.to
	}
	return story
}

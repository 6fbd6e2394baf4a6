// Package check decides whether a run of ct2fluent kept the promises.
//
// It knows nothing of the product: a [History] says what was made in
// commercetools, what was put and acknowledged, what reached Fluent and when,
// and what the ledger says of it afterwards. [History.Check] compares them and
// names each promise that was broken, with what happened instead.
package check

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// Fields are what Fluent is to hold of a customer, mapped by hand from what
// commercetools has: the product's own mapping is not asked.
type Fields struct{ Email, FirstName, LastName, Title, Phone, Country string }

// A Version is one state of a customer of commercetools. No two states of one
// customer have equal fields.
type Version struct {
	Number int64
	Fields Fields
}

// A Put is one notification that was offered until an answer came.
type Put struct {
	ID      string // of the customer; empty for a body that names none
	Version int64
	Sent    int       // how often it was offered
	Acked   time.Time // when it was acknowledged; zero: never
}

// A Write is a mutation that Fluent has applied.
type Write struct {
	At       time.Time
	Username string
	ID       string // of commercetools, as the mutation left it
	Fields   Fields // as the mutation left them
}

// A Customer is one of Fluent's, at the end.
type Customer struct {
	Username string
	ID       string // of commercetools; empty: it has none
	Fields   Fields
}

// Totals are the ledger's sum.
type Totals struct {
	Received, Waiting, Written, Unchanged, Merged, Skipped, Dead, DeadLetters uint64

	SkippedBy, DeadBy map[string]uint64
}

// A Result is what the ledger says became of one notification.
type Result struct {
	Seq      uint64
	Version  int64
	Outcome  string
	Attempts int
}

// A Timeline is what the ledger has of a customer, newest first.
type Timeline struct {
	Version int64 // that is remembered
	Results []Result
	Cut     bool // there were more entries than are kept
}

// A Letter is a dead letter that lies there.
type Letter struct {
	Seq     uint64
	ID      string
	Version int64
	Reason  string
}

// A File lies where the process works.
type File struct {
	Name   string
	Mode   fs.FileMode
	Text   []byte
	Exempt bool // it may hold personal data, and has to be private for it
}

// A History is all that is known of a run.
type History struct {
	Made      map[string][]Version // by the customer's id, oldest first
	Puts      []Put
	Writes    []Write // oldest first
	Rests     []time.Time
	Customers []Customer
	Totals    Totals
	Timelines map[string]Timeline // by the customer's id
	Letters   []Letter

	// Foreign are the usernames of Fluent customers that others have made.
	Foreign map[string]bool
	// Refused are customers that Fluent refuses for a time: their
	// notifications may die.
	Refused map[string]bool
	// Whole: the process was neither killed nor cut off, so that nothing can
	// have been received but what was acknowledged, and Replayed more.
	Whole    bool
	Replayed uint64
	// All: a run over all customers was done, so that each that was made has to
	// be in Fluent, the dead aside.
	All bool
	// Latest: every change was brought, whether it was notified or not, so that
	// Fluent has to hold each customer's last version, the dead aside.
	Latest bool
	// Sampled: not all timelines were read.
	Sampled bool
	// Blameless: whatever went wrong was no notification's fault.
	Blameless bool

	// Marks are in every personal value and in every secret.
	Marks []string
	// Texts are what was said, by where.
	Texts map[string][]byte
	Files []File
}

// A Violation is a promise that was not kept.
type Violation struct {
	Rule string // one of Rules
	What string
}

func (v Violation) String() string { return v.Rule + ": " + v.What }

// Rules are all that is checked: each with the number of its promise.
var Rules = []string{
	"1 kept", "2 sum", "2 all received", "2 nothing invented", "2 settled once", "2 in the ledger", "2 letters",
	"3 converged", "4 not older", "4 one customer", "4 one version", "6 no attempts", "7 nothing personal", "7 private",
}

// most is how many violations of one rule are told.
const most = 5

// Check returns what was broken, or nothing.
func (h *History) Check() []Violation {
	c := &checker{h: h, told: map[string]int{}, acked: map[string]int64{}, dead: map[string]int64{}}
	for _, p := range h.Puts {
		if !p.Acked.IsZero() && p.ID != "" {
			c.acked[p.ID] = max(c.acked[p.ID], p.Version)
		}
	}
	for _, l := range h.Letters {
		c.dead[l.ID] = max(c.dead[l.ID], l.Version)
	}
	c.sums()
	c.ledger()
	c.converged()
	c.never()
	c.personal()
	return c.found
}

type checker struct {
	h     *History
	acked map[string]int64 // the newest version acknowledged, by customer
	dead  map[string]int64 // the newest version among the dead letters
	told  map[string]int
	found []Violation
}

func (c *checker) say(rule, format string, v ...any) {
	if c.told[rule]++; c.told[rule] <= most {
		c.found = append(c.found, Violation{rule, fmt.Sprintf(format, v...)})
	} else if c.told[rule] == most+1 {
		c.found = append(c.found, Violation{rule, "and more"})
	}
}

// sums checks what the totals say.
func (c *checker) sums() {
	t := c.h.Totals
	if sum := t.Written + t.Unchanged + t.Merged + t.Skipped + t.Dead + t.Waiting; t.Received != sum {
		c.say("2 sum", "received are %d, outcomes and waiting %d: %+v", t.Received, sum, t)
	}
	for name, parts := range map[string]struct {
		whole uint64
		by    map[string]uint64
	}{"skipped": {t.Skipped, t.SkippedBy}, "dead": {t.Dead, t.DeadBy}} {
		var sum uint64
		for _, n := range parts.by {
			sum += n
		}
		if sum != parts.whole {
			c.say("2 sum", "%s are %d, their reasons %d", name, parts.whole, sum)
		}
	}
	var acked, sent, nameless uint64
	for _, p := range c.h.Puts {
		sent += uint64(p.Sent)
		if !p.Acked.IsZero() {
			acked++
			if p.ID == "" {
				nameless++
			}
		}
	}
	if t.Received < acked {
		c.say("2 all received", "%d were acknowledged, the ledger has received %d", acked, t.Received)
	}
	if t.Waiting == 0 && t.Dead+t.Skipped < nameless {
		c.say("2 all received", "%d bodies that name no customer were acknowledged, only %d were skipped or died", nameless, t.Dead+t.Skipped)
	}
	most := sent + c.h.Replayed
	if c.h.Whole {
		most = acked + c.h.Replayed
	}
	if c.h.Whole && t.Received > most {
		c.say("2 nothing invented", "%d were acknowledged or replayed, received are %d", most, t.Received)
	}
	if c.h.Blameless && t.Dead > 0 {
		c.say("6 no attempts", "%d died of what was not their fault: %v", t.Dead, t.DeadBy)
	}
	if uint64(len(c.h.Letters)) != t.DeadLetters {
		c.say("2 letters", "%d dead letters are counted, %d lie there", t.DeadLetters, len(c.h.Letters))
	}
}

// settled are the outcomes that end a notification.
var settled = []string{"written", "unchanged", "merged", "skipped", "dead"}

// ledger checks the timelines against what was acknowledged.
func (c *checker) ledger() {
	lies := map[uint64]bool{}
	for _, l := range c.h.Letters {
		lies[l.Seq] = true
	}
	seen := map[uint64]string{}
	has := map[string]map[int64]bool{}
	for _, id := range slices.Sorted(maps.Keys(c.h.Timelines)) {
		t := c.h.Timelines[id]
		has[id] = map[int64]bool{}
		for _, r := range t.Results {
			if r.Attempts > 0 && c.h.Blameless {
				c.say("6 no attempts", "customer %s: notification %d (version %d) burnt %d attempts", id, r.Seq, r.Version, r.Attempts)
			}
			if !slices.Contains(settled, r.Outcome) {
				continue
			}
			has[id][r.Version] = true
			if other, twice := seen[r.Seq]; twice {
				c.say("2 settled once", "notification %d was settled for %s and again for %s as %s", r.Seq, other, id, r.Outcome)
			}
			seen[r.Seq] = id
		}
	}
	for _, l := range c.h.Letters {
		if t, known := c.h.Timelines[l.ID]; known && !t.Cut && !slices.ContainsFunc(t.Results, func(r Result) bool { return r.Seq == l.Seq && r.Outcome == "dead" }) {
			c.say("2 letters", "dead letter %d of customer %s is not in its timeline", l.Seq, l.ID)
		}
	}
	if c.h.Totals.Waiting > 0 {
		return
	}
	for _, p := range c.h.Puts {
		if p.Acked.IsZero() || p.ID == "" {
			continue
		}
		t, known := c.h.Timelines[p.ID]
		switch {
		case !known && c.h.Sampled:
		case !known:
			c.say("1 kept", "customer %s: version %d was acknowledged, and the ledger has nothing of the customer", p.ID, p.Version)
		case !t.Cut && !has[p.ID][p.Version]:
			c.say("2 in the ledger", "customer %s: version %d was acknowledged and has no outcome", p.ID, p.Version)
		case t.Cut && t.Version < p.Version && c.dead[p.ID] < p.Version:
			c.say("2 in the ledger", "customer %s: version %d was acknowledged, the ledger remembers version %d", p.ID, p.Version, t.Version)
		}
	}
}

// converged checks Fluent as it is at the end.
func (c *checker) converged() {
	h := c.h
	holds := map[string]Customer{}
	for _, f := range h.Customers {
		switch {
		case h.Foreign[f.Username]:
			continue
		case f.ID == "":
			c.say("4 one customer", "Fluent's %s is no customer of commercetools", f.Username)
			continue
		case h.Made[f.ID] == nil:
			c.say("4 one customer", "Fluent's %s is of %s, which was never made", f.Username, f.ID)
			continue
		}
		if other, twice := holds[f.ID]; twice {
			c.say("4 one customer", "customer %s is %s and %s in Fluent", f.ID, other.Username, f.Username)
		}
		holds[f.ID] = f
	}
	if h.Totals.Waiting > 0 {
		return
	}
	if h.All {
		for id := range h.Made {
			c.acked[id] = max(c.acked[id], 1)
		}
	}
	if h.Latest {
		for id, versions := range h.Made {
			c.acked[id] = versions[len(versions)-1].Number
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.acked)) {
		need := c.acked[id]
		if c.dead[id] >= need {
			continue
		}
		f, there := holds[id]
		if !there {
			c.say("3 converged", "customer %s: version %d was notified, and the customer is not in Fluent", id, need)
			continue
		}
		switch v := h.version(id, f.Fields); {
		case v == 0:
			c.say("4 one version", "customer %s: Fluent holds what no version was: %+v", id, f.Fields)
		case v < need:
			c.say("3 converged", "customer %s: version %d was notified, Fluent holds version %d", id, need, v)
		}
	}
}

// version is that whose mapping Fluent holds; 0 for none.
func (h *History) version(id string, f Fields) int64 {
	for _, v := range slices.Backward(h.Made[id]) {
		if v.Fields == f {
			return v.Number
		}
	}
	return 0
}

// never checks what Fluent held on the way: at each rest, at least what was
// acknowledged before it, and at least what it held at the rest before.
func (c *checker) never() {
	h := c.h
	at := 0
	now, before := map[string]int64{}, map[string]int64{}
	name := map[string]string{}
	for _, rest := range h.Rests {
		for ; at < len(h.Writes) && !h.Writes[at].At.After(rest); at++ {
			w := h.Writes[at]
			if h.Foreign[w.Username] {
				continue
			}
			if other, known := name[w.ID]; known && other != w.Username {
				c.say("4 one customer", "customer %s was written as %s and as %s", w.ID, other, w.Username)
			}
			name[w.ID] = w.Username
			v := h.version(w.ID, w.Fields)
			if v == 0 {
				c.say("4 one version", "customer %s was written at %v as what no version was: %+v", w.ID, clock(w.At), w.Fields)
			}
			now[w.ID] = v
		}
		need := map[string]int64{}
		for _, p := range h.Puts {
			if p.ID != "" && !p.Acked.IsZero() && p.Acked.Before(rest) && !h.Refused[p.ID] {
				need[p.ID] = max(need[p.ID], p.Version)
			}
		}
		for id, v := range need {
			if now[id] < v && c.dead[id] < v {
				c.say("3 converged", "customer %s: at the rest of %s Fluent held version %d, notified was %d", id, clock(rest), now[id], v)
			}
		}
		for id, v := range now {
			if v < before[id] {
				c.say("4 not older", "customer %s: at the rest of %s Fluent held version %d, at the rest before %d", id, clock(rest), v, before[id])
			}
		}
		before = maps.Clone(now)
	}
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// Regressions counts the writes that laid an older version over a newer one,
// however short it stayed. It is no violation: promises.md says when it may be.
func (h *History) Regressions() (n int) {
	at := map[string]int64{}
	for _, w := range h.Writes {
		v := h.version(w.ID, w.Fields)
		if v < at[w.ID] {
			n++
		}
		at[w.ID] = v
	}
	return n
}

// personal looks for marked values where none may be.
func (c *checker) personal() {
	var marks [][]byte
	for _, m := range c.h.Marks {
		for _, form := range forms(m) {
			marks = append(marks, []byte(form))
		}
	}
	find := func(where string, text []byte) {
		lower := bytes.ToLower(text)
		for _, m := range marks {
			if i := max(bytes.Index(lower, bytes.ToLower(m)), bytes.Index(text, m)); i >= 0 {
				c.say("7 nothing personal", "%s has %q", where, text[max(0, i-80):min(len(text), i+len(m)+20)])
				return
			}
		}
	}
	for _, where := range slices.Sorted(maps.Keys(c.h.Texts)) {
		find(where, c.h.Texts[where])
	}
	for _, f := range c.h.Files {
		if !f.Exempt {
			find(f.Name, f.Text)
			continue
		}
		allowed := fs.FileMode(0o600)
		if f.Mode.IsDir() {
			allowed = 0o700
		}
		if f.Mode.Perm()&^allowed != 0 {
			c.say("7 private", "%s has the mode %v, want %v or less", f.Name, f.Mode.Perm(), allowed)
		}
	}
}

// forms are the ways in which a mark may be written down: as it is, and in
// base64 wherever it begins.
func forms(mark string) []string {
	all := []string{mark}
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + mark))
		// The first and the last signs depend on what stands beside the mark.
		cut := []int{0, 2, 3}[shift]
		all = append(all, text[cut:len(text)-2])
	}
	return all
}

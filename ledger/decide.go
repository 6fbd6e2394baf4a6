package ledger

import (
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// The decisions of the ledger, without I/O: the last entry of a resource and
// what a handler answered go in, what is to be written comes out.

// An answer is what a handler said of a notification, as it counts.
type answer struct {
	n       ct2fluent.Notification
	err     error // for the queue
	outcome ct2fluent.Outcome
	reason  string
	counted bool // settled before; it was worked once more to repair
}

// judge reads a handler's error. A notification that was tried too often is
// dead, whatever its last fault was.
func judge(n ct2fluent.Notification, err error, maxAttempts int) answer {
	a := answer{n: n, err: err}
	a.outcome, a.reason, _ = ct2fluent.OutcomeOf(err)
	attempts := n.Attempts
	switch a.outcome {
	case ct2fluent.Retry:
		attempts++
	case ct2fluent.Held, ct2fluent.Doubtful:
		// The queue alone can tell whether such a fault is the notification's
		// own. It has counted the earlier ones that were.
	default:
		return a
	}
	if attempts < maxAttempts {
		return a
	}
	a.n.Attempts = attempts
	if a.reason == "" {
		a.reason = "attempts"
	}
	if a.outcome == ct2fluent.Doubtful {
		// Its write may still land.
		a.n.Again = true
	}
	a.outcome = ct2fluent.Dead
	a.err = ct2fluent.Reject(ct2fluent.WithReason(a.reason, err))
	return a
}

// noted tells whether the outcome belongs into the timeline. Held and Later
// come by the thousand in an outage and say nothing of the resource.
func (a answer) noted() bool {
	return a.outcome.Settled() || a.outcome == ct2fluent.Retry || a.outcome == ct2fluent.Doubtful
}

// mayHaveSent tells whether a call may have changed Fluent.
func (a answer) mayHaveSent() bool {
	switch a.outcome {
	case ct2fluent.IsUnchanged, ct2fluent.IsMerged, ct2fluent.Skipped, ct2fluent.Held, ct2fluent.Later:
		return false
	}
	return a.n.Fault == ""
}

// mayLand tells whether what was sent to Fluent may take effect later.
func (a answer) mayLand() bool {
	return a.outcome == ct2fluent.Doubtful || a.outcome == ct2fluent.Dead && a.n.Again
}

// A conclusion is what settling does to one resource.
type conclusion struct {
	entry   Entry
	news    bool // the entry has to be written
	letters []DeadLetter
	counts  Totals
	runs    map[string]Totals // for each run that has not counted the resource before
}

// conclude says what the answers for one resource, in order, make of its last
// entry. told is what the handler wants remembered, nil for nothing; floor is
// the sequence up to which the queue hands nothing out again.
func conclude(last Entry, answers []answer, told *ct2fluent.Memory, floor uint64, now time.Time) conclusion {
	c := conclusion{entry: Entry{
		When: now, Memory: remember(last.Memory, answers, told), Open: above(floor, last.Open), Runs: slices.Clone(last.Runs),
	}}
	for _, a := range answers {
		if a.counted || !a.noted() {
			continue
		}
		why := ""
		if a.err != nil && a.outcome >= ct2fluent.Dead {
			why = short(a.err.Error())
		}
		c.entry.Results = append(c.entry.Results, Result{
			Seq: a.n.Seq, ID: short(a.n.ID), Name: short(a.n.Name), Version: a.n.Version,
			Outcome: a.outcome.String(), Reason: a.reason, Why: why,
			Attempts: a.n.Attempts, Received: a.n.Received.UTC(),
		})
		if !a.outcome.Settled() {
			continue
		}
		c.counts.count(a.outcome, a.reason)
		if a.n.Seq > floor {
			c.entry.Open = append(c.entry.Open, a.n.Seq)
		}
		if a.outcome == ct2fluent.Dead {
			c.letters = append(c.letters, DeadLetter{Notification: a.n, Reason: a.reason, Why: why, When: now})
		}
	}
	c.countRuns(answers)
	c.news = len(c.entry.Results) > 0 || !sameMemory(c.entry.Memory, last.Memory) ||
		// Only who writes learns that he was overtaken (rule 7).
		slices.ContainsFunc(answers, func(a answer) bool { return a.counted && a.mayHaveSent() })
	return c
}

// remember says what is remembered after the answers. Rule 1: the floor never
// sinks, and a doubtful memory forgets the hash, not the floor.
func remember(last ct2fluent.Memory, answers []answer, told *ct2fluent.Memory) ct2fluent.Memory {
	done, doubtful, unrepaired := false, false, false
	for _, a := range answers {
		// The newest one's word counts.
		done = a.outcome.Settled() && a.outcome != ct2fluent.Dead
		// What it wrote when it was handed out before is no older than what is
		// remembered, and may be of another mapping.
		unrepaired = unrepaired || told == nil && a.n.Again && a.outcome.Settled()
		// A write of the one that came again may lie above all that was written
		// since. It was to repair that, and now never will.
		doubtful = doubtful || a.mayLand()
	}
	m := last
	switch {
	case told != nil && done:
		m = lay(last, *told)
	case told != nil:
		m = lay(last, weaker(last, *told))
	}
	if doubtful {
		m.Version = 0
	}
	if doubtful || unrepaired {
		m = forgetHash(m)
	}
	return m
}

// lay puts what was told over the last memory. A floor and a username are
// never taken back.
func lay(last, told ct2fluent.Memory) ct2fluent.Memory {
	told.Floor = max(last.Floor, told.Floor, told.Version)
	if told.Username == "" {
		told.Username = last.Username
	}
	return told
}

// weaker is what may be believed of told while the work is not done: it may
// claim less than the last memory, never more.
func weaker(last, told ct2fluent.Memory) ct2fluent.Memory {
	told.Floor = max(told.Floor, told.Version)
	told.Version = min(told.Version, last.Version)
	if told.Hash != last.Hash || told.Mapping != last.Mapping {
		return forgetHash(told)
	}
	told.Attributes = last.Attributes
	return told
}

// forgetHash forgets what is in Fluent, and under which mapping.
func forgetHash(m ct2fluent.Memory) ct2fluent.Memory {
	m.Mapping = ""
	return doubtHash(m)
}

// doubtHash forgets what is in Fluent. That the work of the version is done
// under the mapping stays true: the package comment says why.
func doubtHash(m ct2fluent.Memory) ct2fluent.Memory {
	m.Hash, m.Attributes = "", nil
	return m
}

// above gives the sequences that the queue may still hand out.
func above(floor uint64, open []uint64) []uint64 {
	var kept []uint64
	for _, seq := range open {
		if seq > floor {
			kept = append(kept, seq)
		}
	}
	return kept
}

// What one result of an entry may take, and all of them together: a cluster's
// messages hold 1 MiB if nobody has said otherwise.
const (
	resultBytes = 3*longestText + 100
	entryBytes  = 512 << 10
)

// fitting is how many of the answers one entry and its dead letters can hold
// in one atomic batch; at least one.
func fitting(answers []answer) int {
	dead, bytes, noted := 0, 0, 0
	for i, a := range answers {
		noted += resultBytes
		if a.outcome == ct2fluent.Dead {
			dead++
			bytes += len(a.n.Body) + len(a.n.ID)
		}
		if i > 0 && (dead > maxMessages/2 || bytes > maxBytes/2 || noted > entryBytes) {
			return i
		}
	}
	return len(answers)
}

// claimsNothing tells whether the answers would be the same after whatever
// another worker did to the resource.
func claimsNothing(answers []answer, told *ct2fluent.Memory) bool {
	return told == nil && !slices.ContainsFunc(answers, func(a answer) bool {
		return a.outcome != ct2fluent.Skipped && (a.outcome != ct2fluent.Dead || a.n.Fault == "")
	})
}

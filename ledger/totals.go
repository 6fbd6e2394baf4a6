package ledger

import (
	"maps"

	"github.com/ct2fluent/ct2fluent"
)

// Totals count the settled notifications since the ledger began.
type Totals struct {
	Written   uint64            `json:"written"`
	Unchanged uint64            `json:"unchanged"`
	Merged    uint64            `json:"merged"`
	Skipped   map[string]uint64 `json:"skipped,omitempty"` // by reason
	Dead      map[string]uint64 `json:"dead,omitempty"`    // by reason

	// DeadLetters is how many dead letters lie here now. Dead counts those that
	// were replayed or dropped, too.
	DeadLetters uint64 `json:"-"`
}

// Settled is the sum of all outcomes (promise 2): what was received and is not
// among them waits.
func (t Totals) Settled() uint64 {
	return t.Written + t.Unchanged + t.Merged + t.AllSkipped() + t.AllDead()
}

// AllSkipped is the sum of Skipped.
func (t Totals) AllSkipped() uint64 { return sum(t.Skipped) }

// AllDead is the sum of Dead.
func (t Totals) AllDead() uint64 { return sum(t.Dead) }

func sum(by map[string]uint64) (n uint64) {
	for _, c := range by {
		n += c
	}
	return n
}

// count counts one settled notification.
func (t *Totals) count(o ct2fluent.Outcome, reason string) {
	switch o {
	case ct2fluent.Written:
		t.Written++
	case ct2fluent.IsUnchanged:
		t.Unchanged++
	case ct2fluent.IsMerged:
		t.Merged++
	case ct2fluent.Skipped:
		add(&t.Skipped, reason, 1)
	case ct2fluent.Dead:
		add(&t.Dead, reason, 1)
	}
}

func add(by *map[string]uint64, reason string, n uint64) {
	if *by == nil {
		*by = map[string]uint64{}
	}
	(*by)[reason] += n
}

// plus adds up without touching t or other.
func (t Totals) plus(other Totals) Totals {
	t = t.clone()
	t.Written += other.Written
	t.Unchanged += other.Unchanged
	t.Merged += other.Merged
	for reason, n := range other.Skipped {
		add(&t.Skipped, reason, n)
	}
	for reason, n := range other.Dead {
		add(&t.Dead, reason, n)
	}
	return t
}

func (t Totals) clone() Totals {
	t.Skipped, t.Dead = maps.Clone(t.Skipped), maps.Clone(t.Dead)
	return t
}

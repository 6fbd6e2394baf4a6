package ledger

import (
	"context"
	"testing"

	"github.com/ct2fluent/ct2fluent"
)

// After a kill nobody knows what the last writes did: no hash of before proves
// anything until it is written anew, and what is known stays known.
func TestUncleanStart(t *testing.T) {
	r := newRig(t)
	m := ct2fluent.Memory{Floor: 4, Version: 4, Username: "u", Hash: "h", Mapping: "m", Attributes: []string{"a"}}
	in := ct2fluent.Memory{Floor: 4, Version: 4, Username: "u", Mapping: "m"} // in doubt
	r.settle(r.remembering(m, nil), note(1, 4), of(john, note(2, 4)))

	r.restart()
	if got := r.memory(jane); !sameMemory(got, m) {
		t.Errorf("after an orderly stop: %+v, want %+v", got, m)
	}
	r.crash()
	if got := r.memory(jane); !sameMemory(got, in) {
		t.Errorf("after a crash: %+v, want %+v", got, in)
	}
	r.restart()
	if got := r.memory(jane); !sameMemory(got, in) {
		t.Errorf("after a crash and an orderly stop: %+v, want %+v", got, in)
	}
	// An entry that is written without a new hash does not make the old one
	// good again.
	r.settle(say(ct2fluent.Skip("known")), note(3, 4))
	if got := r.memory(jane); !sameMemory(got, in) {
		t.Errorf("after a skip: %+v, want %+v", got, in)
	}
	r.settle(r.remembering(m, nil), note(4, 4))
	r.restart()
	if got := r.memory(jane); !sameMemory(got, m) {
		t.Errorf("after a new write: %+v, want %+v", got, m)
	}
	if got := r.memory(john); !sameMemory(got, in) {
		t.Errorf("john's, not written anew: %+v, want %+v", got, in)
	}
	r.wantTotals("3 written, 1 skipped")
}

func TestRemember(t *testing.T) {
	last := ct2fluent.Memory{Floor: 5, Version: 5, Username: "u", Hash: "h5", Mapping: "m", Attributes: []string{"a"}}
	next := ct2fluent.Memory{Floor: 7, Version: 7, Username: "u", Hash: "h7", Mapping: "m", Attributes: []string{"b"}}
	read := last // read version 7, and no more
	read.Floor = 7
	ask := func(outcome ct2fluent.Outcome) answer { return answer{outcome: outcome} }
	again := func(outcome ct2fluent.Outcome) answer {
		return answer{outcome: outcome, n: ct2fluent.Notification{Again: true}}
	}
	tests := []struct {
		name    string
		answers []answer
		told    *ct2fluent.Memory
		want    ct2fluent.Memory
	}{
		{name: "written", answers: []answer{ask(ct2fluent.Written)}, told: &next, want: next},
		{name: "nothing told", answers: []answer{ask(ct2fluent.Skipped)}, want: last},
		{name: "merged into one that was written", answers: []answer{ask(ct2fluent.IsMerged), ask(ct2fluent.Written)}, told: &next, want: next},
		{name: "a floor and a username are not taken back", answers: []answer{ask(ct2fluent.Written)},
			told: &ct2fluent.Memory{Version: 3, Hash: "h3"}, want: ct2fluent.Memory{Floor: 5, Version: 3, Username: "u", Hash: "h3"}},
		{name: "the version worked is a floor", answers: []answer{ask(ct2fluent.Written)},
			told: &ct2fluent.Memory{Version: 9}, want: ct2fluent.Memory{Floor: 9, Version: 9, Username: "u"}},
		{name: "to be tried again: the floor is kept, nothing is claimed", answers: []answer{ask(ct2fluent.Retry)},
			told: &next, want: ct2fluent.Memory{Floor: 7, Version: 5, Username: "u"}},
		{name: "to be tried again, nothing sent", answers: []answer{ask(ct2fluent.Retry)}, told: &read, want: read},
		{name: "held", answers: []answer{ask(ct2fluent.Held)}, told: &read, want: read},
		{name: "dead", answers: []answer{ask(ct2fluent.Dead)}, told: &read, want: read},
		{name: "unclear", answers: []answer{ask(ct2fluent.Doubtful)}, told: &next, want: ct2fluent.Memory{Floor: 7, Username: "u"}},
		{name: "unclear, nothing told", answers: []answer{ask(ct2fluent.Doubtful)}, want: ct2fluent.Memory{Floor: 5, Username: "u"}},
		{name: "unclear after one that was written", answers: []answer{ask(ct2fluent.Written), ask(ct2fluent.Doubtful)}, told: &next,
			want: ct2fluent.Memory{Floor: 7, Username: "u"}},
		{name: "came again and was written", answers: []answer{again(ct2fluent.Written)}, told: &next, want: next},
		{name: "came again and died: it will not repair what it wrote", answers: []answer{again(ct2fluent.Dead)},
			want: ct2fluent.Memory{Floor: 5, Username: "u"}},
		{name: "came again and had no route: it has not repaired what it wrote", answers: []answer{again(ct2fluent.Skipped)},
			want: ct2fluent.Memory{Floor: 5, Version: 5, Username: "u"}},
		{name: "came again and waits", answers: []answer{again(ct2fluent.Held)}, want: last},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := remember(last, tt.answers, tt.told); !sameMemory(got, tt.want) {
				t.Errorf("remembers %+v, want %+v", got, tt.want)
			}
		})
	}
}

// The memory of one that is unclear is in doubt on disk before a newer
// notification of the resource can be handed out.
func TestUnclearIsNoted(t *testing.T) {
	r := newRig(t)
	r.settle(r.remembering(ct2fluent.Memory{Version: 1, Hash: "h", Username: "u"}, nil), note(1, 1))
	wantOutcomes(t, r.settle(say(ct2fluent.Unclear(errFault)), note(2, 2)), ct2fluent.Doubtful)
	r.restart()
	r.settle(func(ctx context.Context, n ct2fluent.Notification) error {
		ms, err := r.ledger.Recall(ctx, jane)
		if m := ms[jane]; err != nil || m.Hash != "" || m.Version != 0 || m.Floor != 1 || m.Username != "u" {
			t.Errorf("the newer one was told %+v, %v", m, err)
		}
		return nil
	}, note(3, 3))
}

// So is that of one that is unclear for the last time: its write may land.
func TestUnclearAndDead(t *testing.T) {
	r := newRig(t)
	r.settle(r.remembering(ct2fluent.Memory{Version: 1, Hash: "h", Username: "u"}, nil), note(1, 1))
	n := note(2, 2)
	n.Attempts = 8
	wantOutcomes(t, r.settle(say(ct2fluent.Unclear(errFault)), n), ct2fluent.Dead)
	if m := r.memory(jane); m.Hash != "" || m.Version != 0 {
		t.Errorf("%+v is remembered", m)
	}
}

// An outage brings the same answers by the thousand: they are not written.
func TestNoNewsIsNotWritten(t *testing.T) {
	r := newRig(t)
	m := ct2fluent.Memory{Floor: 1, Version: 1, Username: "u"}
	r.settle(r.remembering(m, nil), note(1, 1))
	for range 3 {
		r.settle(r.remembering(m, ct2fluent.Unavailable(errFault)), note(2, 2))
		r.settle(say(ct2fluent.RetryAfter(1, errFault)), note(2, 2))
	}
	if n := len(r.timeline(jane)); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

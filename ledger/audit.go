package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
)

// An Act is a line of the audit trail: something that an operator had done. It
// holds no personal data: Who is the name of a token, On is of the
// configuration or a number.
type Act struct {
	Number uint64    `json:"number"` // the first ever is 1
	When   time.Time `json:"when"`
	Who    string    `json:"who"`
	What   string    `json:"what"`
	On     string    `json:"on,omitempty"`
	Count  int       `json:"count"`
	// Outcome is a word of the one who acts; ActBegun until there is another.
	Outcome string `json:"outcome"`
	// Took is how long it went on.
	Took time.Duration `json:"took,omitempty"`
}

// ActBegun is the outcome of what goes on, or was cut off by the end of the
// process.
const ActBegun = "begun"

// actsKept is how many acts the trail holds, unless Options say otherwise.
const actsKept = 10_000

// lastAct is the mark that holds the number of the newest act.
const lastAct = "audit"

func actSubject(number uint64) string { return acts + strconv.FormatUint(number, 10) }

// Begin notes that a begins, gives it its number and the time, and has it on
// disk when it returns nil: what is done afterwards is in the trail, however
// the process ends. The oldest acts beyond the newest Options.Acts are
// forgotten.
func (l *Ledger) Begin(ctx context.Context, a Act) (Act, error) {
	l.acting.Lock()
	defer l.acting.Unlock()
	subject := marks + token(lastAct)
	a.When, a.Outcome = time.Now().UTC(), ActBegun
	a.Who, a.What, a.On = short(a.Who), short(a.What), short(a.On)
	for try := 1; ; try++ {
		last, at, err := l.lastAct(ctx)
		if err != nil {
			return a, fmt.Errorf("read the audit trail: %w", err)
		}
		a.Number = last + 1
		data, err := json.Marshal(a)
		if err != nil {
			return a, fmt.Errorf("write the audit trail: %w", err)
		}
		number := strconv.AppendUint(nil, a.Number, 10)
		_, err = l.o.Journal.Append(ctx, expecting(subject, number, at), &nats.Msg{Subject: actSubject(a.Number), Data: data})
		if errors.Is(err, store.ErrOvertaken) && try < tries {
			continue // by another process
		}
		if err != nil {
			return a, fmt.Errorf("write the audit trail: %w", err)
		}
		l.forgetActs(ctx, a.Number)
		return a, nil
	}
}

// End notes what became of an act that Begin gave, and how long it took. It
// takes the place of what Begin noted, so one without the number or the time
// of Begin is refused.
func (l *Ledger) End(ctx context.Context, a Act) error {
	if a.Number == 0 || a.When.IsZero() {
		return errors.New("write the audit trail: an act that did not begin cannot end")
	}
	a.Took = time.Since(a.When)
	a.Who, a.What, a.On = short(a.Who), short(a.What), short(a.On)
	data, err := json.Marshal(a)
	if err == nil {
		_, err = l.o.Journal.Append(ctx, &nats.Msg{Subject: actSubject(a.Number), Data: data})
	}
	if err != nil {
		return fmt.Errorf("write the audit trail: %w", err)
	}
	return nil
}

// Acts gives at most n acts, newest first: the newest of all, or those before
// the one of a number.
func (l *Ledger) Acts(ctx context.Context, before uint64, n int) ([]Act, error) {
	last, _, err := l.lastAct(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	if before > 0 {
		last = min(last, before-1)
	}
	var subjects []string
	for number := last; number > 0 && len(subjects) < min(n, l.o.Acts); number-- {
		subjects = append(subjects, actSubject(number))
	}
	if len(subjects) == 0 {
		return nil, nil
	}
	newest, err := l.o.Journal.Newest(ctx, subjects...)
	if err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	var found []Act
	for _, subject := range subjects {
		m, there := newest[subject]
		if !there {
			break // forgotten
		}
		var a Act
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return nil, fmt.Errorf("read the audit trail: %w", err)
		}
		found = append(found, a)
	}
	return found, nil
}

// lastAct gives the number of the newest act and the sequence of its mark.
func (l *Ledger) lastAct(ctx context.Context) (number, at uint64, err error) {
	subject := marks + token(lastAct)
	newest, err := l.o.Journal.Newest(ctx, subject)
	if err != nil {
		return 0, 0, err
	}
	m, there := newest[subject]
	if !there {
		return 0, 0, nil
	}
	number, err = strconv.ParseUint(string(m.Data), 10, 64)
	return number, m.Seq, err
}

// forgetActs removes those that are too old, and what an earlier call could
// not remove. That it fails is no reason not to act: the next call does it.
func (l *Ledger) forgetActs(ctx context.Context, last uint64) {
	for number := last - min(last, uint64(l.o.Acts)); number > 0; number-- {
		found := false
		for {
			newest, err := l.o.Journal.Newest(ctx, actSubject(number))
			m, there := newest[actSubject(number)]
			if err == nil && there {
				found = true
				err = l.o.Journal.Remove(ctx, m.Seq)
			}
			if err != nil {
				l.log.Warn("an old line of the audit trail cannot be removed; tried again with the next", "number", number, "error", err)
				return
			}
			if !there {
				break
			}
		}
		if !found {
			return
		}
	}
}

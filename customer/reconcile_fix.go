package customer

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

const (
	fixAtOnce = 200 // of what was found
	lookEvery = 200 * time.Millisecond
)

// fixed is how far fixing is.
type fixed struct {
	At      int64 `json:"at"`  // bytes of the file that are done
	Put     int   `json:"put"` // customers of these
	Emptied int   `json:"emptied"`
	Left    int   `json:"left"`
}

// fix works through what was found: what is missing or differs is put into the
// queue, which yields to live traffic, and worked by the handler like any
// other. It ends when all of it has an outcome. A stop or a kill has the last
// few put once more; their outcome is counted once.
func (r *reconciliation) fix(ctx context.Context) error {
	var done fixed
	text, err := r.run.Checkpoint(ctx, partFixed)
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &done)
	}
	if err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	name, err := driftFile(r.Dir, r.id)
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(done.At, 0); err != nil {
		return err
	}
	r.report.Fixed = &FixReport{}
	lines := bufio.NewReader(file)
	for last := false; !last; {
		var ds []Drift
		var size int64
		for !last && len(ds) < fixAtOnce {
			line, err := lines.ReadBytes('\n')
			if last = err != nil; last {
				break
			}
			var d Drift
			if err := json.Unmarshal(line, &d); err != nil {
				return fmt.Errorf("read what was found: %w", err)
			}
			ds, size = append(ds, d), size+int64(len(line))
		}
		if err := r.fixSome(ctx, ds, &done); err != nil {
			return err
		}
		done.At += size
		doc, err := json.Marshal(done)
		if err == nil {
			err = r.run.SetCheckpoint(ctx, partFixed, string(doc))
		}
		if err != nil {
			return err
		}
		if err := r.settled(ctx, done, maxOutstanding-fixAtOnce); err != nil {
			return err
		}
	}
	if err := r.settled(ctx, done, 0); err != nil {
		return err
	}
	for _, n := range r.report.Fixed.Dead {
		r.report.Fixed.Left += n
	}
	r.report.Phase = phaseDone
	is, err := file.Stat()
	if err != nil {
		return err
	}
	return r.keep(ctx, is.Size())
}

// settled waits until no more than so many of what was put have no outcome.
func (r *reconciliation) settled(ctx context.Context, done fixed, most int) error {
	for {
		f := r.report.Fixed
		f.Put, f.Emptied, f.Left = done.Put, done.Emptied, done.Left
		f.tell(r.Totals(r.name()))
		r.report.Why = ""
		if f.Waiting > most {
			r.report.Why = r.Waits()
		}
		r.tell(phaseFixing)
		if f.Waiting <= most {
			return nil
		}
		sleep(ctx, lookEvery)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// fixSome does what is to be done for some of what was found.
func (r *reconciliation) fixSome(ctx context.Context, ds []Drift, done *fixed) error {
	var numbers []string
	for _, d := range ds {
		numbers = append(numbers, d.Fluent...)
	}
	var theirs map[string]fluent.Customer
	if len(numbers) > 0 {
		err := r.steady(ctx, "look up customers in Fluent", func() (err error) {
			theirs, err = r.To.ByID(ctx, numbers, false)
			return err
		})
		if err != nil {
			return err
		}
	}
	learn := map[ct2fluent.Ref]ct2fluent.Memory{}
	var ns []ct2fluent.Notification
	for _, d := range ds {
		if !r.mends(d) {
			done.Left++
			continue
		}
		if len(d.Fluent) > 0 {
			stays, there := theirs[d.Fluent[0]]
			if !there {
				done.Left++
				continue
			}
			for _, number := range d.Fluent[1:] {
				other, there := theirs[number]
				if id, _ := attributeText(other.Attributes, r.Mapping.config.IDAttribute); !there || id != d.ID || elsewhere(&other, r.RetailerID) {
					continue
				}
				if err := r.empty(ctx, other, stays, d); err != nil {
					return err
				}
				done.Emptied++
			}
			learn[r.ref(d.ID)] = ct2fluent.Memory{Username: stays.Username}
		}
		ns = append(ns, ct2fluent.Notification{
			ID: r.name() + "/" + d.ID, Ref: r.ref(d.ID), Kind: "Reconcile", Name: "Reconcile",
			Own: true, Bulk: true, Force: true, Run: r.name(), Received: time.Now(),
		})
	}
	if len(learn) > 0 {
		// The handler is to find the customer that was matched, and to make no
		// second one (promise 4). What the ledger remembers already stays.
		if err := r.steady(ctx, "remember usernames", func() error { return r.Ledger.Adopt(ctx, learn) }); err != nil {
			return err
		}
	}
	if len(ns) == 0 {
		return nil
	}
	done.Put += len(ns)
	return r.steady(ctx, "put customers into the queue", func() error { return r.Put(ctx, ns...) })
}

// name is that of the run whose outcomes are counted: what was put before it
// started over is not among them.
func (r *reconciliation) name() string {
	if r.report.StartedOver == 0 {
		return r.id
	}
	return fmt.Sprintf("%s.%d", r.id, r.report.StartedOver)
}

// mends tells whether there is a fix for it.
func (r *reconciliation) mends(d Drift) bool {
	switch d.Kind {
	case Extra:
		return r.Deleted != "" && d.Why == ""
	case Ambiguous:
		return d.Why == whyTwins
	}
	return true
}

// empty takes the commercetools id from a Fluent customer. An attribute cannot
// be removed, so it is left with empty text.
func (r *reconciliation) empty(ctx context.Context, other, stays fluent.Customer, d Drift) error {
	w := fluent.Write{Username: other.Username, Fields: fluent.Fields{}, Attributes: []fluent.Attribute{
		{Name: r.Mapping.config.IDAttribute, Type: "STRING", Value: json.RawMessage(`""`)},
	}}
	err := r.steady(ctx, "take the id from a second Fluent customer", func() error {
		return r.To.Write(ctx, []fluent.Write{w})[0]
	})
	if err != nil {
		return err
	}
	r.log.Warn("took the commercetools id from a second Fluent customer", "customer", d.ID, "fluent", other.ID, "stays", stays.ID)
	return nil
}

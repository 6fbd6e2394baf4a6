package model

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/ledger"
)

// A kill forgets of no customer under which mapping it was written: a bulk run
// calls Fluent for none that is known. One that was in hand at that moment, and
// may have been written under another mapping, has the present one's again in
// the end, whatever becomes of the notification that comes again.
func TestMappingSurvivesAKill(t *testing.T) {
	tests := []struct {
		name   string
		faults []string                                  // of the writes that are answered
		wrap   func(ct2fluent.Handler) ct2fluent.Handler // of the last process
		newer  bool                                      // one of a newer version passes it
		known  bool                                      // a bulk run once it is settled has no work
	}{
		{name: "it is written", known: true},
		{name: "it is written after a newer one, which has passed it", newer: true, known: true},
		{name: "it dies", faults: []string{"", "refused"}},
		{name: "it has no route any more", wrap: unrouting},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &play{world: newWorld(history{faults: map[string][]string{"write jane": tt.faults}})}
				p.change("jane", "change")
				first, err := ledger.Open(context.Background(), ledger.Options{Journal: &p.kept})
				if err == nil {
					err = first.SetMark(context.Background(), "fill/"+project, "done")
				}
				if err != nil {
					t.Fatal(err)
				}
				one, two := naming(t, `"one " + customer.lastName`), naming(t, `"two " + customer.lastName`)
				has := func() string {
					p.mu.Lock()
					defer p.mu.Unlock()
					name, _ := p.fluent["1_jane@x"].fields["lastName"].(string)
					return name
				}
				skips := func(want uint64) {
					t.Helper()
					if got := p.ledger.Totals().Skipped["known"]; got != want {
						t.Errorf("%d were known, want %d", got, want)
					}
				}

				p.mapping = one
				p.start()
				p.notify("jane", 0)
				time.Sleep(time.Minute)
				p.kill(0)
				p.start()
				p.bulk("jane", 0, false)
				time.Sleep(time.Minute)
				skips(1)
				p.halt()

				p.mapping = two
				p.start()
				p.bulk("jane", 0, false)
				time.Sleep(latency / 2) // the write is on its way
				p.kill(0)

				p.mapping, p.product.handler = one, tt.wrap
				p.start()
				p.bulk("jane", 0, false)
				time.Sleep(time.Second)
				want := "one v1"
				if tt.newer {
					p.change("jane", "change")
					p.notify("jane", 0)
					want = "one v2"
				}
				time.Sleep(10 * time.Second)
				skips(2)
				if got := has(); got != "two v1" {
					t.Fatalf("what was sent before the kill has not landed: %q", got)
				}
				time.Sleep(time.Minute)
				p.bulk("jane", 0, false)
				time.Sleep(time.Minute)
				if tt.known {
					skips(3)
				} else {
					skips(2)
				}
				if got := has(); got != want {
					t.Errorf("Fluent has %q", got)
				}
				p.halt()
				for _, wrong := range p.wrong {
					t.Error(wrong)
				}
			})
		})
	}
}

func naming(t *testing.T, lastName string) *customer.Mapping {
	t.Helper()
	m, err := customer.CompileMapping(customer.MappingConfig{LastName: customer.Field{Value: customer.Expression{Text: lastName}}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// unrouting takes what comes again for nobody's.
func unrouting(h ct2fluent.Handler) ct2fluent.Handler {
	return ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
		errs := make([]error, len(batch))
		for i, n := range batch {
			if n.Again {
				errs[i] = ct2fluent.Skip("no-route")
			} else {
				errs[i] = h.Handle(ctx, batch[i:i+1])[0]
			}
		}
		return errs
	})
}

package app

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/ledger"
)

// trail is the ledger's audit trail as the HTTP side wants it.
type trail struct{ a *App }

func (t trail) Begin(ctx context.Context, who, what string) (control.Act, error) {
	a, err := t.a.ledger.Begin(ctx, ledger.Act{Who: who, What: what})
	return told(a), err
}

func (t trail) End(ctx context.Context, a control.Act) error {
	return t.a.ledger.End(ctx, ledger.Act{
		Number: a.Number, When: a.When, Who: a.Who, What: a.What, On: a.On, Count: a.Count, Outcome: a.Outcome,
	})
}

func (t trail) List(ctx context.Context, before uint64, limit int) ([]control.Act, error) {
	acts, err := t.a.ledger.Acts(ctx, before, limit)
	var all []control.Act
	for _, a := range acts {
		all = append(all, told(a))
	}
	return all, err
}

// told is an act as the HTTP side tells it.
func told(a ledger.Act) control.Act {
	return control.Act{
		Number: a.Number, When: a.When, Who: a.Who, What: a.What, On: a.On, Count: a.Count, Outcome: a.Outcome, Took: a.Took.Seconds(),
	}
}

func (c *cli) audit() *cobra.Command {
	var limit int
	verb := c.asJSON(&cobra.Command{
		Use: "audit", Short: "List what operators had done, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return fmt.Errorf("%w: --limit is a whole number, 0 for all", errUsage)
			}
			p, err := c.process(cmd.Context())
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
			if !c.json {
				fmt.Fprintln(w, "NUMBER\tWHEN\tWHO\tWHAT\tON\tCOUNT\tOUTCOME\tTOOK")
			}
			left := limit
			for before := uint64(0); ; {
				size := 1000
				if limit > 0 {
					size = min(size, left)
				}
				var page control.AuditPage
				if err := p.Do(cmd.Context(), "GET", fmt.Sprintf("/admin/audit?limit=%d&before=%d", size, before), nil, &page); err != nil {
					return err
				}
				for _, a := range page.Acts {
					if c.json {
						if err := json.NewEncoder(c.out).Encode(a); err != nil {
							return err
						}
						continue
					}
					took := time.Duration(a.Took * float64(time.Second)).Round(time.Millisecond)
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%v\n", a.Number, a.When.Format(time.RFC3339), a.Who, a.What, a.On, a.Count, a.Outcome, took)
				}
				left -= len(page.Acts)
				if before = page.Before; before == 0 || limit > 0 && left == 0 {
					return w.Flush()
				}
			}
		},
	})
	verb.Flags().IntVar(&limit, "limit", 100, "how many at most; 0 for all that are kept")
	return verb
}

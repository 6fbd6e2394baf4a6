package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
)

// A picture shows the corridor while the sandbox runs: drawn over itself on a
// terminal, a line a second elsewhere.
type picture struct {
	p        *play
	live     bool
	every    time.Duration
	began    time.Time
	next     time.Time
	lines    int
	received uint64
	at       time.Time
}

func newPicture(p *play) *picture {
	now := time.Now()
	c := &picture{p: p, live: terminal(p.out), every: time.Second, began: now, next: now, at: now}
	if c.live {
		c.every = 250 * time.Millisecond
	}
	return c
}

// tick draws when it is time to.
func (c *picture) tick(ctx context.Context) {
	now := time.Now()
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(c.every)
	s, err := c.p.app.Status(context.WithoutCancel(ctx))
	if err != nil {
		return
	}
	rate := float64(s.Received-c.received) / max(now.Sub(c.at).Seconds(), 0.001)
	c.received, c.at = s.Received, now
	at := now.Sub(c.began).Round(100 * time.Millisecond)
	if !c.live {
		fmt.Fprintf(c.p.out, "%6v  commercetools %d ─► received %d ─► waiting %d ─► written %d, unchanged %d, merged %d, skipped %d, dead %d ─► Fluent %d%s\n",
			at, c.p.ct.Len(), s.Received, s.Waiting, s.Written, s.Unchanged, s.Merged, s.Skipped, s.Dead, c.p.fluent.Len(), heldText(s.Held))
		return
	}
	var b strings.Builder
	if c.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", c.lines)
	}
	text := fmt.Sprintf(`  commercetools      %8d customers          %v
        │
        ▼  %8.0f/s   %8d received
      queue          %8d waiting%s
        │
        ├─► written   %8d
        ├─► unchanged %8d
        ├─► merged    %8d
        ├─► skipped   %8d
        ├─► dead      %8d
        ▼
     Fluent          %8d customers
`, c.p.ct.Len(), at, rate, s.Received, s.Waiting, heldText(s.Held), s.Written, s.Unchanged, s.Merged, s.Skipped, s.Dead, c.p.fluent.Len())
	c.lines = strings.Count(text, "\n")
	b.WriteString(text)
	fmt.Fprint(c.p.out, b.String())
}

func heldText(held []control.Held) string {
	if len(held) == 0 {
		return ""
	}
	return "  (held: " + held[0].Why + ")"
}

// say prints a line below the picture.
func (c *picture) say(format string, args ...any) {
	fmt.Fprintf(c.p.out, format+"\n", args...)
	c.lines = 0
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/commercetools"
)

// welcome writes the id and language of each new customer to the file that
// WELCOME_FILE names. It reads the customer by the client that all handlers
// share.
type welcome struct {
	file     string
	accounts []app.Account
	mu       sync.Mutex
}

func newWelcome(env app.Env) (ct2fluent.Handler, error) {
	w := &welcome{file: os.Getenv("WELCOME_FILE"), accounts: env.Accounts}
	return ct2fluent.Each(w.handle), nil
}

func (w *welcome) handle(ctx context.Context, n ct2fluent.Notification) error {
	for _, a := range w.accounts {
		if a.Project != n.Ref.Project {
			continue
		}
		c, err := a.Commercetools.Customer(ctx, n.Ref.ID)
		if errors.Is(err, commercetools.ErrNotFound) {
			return ct2fluent.Skip("gone")
		}
		if err != nil {
			// Whatever keeps commercetools from answering is not the fault of
			// this notification.
			return ct2fluent.Unavailable(err)
		}
		return w.write(c)
	}
	return ct2fluent.Reject(ct2fluent.WithReason("unknown-project", fmt.Errorf("project %s has no account", n.Ref.Project)))
}

func (w *welcome) write(c *commercetools.Customer) error {
	if w.file == "" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := os.OpenFile(w.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return ct2fluent.Unavailable(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %s\n", c.ID, c.Locale); err != nil {
		return ct2fluent.Unavailable(err)
	}
	return nil
}

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ct2fluent/ct2fluent/customer"
)

// target is where the configuration has the customers of an account go.
func target(a AccountConfig) customer.Target {
	return customer.Target{BaseURL: string(a.Fluent.BaseURL), Account: a.Fluent.Account, RetailerID: a.Fluent.RetailerID}
}

// bind refuses a store that remembers customers of another Fluent than the
// configuration names (promises 4 and 6).
func (a *App) bind(ctx context.Context) error {
	var errs []error
	for i, one := range a.Config.Accounts {
		was, err := customer.Bind(ctx, a.ledger, one.Commercetools.ProjectKey, target(one))
		if err != nil {
			return surroundings(err)
		}
		errs = append(errs, a.Config.bound(i, was))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	a.noteTargets()
	return nil
}

// bound is the error of an account whose ledger is of another target.
func (c *Config) bound(i int, was customer.Target) error {
	another := fmt.Sprintf("give queue.store (%s) another directory", c.Queue.Store)
	if c.Queue.URL != "" {
		another = "give queue.url another cluster"
	}
	var errs []error
	for _, d := range target(c.Accounts[i]).Differs(was) {
		errs = append(errs, configError(c.At(fmt.Sprintf("accounts[%d].fluent.%s", i, d[0])),
			fmt.Errorf("project %s: %s is %q, and the ledger remembers customers of %q; set it back, or %s, whose ledger is then filled from Fluent",
				c.Accounts[i].Commercetools.ProjectKey, d[0], d[1], d[2], another)))
	}
	return errors.Join(errs...)
}

// targetsFile is where check reads of which Fluent the ledger is, without
// opening the store. It is a copy: the ledger's own note decides.
func targetsFile(c *Config) string { return filepath.Join(c.Queue.Store, "targets.json") }

// noteTargets writes the file anew, of the accounts whose ledger remembers
// customers: of others the target may change. One that cannot be written is no
// reason not to work.
func (a *App) noteTargets() {
	if a.Config.Queue.URL != "" {
		return // the ledger lies elsewhere, and the directory may lead to another
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	targets := map[string]customer.Target{}
	for _, one := range a.Config.Accounts {
		project := one.Commercetools.ProjectKey
		if known, err := a.ledger.Known(ctx, project); err == nil && known {
			targets[project] = target(one)
		}
	}
	if err := writeTargets(targetsFile(a.Config), targets); err != nil {
		a.log.Warn("could not note for check of which Fluent the ledger is", "error", err)
	}
}

// writeTargets writes the file for its owner only: whole, or not at all.
func writeTargets(path string, targets map[string]customer.Target) error {
	text, err := json.Marshal(targets)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".targets-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// otherTargets finds accounts whose ledger is of another Fluent, as far as that
// was noted: a start would be refused.
func otherTargets(c *Config) (found []Finding) {
	if c.Queue.URL != "" {
		return nil
	}
	text, err := os.ReadFile(targetsFile(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	targets := map[string]customer.Target{}
	if err == nil {
		err = json.Unmarshal(text, &targets)
	}
	if err != nil {
		return []Finding{{What: "ledger", State: "warning", Detail: "of which Fluent it is cannot be told: " + err.Error(), Remedy: "a start writes the note anew"}}
	}
	for i, one := range c.Accounts {
		was, noted := targets[one.Commercetools.ProjectKey]
		if !noted {
			continue
		}
		if err := c.bound(i, was); err != nil {
			found = append(found, Finding{What: "ledger of project " + one.Commercetools.ProjectKey, State: "failed", Detail: err.Error(),
				Remedy: "a start is refused", err: err})
		}
	}
	return found
}

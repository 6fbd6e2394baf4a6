package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/proof/check"
)

// letters are the dead letters that lie there.
func (w *world) letters() (all []check.Letter, err error) {
	for after := uint64(0); ; {
		var page control.DeadPage
		if err := w.ask(http.MethodGet, fmt.Sprintf("/admin/dead?limit=1000&after=%d", after), nil, &page); err != nil {
			return nil, err
		}
		for _, l := range page.Letters {
			all = append(all, check.Letter{Seq: l.Seq, ID: l.ID, Version: l.Version, Reason: l.Reason})
		}
		if after = page.After; after == 0 {
			return all, nil
		}
	}
}

// entriesKept is how many entries of a customer the ledger keeps.
const entriesKept = 8

func (w *world) timeline(id string) (t check.Timeline, known bool, err error) {
	var found []struct {
		Entries []struct {
			Memory  struct{ Version int64 }
			Results []check.Result
		}
	}
	err = w.ask(http.MethodGet, "/admin/resources/customer/"+id, nil, &found)
	if errors.Is(err, control.ErrNotFound) {
		return t, false, nil
	}
	if err != nil || len(found) != 1 || len(found[0].Entries) == 0 {
		return t, false, fmt.Errorf("show %s: %d projects, %w", id, len(found), err)
	}
	entries := found[0].Entries
	t.Version, t.Cut = entries[0].Memory.Version, len(entries) >= entriesKept
	for _, e := range entries {
		t.Results = append(t.Results, e.Results...)
	}
	return t, true, nil
}

// verify stops the process, looks at everything, starts it once more to see
// that a stopped store says the same, and has it all checked. It is to be at
// rest.
func (w *world) verify(adjust func(h *check.History)) error {
	before, err := w.read()
	if err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return fmt.Errorf("start once more: %w", err)
	}
	after, err := w.read()
	if err != nil {
		return err
	}
	if !same(before, after) {
		return fmt.Errorf("the stopped store says something else: %+v, then %+v", before, after)
	}
	if err := w.stop(); err != nil {
		return err
	}
	return w.judge(after, adjust)
}

func same(a, b check.Totals) bool {
	x, y := a, b
	x.SkippedBy, x.DeadBy, y.SkippedBy, y.DeadBy = nil, nil, nil, nil
	return fmt.Sprint(x) == fmt.Sprint(y) && maps.Equal(a.SkippedBy, b.SkippedBy) && maps.Equal(a.DeadBy, b.DeadBy)
}

// read asks the running process for all it knows.
func (w *world) read() (t check.Totals, err error) {
	out, err := w.verb("status", "--json")
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(out, &t); err != nil {
		return t, err
	}
	letters, err := w.letters()
	if err != nil {
		return t, err
	}
	timelines := map[string]check.Timeline{}
	ids := w.known()
	if w.sample > 0 && w.sample < len(ids) {
		ids = ids[:w.sample]
		w.history.Sampled = true
	}
	for _, id := range ids {
		one, known, err := w.timeline(id)
		if err != nil {
			return t, err
		}
		if known {
			timelines[id] = one
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.Totals, w.history.Letters, w.history.Timelines = t, letters, timelines
	w.history.Texts["ct2fluent status --json"] = out
	for _, verb := range [][]string{{"status"}, {"dead", "ls"}} {
		out, err := w.verb(verb...)
		if err != nil {
			return t, err
		}
		w.history.Texts["ct2fluent "+strings.Join(verb, " ")] = out
	}
	f, err := control.ReadFile(filepath.Join(w.store(), "control.json"))
	if err != nil {
		return t, err
	}
	for _, path := range []string{"/metrics", "/readyz", "/actuator/health"} {
		res, err := w.client.Get("http://" + f.Address + path)
		if err != nil {
			return t, err
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return t, err
		}
		w.history.Texts[path] = text
	}
	return t, nil
}

// judge has the history checked.
func (w *world) judge(t check.Totals, adjust func(h *check.History)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &w.history
	h.Totals = t
	h.Writes, h.Customers = nil, nil
	for _, one := range w.fluent.Writes() {
		c := ofFluent(one.Customer())
		h.Writes = append(h.Writes, check.Write{At: one.At, Username: c.Username, ID: c.ID, Fields: c.Fields})
	}
	w.fluent.Each(func(doc map[string]any) { h.Customers = append(h.Customers, ofFluent(doc)) })
	if err := w.files(); err != nil {
		return err
	}
	if adjust != nil {
		adjust(h)
	}
	broken := h.Check()
	if n := w.fluent.Stats().EmptyTexts; n > 0 {
		broken = append(broken, check.Violation{Rule: "4 one version", What: fmt.Sprintf("%d empty texts were sent", n)})
	}
	if len(broken) == 0 {
		return nil
	}
	said := make([]string, len(broken))
	for i, v := range broken {
		said[i] = "  " + v.String()
	}
	w.kept()
	return fmt.Errorf("promises broken:\n%s\neverything of it lies in %s", strings.Join(said, "\n"), w.dir)
}

// files reads what lies where the process works. In the store, queue and
// ledger are exempt from promise 7 for their modes; what the process writes
// there besides is not. The configuration and the secrets are ours.
func (w *world) files() error {
	w.history.Files = nil
	return filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := check.File{Name: name, Mode: info.Mode()}
		switch inStore := path == w.store() || strings.HasPrefix(path, w.store()+string(filepath.Separator)); {
		case name == "secrets":
			return fs.SkipDir
		case name == "." || path == w.config():
			return nil
		case inStore && name != filepath.Join("data", "control.json") && name != filepath.Join("data", "lock"):
			f.Exempt = true
		case d.IsDir():
			return nil
		default:
			if f.Text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		w.history.Files = append(w.history.Files, f)
		return nil
	})
}

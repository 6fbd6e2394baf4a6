package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/job"
)

// drift plants faults of each kind in Fluent, among customers that are as they
// should be. A reconciliation has to find just these, another, killed while it
// reads and while it mends, has to mend just these, and a third has to find
// none.
func drift(ctx context.Context, p *prover) error {
	n, each := pick(p, 10_000, 100_000), pick(p, 200, 1000)
	w, err := p.newWorld(ctx, setup{
		config: "deletes: mark\nreconcile: { grace: 0s }\n", level: "info",
	})
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.populate(n, 0); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	if _, err := w.bulkRun(ctx, customer.BulkSpec{}, func(customer.BulkProgress) error { return nil }); err != nil {
		return err
	}
	planted, err := w.plant(each)
	if err != nil {
		return err
	}
	before := len(w.fluent.Writes())

	w.ct.ResetCalls()
	w.fluent.ResetCalls()
	w.forgetPeak()
	idle := w.peak()
	begin := time.Now()
	if err := w.finds(planted, 1); err != nil {
		return fmt.Errorf("the first reconciliation: %w", err)
	}
	took := time.Since(begin)
	calls := fmt.Sprintf("%d calls to commercetools and %d to Fluent", callsOf(w.ct.Calls(), "token", "customers.query", "customers.get"), callsOf(w.fluent.Calls(), "token", "query", "mutation"))
	if len(w.fluent.Writes()) != before {
		return errors.New("the first reconciliation wrote something, and was not to")
	}
	peak := w.peak()

	kills := 0
	report, id, err := w.mends(ctx, &kills)
	if err != nil {
		return fmt.Errorf("the reconciliation that mends: %w", err)
	}
	if kills != 2 || report.StartedOver != 1 {
		return fmt.Errorf("killed %d times, and it started over %d times: it is too quick to be killed", kills, report.StartedOver)
	}
	found, err := w.foundBy(id)
	if err == nil {
		err = planted.same(found)
	}
	if err != nil {
		return fmt.Errorf("the reconciliation that mends: %w", err)
	}
	if f := report.Fixed; f.Put != 4*each || f.Written != 4*each || f.Waiting != 0 || f.Left != 0 {
		return fmt.Errorf("the reconciliation that mends says %+v", *f)
	}
	if err := planted.mended(w, before); err != nil {
		return err
	}
	if err := w.finds(faults{}, 0); err != nil {
		return fmt.Errorf("the last reconciliation: %w", err)
	}
	p.note("%d faults of each of 4 kinds among %d customers, found exactly in %v with %s, mended exactly over %d kills, then none",
		each, n, took.Round(100*time.Millisecond), calls, kills)
	if most := max(peak, w.peak()); most > 0 {
		p.note("peak memory %d MB, %d MB before", most>>20, idle>>20)
	}
	return w.private()
}

// A fault is what was planted of a customer.
type fault struct {
	kind   customer.DriftKind
	fields []string
	// usernames are those that may be written to mend it.
	usernames []string
}

// Faults are all that were planted, by the commercetools id.
type faults map[string]fault

// plant works in Fluent beside ct2fluent: n faults of each kind, and some
// customers that are none.
func (w *world) plant(n int) (faults, error) {
	usernames := map[string]string{}
	w.fluent.Each(func(doc map[string]any) {
		c := ofFluent(doc)
		usernames[c.ID] = c.Username
	})
	ids := slices.Sorted(maps.Keys(usernames))
	rng := rand.New(rand.NewPCG(w.seed, 11))
	rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	all := faults{}
	retailer := map[string]any{"id": "1"}
	attribute := func(id string) []any {
		return []any{map[string]any{"name": "commercetoolsId", "type": "STRING", "value": id}}
	}
	changes := []map[string]any{
		{"lastName": mark + " changed"}, {"country": "FR"}, {"firstName": nil}, {"title": mark, "primaryPhone": "+33 " + mark},
		{"primaryEmail": mark + ".changed@example.com"}, {"attributes": attribute("")}, {"attributes": attribute("nobody")},
	}
	names := [][]string{{"lastName"}, {"country"}, {"firstName"}, {"primaryPhone", "title"}, {"primaryEmail"},
		{"attributes.commercetoolsId"}, {"attributes.commercetoolsId"}}
	for i := range n {
		missing, different, twin, extra := ids[4*i], ids[4*i+1], ids[4*i+2], ids[4*i+3]
		w.fluent.Remove(usernames[missing])
		all[missing] = fault{customer.Missing, nil, []string{usernames[missing]}}

		change := maps.Clone(changes[i%len(changes)])
		change["username"] = usernames[different]
		all[different] = fault{customer.Different, names[i%len(changes)], []string{usernames[different]}}

		second := fmt.Sprintf("1_%s.twin%d@example.com", mark, i)
		all[twin] = fault{customer.Ambiguous, nil, []string{usernames[twin], second}}

		// Deleted, and nothing is told of it.
		all[extra] = fault{customer.Extra, nil, []string{usernames[extra]}}

		err := errors.Join(
			w.fluent.Plant(change),
			w.fluent.Plant(map[string]any{"username": second, "retailer": retailer, "attributes": attribute(twin)}),
			w.ct.Delete(extra),
			w.fluent.Plant(map[string]any{"username": fmt.Sprintf("1_%s.guest%d@example.com", mark, i), "retailer": retailer}),
		)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// same tells where what was found is not what was planted.
func (f faults) same(found []customer.Drift) error {
	var wrong []string
	seen := map[string]bool{}
	for _, d := range found {
		want, planted := f[d.ID]
		slices.Sort(d.Fields)
		switch {
		case !planted || seen[d.ID]:
			wrong = append(wrong, fmt.Sprintf("%s is said to be %s", d.ID, d.Kind))
		case want.kind != d.Kind || !slices.Equal(want.fields, d.Fields):
			wrong = append(wrong, fmt.Sprintf("%s is %s in %v, and said to be %s in %v", d.ID, want.kind, want.fields, d.Kind, d.Fields))
		}
		seen[d.ID] = true
	}
	for id, want := range f {
		if !seen[id] {
			wrong = append(wrong, fmt.Sprintf("%s is %s, and was not found", id, want.kind))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d are wrong, such as: %s", len(wrong), strings.Join(wrong[:min(5, len(wrong))], "; "))
	}
	return nil
}

// mended tells whether Fluent is as it should be, and nobody else was written.
func (f faults) mended(w *world, before int) error {
	allowed := map[string]bool{}
	for _, one := range f {
		for _, name := range one.usernames {
			allowed[name] = true
		}
	}
	written := map[string]bool{}
	for _, one := range w.fluent.Writes()[before:] {
		if !allowed[one.Username] {
			return errors.New("a customer was written that nothing was wrong with")
		}
		written[one.Username] = true
	}
	if len(written) != len(allowed) {
		return fmt.Errorf("%d Fluent customers were to be written, and %d were", len(allowed), len(written))
	}
	carriers := map[string]int{}
	gone := 0
	w.fluent.Each(func(doc map[string]any) {
		c := ofFluent(doc)
		if c.ID == "" {
			return
		}
		carriers[c.ID]++
		if strings.Contains(fmt.Sprintf("%s", doc["attributes"]), "commercetoolsDeleted") {
			gone++
		}
	})
	extra := 0
	for id, one := range f {
		if one.kind == customer.Extra {
			extra++
		}
		if carriers[id] != 1 {
			return fmt.Errorf("%s was %s, and %d Fluent customers carry it now", id, one.kind, carriers[id])
		}
	}
	if gone != extra {
		return fmt.Errorf("%d Fluent customers are to be marked as deleted, and %d are", extra, gone)
	}
	for id, versions := range w.history.Made {
		if carriers[id] != 1 {
			return fmt.Errorf("%d Fluent customers carry %s, of %d versions", carriers[id], id, len(versions))
		}
	}
	return nil
}

// finds runs the verb to its end, and tells where its document is not what was
// planted.
func (w *world) finds(planted faults, code int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.binary, "reconcile", "--json", "--config", w.config())
	cmd.Dir = w.dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		return fmt.Errorf("exit code %d, want %d\n%s\n%s", got, code, out[:min(len(out), 2000)], w.lastSaid())
	}
	var doc struct {
		Drift  int
		Report customer.ReconcileReport
		Found  []customer.Drift
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return fmt.Errorf("what it prints: %w", err)
	}
	if doc.Drift != len(doc.Found) {
		return fmt.Errorf("it counts %d and lists %d", doc.Drift, len(doc.Found))
	}
	if strings.Contains(string(out), mark) {
		return errors.New("promise 7: it shows values that nobody asked for")
	}
	return planted.same(doc.Found)
}

// mends runs a reconciliation that mends, and kills the process while it reads
// and while it mends.
func (w *world) mends(ctx context.Context, kills *int) (r customer.ReconcileReport, id string, err error) {
	var one job.Job
	if err := w.ask(http.MethodPost, "/admin/jobs", control.JobRequest{Kind: "reconcile", Spec: json.RawMessage(`{"fix":true}`)}, &one); err != nil {
		return r, "", err
	}
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		if err := w.ask(http.MethodGet, "/admin/jobs/"+one.ID, nil, &one); err != nil {
			return r, "", fmt.Errorf("%w\n%s", err, w.lastSaid())
		}
		r = customer.ReconcileReport{}
		if one.Progress != nil {
			if err := json.Unmarshal(one.Progress, &r); err != nil {
				return r, "", err
			}
		}
		switch {
		case one.State == job.Done:
			return r, one.ID, nil
		case one.State.Ended():
			return r, "", fmt.Errorf("%s is %s: %s", one.ID, one.State, one.Why)
		case *kills == 0 && r.Read > 0, *kills == 1 && r.Fixed != nil && r.Fixed.Written > 0:
			*kills++
			w.say("kill %d, %s, %d of %d read", *kills, r.Phase, r.Read, r.Total)
			w.address.Store(nil)
			w.process.kill()
			if err := w.start(); err != nil {
				return r, "", err
			}
		}
	}
	return r, "", fmt.Errorf("%s does not end: %s", one.ID, one.Progress)
}

// foundBy reads the list of a reconciliation.
func (w *world) foundBy(id string) (all []customer.Drift, err error) {
	f, err := customer.OpenDrift(filepath.Join(w.store(), "reconcile"), id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var d customer.Drift
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// private tells where a personal value lies in what is no store.
func (w *world) private() error {
	places := []string{w.path("run.log")}
	lists, err := filepath.Glob(filepath.Join(w.store(), "reconcile", "*"))
	if err != nil {
		return err
	}
	for _, name := range append(places, lists...) {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), mark) {
			w.kept()
			return fmt.Errorf("promise 7: a personal value lies in %s", name)
		}
	}
	return nil
}

// peak is the most memory that the process had, in bytes; 0 where the system
// does not tell.
func (w *world) peak() (bytes int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.process.pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, is := strings.CutPrefix(line, "VmHWM:"); is {
			if _, err := fmt.Sscan(rest, &bytes); err != nil {
				return 0
			}
		}
	}
	return bytes << 10
}

// forgetPeak has the peak begin anew, where the system can.
func (w *world) forgetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", w.process.pid), []byte("5"), 0)
}

// callsOf counts the requests of a stand-in, whose root fields are counted
// besides.
func callsOf(calls map[string]map[string]int, requests ...string) (n int) {
	for _, operation := range requests {
		by := calls[operation]
		for _, c := range by {
			n += c
		}
	}
	return n
}

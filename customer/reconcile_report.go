package customer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Drift is what was found of one customer. It holds no personal data.
type Drift struct {
	Kind DriftKind `json:"kind"`
	ID   string    `json:"id"` // in commercetools
	// Fields in which a different customer differs.
	Fields []string `json:"fields,omitempty"`
	// Why an ambiguous one is: twins, username, elsewhere, shared or retailer.
	// Of an extra one that is not to be marked: unknown.
	Why string `json:"why,omitempty"`
	// Fluent are Fluent's own ids of the customers concerned; of twins the
	// first is the one that stays.
	Fluent []string `json:"fluent,omitempty"`
}

// A ReconcileReport is how far a reconciliation is, and what it came to. Of the
// customers that were read from commercetools each is counted once:
//
//	read = equal + missing + different + ambiguous + notSelected + unmappable + gone
//
// as soon as the phase is no longer one of finding. It holds no personal data.
type ReconcileReport struct {
	Phase string `json:"phase"` // reading Fluent, reading commercetools, confirming, fixing, done
	// Why it waits, if it does.
	Why string `json:"why,omitempty"`
	// StartedOver counts the stops and kills after which it began from the
	// start: what was found before counts for nothing.
	StartedOver int `json:"startedOver,omitempty"`

	Fluent  int `json:"fluent"`  // customers of Fluent read
	Read    int `json:"read"`    // customers of commercetools read
	Total   int `json:"total"`   // of them, as commercetools estimates it
	Equal   int `json:"equal"`   // nothing is to be done
	Doubted int `json:"doubted"` // looked at again, because of what changed meanwhile or seemed to

	Found map[DriftKind]int `json:"found"`
	// Fields counts for each field the customers that differ in it.
	Fields map[string]int `json:"fields"`
	// Ambiguous counts those that are ambiguous by why they are.
	Ambiguous map[string]int `json:"ambiguous"`

	// What is no drift.
	Unclaimed   int            `json:"unclaimed"`      // Fluent customers without a commercetools id that no customer matches
	Elsewhere   int            `json:"otherRetailers"` // Fluent customers of other retailers or projects
	Deleted     int            `json:"deleted"`        // Fluent customers marked as deleted in commercetools
	NotSelected int            `json:"notSelected"`    // left out by select
	Unmappable  map[string]int `json:"unmappable"`     // dead letters, by reason
	Gone        int            `json:"gone"`           // deleted while it ran

	Fixed *FixReport `json:"fixed,omitempty"` // with fix only
}

// A FixReport is what became of what was to be fixed.
type FixReport struct {
	Put       int            `json:"put"`       // customers put into the queue
	Emptied   int            `json:"emptied"`   // Fluent customers from which the id was taken
	Written   int            `json:"written"`   // of those put, and so on
	Unchanged int            `json:"unchanged"` //
	Skipped   map[string]int `json:"skipped"`   // by reason
	Dead      map[string]int `json:"dead"`      // by reason
	Waiting   int            `json:"waiting"`   // have no outcome yet
	Left      int            `json:"left"`      // drift that no fix is for, or whose fix is a dead letter
}

func newReport() *ReconcileReport {
	r := &ReconcileReport{
		Found: map[DriftKind]int{}, Fields: map[string]int{}, Ambiguous: map[string]int{}, Unmappable: map[string]int{},
	}
	for _, k := range DriftKinds() {
		r.Found[k] = 0
	}
	return r
}

// Drift is how many were found that are not as they should be.
func (r *ReconcileReport) Drift() (n int) {
	for _, k := range DriftKinds() {
		n += r.Found[k]
	}
	return n
}

// Left is how much of the drift is there at the end.
func (r *ReconcileReport) Left() int {
	if r.Fixed == nil {
		return r.Drift()
	}
	return r.Fixed.Left
}

func (r *ReconcileReport) count(d Drift) {
	r.Found[d.Kind]++
	for _, f := range d.Fields {
		r.Fields[f]++
	}
	if d.Kind == Ambiguous {
		r.Ambiguous[d.Why]++
	}
}

// copy is one that changes no more.
func (r *ReconcileReport) copy() *ReconcileReport {
	doc, err := json.Marshal(r)
	c := newReport()
	if err == nil {
		err = json.Unmarshal(doc, c)
	}
	if err != nil {
		return r
	}
	return c
}

// What was found lies in a file of its own, a line of JSON for each, until the
// run is one of the older ones.
const filesKept = 20

var runName = regexp.MustCompile(`^[a-z]+-([0-9]{1,18})$`)

func driftFile(dir, run string) (string, error) {
	if !runName.MatchString(run) {
		return "", fmt.Errorf("%q is no name of a reconciliation", run)
	}
	return filepath.Join(dir, run+".jsonl"), nil
}

// OpenDrift opens what the run has found: a [Drift] in JSON on each line. It
// is [fs.ErrNotExist] where there is nothing of that run.
func OpenDrift(dir, run string) (io.ReadCloser, error) {
	name, err := driftFile(dir, run)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return os.Open(name)
}

// A driftWriter is the file while it is being written.
type driftWriter struct {
	file *os.File
	out  *bufio.Writer
	size int64
}

// createDrift makes the file anew, mode 0600, and removes those of runs long
// past that are not remembered.
func createDrift(dir, run string, remembered func(run string) bool) (*driftWriter, error) {
	name, err := driftFile(dir, run)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := forgetDrift(dir, remembered); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &driftWriter{file: f, out: bufio.NewWriter(f)}, nil
}

func forgetDrift(dir string, remembered func(run string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var runs []int
	names := map[int]string{}
	for _, e := range entries {
		if parts := runName.FindStringSubmatch(strings.TrimSuffix(e.Name(), ".jsonl")); parts != nil {
			n, _ := strconv.Atoi(parts[1])
			runs, names[n] = append(runs, n), e.Name()
		}
	}
	slices.Sort(runs)
	for _, n := range runs[:max(0, len(runs)-filesKept+1)] {
		if remembered != nil && remembered(strings.TrimSuffix(names[n], ".jsonl")) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, names[n])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (w *driftWriter) add(d Drift) error {
	line, err := json.Marshal(d)
	if err != nil {
		return err
	}
	n, err := w.out.Write(append(line, '\n'))
	w.size += int64(n)
	return err
}

// sync has all of it on disk.
func (w *driftWriter) sync() error {
	return errors.Join(w.out.Flush(), w.file.Sync())
}

func (w *driftWriter) close() error { return w.file.Close() }

// tell fills in what became of what was put, from the totals of its run.
func (f *FixReport) tell(t RunTotals) {
	f.Written, f.Unchanged = int(t.Written), int(t.Unchanged+t.Merged)
	f.Skipped, f.Dead = map[string]int{}, map[string]int{}
	settled := f.Written + f.Unchanged
	for reason, n := range t.Skipped {
		f.Skipped[reason] += int(n)
		settled += int(n)
	}
	for reason, n := range t.Dead {
		f.Dead[reason] += int(n)
		settled += int(n)
	}
	f.Waiting = f.Put - settled
}

// RunTotals counts what became of the resources that a run has put.
type RunTotals struct {
	Written, Unchanged, Merged uint64
	Skipped, Dead              map[string]uint64 // by reason
}

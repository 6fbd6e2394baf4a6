// Package job keeps long work going: a bulk load, a reconciliation.
//
// A Job is durable from Start on: a process that is killed goes on with it at
// its next start, from the checkpoints that the work has made. It can be
// stopped, resumed and followed. One job of a kind and project runs at a time,
// the others wait in line; different kinds run at once.
//
// What is kept lies in marks of the ledger: one with all jobs, one for each
// checkpoint.
package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A State says how far a job is.
type State string

// A job is queued, runs, and ends in one of the others. A stopped or failed
// one can be resumed.
const (
	Queued  State = "queued"
	Running State = "running"
	Stopped State = "stopped"
	Failed  State = "failed"
	Done    State = "done"
)

// Ended tells whether nothing happens any more unless somebody resumes it.
func (s State) Ended() bool { return s.resumable() || s == Done }

func (s State) resumable() bool { return s == Stopped || s == Failed }

// A Job is what is kept of one and told of it.
type Job struct {
	ID       string          `json:"id"` // its kind and a number: "bulk-7"
	Kind     string          `json:"kind"`
	Project  string          `json:"project"`
	Spec     json.RawMessage `json:"spec,omitempty"` // what was asked for
	By       string          `json:"by,omitempty"`   // who asked
	State    State           `json:"state"`
	Created  time.Time       `json:"created"`
	Started  time.Time       `json:"started,omitzero"` // the first time
	Ended    time.Time       `json:"ended,omitzero"`
	Progress json.RawMessage `json:"progress,omitempty"` // the last that was told
	Why      string          `json:"why,omitempty"`      // it failed; no personal data
}

// A Kind of work.
type Kind struct {
	Name string
	// Check refuses a spec before there is a job. The error is for who asked.
	// Nil takes any.
	Check func(project string, spec json.RawMessage) error
	// Run works; nil says that all is done. What fails for a while it tries
	// again itself: another error ends the job as failed, and its text is told.
	// When ctx is done it returns ctx's error; it is then called again at the
	// next start, or when somebody resumes the job, to go on from its
	// checkpoints.
	Run func(ctx context.Context, r *Run) error
}

// A Store keeps notes by name: nil says that one is on disk.
type Store interface {
	Mark(ctx context.Context, name string) (string, error)
	SetMark(ctx context.Context, name, value string) error
}

// Options of Jobs.
type Options struct {
	Store Store
	Kinds []Kind
	Log   *slog.Logger // default: none
}

// Errors that say what is wrong with a request.
var (
	ErrNotFound = errors.New("no such job")
	ErrInvalid  = errors.New("invalid job")
	ErrFull     = errors.New("too many jobs")
)

// How many jobs are remembered of each kind and each who asked: those that come
// by themselves must not push out a person's. What is done pushes out none that
// somebody may want to go on.
const (
	keep          = 20  // of those that are done
	keepResumable = 100 // of those that were stopped or have failed
)

// maxProgress is what the progress of a job may take, in bytes: all jobs are
// kept in one message of the ledger.
const maxProgress = 8 << 10

// The bounds of what waits, and of specs in bytes: of one, and of all that wait.
const (
	maxWaiting = 100
	maxSpec    = 8 << 10
	maxSpecs   = 256 << 10
)

// maxIndex is from how many bytes on jobs that have ended are forgotten, those
// that are done before those that can be resumed, the oldest first: a NATS
// cluster takes messages of 1 MiB where nobody has set it otherwise.
const maxIndex = 640 << 10

// index is the name of the mark that holds all jobs.
const index = "jobs"

// Jobs are all jobs of a process. Its methods are safe for concurrent use.
type Jobs struct {
	store Store
	kinds map[string]Kind
	log   *slog.Logger
	wake  chan struct{}

	mu   sync.Mutex // held while the index is written
	next int
	jobs []*live    // oldest first
	left []leftover // checkpoints of no use to anyone any more
}

// A live job is one in memory. Jobs.mu guards it.
type live struct {
	Job
	parts   []string           // that have a checkpoint
	told    any                // progress that is not yet in Job
	cancel  context.CancelFunc // not nil: its kind's Run is being called
	changed chan struct{}      // closed at the next change
}

// kept is what the index holds.
type kept struct {
	Next int        `json:"next"`
	Jobs []keptJob  `json:"jobs"`
	Left []leftover `json:"left,omitempty"`
}

type keptJob struct {
	Job
	Parts []string `json:"parts,omitempty"`
}

// A leftover names checkpoints that are to be emptied.
type leftover struct {
	ID    string   `json:"id"`
	Parts []string `json:"parts"`
}

// New reads what is kept. Nothing runs before Run.
func New(ctx context.Context, o Options) (*Jobs, error) {
	j := &Jobs{store: o.Store, kinds: map[string]Kind{}, log: o.Log, wake: make(chan struct{}, 1)}
	if j.log == nil {
		j.log = slog.New(slog.DiscardHandler)
	}
	for _, k := range o.Kinds {
		j.kinds[k.Name] = k
	}
	text, err := o.Store.Mark(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("read the jobs: %w", err)
	}
	var k kept
	if text != "" {
		if err := json.Unmarshal([]byte(text), &k); err != nil {
			return nil, fmt.Errorf("read the jobs: %w", err)
		}
	}
	j.next, j.left = k.Next, k.Left
	for _, one := range k.Jobs {
		j.jobs = append(j.jobs, &live{Job: one.Job, parts: one.Parts, changed: make(chan struct{})})
	}
	return j, nil
}

// A Request asks for a job.
type Request struct {
	Kind    string
	Project string
	Spec    json.RawMessage
	By      string
}

// Start makes a job; when it returns one, the job is on disk. ErrInvalid: the
// kind is not known, or refuses the spec. ErrFull: too many jobs wait.
func (j *Jobs) Start(ctx context.Context, r Request) (Job, error) {
	k, known := j.kinds[r.Kind]
	if !known {
		return Job{}, fmt.Errorf("%w: no kind of job is called %q", ErrInvalid, r.Kind)
	}
	if k.Check != nil {
		if err := k.Check(r.Project, r.Spec); err != nil {
			return Job{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if len(r.Spec) > maxSpec {
		return Job{}, fmt.Errorf("%w: a spec has %d bytes at most", ErrInvalid, maxSpec)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	waiting, specs := 0, len(r.Spec)
	for _, one := range j.jobs {
		if !one.State.Ended() {
			waiting++
			specs += len(one.Spec)
		}
	}
	if waiting >= maxWaiting || specs > maxSpecs {
		return Job{}, fmt.Errorf("%w: %d have not ended; stop some, or wait for them", ErrFull, waiting)
	}
	one := &live{Job: Job{
		ID: r.Kind + "-" + strconv.Itoa(j.next+1), Kind: r.Kind, Project: r.Project, Spec: r.Spec, By: r.By,
		State: Queued, Created: time.Now().UTC(),
	}, changed: make(chan struct{})}
	j.next++
	j.jobs = append(j.jobs, one)
	if err := j.save(ctx); err != nil {
		// The number is not given again: the mark may be on disk all the same.
		j.jobs = j.jobs[:len(j.jobs)-1]
		return Job{}, err
	}
	j.kick()
	return one.view(), nil
}

// Stop ends a job that has not ended, durably. Its kind's Run may still be
// finishing when Stop returns. One that has ended is left as it is.
func (j *Jobs) Stop(ctx context.Context, id string) (Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	one := j.find(id)
	if one == nil {
		return Job{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if one.State.Ended() {
		return one.view(), nil
	}
	before := one.Job
	one.State, one.Ended, one.Progress = Stopped, time.Now().UTC(), one.progress()
	if err := j.save(ctx); err != nil {
		one.Job = before
		return Job{}, err
	}
	if one.cancel != nil {
		one.cancel()
	}
	one.tell()
	return one.view(), nil
}

// Resume has a stopped or failed job go on from its checkpoints. One that is
// done, queued or running is left as it is.
func (j *Jobs) Resume(ctx context.Context, id string) (Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	one := j.find(id)
	if one == nil {
		return Job{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if !one.State.resumable() {
		return one.view(), nil
	}
	if _, known := j.kinds[one.Kind]; !known {
		return Job{}, fmt.Errorf("%w: %s: this binary has no jobs of the kind %q", ErrInvalid, id, one.Kind)
	}
	before := one.Job
	one.State, one.Ended, one.Why = Queued, time.Time{}, ""
	if err := j.save(ctx); err != nil {
		one.Job = before
		return Job{}, err
	}
	one.tell()
	j.kick()
	return one.view(), nil
}

// Get gives a job.
func (j *Jobs) Get(id string) (Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	one := j.find(id)
	if one == nil {
		return Job{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return one.view(), nil
}

// List gives all jobs that are remembered, the newest first.
func (j *Jobs) List() []Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]Job, 0, len(j.jobs))
	for _, one := range slices.Backward(j.jobs) {
		all = append(all, one.view())
	}
	return all
}

// tellEvery is how often who follows a job is told of a change, at most.
const tellEvery = 250 * time.Millisecond

// Follow gives a job as it is and then each time after it has changed, until
// it has ended or ctx is done. It ends at once where there is no such job.
func (j *Jobs) Follow(ctx context.Context, id string) iter.Seq[Job] {
	return func(yield func(Job) bool) {
		for {
			j.mu.Lock()
			one := j.find(id)
			if one == nil {
				j.mu.Unlock()
				return
			}
			now, changed := one.view(), one.changed
			j.mu.Unlock()
			if !yield(now) || now.State.Ended() {
				return
			}
			if !wait(ctx, time.After(tellEvery)) || !wait(ctx, changed) {
				return
			}
		}
	}
}

// wait tells whether c has come before ctx was done.
func wait[T any](ctx context.Context, c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

func (j *Jobs) find(id string) *live {
	for _, one := range j.jobs {
		if one.ID == id {
			return one
		}
	}
	return nil
}

func (j *Jobs) kick() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// save writes the index. Jobs.mu is held.
func (j *Jobs) save(ctx context.Context) error {
	type who struct {
		kind, by  string
		resumable bool
	}
	ended := map[who]int{}
	for _, one := range j.jobs {
		if one.State.Ended() && one.cancel == nil {
			ended[who{one.Kind, one.By, one.State.resumable()}]++
		}
	}
	jobs, left := j.jobs, j.left
	var dropped []*live
	j.jobs = slices.DeleteFunc(slices.Clone(j.jobs), func(one *live) bool {
		of, most := who{one.Kind, one.By, one.State.resumable()}, keep
		if of.resumable {
			most = keepResumable
		}
		if ended[of] <= most || !one.State.Ended() || one.cancel != nil {
			return false
		}
		ended[of]--
		dropped = append(dropped, one)
		return true
	})
	for _, one := range dropped {
		j.leave(one)
	}
	text, err := j.encode()
	for err == nil && len(text) > maxIndex {
		i := slices.IndexFunc(j.jobs, func(one *live) bool { return one.State == Done && one.cancel == nil })
		if i < 0 {
			i = slices.IndexFunc(j.jobs, func(one *live) bool { return one.State.Ended() && one.cancel == nil })
		}
		if i < 0 {
			break
		}
		dropped = append(dropped, j.jobs[i])
		j.leave(j.jobs[i])
		j.jobs = slices.Delete(slices.Clone(j.jobs), i, i+1)
		text, err = j.encode()
	}
	if err == nil {
		err = j.store.SetMark(ctx, index, string(text))
	}
	if err != nil {
		// What is on disk has them still.
		for _, one := range dropped {
			for _, l := range j.left[len(left):] {
				if l.ID == one.ID {
					one.parts = l.Parts
				}
			}
		}
		j.jobs, j.left = jobs, left
		return fmt.Errorf("keep the jobs: %w", err)
	}
	for _, one := range dropped {
		if one.State.resumable() {
			j.log.Warn("a job that could have been resumed is forgotten: too many are kept", "job", one.ID, "project", one.Project, "state", string(one.State))
		}
	}
	return nil
}

// encode is what is kept of all. Jobs.mu is held.
func (j *Jobs) encode() ([]byte, error) {
	k := kept{Next: j.next, Left: j.left}
	for _, one := range j.jobs {
		k.Jobs = append(k.Jobs, keptJob{one.Job, one.parts})
	}
	return json.Marshal(k)
}

// leave has the checkpoints of a job emptied. Jobs.mu is held.
func (j *Jobs) leave(one *live) {
	if len(one.parts) > 0 {
		j.left = append(j.left, leftover{one.ID, one.parts})
		one.parts = nil
		j.kick()
	}
}

// view is the job with the progress that was told last.
func (l *live) view() Job {
	v := l.Job
	v.Progress = l.progress()
	return v
}

func (l *live) progress() json.RawMessage {
	if l.told == nil {
		return l.Progress
	}
	doc, err := json.Marshal(l.told)
	if err != nil || len(doc) > maxProgress {
		doc, _ = json.Marshal(map[string]string{"error": fmt.Sprintf("the progress cannot be shown: %d bytes, %v", len(doc), err)})
	}
	return doc
}

// tell wakes those who follow.
func (l *live) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// A Run is one call of a kind's Run. Its methods are safe for concurrent use.
type Run struct {
	jobs *Jobs
	one  *live
	id   string
	log  *slog.Logger
}

// Job is the job as it was when the call began.
func (r *Run) Job() Job {
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	return r.one.Job
}

// Log names the job in each line.
func (r *Run) Log() *slog.Logger { return r.log }

// Checkpoint gives the value of a part of the work, empty where there is none.
func (r *Run) Checkpoint(ctx context.Context, part string) (string, error) {
	return r.jobs.store.Mark(ctx, mark(r.id, part))
}

// SetCheckpoint writes it: nil says that it is on disk.
func (r *Run) SetCheckpoint(ctx context.Context, part, value string) error {
	if err := r.note(ctx, part); err != nil {
		return err
	}
	return r.jobs.store.SetMark(ctx, mark(r.id, part), value)
}

// note keeps that a part has a checkpoint, before it has one, so that it can be
// emptied when it is of no use any more.
func (r *Run) note(ctx context.Context, part string) error {
	j := r.jobs
	j.mu.Lock()
	defer j.mu.Unlock()
	if slices.Contains(r.one.parts, part) {
		return nil
	}
	before := r.one.parts
	r.one.parts = append(slices.Clip(before), part)
	if err := j.save(ctx); err != nil {
		r.one.parts = before
		return err
	}
	return nil
}

func mark(id, part string) string { return "job/" + id + "/" + part }

// Tell says how far the work is. It is cheap; the value must encode as JSON of
// a few KiB, and must not be changed any more.
func (r *Run) Tell(progress any) {
	r.jobs.mu.Lock()
	defer r.jobs.mu.Unlock()
	r.one.told = progress
	r.one.tell()
}

// Run works the jobs until ctx is done and returns nil then, once all that
// were being worked have returned. Those that had not ended when an earlier
// process did go on first.
func (j *Jobs) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		j.empty(ctx)
		j.mu.Lock()
		for _, one := range j.due() {
			work, cancel := context.WithCancel(ctx)
			one.cancel = cancel
			running.Go(func() { j.work(ctx, work, one) })
		}
		j.mu.Unlock()
		wait(ctx, j.wake)
	}
	return nil
}

// due are the jobs that can begin now: of each kind and project the oldest,
// where none is being worked.
func (j *Jobs) due() []*live {
	type turn struct{ kind, project string }
	taken := map[turn]bool{}
	for _, one := range j.jobs {
		if one.cancel != nil {
			taken[turn{one.Kind, one.Project}] = true
		}
	}
	var due []*live
	for _, one := range j.jobs {
		if t := (turn{one.Kind, one.Project}); !one.State.Ended() && !taken[t] {
			taken[t] = true
			due = append(due, one)
		}
	}
	return due
}

// work calls the kind of a job and notes how it ended. process is done when
// the process is to stop, ctx also when the job alone is.
func (j *Jobs) work(process, ctx context.Context, one *live) {
	defer j.kick()
	r := &Run{jobs: j, one: one, id: one.ID, log: j.log.With("job", one.ID, "project", one.Project)}
	kind, known := j.kinds[one.Kind]
	err := j.keepTrying(process, r, func() {
		one.State = Running
		if one.Started.IsZero() {
			one.Started = time.Now().UTC()
		}
	}, func() bool { return one.State.Ended() })
	switch {
	case err != nil:
	case !known:
		err = fmt.Errorf("this binary has no jobs of the kind %q", one.Kind)
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		r.log.Info("job runs")
		err = call(ctx, kind, r)
	}
	j.mu.Lock()
	cut := ctx.Err() != nil && err != nil
	one.cancel()
	stopped := one.State.Ended()
	j.mu.Unlock()
	if !cut {
		// A stop that came too late leaves the word to the work itself.
		stopped = false
		keeping := j.keepTrying(process, r, func() {
			one.State, one.Ended, one.Progress, one.Why = Done, time.Now().UTC(), one.progress(), ""
			if err != nil {
				one.State, one.Why = Failed, err.Error()
			} else {
				j.leave(one)
			}
		}, nil)
		switch {
		case keeping != nil: // it is run again at the next start
		case err != nil:
			r.log.Warn("job has failed; it can be resumed", "error", err)
		default:
			r.log.Info("job is done")
		}
	}
	if cut {
		// What it told while it ended is what people see until it goes on. It
		// must not hold up a stop.
		j.keepProgress(one)
	}
	if stopped {
		r.log.Info("job is stopped")
	}
	j.mu.Lock()
	one.cancel = nil
	one.tell()
	j.mu.Unlock()
}

// keepProgress writes down what a job has told, if that can be done soon.
func (j *Jobs) keepProgress(one *live) {
	ctx, cancel := context.WithTimeout(context.Background(), keepWithin)
	defer cancel()
	j.mu.Lock()
	defer j.mu.Unlock()
	one.Progress = one.progress()
	_ = j.save(ctx) // the next save has it
}

// keepWithin is how long a stop waits for the last word of a job.
const keepWithin = 2 * time.Second

// empty empties the checkpoints that are of no use any more. What fails is
// tried again after the next change.
func (j *Jobs) empty(ctx context.Context) {
	j.mu.Lock()
	left := slices.Clone(j.left)
	j.mu.Unlock()
	for _, l := range left {
		for _, part := range l.Parts {
			if err := j.store.SetMark(ctx, mark(l.ID, part), ""); err != nil {
				return
			}
		}
	}
	if len(left) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	rest := j.left
	j.left = slices.Clone(j.left[len(left):])
	if j.save(ctx) != nil {
		j.left = rest
	}
}

// keepEvery is how long it waits before it writes again what could not be
// written: the disk may be full.
const keepEvery = 5 * time.Second

// keepTrying changes a job and writes that down, however often it takes. It
// does nothing once unless is true, and ends with ctx.
func (j *Jobs) keepTrying(ctx context.Context, r *Run, change func(), unless func() bool) error {
	for told := false; ; {
		j.mu.Lock()
		if unless != nil && unless() {
			j.mu.Unlock()
			return nil
		}
		before, parts, left := r.one.Job, r.one.parts, j.left
		change()
		err := j.save(context.WithoutCancel(ctx))
		if err != nil {
			r.one.Job, r.one.parts, j.left = before, parts, left
		} else {
			r.one.tell()
		}
		j.mu.Unlock()
		if err == nil {
			return nil
		}
		if !told {
			told = true
			r.log.Error("cannot keep how far the job is, trying again", "error", err)
		}
		if !wait(ctx, time.After(keepEvery)) {
			return ctx.Err()
		}
	}
}

// call calls a kind. Its panic is a failure of the job and of nothing else;
// what it was panicked with may hold anything (promise 7).
func call(ctx context.Context, k Kind, r *Run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("job panicked", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = errors.New("it panicked; the log has the place")
		}
	}()
	return k.Run(ctx, r)
}

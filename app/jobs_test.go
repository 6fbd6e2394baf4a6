package app

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/job"
)

// What is wrong with a request is told from what has no room now.
func TestAnswersOfJobs(t *testing.T) {
	tests := []struct {
		err, want error
		exit      int // of the verb
	}{
		{fmt.Errorf("%w: bulk-9", job.ErrNotFound), control.ErrNotFound, exitFailed},
		{fmt.Errorf("%w: no kind of job is called cake", job.ErrInvalid), control.ErrInvalid, exitConfig},
		{fmt.Errorf("%w: 100 have not ended", job.ErrFull), ct2fluent.ErrFull, exitFailed},
		{nil, nil, exitDone},
	}
	for _, tt := range tests {
		err := ofJob(tt.err)
		if !errors.Is(err, tt.want) {
			t.Errorf("%v: %v, want %v", tt.err, err, tt.want)
		}
		if got := exitCode(asked(err)); err != nil && got != tt.exit {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.exit)
		}
	}
}

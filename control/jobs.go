package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
)

// Jobs starts and follows long work. Its methods may be called at once. What
// they return is answered as JSON; ErrNotFound and ErrInvalid choose the
// answer. On, of those that change something, names the job for the audit
// trail: its id and project.
type Jobs interface {
	Start(ctx context.Context, r JobRequest) (one any, on string, err error)
	List() any
	Get(id string) (any, error)
	// Follow gives the job as it is, and again whenever it has changed, until
	// it has ended or ctx is done.
	Follow(ctx context.Context, id string) iter.Seq[any]
	Stop(ctx context.Context, id string) (one any, on string, err error)
	Resume(ctx context.Context, id string) (one any, on string, err error)
}

// A JobRequest asks for a job.
type JobRequest struct {
	Kind    string          `json:"kind"`
	Project string          `json:"project,omitempty"` // empty: the one who asks named none
	Spec    json.RawMessage `json:"spec,omitempty"`
	By      string          `json:"-"` // the name of the token
}

func (s *Server) jobList(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.o.Jobs.List())
}

func (s *Server) jobShow(w http.ResponseWriter, r *http.Request) {
	v, err := s.o.Jobs.Get(r.PathValue("id"))
	respond(w, v, err)
}

func (s *Server) jobStart(w http.ResponseWriter, r *http.Request) {
	var q JobRequest
	err := s.strict(w, r, &q, `{"kind":"…","project":"…","spec":{…}}`)
	if err != nil {
		fail(w, err)
		return
	}
	q.By = caller(r)
	one, on, err := s.o.Jobs.Start(r.Context(), q)
	respondNoted(w, r, one, on, err)
}

func (s *Server) jobStop(w http.ResponseWriter, r *http.Request) {
	if err := s.noBody(w, r); err != nil {
		fail(w, err)
		return
	}
	one, on, err := s.o.Jobs.Stop(r.Context(), r.PathValue("id"))
	respondNoted(w, r, one, on, err)
}

func (s *Server) jobResume(w http.ResponseWriter, r *http.Request) {
	if err := s.noBody(w, r); err != nil {
		fail(w, err)
		return
	}
	one, on, err := s.o.Jobs.Resume(r.Context(), r.PathValue("id"))
	respondNoted(w, r, one, on, err)
}

// respondNoted answers, and notes what was done to a job.
func respondNoted(w http.ResponseWriter, r *http.Request, one any, on string, err error) {
	if err == nil {
		note(r, on, 1)
	}
	respond(w, one, err)
}

// jobEvents answers with a line of JSON for each change, until the job has
// ended, the process stops or who asked has gone.
func (s *Server) jobEvents(w http.ResponseWriter, r *http.Request) {
	if _, err := s.o.Jobs.Get(r.PathValue("id")); err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	for job := range s.o.Jobs.Follow(r.Context(), r.PathValue("id")) {
		if json.NewEncoder(w).Encode(job) != nil || flush.Flush() != nil {
			return
		}
	}
}

// jobFound answers with what a job has found, as it lies there.
func (s *Server) jobFound(w http.ResponseWriter, r *http.Request) {
	found, err := s.o.Found(r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	defer found.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	_, _ = io.Copy(w, found) // who asked has gone
}

// Lines sends a GET whose answer is a line of JSON after the other, and calls
// each for them. Errors are those of Do, of each, and io.ErrUnexpectedEOF
// where the process ended before the answer.
func (c *Client) Lines(ctx context.Context, path string, each func(line json.RawMessage) error) error {
	res, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := json.NewDecoder(res.Body)
	for {
		var line json.RawMessage
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrHangs):
			return err
		case err != nil:
			return fmt.Errorf("GET %s: %w: %w", path, io.ErrUnexpectedEOF, err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

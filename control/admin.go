package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.o.Status(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	// Whoever reads the JSON finds the same keys of the same types always.
	if st.SkippedBy == nil {
		st.SkippedBy = map[string]uint64{}
	}
	if st.DeadBy == nil {
		st.DeadBy = map[string]uint64{}
	}
	if st.Held == nil {
		st.Held = []Held{}
	}
	writeJSON(w, http.StatusOK, st)
}

func (s *Server) resource(w http.ResponseWriter, r *http.Request) {
	v, err := s.o.Resource(r.Context(), r.URL.Query().Get("project"), r.PathValue("typeId"), r.PathValue("id"))
	respond(w, v, err)
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	body, err := s.body(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	v, err := s.o.Explain(r.Context(), body)
	respond(w, v, err)
}

func (s *Server) mapID(w http.ResponseWriter, r *http.Request) {
	diff, err := boolean(r, "diff")
	if err != nil {
		fail(w, err)
		return
	}
	v, err := s.o.Map(r.Context(), MapRequest{Project: r.URL.Query().Get("project"), ID: r.PathValue("id"), Diff: diff})
	respond(w, v, err)
}

func (s *Server) mapDocument(w http.ResponseWriter, r *http.Request) {
	diff, err := boolean(r, "diff")
	if err != nil {
		fail(w, err)
		return
	}
	body, err := s.body(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	v, err := s.o.Map(r.Context(), MapRequest{Project: r.URL.Query().Get("project"), Document: body, Diff: diff})
	respond(w, v, err)
}

// A DeadPage is the answer of GET /admin/dead, and the after to go on with, which
// is the sequence of no notification: 0 at the end.
type DeadPage struct {
	Letters []DeadLetter `json:"letters"`
	After   uint64       `json:"after"`
}

const (
	defaultPage = 100
	maxPage     = 1000
)

// pageLimit is how many a page is to hold at most.
func pageLimit(r *http.Request) (int, error) {
	limit, err := number(r, "limit", defaultPage)
	if err == nil && (limit < 1 || limit > maxPage) {
		err = invalid("limit is 1 to %d", maxPage)
	}
	return int(limit), err
}

func (s *Server) deadList(w http.ResponseWriter, r *http.Request) {
	limit, err := pageLimit(r)
	if err != nil {
		fail(w, err)
		return
	}
	after, err := number(r, "after", 0)
	if err != nil {
		fail(w, err)
		return
	}
	letters, err := s.o.Dead.List(r.Context(), r.URL.Query().Get("reason"), after, limit)
	if err != nil {
		fail(w, err)
		return
	}
	page := DeadPage{Letters: append([]DeadLetter{}, letters...)}
	if len(letters) == limit {
		page.After = letters[len(letters)-1].Place
	}
	writeJSON(w, http.StatusOK, page)
}

func (s *Server) deadShow(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil {
		fail(w, invalid("the sequence of a dead letter is a number"))
		return
	}
	v, err := s.o.Dead.Show(r.Context(), seq)
	respond(w, v, err)
}

// A DeadRequest is the body of POST /admin/dead/replay and /admin/dead/drop.
type DeadRequest struct {
	Selection
	DryRun bool `json:"dryRun,omitempty"` // only count
}

// A DeadResult is the answer: how many were selected, of how many it was done.
type DeadResult struct {
	Selected int `json:"selected"`
	Done     int `json:"done"`
}

func (s *Server) deadReplay(w http.ResponseWriter, r *http.Request) {
	s.deadWork(w, r, s.o.Dead.Replay)
}

func (s *Server) deadDrop(w http.ResponseWriter, r *http.Request) {
	s.deadWork(w, r, s.o.Dead.Drop)
}

func (s *Server) deadWork(w http.ResponseWriter, r *http.Request, do func(context.Context, Selection) (int, error)) {
	q, err := s.deadRequest(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	var res DeadResult
	res.Selected, err = s.o.Dead.Count(r.Context(), q.Selection)
	if err == nil && !q.DryRun {
		res.Done, err = do(r.Context(), q.Selection)
	}
	note(r, onSelection(q, res), res.Done)
	if err != nil {
		fail(w, fmt.Errorf("%w; %d of %d done before", err, res.Done, res.Selected))
		return
	}
	writeJSON(w, http.StatusOK, res)
}

// deadRequest is strict: a misspelt key must not widen what is dropped.
func (s *Server) deadRequest(w http.ResponseWriter, r *http.Request) (q DeadRequest, err error) {
	if err := s.strict(w, r, &q, `{"seqs":[…]}, {"reason":"…"} or {"all":true}, and "dryRun"`); err != nil {
		return q, err
	}
	given := 0
	for _, is := range []bool{len(q.Seqs) > 0, q.Reason != "", q.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return q, invalid("give one of seqs, reason and all")
	}
	return q, nil
}

// strict reads the one JSON value of a body, in which no key is unknown. want
// says what it should be.
func (s *Server) strict(w http.ResponseWriter, r *http.Request, v any, want string) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, s.o.MaxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return invalid("want %s: %w", want, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("more than one JSON value")
	}
	return nil
}

// respond answers with what a function of Options returned.
func respond(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.o.MaxBody))
	if err != nil {
		return nil, invalid("body: %w", err)
	}
	if len(b) == 0 {
		return nil, invalid("empty body")
	}
	return b, nil
}

// noBody passes over a body that nobody needs. Left unread, a large one would
// have the connection cut before its sender has read the answer.
func (s *Server) noBody(w http.ResponseWriter, r *http.Request) error {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, s.o.MaxBody)); err != nil {
		return invalid("body: %w", err)
	}
	return nil
}

func number(r *http.Request, key string, otherwise uint64) (uint64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, invalid("%s is a whole number", key)
	}
	return n, nil
}

func boolean(r *http.Request, key string) (bool, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid("%s is true or false", key)
	}
	return b, nil
}

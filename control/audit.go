package control

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An Act is a line of the audit trail. Promise 7: it holds the name of a
// token, words of the program, and numbers.
type Act struct {
	Number  uint64    `json:"number"`
	When    time.Time `json:"when"`
	Who     string    `json:"who"`          // the token's name
	What    string    `json:"what"`         // "dead drop"
	On      string    `json:"on,omitempty"` // "reason mapping"
	Count   int       `json:"count"`        // of how many it was done
	Outcome string    `json:"outcome"`      // begun, done, refused, failed
	Took    float64   `json:"tookSeconds"`  // 0 while it goes on
}

// The outcomes of an Act, by the answer it had. That of one that goes on, or
// was cut off with the process, is "begun".
const (
	actDone    = "done"    // 2xx
	actRefused = "refused" // 4xx: nothing was asked for that can be done
	actFailed  = "failed"  // 5xx: Count says how far it came
)

// An Audit keeps acts. All methods may be called at once.
type Audit interface {
	// Begin keeps that an act begins and gives it with its number and time: nil
	// once that is on disk.
	Begin(ctx context.Context, who, what string) (Act, error)
	// End keeps what became of an act that Begin gave: On, Count and Outcome are
	// set in it.
	End(ctx context.Context, a Act) error
	// List gives at most limit acts, newest first: those before the one of a
	// number, 0 from the newest.
	List(ctx context.Context, before uint64, limit int) ([]Act, error)
}

// endWithin is how long an act's end may take to reach the disk.
const endWithin = 10 * time.Second

// An act is what a request of an operator does, while it does it.
type act struct {
	who   identity
	on    string
	count int
}

type actKey struct{}

// note adds to the audit line of the request at hand what it is about and of
// how many it was done. It is for routes of operators; elsewhere it does
// nothing. Promise 7: on holds no text from outside other than names of the
// configuration, reasons and numbers.
func note(r *http.Request, on string, count int) {
	if a, ok := r.Context().Value(actKey{}).(*act); ok {
		a.on, a.count = on, count
	}
}

// caller is the name of the token with which a request of an operator came.
func caller(r *http.Request) string {
	if a, ok := r.Context().Value(actKey{}).(*act); ok {
		return a.who.name
	}
	return ""
}

// acts tells whether the route changes something, and is noted.
func (t Route) acts() bool { return t.Access == Operator && t.Method != http.MethodGet }

// verb names what the route does: POST /admin/dead/drop is "dead drop".
func (t Route) verb() string {
	var words []string
	for word := range strings.SplitSeq(strings.TrimPrefix(t.Path, "/admin/"), "/") {
		if word != "" && !strings.HasPrefix(word, "{") {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// audited serves a route of operators, with a line in the audit trail that is
// on disk before anything is done, and one with the outcome before the answer
// leaves. What cannot be noted is not done.
func (s *Server) audited(t Route, who identity, w http.ResponseWriter, r *http.Request) {
	a, began := &act{who: who}, time.Now()
	line := Act{Who: who.name, What: t.verb()}
	if s.o.Audit != nil {
		begun, err := s.o.Audit.Begin(r.Context(), line.Who, line.What)
		if err != nil {
			s.log.Error("an operator's action was not begun, as it cannot be noted in the audit trail", "who", line.Who, "what", line.What, "error", err)
			w.Header().Set("Retry-After", retryAfter)
			writeError(w, http.StatusServiceUnavailable, "not begun: the audit trail cannot be written; see the log")
			return
		}
		line = begun
	}
	held := &answered{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			held.status, held.body = http.StatusInternalServerError, bytes.Buffer{}
			writeError(held, held.status, "panicked")
			s.finish(a, line, began, held, r)
			panic(p) // net/http says where
		}
		s.finish(a, line, began, held, r)
	}()
	t.serve(held, r.WithContext(context.WithValue(r.Context(), actKey{}, a)))
}

// finish notes the outcome of an act, and then lets its answer go.
func (s *Server) finish(a *act, line Act, began time.Time, held *answered, r *http.Request) {
	if held.status == 0 {
		held.status = http.StatusOK
	}
	line.On, line.Count = a.on, a.count
	switch held.status / 100 {
	case 2:
		line.Outcome = actDone
	case 4:
		line.Outcome = actRefused
	default:
		line.Outcome = actFailed
	}
	s.log.Info("an operator acted", "who", line.Who, "what", line.What, "on", line.On, "count", line.Count,
		"outcome", line.Outcome, "status", held.status, "took", time.Since(began).String(), "number", line.Number)
	if s.o.Audit != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endWithin)
		defer cancel()
		if err := s.o.Audit.End(ctx, line); err != nil {
			s.log.Error("the outcome of an operator's action cannot be noted in the audit trail; there it is begun and did not end", "number", line.Number, "error", err)
		}
	}
	held.release()
}

// answered holds the answer of an act back until its outcome is noted.
type answered struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (a *answered) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answered) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Unwrap leads http.ResponseController to the connection's deadlines.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answered) release() {
	a.ResponseWriter.WriteHeader(a.status)
	_, _ = a.ResponseWriter.Write(a.body.Bytes()) // who asked has gone
}

// An AuditPage is the answer of GET /admin/audit, and the before to go on
// with: 0 at the end.
type AuditPage struct {
	Acts   []Act  `json:"acts"` // newest first
	Before uint64 `json:"before"`
}

func (s *Server) auditList(w http.ResponseWriter, r *http.Request) {
	limit, err := pageLimit(r)
	if err != nil {
		fail(w, err)
		return
	}
	before, err := number(r, "before", 0)
	if err != nil {
		fail(w, err)
		return
	}
	acts, err := s.o.Audit.List(r.Context(), before, limit)
	if err != nil {
		fail(w, err)
		return
	}
	page := AuditPage{Acts: append([]Act{}, acts...)}
	if len(acts) == limit {
		if oldest := acts[len(acts)-1].Number; oldest > 1 {
			page.Before = oldest
		}
	}
	writeJSON(w, http.StatusOK, page)
}

// onSelection says which dead letters an act was about. Promise 7: a reason
// that no letter has may be any text.
func onSelection(q DeadRequest, res DeadResult) string {
	on := "all"
	switch {
	case q.Reason != "" && res.Selected == 0:
		on = "a reason that none has"
	case q.Reason != "":
		on = "reason " + q.Reason
	case len(q.Seqs) > 0:
		on = "sequences"
		for i, seq := range q.Seqs {
			if i == 10 {
				on += " …"
				break
			}
			on += " " + strconv.FormatUint(seq, 10)
		}
	}
	if q.DryRun {
		on += fmt.Sprintf(", only counted: %d", res.Selected)
	}
	return on
}

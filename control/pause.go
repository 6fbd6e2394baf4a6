package control

import (
	"context"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pauses stops work and lets it go on, by a person's word. All methods may be
// called at once. ErrNotFound: nothing of that name can be paused, or is.
type Pauses interface {
	// Pause returns once the pause would outlive a crash and nothing more is
	// handed out. A second pause replaces the reason of the first.
	Pause(ctx context.Context, p Pause) (PauseResult, error)
	// Resume has the work go on.
	Resume(ctx context.Context, p Pause) (PauseResult, error)
}

// A Pause names an account or a route: exactly one of them.
type Pause struct {
	Account string `json:"account,omitempty"` // a project key, or the name of a Fluent account
	Route   string `json:"route,omitempty"`
	Reason  string `json:"reason,omitempty"` // of Pause, which needs one
	By      string `json:"-"`                // the name of the token
}

// A PauseResult says what was paused or goes on.
type PauseResult struct {
	Projects []string `json:"projects,omitempty"` // the account's
	Route    string   `json:"route,omitempty"`
	AtHand   int      `json:"atHand"` // batches that were at hand, and finish
}

// longestReason is how many characters a reason may have.
const longestReason = 200

func (s *Server) pause(w http.ResponseWriter, r *http.Request) {
	s.pauseWork(w, r, s.o.Pauses.Pause, true)
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request) {
	s.pauseWork(w, r, s.o.Pauses.Resume, false)
}

func (s *Server) pauseWork(w http.ResponseWriter, r *http.Request, do func(context.Context, Pause) (PauseResult, error), reasoned bool) {
	var p Pause
	err := s.strict(w, r, &p, `{"account":"…"} or {"route":"…"}, and to pause a "reason"`)
	if err == nil {
		err = p.check(reasoned)
	}
	if err != nil {
		fail(w, err)
		return
	}
	p.By = caller(r)
	res, err := do(r.Context(), p)
	if err == nil {
		on, n := "route "+res.Route, 1
		if res.Route == "" {
			on, n = "account "+strings.Join(res.Projects, " "), len(res.Projects)
		}
		note(r, on, n)
	}
	respond(w, res, err)
}

func (p Pause) check(reasoned bool) error {
	switch {
	case (p.Account == "") == (p.Route == ""):
		return invalid("give one of account and route")
	case !reasoned && p.Reason != "":
		return invalid("only a pause has a reason")
	case reasoned && strings.TrimSpace(p.Reason) == "":
		return invalid("give a reason, for those who will see that it is paused")
	case utf8.RuneCountInString(p.Reason) > longestReason:
		return invalid("a reason has %d characters at most", longestReason)
	case strings.ContainsFunc(p.Reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return invalid("a reason is one line of text")
	}
	return nil
}

package control

import (
	"context"
	"net/http"
	"strings"
)

// Subscribing compares, makes, repairs and removes the commercetools
// Subscriptions of the configuration: of all accounts that have one, or of the
// one of a project. All methods may be called at once. ErrInvalid: no account
// has the project, or none a Subscription.
type Subscribing interface {
	// Plan says what Apply would do; after an error of some what it would do for
	// the others, nil for nothing.
	Plan(ctx context.Context, project string) (any, error)
	// Check says whether each is there, delivers, and is as configured.
	Check(ctx context.Context, project string) (any, error)
	// Apply does it, and says what that was: after an error of some what was done
	// for the others, nil for nothing.
	Apply(ctx context.Context, r SubscriptionRequest) (SubscriptionsDone, error)
	// Remove removes them, and says so as Apply does.
	Remove(ctx context.Context, r SubscriptionRequest) (SubscriptionsDone, error)
}

// SubscriptionsDone is what Apply or Remove did.
type SubscriptionsDone struct {
	All      any      // the answer
	Projects []string // whose Subscription was worked
	Changed  int      // of how many of them something was done
}

// note adds to the audit line of a request what was done for it.
func (d SubscriptionsDone) note(r *http.Request, resent bool) {
	on := ""
	switch {
	case len(d.Projects) == 0:
	case resent:
		on = "projects " + strings.Join(d.Projects, " ") + ", the destination sent again"
	default:
		on = "projects " + strings.Join(d.Projects, " ")
	}
	note(r, on, d.Changed)
}

// A SubscriptionRequest is the body of POST /admin/subscriptions/apply and of
// POST /admin/subscriptions/rm.
type SubscriptionRequest struct {
	Project     string `json:"project,omitempty"`     // empty: all
	Destination bool   `json:"destination,omitempty"` // apply: send it again, for secrets that have changed
	Yes         bool   `json:"yes,omitempty"`         // rm: it is meant
}

func (s *Server) subscriptionPlan(w http.ResponseWriter, r *http.Request) {
	all, err := s.o.Subscribing.Plan(r.Context(), r.URL.Query().Get("project"))
	respondAll(w, all, err)
}

func (s *Server) subscriptionCheck(w http.ResponseWriter, r *http.Request) {
	all, err := s.o.Subscribing.Check(r.Context(), r.URL.Query().Get("project"))
	respond(w, all, err)
}

func (s *Server) subscriptionApply(w http.ResponseWriter, r *http.Request) {
	var q SubscriptionRequest
	if err := s.strict(w, r, &q, `{}, or {"project":"…"}, and "destination":true`); err != nil {
		fail(w, err)
		return
	}
	did, err := s.o.Subscribing.Apply(r.Context(), q)
	did.note(r, q.Destination)
	respondAll(w, did.All, err)
}

func (s *Server) subscriptionRemove(w http.ResponseWriter, r *http.Request) {
	var q SubscriptionRequest
	err := s.strict(w, r, &q, `{"yes":true}, and "project"`)
	if err == nil && !q.Yes {
		err = invalid(`what changes after it is removed is announced to nobody; say "yes":true if that is wanted`)
	}
	if err != nil {
		fail(w, err)
		return
	}
	did, err := s.o.Subscribing.Remove(r.Context(), q)
	did.note(r, false)
	respondAll(w, did.All, err)
}

// respondAll answers with what became of each, also where some of them failed.
func respondAll(w http.ResponseWriter, all any, err error) {
	if err == nil || all == nil {
		respond(w, all, err)
		return
	}
	writeJSON(w, statusOf(err), struct {
		failure
		Subscriptions any `json:"subscriptions"`
	}{failure{err.Error()}, all})
}

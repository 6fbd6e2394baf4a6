package control

import (
	"context"
	"net/http"
)

// Subscribing compares, makes, repairs and removes the commercetools
// Subscriptions of the configuration: of all accounts that have one, or of the
// one of a project. All methods may be called at once. ErrInvalid: no account
// has the project, or none a Subscription.
type Subscribing interface {
	// Plan says what Apply would do.
	Plan(ctx context.Context, project string) (any, error)
	// Check says whether each is there, delivers, and is as configured.
	Check(ctx context.Context, project string) (any, error)
	// Apply does it, and says what that was.
	Apply(ctx context.Context, r SubscriptionRequest) (any, error)
	// Remove removes them.
	Remove(ctx context.Context, r SubscriptionRequest) (any, error)
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
	respond(w, all, err)
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
	all, err := s.o.Subscribing.Apply(r.Context(), q)
	respond(w, all, err)
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
	all, err := s.o.Subscribing.Remove(r.Context(), q)
	respond(w, all, err)
}

package control

import (
	"net/http"
	"time"
)

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Alive bool `json:"alive"`
	}{true})
}

// A readiness is the answer of /readyz. That a target is down is told, but is
// no reason to send notifications elsewhere: they are kept here.
type readiness struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	Held   []Held `json:"held,omitempty"`
	// Subscriptions that do not deliver are made up for by reading what changes.
	Subscriptions any `json:"subscriptions,omitempty"`
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	err := s.o.Ready(r.Context())
	body := readiness{Ready: err == nil}
	// Off loopback anyone may ask whether, only who has the token why.
	if _, refused := s.guard.admit(OnLoopback, r); refused == nil {
		body.Held, body.Subscriptions = s.o.Held(), s.o.Subscriptions()
		if err != nil {
			body.Reason = err.Error()
		}
	}
	writeJSON(w, readyStatus(err), body)
}

func readyStatus(err error) int {
	if err != nil {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// A component is a part of /actuator/health, as users of Fluent's connector
// know it. A held account is OUT_OF_SERVICE and leaves the whole UP.
type component struct {
	Status  string   `json:"status"`
	Details *details `json:"details,omitempty"`
}

type details struct {
	Reason string     `json:"reason"`
	Since  *time.Time `json:"since,omitempty"`
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	err := s.o.Ready(r.Context())
	intake := component{Status: "UP"}
	if err != nil {
		intake = component{Status: "DOWN", Details: &details{Reason: err.Error()}}
	}
	components := map[string]component{"intake": intake}
	for _, h := range s.o.Held() {
		name := "account:" + h.Project
		if h.Route != "" {
			name = "route:" + h.Route
		}
		components[name] = component{Status: "OUT_OF_SERVICE", Details: &details{h.Why, &h.Since}}
	}
	writeJSON(w, readyStatus(err), struct {
		Status     string               `json:"status"`
		Components map[string]component `json:"components"`
	}{intake.Status, components})
}

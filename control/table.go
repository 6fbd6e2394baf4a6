package control

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Access says who may call a route.
type Access uint8

const (
	Anyone     Access = iota
	OnLoopback        // anyone on loopback; a Viewer elsewhere
	Viewer            // who has a token: reads
	Operator          // who has a token: changes what the process does
)

// A Route is a line of the table of routes.
type Route struct {
	Method string
	Path   string // as net/http.ServeMux has it
	Access Access
	slow   bool // may take longer than the server's timeouts
	// follows says that the answer goes on until something else ends: a stop
	// does not wait for it.
	follows bool
	serve   http.HandlerFunc
}

// Routes is the table of all routes that this Server has.
func (s *Server) Routes() []Route { return s.table }

func (s *Server) routes() []Route {
	o := &s.o
	table := []Route{
		{Method: "GET", Path: "/healthz", Access: Anyone, serve: s.live},
		{Method: "GET", Path: "/readyz", Access: Anyone, serve: s.ready},
		{Method: "GET", Path: "/actuator/health", Access: OnLoopback, serve: s.health},
	}
	add := func(exists bool, rs ...Route) {
		if exists {
			table = append(table, rs...)
		}
	}
	if o.Metrics != nil {
		h := promhttp.HandlerFor(o.Metrics.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: s.errorLog()})
		table = append(table, Route{Method: "GET", Path: "/metrics", Access: OnLoopback, serve: h.ServeHTTP})
	}
	add(o.Routes != nil, Route{Method: "GET", Path: "/actuator/routes", Access: OnLoopback, serve: list(o.Routes)})
	add(o.Handlers != nil, Route{Method: "GET", Path: "/actuator/handlers", Access: OnLoopback, serve: list(o.Handlers)})
	add(o.Status != nil, Route{Method: "GET", Path: "/admin/status", Access: Viewer, serve: s.status})
	add(o.Put != nil, Route{Method: "POST", Path: "/admin/put", Access: Operator, slow: true, serve: s.put})
	add(o.Resource != nil, Route{Method: "GET", Path: "/admin/resources/{typeId}/{id}", Access: Viewer, serve: s.resource})
	add(o.Explain != nil, Route{Method: "POST", Path: "/admin/route", Access: Viewer, serve: s.explain})
	add(o.Map != nil,
		Route{Method: "GET", Path: "/admin/map/{id}", Access: Viewer, serve: s.mapID},
		Route{Method: "POST", Path: "/admin/map", Access: Viewer, serve: s.mapDocument},
	)
	add(o.Dead != nil,
		Route{Method: "GET", Path: "/admin/dead", Access: Viewer, serve: s.deadList},
		Route{Method: "GET", Path: "/admin/dead/{seq}", Access: Viewer, serve: s.deadShow},
		Route{Method: "POST", Path: "/admin/dead/replay", Access: Operator, slow: true, serve: s.deadReplay},
		Route{Method: "POST", Path: "/admin/dead/drop", Access: Operator, slow: true, serve: s.deadDrop},
	)
	add(o.Sync != nil,
		Route{Method: "POST", Path: "/admin/sync", Access: Operator, serve: s.syncPut},
		Route{Method: "GET", Path: "/admin/sync/{id}/events", Access: Viewer, slow: true, follows: true, serve: s.syncEvents},
	)
	add(o.Found != nil, Route{Method: "GET", Path: "/admin/jobs/{id}/found", Access: Viewer, slow: true, serve: s.jobFound})
	add(o.Jobs != nil,
		Route{Method: "GET", Path: "/admin/jobs", Access: Viewer, serve: s.jobList},
		Route{Method: "GET", Path: "/admin/jobs/{id}", Access: Viewer, serve: s.jobShow},
		Route{Method: "GET", Path: "/admin/jobs/{id}/events", Access: Viewer, slow: true, follows: true, serve: s.jobEvents},
		Route{Method: "POST", Path: "/admin/jobs", Access: Operator, serve: s.jobStart},
		Route{Method: "POST", Path: "/admin/jobs/{id}/stop", Access: Operator, serve: s.jobStop},
		Route{Method: "POST", Path: "/admin/jobs/{id}/resume", Access: Operator, serve: s.jobResume},
	)
	add(o.Subscribing != nil,
		Route{Method: "GET", Path: "/admin/subscriptions", Access: Viewer, slow: true, serve: s.subscriptionPlan},
		Route{Method: "GET", Path: "/admin/subscriptions/check", Access: Viewer, slow: true, serve: s.subscriptionCheck},
		Route{Method: "POST", Path: "/admin/subscriptions/apply", Access: Operator, slow: true, serve: s.subscriptionApply},
		Route{Method: "POST", Path: "/admin/subscriptions/rm", Access: Operator, slow: true, serve: s.subscriptionRemove},
	)
	add(o.Pauses != nil,
		Route{Method: "POST", Path: "/admin/pause", Access: Operator, serve: s.pause},
		Route{Method: "POST", Path: "/admin/resume", Access: Operator, serve: s.resume},
	)
	add(o.Audit != nil, Route{Method: "GET", Path: "/admin/audit", Access: Viewer, serve: s.auditList})
	add(o.Profile,
		Route{Method: "GET", Path: "/debug/pprof/", Access: Operator, serve: pprof.Index},
		Route{Method: "GET", Path: "/debug/pprof/profile", Access: Operator, slow: true, serve: pprof.Profile},
		Route{Method: "GET", Path: "/debug/pprof/trace", Access: Operator, slow: true, serve: pprof.Trace},
	)
	return table
}

// mux serves the table. What it does not have is answered as JSON, too.
func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	for _, t := range s.table {
		mux.HandleFunc(t.Method+" "+t.Path, s.entry(t))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		none, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// The mux tells 404 from 405, and names the methods, in its answer.
		a := answer{header: http.Header{}}
		none.ServeHTTP(&a, r)
		if allow := a.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
		}
		writeError(w, a.status, strings.ToLower(http.StatusText(a.status)))
	})
}

// entry is what every route does before its own work.
func (s *Server) entry(t Route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, refused := s.guard.admit(t.Access, r)
		if refused != nil {
			switch refused.status {
			case http.StatusUnauthorized:
				w.Header().Set("WWW-Authenticate", "Bearer")
			case http.StatusTooManyRequests:
				w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.after.Seconds()))))
				w.Header().Set("Connection", "close")
			}
			writeError(w, refused.status, refused.text)
			return
		}
		if t.slow {
			// Not only the answer: net/http cancels a request whose read
			// deadline passes. An error means that there is none to lift.
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(time.Time{})
			_ = c.SetWriteDeadline(time.Time{})
		}
		if t.follows {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(s.following, cancel)()
			r = r.WithContext(ctx)
		}
		if t.acts() {
			s.audited(t, who, w, r)
			return
		}
		t.serve(w, r)
	}
}

// answer keeps the status and the headers of an answer.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return len(p), nil }

func list(f func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, f()) }
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		writeError(w, http.StatusInternalServerError, "cannot be written as JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who asked has gone
}

// failure is the body of every answer that is not 2xx, readiness aside.
type failure struct {
	Error string `json:"error"`
}

func writeError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, failure{text})
}

// fail answers with what a function of Options returned.
func fail(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeError(w, status, err.Error())
}

package control

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
)

// Syncs has customers worked now. Its methods may be called at once. ErrNotFound
// and ErrInvalid choose the answer.
type Syncs interface {
	// Put returns once the customers are in the queue, and the id of the sync.
	Put(ctx context.Context, r SyncRequest) (SyncStarted, error)
	// Follow gives what became of each customer, as it is known, until all are
	// or ctx is done. ErrNotFound: there is no such sync since this start.
	Follow(ctx context.Context, id string) (iter.Seq[SyncResult], error)
}

// A SyncRequest names customers of a project.
type SyncRequest struct {
	Project string   `json:"project,omitempty"` // empty: the one who asks named none
	IDs     []string `json:"ids"`
}

// SyncStarted is the answer of POST /admin/sync.
type SyncStarted struct {
	Sync      string `json:"sync"` // its id
	Customers int    `json:"customers"`
}

// A SyncResult is what became of a customer, or that it waits.
type SyncResult struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"` // waiting, or as the ledger has it
	Reason  string `json:"reason,omitempty"`
	Why     string `json:"why,omitempty"` // codes and field names, no values
	Version int64  `json:"version,omitempty"`
}

func (s *Server) syncPut(w http.ResponseWriter, r *http.Request) {
	var q SyncRequest
	err := s.strict(w, r, &q, `{"project":"…","ids":["…"]}`)
	var v SyncStarted
	if err == nil {
		v, err = s.o.Sync.Put(r.Context(), q)
	}
	if err == nil {
		note(r, v.Sync, v.Customers)
	}
	respond(w, v, err)
}

// syncEvents answers with a line of JSON for each customer.
func (s *Server) syncEvents(w http.ResponseWriter, r *http.Request) {
	results, err := s.o.Sync.Follow(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	_ = flush.Flush() // that there is something to follow
	for one := range results {
		if json.NewEncoder(w).Encode(one) != nil || flush.Flush() != nil {
			return
		}
	}
}

package sandbox

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
)

// admin makes the routes under /_sandbox that both stand-ins have.
func admin(g *gate, t *tokens, knobs func() any, change func(body []byte, patch bool) error, each func(func([]byte))) *http.ServeMux {
	mux := http.NewServeMux()
	set := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = change(body, r.Method == http.MethodPatch)
		}
		if err != nil {
			http.Error(w, "knobs: "+err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, knobs())
	}
	mux.HandleFunc("GET /_sandbox/knobs", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, knobs()) })
	mux.HandleFunc("PUT /_sandbox/knobs", set)
	mux.HandleFunc("PATCH /_sandbox/knobs", set)
	mux.HandleFunc("GET /_sandbox/calls", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, g.counted()) })
	mux.HandleFunc("POST /_sandbox/reset", func(w http.ResponseWriter, r *http.Request) { g.reset(); writeJSON(w, g.counted()) })
	mux.HandleFunc("POST /_sandbox/tokens", func(w http.ResponseWriter, r *http.Request) { t.revokeAll() })
	mux.HandleFunc("GET /_sandbox/customers", func(w http.ResponseWriter, r *http.Request) { writeLines(w, each) })
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a caller that left needs no answer
}

// writeLines writes one JSON document a line.
func writeLines(w http.ResponseWriter, each func(func([]byte))) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriter(w)
	each(func(doc []byte) {
		_, _ = out.Write(doc)
		_ = out.WriteByte('\n')
	})
	_ = out.Flush()
}

package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// A handler answers the requests of one Run.
type handler struct {
	Options
	put      func(ctx context.Context, body []byte) error
	work     context.Context // of the puts
	places   chan struct{}   // one taken for each request whose body is in memory
	stopping atomic.Bool
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, say := h.answer(w, r)
	h.Observe("answer-"+strconv.Itoa(status), 1)
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	}
	if h.stopping.Load() {
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, say+"\n")
}

// answer keeps the body, if it may, and says what became of it.
func (h *handler) answer(w http.ResponseWriter, r *http.Request) (status int, say string) {
	if r.URL.Path != h.Path {
		return http.StatusNotFound, "not found"
	}
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, "only POST"
	}
	token, err := h.Token()
	if err != nil {
		h.Log.Error("webhook cannot read its token; senders are sent away", "error", err)
		return http.StatusServiceUnavailable, "not ready"
	}
	if !authorized(r, token) {
		return http.StatusUnauthorized, "the bearer token is missing or wrong"
	}
	if h.stopping.Load() {
		return http.StatusServiceUnavailable, "stopping"
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		return http.StatusServiceUnavailable, "too many requests at once"
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, "over " + strconv.FormatInt(h.MaxBody, 10) + " bytes"
	case err != nil:
		return http.StatusBadRequest, "the body did not arrive whole"
	case len(bytes.TrimSpace(body)) == 0:
		return http.StatusBadRequest, "empty body"
	}
	// A sender that goes away does not take along what others' puts share.
	ctx, cancel := context.WithTimeout(h.work, putLimit)
	defer cancel()
	// Promise 1: 202 only after put returned nil. The inbox logs why not.
	if err := h.put(ctx, body); err != nil {
		return http.StatusServiceUnavailable, "cannot be kept now"
	}
	return http.StatusAccepted, "kept"
}

const forever time.Duration = 1<<63 - 1

// idle returns when no request is at hand, or after limit. Called once h is
// stopping or no longer served: it takes every place.
func (h *handler) idle(limit time.Duration) {
	late := time.NewTimer(limit)
	defer late.Stop()
	taken := 0
	defer func() {
		for range taken {
			<-h.places
		}
	}()
	for taken < cap(h.places) {
		select {
		case h.places <- struct{}{}:
			taken++
		case <-late.C:
			return
		}
	}
}

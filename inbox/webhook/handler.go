package webhook

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
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

	mu   sync.Mutex
	told map[string]time.Time // when a reason was logged last
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := h.answer(w, r)
	h.Observe("answer-"+strconv.Itoa(a.status), 1)
	switch a.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", h.Auth.challenge())
		h.tell(slog.LevelWarn, "webhook refused a request", a)
	case http.StatusServiceUnavailable:
		if a.why != "" {
			h.tell(slog.LevelError, "webhook cannot decide who may post; senders are sent away", a)
		}
	}
	if h.stopping.Load() {
		w.Header().Set("Connection", "close")
	}
	a.write(w)
}

// tellEvery is how often one reason is logged, at most: anyone can be refused.
const tellEvery = time.Minute

func (h *handler) tell(level slog.Level, what string, a *reply) {
	why := cmp.Or(a.why, a.say)
	h.mu.Lock()
	if h.told == nil || len(h.told) == 100 {
		h.told = map[string]time.Time{}
	}
	now := time.Now()
	last, known := h.told[why]
	again := known && now.Sub(last) < tellEvery
	if !again {
		h.told[why] = now
	}
	h.mu.Unlock()
	if !again {
		h.Log.Log(context.Background(), level, what, "path", h.Path, "why", why)
	}
}

// answer keeps the body, if it may, and says what became of it.
func (h *handler) answer(w http.ResponseWriter, r *http.Request) *reply {
	hands, polite := h.Auth.(handshaker)
	switch {
	case r.Method == http.MethodOptions && polite:
		return hands.handshake(r)
	case r.Method != http.MethodPost && polite:
		return &reply{status: http.StatusMethodNotAllowed, say: "only POST and OPTIONS", header: map[string]string{"Allow": "OPTIONS, POST"}}
	case r.Method != http.MethodPost:
		return &reply{status: http.StatusMethodNotAllowed, say: "only POST", header: map[string]string{"Allow": "POST"}}
	}
	if no := h.Auth.head(r); no != nil {
		return no
	}
	if h.stopping.Load() {
		return &reply{status: http.StatusServiceUnavailable, say: "stopping"}
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		return &reply{status: http.StatusServiceUnavailable, say: "too many requests at once"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &reply{status: http.StatusRequestEntityTooLarge, say: "over " + strconv.FormatInt(h.MaxBody, 10) + " bytes"}
	case err != nil:
		return &reply{status: http.StatusBadRequest, say: "the body did not arrive whole"}
	case len(bytes.TrimSpace(body)) == 0:
		return &reply{status: http.StatusBadRequest, say: "empty body"}
	}
	// A sender that goes away does not take along what others' puts share.
	ctx, cancel := context.WithTimeout(h.work, putLimit)
	defer cancel()
	keep, no := h.Auth.whole(ctx, r, body)
	if no != nil {
		return no
	}
	// Promise 1: 202 only after put returned nil. The inbox logs why not.
	if err := h.put(ctx, keep); err != nil {
		return &reply{status: http.StatusServiceUnavailable, say: "cannot be kept now"}
	}
	return &reply{status: http.StatusAccepted, say: "kept"}
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

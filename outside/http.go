package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// HTTPOptions of an HTTP.
type HTTPOptions struct {
	Name       string        // of the handler, for messages
	URL        string        // to which notifications are posted
	Timeout    time.Duration // for one request; default 10 s
	Concurrent int           // requests at once; default 4
	// BatchSize is how many notifications one request has at most. With 1, the
	// default, it has one object and not a list.
	BatchSize int
	// Headers gives further headers, such as Authorization. It is called for
	// each request. Nil: none.
	Headers   func() (http.Header, error)
	UserAgent string
	Log       *slog.Logger // nil discards
}

// An HTTP is a handler that is a service. It is safe for concurrent use.
type HTTP struct {
	outage
	o      HTTPOptions
	slots  chan struct{}
	client *http.Client
}

// NewHTTP makes an HTTP; it connects to nothing.
func NewHTTP(o HTTPOptions) *HTTP {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Concurrent == 0 {
		o.Concurrent = 4
	}
	if o.BatchSize == 0 {
		o.BatchSize = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = o.Concurrent
	return &HTTP{outage: outage{name: o.Name, log: o.Log.With("handler", o.Name)}, o: o, slots: make(chan struct{}, o.Concurrent), client: &http.Client{
		Transport: transport,
		// A notification is not to go where nobody has configured it to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close lets go of idle connections.
func (h *HTTP) Close() error {
	h.client.CloseIdleConnections()
	return nil
}

// Handle posts the notifications: those of different resources at once, those
// of one resource one after the other.
func (h *HTTP) Handle(ctx context.Context, batch []ct2fluent.Notification) []error {
	if h.o.BatchSize == 1 {
		return spread(ctx, h.slots, batch, func(ctx context.Context, n ct2fluent.Notification) error {
			return h.post(ctx, []ct2fluent.Notification{n})[0]
		})
	}
	return h.rounds(ctx, batch)
}

// rounds posts lists. A list has one notification of a resource at most: once
// one did not settle, the later ones of its resource wait with it.
func (h *HTTP) rounds(ctx context.Context, batch []ct2fluent.Notification) []error {
	errs := make([]error, len(batch))
	waiting := map[ct2fluent.Ref]error{}
	left := make([]int, len(batch))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		var now, later []int
		taken := map[ct2fluent.Ref]bool{}
		for _, i := range left {
			switch ref := batch[i].Ref; {
			case waiting[ref] != nil:
				errs[i] = waiting[ref]
			case taken[ref]:
				later = append(later, i)
			default:
				taken[ref] = true
				now = append(now, i)
			}
		}
		h.lists(ctx, batch, now, errs)
		for _, i := range now {
			if o, _, _ := ct2fluent.OutcomeOf(errs[i]); !o.Settled() {
				waiting[batch[i].Ref] = errs[i]
				if o == ct2fluent.Retry {
					waiting[batch[i].Ref] = ct2fluent.RetryAfter(0, errs[i]) // a fault of that one is none of theirs
				}
			}
		}
		left = later
	}
	return errs
}

// lists posts those at places of the batch, in lists that go at once.
func (h *HTTP) lists(ctx context.Context, batch []ct2fluent.Notification, at []int, errs []error) {
	var posting sync.WaitGroup
	for len(at) > 0 {
		n := min(len(at), h.o.BatchSize)
		mine := at[:n]
		at = at[n:]
		select {
		case h.slots <- struct{}{}:
		case <-ctx.Done():
			for _, i := range mine {
				errs[i] = ct2fluent.RetryAfter(0, ctx.Err()) // it was not asked
			}
			continue
		}
		posting.Go(func() {
			defer func() { <-h.slots }()
			ns := make([]ct2fluent.Notification, len(mine))
			for j, i := range mine {
				ns[j] = batch[i]
			}
			for j, err := range h.post(ctx, ns) {
				errs[mine[j]] = err
			}
		})
	}
	posting.Wait()
}

// post sends one request and says what became of each notification.
func (h *HTTP) post(ctx context.Context, ns []ct2fluent.Notification) []error {
	all := func(err error) []error {
		errs := make([]error, len(ns))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := h.unasked(); err != nil {
		return all(err)
	}
	began := time.Now()
	res, sent, err := h.send(ctx, ns)
	switch {
	case err != nil && !sent && ctx.Err() != nil:
		return all(ct2fluent.RetryAfter(0, fmt.Errorf("handler %s: %w", h.o.Name, err))) // it was not asked
	case err != nil && !sent:
		return all(h.refused(began, err))
	case err != nil:
		return all(ct2fluent.Unclear(fmt.Errorf("handler %s: %w", h.o.Name, err)))
	case res.refuses() && h.doubtful():
		return all(ct2fluent.Unclear(fmt.Errorf("handler %s: %w", h.o.Name, res.said())))
	case res.refuses():
		return all(h.refused(began, res.said()))
	}
	h.works()
	errs := make([]error, len(ns))
	for i, n := range ns {
		errs[i] = named(h.o.Name, res.of(i, n.Seq, h.o.Name))
	}
	return errs
}

// errRequest drops the URL that an error of package http repeats: it may hold
// a secret.
func errRequest(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// send posts a question, or a list of several. sent says that the service may
// have got it.
func (h *HTTP) send(ctx context.Context, ns []ct2fluent.Notification) (r response, sent bool, err error) {
	var body any
	if h.o.BatchSize == 1 {
		body = question(ns[0])
	} else {
		list := make([]Question, len(ns))
		for i, n := range ns {
			list[i] = question(n)
		}
		body = list
	}
	text, err := json.Marshal(body)
	if err != nil {
		return r, false, fmt.Errorf("write the question: %w", err)
	}
	return h.sendText(ctx, text, len(ns))
}

// sendText posts n questions.
func (h *HTTP) sendText(ctx context.Context, text []byte, n int) (r response, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.o.URL, bytes.NewReader(text))
	if err != nil {
		return r, false, errRequest(err)
	}
	if h.o.Headers != nil {
		own, err := h.o.Headers()
		if err != nil {
			return r, false, fmt.Errorf("its headers: %w", err)
		}
		for name, values := range own {
			req.Header[name] = values
		}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if h.o.UserAgent != "" {
		req.Header.Set("User-Agent", h.o.UserAgent)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return r, connected.Load(), errRequest(err)
	}
	defer res.Body.Close()
	limit := int64(maxAnswer * n)
	text, err = io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return r, true, fmt.Errorf("HTTP %d, and the answer was cut off", res.StatusCode)
	case int64(len(text)) > limit:
		return r, true, wrong("longer than %d bytes", limit)
	}
	r = response{status: res.StatusCode, after: retryAfterOf(res.Header), alone: h.o.BatchSize == 1}
	r.read(text, n)
	return r, true, nil
}

// A response is what a service answered.
type response struct {
	status  int
	after   time.Duration // of Retry-After
	alone   bool          // to one question, not to a list
	empty   bool
	answers []Answer // nil: the body has none
	err     error    // what is wrong with the body
}

// read finds the answers in a body: an object for one question, a list of as
// many objects for a list.
func (r *response) read(text []byte, n int) {
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0:
		r.empty = true
	case r.alone:
		a, err := parseAnswer(text)
		r.answers, r.err = []Answer{a}, err
	default:
		var list []json.RawMessage
		if json.Unmarshal(text, &list) != nil {
			r.err = wrong("not a JSON list; a list of questions has a list of answers, in the same order")
			return
		}
		if len(list) != n {
			r.err = wrong("a list of %d for %d questions", len(list), n)
			return
		}
		for _, one := range list {
			a, err := parseAnswer(one)
			r.answers = append(r.answers, a)
			r.err = errors.Join(r.err, err)
		}
	}
	if r.err != nil {
		r.answers = nil
	}
}

// of is the outcome of the i-th question. An answer that names an outcome
// decides, whatever the status; else the status does.
func (r *response) of(i int, seq uint64, name string) error {
	if r.answers != nil {
		a := r.answers[i]
		switch {
		case a.Outcome == "" && r.status/100 == 2 && !r.alone:
			return a.verdict() // a list has to say it of each
		case a.Outcome == "":
		case a.Seq == nil && r.alone:
			return a.verdict()
		default:
			if err := a.of(seq); err != nil {
				return ct2fluent.Unclear(fmt.Errorf("handler %s: %w", name, err))
			}
			return a.verdict()
		}
	}
	return r.byStatus(name)
}

func (r *response) said() error {
	return fmt.Errorf("HTTP %d %s", r.status, http.StatusText(r.status))
}

// refuses tells of a status that would be the answer to every notification:
// wrong is the address, what it may do, or the service.
func (r *response) refuses() bool {
	if slices.ContainsFunc(r.answers, func(a Answer) bool { return a.Outcome != "" }) {
		return false
	}
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	case http.StatusServiceUnavailable:
		return r.after == 0
	}
	return r.status/100 == 3
}

// pause is after what a service is asked again that says not when.
const pause = time.Second

func (r *response) byStatus(name string) error {
	said := fmt.Errorf("handler %s: %w", name, r.said())
	switch s := r.status; {
	case s/100 == 2 && r.err != nil:
		// It may be of something between us and the service.
		return ct2fluent.Unclear(fmt.Errorf("%w: %w", said, r.err))
	case s/100 == 2:
		return nil
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return ct2fluent.RetryAfter(max(r.after, pause), said)
	case s == http.StatusServiceUnavailable && r.after > 0:
		return ct2fluent.RetryAfter(r.after, said)
	case s/100 == 4:
		return ct2fluent.Reject(ct2fluent.WithReason(fmt.Sprintf("http-%d", s), said))
	}
	return ct2fluent.Unclear(said)
}

// retryAfterOf reads Retry-After: seconds, or a time.
func retryAfterOf(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(s)*time.Second, longestAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), longestAfter)
	}
	return 0
}

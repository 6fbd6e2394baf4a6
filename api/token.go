package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// A Grant asks for a token, with the http.Client that ctx holds for oauth2.
// after401 says that the last token was refused although it had not expired.
// Only one call runs at a time.
type Grant func(ctx context.Context, after401 bool) (*oauth2.Token, error)

// TokenOptions are the options of a [Token].
type TokenOptions struct {
	Grant   Grant
	Early   time.Duration // how long before it expires it is renewed; default 60 s
	Timeout time.Duration // of one request for a token; default 10 s
	Secrets string        // told when they are refused; default: nothing
	Log     *slog.Logger  // default: discards
}

const (
	// A renewal that failed is not tried again at once: the pause doubles
	// from the first to the last of these.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	// A token that was made after a 401 and never worked is not replaced
	// within this time, so that an API that always answers 401 gets few
	// requests for tokens.
	freshFor = 10 * time.Second
)

// A Token is kept fresh: whoever needs it when there is none waits for one
// request that all share; a token about to expire is used on while the next is
// on its way. Safe for concurrent use.
type Token struct {
	o TokenOptions

	mu       sync.Mutex
	value    string
	expires  time.Time // zero: never
	renewAt  time.Time
	asking   *asking // the request under way
	after401 bool    // the next request replaces a token that was refused
	replaced time.Time

	failed   error // what the last request came to
	failures int   // in a row
	until    time.Time
}

// asking is one request for a token; err is set before done is closed.
type asking struct {
	done chan struct{}
	err  error
}

// NewToken makes a Token; nothing is asked for yet.
func NewToken(o TokenOptions) *Token {
	if o.Early <= 0 {
		o.Early = time.Minute
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Token{o: o}
}

// Get returns the token. An error is a *[Fault]. ctx ends this caller's wait
// only: the shared request goes on, for at most its own timeout.
func (t *Token) Get(ctx context.Context) (string, error) {
	for {
		t.mu.Lock()
		now := time.Now()
		valid := t.value != "" && (t.expires.IsZero() || now.Before(t.expires))
		due := !valid || !t.renewAt.IsZero() && !now.Before(t.renewAt)
		resting := now.Before(t.until)
		if due && t.asking == nil && !resting {
			t.ask(ctx)
		}
		value, asking, failed := t.value, t.asking, t.failed
		t.mu.Unlock()

		switch {
		case valid:
			return value, nil
		case asking == nil:
			return "", failed
		}
		select {
		case <-asking.done:
			if asking.err != nil {
				return "", asking.err
			}
		case <-ctx.Done():
			return "", &Fault{Reason: Unsent, Err: context.Cause(ctx)}
		}
	}
}

// Invalidate says that an API answered 401 to a token, and tells whether
// another may be had. Each token is replaced once, however many callers it
// failed.
func (t *Token) Invalidate(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token != t.value {
		return true
	}
	now := time.Now()
	if !t.replaced.IsZero() && now.Before(t.replaced.Add(freshFor)) {
		return false
	}
	t.value, t.after401, t.replaced = "", true, now
	return true
}

// Worked says that an API accepted a token.
func (t *Token) Worked(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if token == t.value {
		t.replaced = time.Time{}
	}
}

// ask starts the shared request. It ends by its own timeout, so that a caller
// that goes away takes nobody's token with it.
func (t *Token) ask(ctx context.Context) {
	a := &asking{done: make(chan struct{})}
	t.asking = a
	after401 := t.after401
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.o.Timeout)
		defer cancel()
		tok, err := t.o.Grant(ctx, after401)
		t.answered(a, tok, err)
	}()
}

func (t *Token) answered(a *asking, tok *oauth2.Token, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer close(a.done)
	t.asking = nil
	now := time.Now()
	if err == nil && !tok.Expiry.IsZero() && !tok.Expiry.After(now) {
		err = errUnusable // taken at its word it would be asked for without end
	}
	if err != nil {
		f := tokenFault(err)
		if f.Reason == Refused && f.Err == nil && t.o.Secrets != "" {
			f.Err = errors.New(t.o.Secrets)
		}
		pause := min(firstPause<<min(t.failures, 10), lastPause)
		t.failures++
		t.until = now.Add(max(pause, min(f.RetryAfter, longestPause)))
		t.failed, a.err = f, f
		if t.value != "" {
			// Nobody may be told by an error while the old one still works.
			t.o.Log.Warn("token not renewed", "err", f)
		}
		return
	}
	t.value, t.expires, t.renewAt = tok.AccessToken, tok.Expiry, time.Time{}
	t.after401, t.failures, t.failed, t.until = false, 0, nil, time.Time{}
	if !t.expires.IsZero() {
		life := t.expires.Sub(now)
		t.renewAt = t.expires.Add(-min(t.o.Early, life/4))
	}
}

// OAuth's codes are words like invalid_grant. Anything else may be a text.
var oauthCode = regexp.MustCompile(`^[a-z]+(_[a-z]+){0,4}$`)

// tokenFault says of a failed request for a token whether trying again can
// mend it.
func tokenFault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var r *oauth2.RetrieveError
	if !errors.As(err, &r) {
		return &Fault{Reason: Unsent, Err: cause(err)}
	}
	f = &Fault{Reason: Unsent, Status: r.Response.StatusCode, RetryAfter: RetryAfter(r.Response.Header)}
	if oauthCode.MatchString(r.ErrorCode) {
		f.Code = r.ErrorCode
	}
	switch s := f.Status; {
	case s == http.StatusTooManyRequests:
		f.Reason = Limited
	case s == http.StatusRequestTimeout || s == http.StatusTooEarly:
	case s >= 300 && s < 500, s < 300 && f.Code != "":
		f.Reason = Refused
	}
	return f
}

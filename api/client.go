package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// A Call is one request as it went: for metrics.
type Call struct {
	API           string        // as in Options
	Operation     string        // as in Request, or "token"
	Status        int           // HTTP status; 0 when there was no answer
	Code          string        // the API's error code; empty for none
	Repeat        bool          // sent again after a 401
	Waited        time.Duration // for a slot and a token
	Took          time.Duration // from sending to the end of the answer
	CorrelationID string
}

// Options are the options of a [Client].
type Options struct {
	API           string // its name in observations and logs
	Grant         Grant
	Early         time.Duration // how long before it expires the token is renewed; default 60 s
	TokenHeader   http.Header   // sent with requests for a token
	Timeout       time.Duration // of one request, until its answer is read; default 10 s
	MaxConcurrent int           // requests at once, at most; default 20
	Rate          float64       // requests a second, at most; default 0: no ceiling
	Shared        bool          // requests may share a connection (HTTP/2), as where they only read
	Secrets       string        // where they come from; told when they are refused; default: nothing
	MaxAnswer     int64         // largest answer that is read, unpacked, in bytes; default 32 MiB
	UserAgent     string        // default "ct2fluent"
	Log           *slog.Logger  // default: discards
	Observe       func(Call)    // called after each request, by several goroutines; default: none
}

// A Client sends requests to one API. Safe for concurrent use.
type Client struct {
	o         Options
	token     *Token
	asking    *http.Client // for tokens
	limiter   *Limiter
	transport *http.Transport
}

// New makes a Client; nothing is sent yet.
func New(o Options) *Client {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 20
	}
	if o.MaxAnswer <= 0 {
		o.MaxAnswer = 32 << 20
	}
	if o.UserAgent == "" {
		o.UserAgent = "ct2fluent"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Call) {}
	}
	c := &Client{o: o, transport: newTransport(o.MaxConcurrent, o.Shared)}
	c.limiter = NewLimiter(LimiterOptions{Max: o.MaxConcurrent, Rate: o.Rate, Slow: o.Timeout / 2, LongestWait: o.Timeout})
	c.asking = &http.Client{Transport: tokenTransport{c}, CheckRedirect: stay}
	c.token = NewToken(TokenOptions{
		Grant: func(ctx context.Context, after401 bool) (*oauth2.Token, error) {
			return o.Grant(context.WithValue(ctx, oauth2.HTTPClient, c.asking), after401)
		},
		Early: o.Early, Timeout: o.Timeout, Secrets: o.Secrets, Log: o.Log,
	})
	return c
}

// Close lets go of the connections that are idle. Calls at hand go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Ask asks for a token that the calls do not use, to look at it. An error is a
// *[Fault].
func (c *Client) Ask(ctx context.Context, g Grant) (got *oauth2.Token, err error) {
	_, err = NewToken(TokenOptions{Timeout: c.o.Timeout, Secrets: c.o.Secrets, Grant: func(ctx context.Context, again bool) (_ *oauth2.Token, err error) {
		got, err = g(context.WithValue(ctx, oauth2.HTTPClient, c.asking), again)
		return got, err
	}}).Get(ctx)
	return got, err
}

// Address checks the URL of a host in a configuration and takes the last slash
// away.
func Address(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", errors.New("not a URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return "", errors.New("must begin with https:// and name a host")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return "", errors.New("must be no more than scheme, host and path")
	}
	return strings.TrimRight(s, "/"), nil
}

// stay keeps credentials from following a redirect to another place.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// A Request is one call of an API.
type Request struct {
	Operation string // its name in observations; a small set
	Method    string
	URL       string
	Body      []byte // JSON; nil for none. Not to be changed until Do has returned
	// Judge reads of an answer what the limiter and observations need: the
	// API's error code, and whether it says "too much" other than by 429 or
	// 503. nil: none and no.
	Judge func(*Answer) (code string, tooMuch bool)
}

// An Answer is what an API answered, whatever its status.
type Answer struct {
	Status     int
	RetryAfter time.Duration // what the API asked for, 1 s where it said "too much" and no time; else 0
	Body       []byte        // nil where Status is an error's and the body could not be read
}

// Do sends r, and a second time with another token if the answer is a 401. An
// error is a *[Fault].
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	a, token, err := c.send(ctx, r, false)
	if err != nil || a.Status != http.StatusUnauthorized || !c.token.Invalidate(token) {
		return a, err
	}
	a, _, err = c.send(ctx, r, true)
	return a, err
}

// shortPause is what everyone waits when an API says "too much" and not for how
// long.
const shortPause = time.Second

// send waits for a slot and a token and sends r once.
func (c *Client) send(ctx context.Context, r Request, repeat bool) (a *Answer, token string, err error) {
	call := Call{Operation: r.Operation, Repeat: repeat, CorrelationID: correlationID()}
	start := time.Now()
	slot, err := c.limiter.Acquire(ctx)
	if err != nil {
		return nil, "", err
	}
	sign, pause := Mute, time.Duration(0)
	defer func() { slot.Done(sign, pause) }()
	if token, err = c.token.Get(ctx); err != nil {
		return nil, "", err
	}
	slot.since = time.Now() // the wait for a token says nothing about the API
	call.Waited = slot.since.Sub(start)

	a, err = c.exchange(ctx, r, token, call.CorrelationID)
	call.Took = time.Since(slot.since)
	if err != nil {
		if ctx.Err() == nil {
			sign = TooMuch
		}
		c.observe(call)
		return nil, "", err
	}
	if a.Status != http.StatusUnauthorized {
		c.token.Worked(token)
	}
	tooMuch := a.Status == http.StatusTooManyRequests
	if r.Judge != nil {
		var also bool
		call.Code, also = r.Judge(a)
		tooMuch = tooMuch || also
	}
	if tooMuch && a.RetryAfter == 0 {
		a.RetryAfter = shortPause
	}
	tooMuch = tooMuch || a.Status == http.StatusServiceUnavailable
	sign = Good
	if tooMuch {
		sign, pause = TooMuch, a.RetryAfter
	}
	call.Status = a.Status
	c.observe(call)
	return a, token, nil
}

// exchange is the request and its answer on the wire.
func (c *Client) exchange(ctx context.Context, r Request, token, correlation string) (*Answer, error) {
	within, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(within, r.Method, r.URL, nil)
	if err != nil {
		return nil, &Fault{Reason: Unsent, Err: errUnusable}
	}
	out := outgoing{data: r.Body}
	req = out.attach(req)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.identify(req, correlation)

	// Not http.Client: it would follow a redirect and send the body again.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		f := &Fault{Reason: Lost, Err: cause(err)}
		if !out.sent() {
			f.Reason = Unsent
		}
		return nil, f
	}
	defer resp.Body.Close()
	a := &Answer{Status: resp.StatusCode, RetryAfter: RetryAfter(resp.Header)}
	a.Body, err = read(resp, c.o.MaxAnswer)
	if err != nil && a.Status < 300 {
		return nil, &Fault{Reason: Lost, Status: a.Status, Err: cause(err)}
	}
	if err != nil {
		a.Body = nil // the status says enough
	}
	return a, nil
}

func (c *Client) identify(req *http.Request, correlation string) {
	req.Header.Set("User-Agent", c.o.UserAgent)
	req.Header.Set("X-Correlation-ID", correlation)
}

func (c *Client) observe(call Call) {
	call.API = c.o.API
	c.o.Log.Debug("call", "api", call.API, "operation", call.Operation, "status", call.Status, "code", call.Code,
		"took", call.Took, "correlation", call.CorrelationID)
	c.o.Observe(call)
}

// tokenTransport carries requests for tokens.
type tokenTransport struct{ c *Client }

func (t tokenTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	call := Call{Operation: "token", CorrelationID: correlationID()}
	t.c.identify(req, call.CorrelationID)
	for k, v := range t.c.o.TokenHeader {
		req.Header[k] = v
	}
	start := time.Now()
	resp, err := t.c.transport.RoundTrip(req)
	call.Took = time.Since(start)
	if err == nil {
		call.Status = resp.StatusCode
	}
	t.c.observe(call)
	return resp, err
}

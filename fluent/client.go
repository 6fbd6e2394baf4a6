package fluent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"github.com/ct2fluent/ct2fluent/api"
)

// Options are the options of a [Client].
type Options struct {
	BaseURL       string // https://{ACCOUNT}.api.fluentretail.com
	Account       string
	RetailerID    string // of two customers of one username, that of this retailer is found; default: any
	ClientID      string
	ClientSecret  func() (string, error) // called for each token, so that a new secret is found
	Username      string
	Password      func() (string, error) // likewise
	Secrets       string                 // where both come from; told when they are refused
	Timeout       time.Duration          // of one request; default 10 s
	MaxConcurrent int                    // requests at once, at most; default 20
	Rate          float64                // requests a second, at most; default 0: no ceiling
	MaxBatch      int                    // customers in one request, at most; default 200
	OperationCost int                    // what Fluent reckons as the complexity of one operation; default 10
	UserAgent     string                 // default "ct2fluent"
	Log           *slog.Logger           // default: discards
	Observe       func(api.Call)         // called after each request, by several goroutines; default: none
}

const (
	maxBytes      = 1_900_000 // of a request; Fluent answers 413 above 2 MB
	maxComplexity = 11_110    // of a request
)

// A Client reads and writes the customers of one account. Safe for concurrent
// use.
type Client struct {
	api      *api.Client
	url      string
	retailer string
	maxBatch int
	size     *size // of a request of writes
}

// New makes a Client; nothing is sent yet.
func New(o Options) (*Client, error) {
	base, err := api.Address(o.BaseURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("fluent: base URL: %w", err)
	case o.Account == "":
		return nil, errors.New("fluent: account is missing")
	case o.ClientID == "":
		return nil, errors.New("fluent: client id is missing")
	case o.ClientSecret == nil:
		return nil, errors.New("fluent: client secret is missing")
	case o.Username == "":
		return nil, errors.New("fluent: username is missing")
	case o.Password == nil:
		return nil, errors.New("fluent: password is missing")
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = 200
	}
	if o.OperationCost <= 0 {
		o.OperationCost = 10
	}
	g := &granter{o: o, url: base + "/oauth/token"}
	c := &Client{url: base + "/graphql", retailer: o.RetailerID, maxBatch: max(1, min(o.MaxBatch, maxComplexity/o.OperationCost))}
	c.size = newSize(c.maxBatch)
	c.api = api.New(api.Options{
		API:         "fluent",
		Grant:       g.token,
		TokenHeader: http.Header{"fluent.account": {o.Account}}, Secrets: o.Secrets,
		Timeout: o.Timeout, MaxConcurrent: o.MaxConcurrent, Rate: o.Rate,
		UserAgent: o.UserAgent, Log: o.Log, Observe: o.Observe,
	})
	return c, nil
}

// Close lets go of the connections that are idle. Calls at hand go on.
func (c *Client) Close() { c.api.Close() }

// A granter asks for tokens, one call at a time.
type granter struct {
	o       Options
	url     string
	refresh string // of the last token; works once
}

func (g *granter) token(ctx context.Context, after401 bool) (*oauth2.Token, error) {
	secret, err := g.o.ClientSecret()
	if err != nil {
		return nil, &api.Fault{Reason: api.Refused, Err: fmt.Errorf("read client secret: %w", err)}
	}
	conf := oauth2.Config{
		ClientID: g.o.ClientID, ClientSecret: secret, Scopes: []string{"api"},
		Endpoint: oauth2.Endpoint{TokenURL: g.url, AuthStyle: oauth2.AuthStyleInParams},
	}
	// Whatever comes of it, a refresh token is spent once it was sent.
	refresh := g.refresh
	g.refresh = ""
	if refresh != "" && !after401 {
		token, err := conf.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
		if err == nil {
			if token.RefreshToken != refresh { // oauth2 gives back the old one for none
				g.refresh = token.RefreshToken
			}
			return token, nil
		}
		var said *oauth2.RetrieveError
		if !errors.As(err, &said) || said.Response.StatusCode >= 500 || said.Response.StatusCode == http.StatusTooManyRequests {
			return nil, err
		}
	}
	password, err := g.o.Password()
	if err != nil {
		return nil, &api.Fault{Reason: api.Refused, Err: fmt.Errorf("read password: %w", err)}
	}
	token, err := conf.PasswordCredentialsToken(ctx, g.o.Username, password)
	if err != nil {
		return nil, err
	}
	g.refresh = token.RefreshToken
	return token, nil
}

// request is the body of a GraphQL request.
type request struct {
	Query     string         `json:"query"`
	Variables map[string]any `json:"variables"`
	inputs    []job          // instead of Variables: these are JSON already
}

// encode writes the body. Inputs, which are nearly all of it, are not read
// again for that.
func (r request) encode() ([]byte, error) {
	if r.inputs == nil {
		return json.Marshal(r)
	}
	query, err := json.Marshal(r.Query)
	if err != nil {
		return nil, err
	}
	size := len(query) + 32
	for _, j := range r.inputs {
		size += len(j.input) + 16
	}
	b := append(make([]byte, 0, size), `{"query":`...)
	b = append(append(b, query...), `,"variables":{`...)
	for i, j := range r.inputs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, j.alias()), ':')
		b = append(b, j.input...)
	}
	return append(b, '}', '}'), nil
}

// post sends a request; an error means that there is no answer.
func (c *Client) post(ctx context.Context, operation string, r request) (*answer, *Error) {
	body, err := r.encode()
	if err != nil {
		return nil, &Error{Operation: operation, Kind: Refused, Err: errUnusable}
	}
	var p *answer
	a, err := c.api.Do(ctx, api.Request{
		Operation: operation, Method: http.MethodPost, URL: c.url, Body: body,
		Judge: func(a *api.Answer) (string, bool) { p = parse(a); return p.judge() },
	})
	if err != nil {
		e := fromFault(operation, err)
		if e.Kind == Unclear && operation != "write" {
			e.Kind = Down
		}
		return nil, e
	}
	p.retryAfter = a.RetryAfter // known only once Judge has spoken
	return p, nil
}

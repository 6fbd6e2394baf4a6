package commercetools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent/api"
)

// Options are the options of a [Client].
type Options struct {
	ProjectKey    string
	APIURL        string // https://api.{region}.commercetools.com
	AuthURL       string // https://auth.{region}.commercetools.com
	ClientID      string
	ClientSecret  func() (string, error) // called for each token, so that a new secret is found
	Secrets       string                 // where the secret comes from; told when it is refused
	Scopes        []string               // default: view_customers:{ProjectKey}
	Timeout       time.Duration          // of one request; default 10 s
	MaxConcurrent int                    // requests at once, at most; default 20
	Rate          float64                // requests a second, at most; default 0: no ceiling
	UserAgent     string                 // default "ct2fluent"
	Log           *slog.Logger           // default: discards
	Observe       func(api.Call)         // called after each request, by several goroutines; default: none
}

const (
	// A URL is blocked above about 15 KB, its headers included, and a token
	// can be long.
	maxURL   = 12 << 10
	maxIDs   = 200 // of one query
	maxLimit = 500 // commercetools gives no more results at once
)

// A Client reads the customers of one project. Safe for concurrent use.
type Client struct {
	api     *api.Client
	project string // its URL
	grant   func(scopes []string) api.Grant
}

// New makes a Client; nothing is sent yet.
func New(o Options) (*Client, error) {
	switch {
	case o.ProjectKey == "":
		return nil, errors.New("commercetools: project key is missing")
	case o.ClientID == "":
		return nil, errors.New("commercetools: client id is missing")
	case o.ClientSecret == nil:
		return nil, errors.New("commercetools: client secret is missing")
	}
	base, err := api.Address(o.APIURL)
	if err != nil {
		return nil, fmt.Errorf("commercetools: API URL: %w", err)
	}
	auth, err := api.Address(o.AuthURL)
	if err != nil {
		return nil, fmt.Errorf("commercetools: auth URL: %w", err)
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"view_customers:" + o.ProjectKey}
	}
	c := &Client{project: base + "/" + url.PathEscape(o.ProjectKey)}
	c.grant = func(scopes []string) api.Grant {
		return func(ctx context.Context, _ bool) (*oauth2.Token, error) {
			secret, err := o.ClientSecret()
			if err != nil {
				return nil, &api.Fault{Reason: api.Refused, Err: fmt.Errorf("read client secret: %w", err)}
			}
			grant := clientcredentials.Config{
				ClientID: o.ClientID, ClientSecret: secret, TokenURL: auth + "/oauth/token",
				Scopes: scopes, AuthStyle: oauth2.AuthStyleInHeader,
			}
			return grant.Token(ctx)
		}
	}
	c.api = api.New(api.Options{
		API: "commercetools", Secrets: o.Secrets, Shared: true, Grant: c.grant(o.Scopes),
		Early:   time.Hour, // of 48
		Timeout: o.Timeout, MaxConcurrent: o.MaxConcurrent, Rate: o.Rate,
		UserAgent: o.UserAgent, Log: o.Log, Observe: o.Observe,
	})
	return c, nil
}

// Close lets go of the connections that are idle. Calls at hand go on.
func (c *Client) Close() { c.api.Close() }

// What can be an id: one segment of a path that means nothing else there, such
// as ".." or "key=…" do.
var idShape = regexp.MustCompile(`^[A-Za-z0-9_~.-]*[A-Za-z0-9_~-][A-Za-z0-9_~.-]*$`)

func plausible(id string) bool { return len(id) <= 256 && idShape.MatchString(id) }

// Customer reads one customer by its id: the freshest read there is. An error
// is an *[Error]; [ErrNotFound] where there is none. An id that cannot be one
// is Refused, as is a customer that cannot be read.
func (c *Client) Customer(ctx context.Context, id string) (*Customer, error) {
	if !plausible(id) {
		return nil, &Error{Operation: "customer", Kind: Refused, Code: "impossible-id"}
	}
	body, err := c.get(ctx, "customer", c.project+"/customers/"+url.PathEscape(id))
	if err != nil {
		return nil, err
	}
	found, bad := decodeCustomer(body)
	if bad == nil && found.ID != id {
		bad = &Error{Kind: Down, Err: errUnusable}
	}
	if bad != nil {
		bad.Operation, bad.Status = "customer", http.StatusOK
		return nil, bad
	}
	return found, nil
}

// Customers reads many customers by their ids, in no order. It may lag behind
// [Client.Customer]. Ids of which there is no customer are just missing, and
// so are ids that cannot be one and customers that cannot be read: Customer
// says of each what it is. An error is an *[Error], and then there are no
// customers.
func (c *Client) Customers(ctx context.Context, ids []string) ([]Customer, error) {
	chunks := c.chunks(ids)
	found := make([][]Customer, len(chunks))
	var g errgroup.Group
	for i, chunk := range chunks {
		g.Go(func() (err error) {
			found[i], err = c.chunk(ctx, chunk)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []Customer
	for _, f := range found {
		all = append(all, f...)
	}
	return all, nil
}

// chunks parts ids so that each query's URL is short enough.
func (c *Client) chunks(ids []string) (chunks [][]string) {
	seen := map[string]bool{}
	var chunk []string
	size := 0
	for _, id := range ids {
		if seen[id] || !plausible(id) {
			continue
		}
		seen[id] = true
		more := len(url.QueryEscape(id)) + len(`%22%22%2C`)
		if len(chunk) == maxIDs || size+more > maxURL-len(c.project)-200 {
			chunks, chunk, size = append(chunks, chunk), nil, 0
		}
		chunk, size = append(chunk, id), size+more
	}
	if chunk != nil {
		chunks = append(chunks, chunk)
	}
	return chunks
}

func (c *Client) chunk(ctx context.Context, ids []string) ([]Customer, error) {
	quoted := make([]string, len(ids))
	asked := map[string]bool{}
	for i, id := range ids {
		quoted[i], asked[id] = quote(id), true
	}
	found := make([]Customer, 0, len(ids))
	_, err := c.query(ctx, "customers", url.Values{
		"where": {"id in (" + strings.Join(quoted, ",") + ")"},
		"limit": {strconv.Itoa(len(ids))}, // the default of 20 would cut off
	}, func(result []byte) *Error {
		if one, bad := decodeCustomer(result); bad == nil && asked[one.ID] {
			found = append(found, *one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Check finds out whether customers can be read: it asks for a token and for
// one customer. An *[Error] of kind [Stopped] is a definite refusal.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.query(ctx, "check", url.Values{"limit": {"1"}}, func([]byte) *Error { return nil })
	return err
}

// Scopes gives all that the API client may, whatever this Client asks for; none
// where commercetools does not say. An error is an *[Error].
func (c *Client) Scopes(ctx context.Context) ([]string, error) {
	token, err := c.api.Ask(ctx, c.grant(nil))
	if err != nil {
		return nil, fromFault("token", err)
	}
	text, _ := token.Extra("scope").(string)
	return strings.Fields(text), nil
}

func (c *Client) get(ctx context.Context, operation, u string) ([]byte, error) {
	return c.send(ctx, operation, http.MethodGet, u, nil)
}

// send makes one request; its answer is the body of a 200 or a 201.
func (c *Client) send(ctx context.Context, operation, method, u string, body []byte) ([]byte, error) {
	a, err := c.api.Do(ctx, api.Request{
		Operation: operation, Method: method, URL: u, Body: body,
		Judge: func(a *api.Answer) (string, bool) { code, _ := codeOf(a); return code, false },
	})
	if err != nil {
		return nil, fromFault(operation, err)
	}
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		return nil, fromAnswer(operation, a)
	}
	return a.Body, nil
}

// quote writes s as a text of commercetools' query language, from which it
// cannot break out.
func quote(s string) string {
	if strings.ContainsAny(s, `\"`) {
		s = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
	}
	return `"` + s + `"`
}

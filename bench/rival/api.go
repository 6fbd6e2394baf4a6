package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// newClient makes the one HTTP client of all threads. A connection for each
// thread stays open; the bodies are small and the network is fast, so that to
// compress them costs more than it saves.
func newClient(threads int, ca string) (*http.Client, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		MaxIdleConnsPerHost: threads + 2,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", ca)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{Transport: t, Timeout: 10 * time.Second}, nil
}

// An api sends requests with a token, which it asks for once and renews.
type api struct {
	client *http.Client
	grant  func(ctx context.Context) (*http.Request, error) // makes a request for a token

	mu    sync.Mutex
	token string // the header's value
	until time.Time
}

// authorization gives the header's value; stale is one that was refused.
func (a *api) authorization(ctx context.Context, stale string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && a.token != stale && time.Now().Before(a.until) {
		return a.token, nil
	}
	req, err := a.grant(ctx)
	if err != nil {
		return "", err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var doc struct {
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || doc.Token == "" {
		return "", fmt.Errorf("token: HTTP %d", res.StatusCode)
	}
	a.token, a.until = "Bearer "+doc.Token, time.Now().Add(time.Duration(doc.Expires-60)*time.Second)
	return a.token, nil
}

// do sends a request, a second time with a new token if that is why it was
// refused.
func (a *api) do(ctx context.Context, method, to string, body []byte) (int, []byte, error) {
	refused := ""
	for {
		token, err := a.authorization(ctx, refused)
		if err != nil {
			return 0, nil, err
		}
		status, answer, err := a.send(ctx, method, to, token, body)
		if err != nil || status != http.StatusUnauthorized || refused != "" {
			return status, answer, err
		}
		refused = token
	}
}

func (a *api) send(ctx context.Context, method, to, token string, body []byte) (int, []byte, error) {
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, to, in)
	if err != nil {
		return 0, nil, err
	}
	req.Header["Authorization"] = []string{token}
	if body != nil {
		req.Header["Content-Type"] = []string{"application/json"}
	}
	res, err := a.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	if res.ContentLength < 0 || res.ContentLength > maxPayload {
		answer, err := io.ReadAll(res.Body)
		return res.StatusCode, answer, err
	}
	answer := make([]byte, res.ContentLength)
	_, err = io.ReadFull(res.Body, answer)
	return res.StatusCode, answer, err
}

func form(ctx context.Context, to string, v url.Values) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(v.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

func newCommercetools(o options, c *http.Client) *api {
	return &api{client: c, grant: func(ctx context.Context) (*http.Request, error) {
		req, err := form(ctx, o.auth+"/oauth/token", url.Values{
			"grant_type": {"client_credentials"}, "scope": {"view_customers:" + o.project},
		})
		if err == nil {
			req.SetBasicAuth(o.clientID, o.clientSecret)
		}
		return req, err
	}}
}

func newFluent(o options, c *http.Client) *api {
	return &api{client: c, grant: func(ctx context.Context) (*http.Request, error) {
		req, err := form(ctx, o.fluent+"/oauth/token", url.Values{
			"grant_type": {"password"}, "scope": {"api"}, "client_id": {o.clientID}, "client_secret": {o.clientSecret},
			"username": {o.username}, "password": {o.password},
		})
		if err == nil {
			req.Header.Set("fluent.account", o.account)
		}
		return req, err
	}}
}

// A getter is the processor `commercetools`: the message becomes the customer
// of the id; one that is gone is dropped.
type getter struct {
	api       *api
	customers string // URL up to the id
	id        *service.InterpolatedString
}

func getterSpec() *service.ConfigSpec {
	return service.NewConfigSpec().Summary("Reads a customer by id.").Field(service.NewInterpolatedStringField("id"))
}

func (g *getter) Process(ctx context.Context, m *service.Message) (service.MessageBatch, error) {
	id, err := g.id.TryString(m)
	if err != nil {
		return nil, err
	}
	status, body, err := g.api.do(ctx, http.MethodGet, g.customers+url.PathEscape(id), nil)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound:
		return nil, nil
	case status != http.StatusOK:
		return nil, fmt.Errorf("read customer: HTTP %d", status)
	}
	m.SetBytes(body)
	return service.MessageBatch{m}, nil
}

func (*getter) Close(context.Context) error { return nil }

// A caller is the processor `fluent`: it sends an operation whose variables a
// mapping makes of the message, and puts what the field of the answer holds
// into the metadata `answer`. The message stays as it is.
type caller struct {
	api       *api
	url       string
	query     string
	variables *bloblang.Executor
	required  bool // null is an error
}

func callerSpec() *service.ConfigSpec {
	return service.NewConfigSpec().Summary("Sends a GraphQL operation of one root field, which is to be aliased `it`.").
		Field(service.NewStringField("query")).
		Field(service.NewBloblangField("variables")).
		Field(service.NewBoolField("required").Default(false))
}

var errNull = errors.New("null without an error")

func (c *caller) Process(ctx context.Context, m *service.Message) (service.MessageBatch, error) {
	mapped, err := m.BloblangQuery(c.variables)
	if err != nil {
		return nil, err
	}
	variables, err := mapped.AsStructured()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{"query": c.query, "variables": variables})
	if err != nil {
		return nil, err
	}
	status, raw, err := c.api.do(ctx, http.MethodPost, c.url, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data   *struct{ It any }
		Errors []struct {
			Extensions struct{ Code string }
		}
	}
	switch err := json.Unmarshal(raw, &answer); {
	case err != nil || status != http.StatusOK:
		return nil, fmt.Errorf("fluent: HTTP %d", status)
	case len(answer.Errors) > 0:
		return nil, fmt.Errorf("fluent: %s", answer.Errors[0].Extensions.Code)
	case answer.Data == nil || c.required && answer.Data.It == nil:
		return nil, errNull
	}
	m.MetaSetMut("answer", answer.Data.It)
	return service.MessageBatch{m}, nil
}

func (*caller) Close(context.Context) error { return nil }

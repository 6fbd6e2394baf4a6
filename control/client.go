package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// Errors of a Client that tell what to do.
var (
	// ErrNotRunning: no process answers there.
	ErrNotRunning = errors.New("no running process")
	// ErrRefused: the token is none of the process, or its role is not enough.
	ErrRefused = errors.New("credentials refused")
)

// An Error is an answer of the process other than a success.
type Error struct {
	Status int    // HTTP
	Text   string // what the process said
}

func (e *Error) Error() string { return e.Text }

// Is tells errors apart as the functions of Options do.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case http.StatusNotFound:
		return target == ErrNotFound
	case http.StatusBadRequest:
		return target == ErrInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == ErrRefused
	}
	return false
}

// A Client asks a running process. It is safe for concurrent use.
type Client struct {
	base     string
	token    string
	http     *http.Client
	patience time.Duration
}

// Dial makes a Client of a process: where is the path of its control file, or
// host:port or a URL. The token may be empty where a file has it; given, it
// comes first. Nothing is sent yet. ErrNotRunning: there is no such file.
func Dial(where, token string) (*Client, error) {
	base := where
	// No proxy: the token is for this process only. No connection is kept: a
	// verb asks once.
	transport := &http.Transport{DisableKeepAlives: true}
	if !isAddress(where) {
		f, err := ReadFile(where)
		if err != nil {
			return nil, err
		}
		base = f.Address
		if token == "" {
			token = f.Token
		}
		if f.Certificate != "" {
			if transport.TLSClientConfig, err = trusting(f.Certificate); err != nil {
				return nil, err
			}
		}
	}
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	return &Client{strings.TrimSuffix(base, "/"), token, &http.Client{Transport: transport}, patience}, nil
}

func isAddress(where string) bool {
	if strings.Contains(where, "://") {
		return true
	}
	_, _, err := net.SplitHostPort(where)
	return err == nil && filepath.Base(where) == where
}

// Do sends a request and decodes the JSON of a successful answer into out,
// unless that is nil. A body may be nil, an io.Reader sent as it is, or a
// value sent as JSON. Errors: ErrNotRunning, ErrHangs, ErrRefused, or an *Error.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	return nil
}

// send sends a request and returns a successful answer, whose body the caller
// closes.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	r, err := reader(body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	v := c.watch(ctx)
	req, err := http.NewRequestWithContext(v, method, c.base+path, r)
	if err != nil {
		v.over()
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		v.over()
	} else {
		res.Body = &watched{res.Body, v}
	}
	switch why := v.why(); {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && why != nil && method == http.MethodGet:
		return nil, why
	case err != nil && why != nil:
		return nil, fmt.Errorf("%w; it may still do what was asked for", why)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || err != nil && method == http.MethodGet {
		return nil, fmt.Errorf("%w answers at %s: %w", ErrNotRunning, c.base, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s was cut off, what it did until then stands: %w", method, path, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, c.failed(res)
	}
	return res, nil
}

func (c *Client) failed(res *http.Response) error {
	var f failure
	err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&f)
	if err != nil || f.Error == "" {
		f.Error = "HTTP " + res.Status
	}
	e := &Error{res.StatusCode, f.Error}
	if errors.Is(e, ErrRefused) {
		return fmt.Errorf("%w by %s: %w", ErrRefused, c.base, e)
	}
	return e
}

func reader(body any) (io.Reader, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case io.Reader:
		return b, nil
	}
	b, err := json.Marshal(body)
	return bytes.NewReader(b), err
}

package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"
)

const (
	fetchLimit = 5 * time.Second // for one request to a sender's side
	fetchEvery = 6 * time.Second // on average, at most
	fetchBurst = 10
)

// A fetcher asks a sender's side for what proves who a sender is. Whoever
// posts can have it ask, so it asks rarely, follows nobody elsewhere and reads
// little.
type fetcher struct {
	client *http.Client
	limit  *rate.Limiter
}

// newFetcher takes a client; nil for one of its own.
func newFetcher(c *http.Client) *fetcher {
	own := http.Client{}
	if c != nil {
		own = *c
	}
	own.Jar = nil
	own.Timeout = fetchLimit
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &fetcher{&own, rate.NewLimiter(rate.Every(fetchEvery), fetchBurst)}
}

var errTooOften = errors.New("asked too often; wait a minute")

// get reads the body of a 200 of up to so many bytes. Its errors do not repeat
// the URL, which may hold a token.
func (f *fetcher) get(ctx context.Context, u string, most int64) ([]byte, error) {
	if !f.limit.Allow() {
		return nil, errTooOften
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, errors.New("the URL is none")
	}
	req.Header.Set("User-Agent", "ct2fluent")
	resp, err := f.client.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > most {
		return nil, fmt.Errorf("more than %d bytes", most)
	}
	return body, nil
}

// A turn is held by one at a time; who waits for it can give up.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }

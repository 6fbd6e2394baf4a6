package commercetools

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// maxTotal is where commercetools ends counting what a predicate selects.
const maxTotal = 10_000

// Count tells how many customers s selects: an estimate, as commercetools
// gives it. Of anything but the zero Selection it ends at 10,000, and capped
// says that there may be more. An error is an *[Error].
func (c *Client) Count(ctx context.Context, s Selection) (n int, capped bool, err error) {
	q, err := ask("count", s)
	if err != nil {
		return 0, false, err
	}
	q.Set("withTotal", "true")
	q.Set("limit", "1")
	n, err = c.query(ctx, "count", q, func([]byte) *Error { return nil })
	if err == nil && n < 0 {
		err = &Error{Operation: "count", Kind: Down, Status: http.StatusOK, Err: errUnusable}
	}
	if err != nil {
		return 0, false, err
	}
	return n, q.Has("where") && n >= maxTotal, nil
}

// Bounds are the times at which the oldest and the newest customer of s were
// made, as commercetools writes them; empty where there is none. An error is
// an *[Error].
func (c *Client) Bounds(ctx context.Context, s Selection) (oldest, newest string, err error) {
	q, err := ask("bounds", s)
	if err != nil {
		return "", "", err
	}
	q.Set("limit", "1")
	for _, end := range []struct {
		sort string
		at   *string
	}{{"createdAt asc", &oldest}, {"createdAt desc", &newest}} {
		q.Set("sort", end.sort)
		_, err := c.query(ctx, "bounds", q, func(result []byte) *Error {
			one := decodeStub(result)
			if one == nil || one.CreatedAt == "" {
				return &Error{Kind: Down, Err: errUnusable}
			}
			*end.at = one.CreatedAt
			return nil
		})
		if err != nil {
			return "", "", err
		}
	}
	return oldest, newest, nil
}

// A span is a Selection to be halved. Nearly all of its customers were made
// between lo and hi, which lie within its bounds.
type span struct {
	Selection
	lo, hi time.Time
	n      int
}

// Ranges parts s into n Selections at most, by createdAt, of about as many
// customers each; several may be read at once. Whatever is estimated, each
// customer of s is in just one of them: they touch, and the first and the last
// have the bounds of s. Counting ends at 10,000, so ask for some times more
// ranges than are read at once where there are many customers. It takes some
// calls for each range. An error is an *[Error].
func (c *Client) Ranges(ctx context.Context, s Selection, n int) ([]Selection, error) {
	oldest, newest, err := c.Bounds(ctx, s)
	if err != nil {
		return nil, err
	}
	if oldest == "" || newest == "" || n < 2 {
		return []Selection{s}, nil
	}
	first := span{Selection: s, n: maxTotal}
	if first.lo, err = moment(oldest); err == nil {
		first.hi, err = moment(newest)
	}
	if err != nil {
		return nil, &Error{Operation: "bounds", Kind: Down, Status: http.StatusOK, Err: errUnusable}
	}
	spans := []span{first}
	for len(spans) < n {
		widest := 0
		for i := range spans {
			if spans[i].heavier(spans[widest]) {
				widest = i
			}
		}
		if !spans[widest].divisible() {
			break
		}
		halves, err := c.halve(ctx, spans[widest])
		if err != nil {
			return nil, err
		}
		spans = slices.Replace(spans, widest, widest+1, halves...)
	}
	parts := make([]Selection, len(spans))
	for i := range spans {
		parts[i] = spans[i].Selection
	}
	return parts, nil
}

func (a span) divisible() bool { return a.n > maxLimit && a.hi.Sub(a.lo) >= 2*time.Millisecond }

// heavier tells whether a is to be halved before b: the one of more customers,
// the longer one where counting has ended for both.
func (a span) heavier(b span) bool {
	if a.divisible() != b.divisible() {
		return a.divisible()
	}
	if a.n != b.n {
		return a.n > b.n
	}
	return a.hi.Sub(a.lo) > b.hi.Sub(b.lo)
}

// halve parts a span in two, or leaves it one and narrows where most of its
// customers are, if one half has few: these are not worth a range.
func (c *Client) halve(ctx context.Context, a span) ([]span, error) {
	mid := a.lo.Add(a.hi.Sub(a.lo) / 2).UTC().Truncate(time.Millisecond)
	before, after := a, a
	before.To = mid.Format("2006-01-02T15:04:05.000Z")
	after.From = before.To
	before.hi, after.lo = mid, mid
	for _, half := range []*span{&before, &after} {
		n, capped, err := c.Count(ctx, half.Selection)
		if err != nil {
			return nil, err
		}
		if half.n = n; capped {
			half.n = maxTotal
		}
	}
	few := (before.n + after.n) / 8
	a.n = min(before.n+after.n, maxTotal)
	switch {
	case before.n <= few:
		a.lo = mid
	case after.n <= few:
		a.hi = mid
	default:
		return []span{before, after}, nil
	}
	return []span{a}, nil
}

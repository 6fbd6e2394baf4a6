package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// grants hands out the tokens 1, 2, 3, …, each after a second.
type grants struct {
	mu       sync.Mutex
	asked    int
	after401 []bool
	life     time.Duration
	err      error
}

func (g *grants) grant(ctx context.Context, after401 bool) (*oauth2.Token, error) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	g.after401 = append(g.after401, after401)
	if g.err != nil {
		return nil, g.err
	}
	tok := &oauth2.Token{AccessToken: fmt.Sprint(g.asked)}
	if g.life > 0 {
		tok.Expiry = time.Now().Add(g.life)
	}
	return tok, nil
}

func mustGet(t *testing.T, tok *Token, want string) {
	t.Helper()
	if got, err := tok.Get(t.Context()); err != nil || got != want {
		t.Fatalf("Get = %q, %v; want %q", got, err, want)
	}
}

func wantAsked(t *testing.T, g *grants, want int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asked != want {
		t.Fatalf("%d requests for a token, want %d", g.asked, want)
	}
}

func TestTokenIsAskedForOnceByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{}
		tok := NewToken(TokenOptions{Grant: g.grant})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { mustGet(t, tok, "1") })
		}
		wg.Wait()
		wantAsked(t, g, 1)
	})
}

func TestTokenCallerThatLeavesTakesNobodysToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{}
		tok := NewToken(TokenOptions{Grant: g.grant})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := tok.Get(ctx) // it starts the shared request
			var f *Fault
			if !errors.As(err, &f) || f.Reason != Unsent || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Get = %v, want not sent", err)
			}
		})
		synctest.Wait()
		mustGet(t, tok, "1")
		wg.Wait()
		wantAsked(t, g, 1)
	})
}

func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{life: time.Hour}
		tok := NewToken(TokenOptions{Grant: g.grant})
		mustGet(t, tok, "1")
		time.Sleep(58 * time.Minute)
		mustGet(t, tok, "1")
		synctest.Wait()
		wantAsked(t, g, 1)

		time.Sleep(90 * time.Second) // 30 s before it expires
		start := time.Now()
		mustGet(t, tok, "1") // nobody waits while the old one is good
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v for an early renewal", waited)
		}
		time.Sleep(2 * time.Second)
		mustGet(t, tok, "2")
		wantAsked(t, g, 2)
	})
}

// An early renewal that fails leaves the old token in use while it lasts.
func TestTokenOutlivesAFailedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{life: time.Hour}
		tok := NewToken(TokenOptions{Grant: g.grant})
		mustGet(t, tok, "1")
		g.err = errors.New("down")
		time.Sleep(time.Hour - 30*time.Second)
		for range 29 {
			mustGet(t, tok, "1")
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		if _, err := tok.Get(t.Context()); err == nil {
			t.Error("an expired token was given")
		}
	})
}

func TestTokenRefusedIsReplacedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{}
		tok := NewToken(TokenOptions{Grant: g.grant})
		mustGet(t, tok, "1")
		tok.Worked("1")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if !tok.Invalidate("1") {
					t.Error("no other token may be had")
				}
				mustGet(t, tok, "2")
			})
		}
		wg.Wait()
		wantAsked(t, g, 2)
		if g.after401[0] || !g.after401[1] {
			t.Errorf("after401 = %v", g.after401)
		}
	})
}

// An API that answers 401 to everything gets a request for a token now and
// then, never a stream of them.
func TestTokenRefusedForEverIsNotALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{}
		tok := NewToken(TokenOptions{Grant: g.grant})
		for range 600 { // a minute
			got, err := tok.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tok.Invalidate(got)
			time.Sleep(100 * time.Millisecond)
		}
		if g.asked > 8 {
			t.Errorf("%d tokens asked for in a minute", g.asked)
		}
	})
}

// One that worked in between is replaced at once.
func TestTokenRefusedOftenButGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{}
		tok := NewToken(TokenOptions{Grant: g.grant})
		for i := range 5 {
			now := fmt.Sprint(i + 1)
			mustGet(t, tok, now)
			tok.Worked(now)
			if !tok.Invalidate(now) {
				t.Fatalf("token %s is kept", now)
			}
		}
	})
}

func TestTokenFailureIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &grants{err: errors.New("down")}
		tok := NewToken(TokenOptions{Grant: g.grant})
		for range 1200 { // two minutes
			if _, err := tok.Get(t.Context()); err == nil {
				t.Fatal("a token from nowhere")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if g.asked < 5 || g.asked > 9 {
			t.Errorf("%d requests in two minutes, want them further and further apart", g.asked)
		}
		g.err = nil
		time.Sleep(lastPause)
		if _, err := tok.Get(t.Context()); err != nil {
			t.Errorf("it does not go on by itself: %v", err)
		}
	})
}

func TestTokenThatHasExpiredOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		tok := NewToken(TokenOptions{Grant: func(context.Context, bool) (*oauth2.Token, error) {
			asked++
			return &oauth2.Token{AccessToken: "x", Expiry: time.Now().Add(-time.Minute)}, nil
		}})
		if _, err := tok.Get(t.Context()); err == nil || asked != 1 {
			t.Errorf("err = %v after %d requests", err, asked)
		}
	})
}

func TestTokenRequestThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tok := NewToken(TokenOptions{Timeout: 3 * time.Second, Grant: func(ctx context.Context, _ bool) (*oauth2.Token, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		start := time.Now()
		_, err := tok.Get(context.Background())
		if time.Since(start) != 3*time.Second || err == nil || err.Error() != "not sent: no answer in time" {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestTokenRefusedTellsWhereTheSecretsComeFrom(t *testing.T) {
	for status, want := range map[int]string{
		400: "no token: invalid_grant (HTTP 400): secrets come from here",
		500: "not sent: invalid_grant (HTTP 500)",
	} {
		token := NewToken(TokenOptions{Secrets: "secrets come from here", Grant: func(context.Context, bool) (*oauth2.Token, error) {
			return nil, &oauth2.RetrieveError{Response: &http.Response{StatusCode: status}, ErrorCode: "invalid_grant"}
		}})
		if _, err := token.Get(t.Context()); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTokenFaults(t *testing.T) {
	said := func(status int, code string) error {
		return &oauth2.RetrieveError{Response: &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"7"}}},
			Body: []byte("jane@example.com"), ErrorCode: code, ErrorDescription: "jane@example.com"}
	}
	tests := []struct {
		err  error
		want Reason
		code string
	}{
		{said(400, "invalid_client"), Refused, "invalid_client"},
		{said(400, "invalid_grant"), Refused, "invalid_grant"},
		{said(400, "invalid_scope"), Refused, "invalid_scope"},
		{said(401, "invalid_client"), Refused, "invalid_client"},
		{said(401, "jane@example.com is unknown"), Refused, ""},
		{said(403, ""), Refused, ""},
		{said(404, ""), Refused, ""},
		{said(302, ""), Refused, ""},
		{said(200, "invalid_client"), Refused, "invalid_client"},
		{said(408, ""), Unsent, ""},
		{said(429, ""), Limited, ""},
		{said(500, ""), Unsent, ""},
		{said(502, ""), Unsent, ""},
		{said(503, ""), Unsent, ""},
		{errors.New("oauth2: cannot parse json: jane@example.com"), Unsent, ""},
		{&Fault{Reason: Refused}, Refused, ""},
	}
	for _, tt := range tests {
		f := tokenFault(tt.err)
		if f.Reason != tt.want || f.Code != tt.code {
			t.Errorf("%#v: %v %q, want %v %q", tt.err, f.Reason, f.Code, tt.want, tt.code)
		}
		if strings.Contains(f.Error(), "jane") {
			t.Errorf("promise 7: %q", f)
		}
		if f.Status != 0 && f.RetryAfter != 7*time.Second {
			t.Errorf("RetryAfter = %v", f.RetryAfter)
		}
	}
}

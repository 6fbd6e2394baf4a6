package sandbox

import (
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"time"
)

// tokens are those a stand-in has given out.
type tokens struct {
	mu      sync.Mutex
	access  map[string]grant
	refresh map[string]bool
}

type grant struct {
	until  time.Time
	scopes []string
}

func newTokens() *tokens {
	return &tokens{access: map[string]grant{}, refresh: map[string]bool{}}
}

func (t *tokens) give(g grant) string {
	token := rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.access[token] = g
	return token
}

// check finds the grant of a request's token.
func (t *tokens) check(r *http.Request, now time.Time) (grant, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.access[bearer(r)]
	return g, ok && now.Before(g.until)
}

// revoke invalidates the token of a request.
func (t *tokens) revoke(r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.access, bearer(r))
}

func (t *tokens) revokeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.access)
}

func (t *tokens) giveRefresh() string {
	token := rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh[token] = true
	return token
}

// useRefresh is true once for each refresh token.
func (t *tokens) useRefresh(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ok := t.refresh[token]
	delete(t.refresh, token)
	return ok
}

func bearer(r *http.Request) string {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "bearer") {
		return ""
	}
	return token
}

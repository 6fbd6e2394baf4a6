package control

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
)

// LocalName names the token made for each run, which is an operator's.
const LocalName = "local"

// LongToken is how many characters a token needs so that nobody guesses it.
const LongToken = 20

// A Token lets someone in whom its name tells from others.
type Token struct {
	Name   string // stands in the log and in the audit trail
	Access Access // Viewer or Operator
	// Value gives the token as it is now. It is called for each request that
	// brings one, so that a new token is known, and the old one is not, from the
	// moment on at which its file has changed. While it fails or is empty, this
	// token lets nobody in. It may be called at once.
	Value func() (string, error)
}

// Static is the Value of a token that stays the same.
func Static(token string) func() (string, error) {
	return func() (string, error) { return token, nil }
}

// errToken says of a token that no header can carry it.
var errToken = errors.New("holds a space, a line end or a character outside ASCII, which no header can carry")

// checkTokens looks at tokens at the start (promise 6). Promise 7: no error
// shows one.
func checkTokens(tokens []Token) error {
	names, values := map[string]bool{LocalName: true}, map[string]string{}
	for _, t := range tokens {
		v, err := t.Value()
		switch {
		case t.Name == "":
			return errors.New("a control token has no name")
		case names[t.Name]:
			return fmt.Errorf("two control tokens are named %q", t.Name)
		case t.Access != Viewer && t.Access != Operator:
			return fmt.Errorf("control token %q: neither a viewer's nor an operator's", t.Name)
		case err != nil:
			return fmt.Errorf("control token %q: %w", t.Name, err)
		case v == "":
			return fmt.Errorf("control token %q: is empty", t.Name)
		case !sendable(v):
			return fmt.Errorf("control token %q: %w", t.Name, errToken)
		case values[v] != "":
			return fmt.Errorf("control tokens %q and %q are the same", values[v], t.Name)
		}
		names[t.Name], values[v] = true, t.Name
	}
	return nil
}

func sendable(token string) bool {
	return !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// newToken makes 130 bits nobody can guess.
func newToken() string { return rand.Text() }

// An identity is who asks.
type identity struct {
	name   string
	access Access
}

// A keyring finds the token that a request brings.
type keyring struct {
	local  [sha256.Size]byte
	tokens []Token
	failed []atomic.Bool // by token: it cannot be read, which was said
	log    *slog.Logger
}

func newKeyring(local string, tokens []Token, log *slog.Logger) *keyring {
	return &keyring{sha256.Sum256([]byte(local)), tokens, make([]atomic.Bool, len(tokens)), log}
}

// bearer is the token that a request brings; false when it brings none.
func bearer(r *http.Request) (string, bool) {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return given, strings.EqualFold(scheme, "Bearer") && given != ""
}

// find gives whose token that is, of those that it may be; false where it is
// nobody's. It compares hashes, all of them, in a time that tells nothing of the
// tokens.
func (k *keyring) find(given string, mayBe func(name, token string) bool) (who identity, found bool) {
	sum := sha256.Sum256([]byte(given))
	if subtle.ConstantTimeCompare(sum[:], k.local[:]) == 1 {
		who, found = identity{LocalName, Operator}, true
	}
	for i, t := range k.tokens {
		v, err := t.Value()
		if err == nil && v == "" {
			err = errors.New("is empty")
		}
		if k.failed[i].Swap(err != nil) != (err != nil) {
			if err != nil {
				k.log.Error("a control token cannot be read, and lets nobody in until it can", "token", t.Name, "error", err)
			} else {
				k.log.Info("a control token can be read again", "token", t.Name)
			}
		}
		if err != nil || !mayBe(t.Name, v) {
			continue
		}
		is := sha256.Sum256([]byte(v))
		if subtle.ConstantTimeCompare(sum[:], is[:]) == 1 && !found {
			who, found = identity{t.Name, t.Access}, true
		}
	}
	return who, found
}

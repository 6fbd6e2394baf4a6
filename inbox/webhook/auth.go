package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// An Auth is how a sender shows that it may post. Make one with [Token],
// [Basic], [APIKey], [SNS], [PubSub] or [EventGrid].
type Auth interface {
	// Kind is the word for it in the configuration.
	Kind() string
	// check tells what is wrong with how it was made, secrets read.
	check() error
	// head decides by all of a request but its body; nil lets it in.
	head(r *http.Request) *reply
	// whole decides by the body too, and gives what is to be kept of it.
	whole(ctx context.Context, r *http.Request, body []byte) (keep []byte, no *reply)
	// challenge is the WWW-Authenticate of a 401.
	challenge() string
}

// A handshaker answers requests of the method OPTIONS.
type handshaker interface {
	handshake(r *http.Request) *reply
}

// A reply is an answer that was found before anything is kept.
type reply struct {
	status int
	say    string
	why    string // for the log, where it says more than say; a fixed text or an error without values
	header map[string]string
	json   bool // say is JSON
}

func refused(say string) *reply { return &reply{status: http.StatusUnauthorized, say: say} }

// notReady is the answer while what decides cannot be had: no open door, and
// no fault of the sender.
func notReady(why string) *reply {
	return &reply{status: http.StatusServiceUnavailable, say: "not ready", why: why}
}

// A Secret tells a secret. It is asked at each request, so that a renewed one
// holds at once.
type Secret func() (string, error)

// read is the secret, checked as it has to be when a Source is made.
func (s Secret) read(what string) error {
	if s == nil {
		return fmt.Errorf("no %s: set one", what)
	}
	text, err := s()
	if err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	if text == "" {
		return fmt.Errorf("no %s: set one", what)
	}
	return nil
}

// same compares in constant time, whatever the lengths. What is empty is equal
// to nothing.
func same(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && secret != ""
}

// byHead is an Auth that needs no body.
type byHead struct {
	kind   string
	scheme string // of the challenge
	wrong  string // what is told to who is refused
	secret Secret
	what   string // the secret's name
	admits func(r *http.Request, secret string) bool
}

func (a *byHead) Kind() string      { return a.kind }
func (a *byHead) check() error      { return a.secret.read(a.what) }
func (a *byHead) challenge() string { return a.scheme }

func (a *byHead) head(r *http.Request) *reply {
	secret, err := a.secret()
	if err != nil {
		return notReady("read the " + a.what + ": " + err.Error())
	}
	if !a.admits(r, secret) {
		return refused(a.wrong)
	}
	return nil
}

func (a *byHead) whole(_ context.Context, _ *http.Request, body []byte) ([]byte, *reply) {
	return body, nil
}

// Token admits who brings it as Authorization: Bearer ….
func Token(secret Secret) Auth {
	return &byHead{
		kind: "token", scheme: "Bearer", what: "token", secret: secret, wrong: "the bearer token is missing or wrong",
		admits: func(r *http.Request, secret string) bool { return same(bearer(r), secret) },
	}
}

// bearer is the token of a request; empty where there is none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// Basic admits who brings user and password.
func Basic(user string, password Secret) Auth {
	a := &byHead{
		kind: "basic", scheme: `Basic realm="ct2fluent", charset="UTF-8"`, what: "password", secret: password,
		wrong: "user or password is missing or wrong",
		admits: func(r *http.Request, secret string) bool {
			givenUser, given, ok := r.BasicAuth()
			userRight, right := same(givenUser, user), same(given, secret)
			return ok && userRight && right
		},
	}
	return named{a, func() error {
		if user == "" || strings.Contains(user, ":") {
			return errors.New("no username, or one with a colon, which HTTP cannot carry: set another")
		}
		return nil
	}}
}

// APIKey admits who brings the key in a header of this name.
func APIKey(header string, key Secret) Auth {
	a := &byHead{
		kind: "api-key", scheme: "ApiKey", what: "key", secret: key, wrong: "the API key is missing or wrong",
		admits: func(r *http.Request, secret string) bool { return same(r.Header.Get(header), secret) },
	}
	return named{a, func() error { return checkHeader(header) }}
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")

// checkHeader refuses what is no name of a header.
func checkHeader(name string) error {
	if !headerName.MatchString(name) {
		return fmt.Errorf("header %q: no name of an HTTP header: write one such as X-Api-Key", name)
	}
	return nil
}

// named is an Auth of which more than the secret can be wrong.
type named struct {
	*byHead
	more func() error
}

func (n named) check() error {
	if err := n.more(); err != nil {
		return err
	}
	return n.byHead.check()
}

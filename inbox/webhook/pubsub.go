package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// PubSubOptions say whose tokens are taken. Audience and ServiceAccount are
// mandatory.
type PubSubOptions struct {
	// Audience of the push subscription.
	Audience string
	// ServiceAccount is the email of the account as which it pushes.
	ServiceAccount string
	// Client fetches the issuer's keys; nil for one of its own.
	Client *http.Client
}

// The issuer of Google's OIDC tokens, in both of its spellings, and its keys.
const (
	googleIssuer     = "https://accounts.google.com"
	googleIssuerBare = "accounts.google.com"
	googleKeys       = "https://www.googleapis.com/oauth2/v3/certs"
)

const (
	clockSkew    = time.Minute
	maxToken     = 8 << 10  // bytes
	maxKeys      = 64 << 10 // bytes of a key set
	keysFresh    = time.Hour
	keysStale    = 24 * time.Hour  // trusted so long while no newer can be had
	keysAskAgain = 1 * time.Minute // after a question, whatever its answer
)

// PubSub admits who brings an OIDC token that Google has signed for the
// service account and the audience.
func PubSub(o PubSubOptions) Auth {
	return &pubSub{o: o, keys: keySet{url: googleKeys, fetch: newFetcher(o.Client), turn: newTurn()}}
}

type pubSub struct {
	o    PubSubOptions
	keys keySet
}

func (p *pubSub) Kind() string      { return "pubsub" }
func (p *pubSub) challenge() string { return "Bearer" }

func (p *pubSub) check() error {
	switch {
	case p.o.Audience == "":
		return errors.New("no audience: set that of the push subscription")
	case p.o.ServiceAccount == "":
		return errors.New("no service account: set the email of the one as which the subscription pushes")
	}
	return nil
}

func (p *pubSub) head(r *http.Request) *reply {
	why, err := p.admits(r)
	if err != nil {
		return notReady("fetch the keys of " + googleIssuer + ": " + err.Error())
	}
	if why != "" {
		return &reply{status: http.StatusUnauthorized, say: "the OIDC token is missing or wrong", why: why}
	}
	return nil
}

func (p *pubSub) whole(_ context.Context, _ *http.Request, body []byte) ([]byte, *reply) {
	return body, nil
}

// admits says why a request is refused. An error is that it cannot be decided
// now.
func (p *pubSub) admits(r *http.Request) (why string, err error) {
	text := bearer(r)
	switch {
	case text == "":
		return "no bearer token", nil
	case len(text) > maxToken:
		return "a token too long", nil
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(token.Headers) != 1 {
		return "no JWT signed with RS256", nil
	}
	// What is not checked by a key yet is looked at only to find out that no
	// key need be asked for.
	var claims struct {
		jwt.Claims
		Email         string `json:"email"`
		EmailVerified bool   `json:"email_verified"`
	}
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "claims that cannot be read", nil
	}
	now := time.Now()
	switch {
	case claims.Issuer != googleIssuer && claims.Issuer != googleIssuerBare:
		return "another issuer", nil
	case !claims.Audience.Contains(p.o.Audience):
		return "another audience", nil
	case !claims.EmailVerified || !same(claims.Email, p.o.ServiceAccount):
		return "another service account", nil
	case claims.Expiry == nil || claims.IssuedAt == nil:
		return "no time of issue or of end", nil
	case claims.ValidateWithLeeway(jwt.Expected{Time: now}, clockSkew) != nil:
		return "a token that has run out or is not valid yet", nil
	}
	key, err := p.keys.key(r.Context(), token.Headers[0].KeyID)
	if err != nil {
		return "", err
	}
	if key == nil || token.Claims(key) != nil {
		return "a signature by none of the issuer's keys", nil
	}
	return "", nil
}

// A keySet holds an issuer's keys. They are asked for again when they are an
// hour old and when a token names another key, once a minute at most.
type keySet struct {
	url   string
	fetch *fetcher
	turn  turn

	keys  jose.JSONWebKeySet
	got   time.Time
	asked time.Time
	err   error // of the last question
}

// key finds a key by its id; nil where the issuer has none such.
func (k *keySet) key(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	if err := k.turn.take(ctx); err != nil {
		return nil, err
	}
	defer k.turn.give()
	now := time.Now()
	found := k.find(id)
	if found != nil && now.Sub(k.got) < keysFresh {
		return found, nil
	}
	if k.asked.IsZero() || now.Sub(k.asked) >= keysAskAgain {
		k.asked = now
		if k.err = k.renew(ctx); k.err == nil {
			k.got, found = now, k.find(id)
		}
	}
	switch {
	case k.got.IsZero() || now.Sub(k.got) >= keysStale:
		return nil, k.err
	case found == nil && k.err != nil:
		return nil, k.err
	}
	return found, nil
}

func (k *keySet) find(id string) *jose.JSONWebKey {
	for _, key := range k.keys.Key(id) {
		if key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			return &key
		}
	}
	return nil
}

func (k *keySet) renew(ctx context.Context) error {
	// Who asked may go away; those after it need the keys as well.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchLimit)
	defer cancel()
	text, err := k.fetch.get(ctx, k.url, maxKeys)
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		return errors.New("what came is no key set")
	}
	if len(set.Keys) == 0 {
		return errors.New("a set of no keys")
	}
	k.keys = set
	return nil
}

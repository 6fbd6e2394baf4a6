// Package sendertest signs as the senders of a webhook do: messages as SNS
// signs them, with a certificate of an authority of its own, and OIDC tokens
// as Google signs them for Pub/Sub. Its client finds certificate and keys
// where the real ones lie, and reaches nothing else: a test of a webhook
// fetches nothing from outside.
package sendertest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// What the messages and tokens made here say, where a test says nothing else.
const (
	Topic    = "arn:aws:sns:eu-central-1:123456789012:ct-customers"
	CertURL  = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
	KeysURL  = "https://www.googleapis.com/oauth2/v3/certs"
	Issuer   = "https://accounts.google.com"
	Audience = "https://ct2fluent.example/pubsub"
	Account  = "pusher@project.iam.gserviceaccount.com"
	keyID    = "key-1"
)

// Senders are the services that push. Safe for concurrent use.
type Senders struct {
	t     *testing.T
	key   *rsa.PrivateKey // of SNS and of Google
	other *rsa.PrivateKey // of nobody
	root  *x509.Certificate
	rootK *rsa.PrivateKey

	mu     sync.Mutex
	served map[string]func() (int, []byte) // by URL without its query
	asked  []string                        // URLs, in order
}

// New makes the keys; it takes half a second. In a bubble of testing/synctest
// make it there: the certificates hold by its clock.
func New(t *testing.T) *Senders {
	t.Helper()
	s := &Senders{t: t, served: map[string]func() (int, []byte){}}
	for _, k := range []**rsa.PrivateKey{&s.key, &s.other, &s.rootK} {
		var err error
		if *k, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	s.root = s.authority("test root", s.rootK)
	s.Serve(CertURL, http.StatusOK, s.Certificate("sns.amazonaws.com", time.Now().AddDate(1, 0, 0)))
	s.Serve(KeysURL, http.StatusOK, s.Keys(keyID))
	s.Serve("https://sns.eu-central-1.amazonaws.com/", http.StatusOK, []byte("<ConfirmSubscriptionResponse/>"))
	return s
}

// Fixed are services whose certificate and keys cannot be read: of tests that
// sign nothing, and are many.
func Fixed(t *testing.T) *Senders {
	s := &Senders{t: t, served: map[string]func() (int, []byte){}}
	s.Serve(CertURL, http.StatusOK, []byte("no certificate"))
	s.Serve(KeysURL, http.StatusOK, []byte(`{"keys":[]}`))
	return s
}

func (s *Senders) sign(template, parent *x509.Certificate, of crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	s.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, of, by)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *Senders) authority(name string, key *rsa.PrivateKey) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(-3, 0, 0), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	return s.sign(template, template, key.Public(), key)
}

// Roots trust the authority of the certificates.
func (s *Senders) Roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.root)
	return p
}

// Certificate is one of SNS' key, by the authority, as PEM.
func (s *Senders) Certificate(name string, until time.Time) []byte {
	return s.certificate(name, until, s.root, s.rootK)
}

// Stray is one of a chain that nobody knows, its issuer behind it.
func (s *Senders) Stray(name string) []byte {
	issuer := s.authority("another root", s.other)
	own := s.certificate(name, time.Now().AddDate(1, 0, 0), issuer, s.other)
	return append(own, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Raw})...)
}

func (s *Senders) certificate(name string, until time.Time, by *x509.Certificate, key *rsa.PrivateKey) []byte {
	c := s.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.AddDate(-2, 0, 0), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
	}, by, s.key.Public(), key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// Keys is a key set with the key of Google under these ids.
func (s *Senders) Keys(ids ...string) []byte {
	var set jose.JSONWebKeySet
	for _, id := range ids {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.key.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"})
	}
	text, err := json.Marshal(set)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// Serve has a URL, whatever its query, answered so. Status 0 is no answer.
func (s *Senders) Serve(url string, status int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served[url] = func() (int, []byte) { return status, body }
}

// Asked are the URLs that were asked for, in order.
func (s *Senders) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Client reaches what is served here, and nothing else.
func (s *Senders) Client() *http.Client { return &http.Client{Transport: transport{s}} }

type transport struct{ s *Senders }

// RoundTrip is of http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	where, _, _ := strings.Cut(r.URL.String(), "?")
	t.s.mu.Lock()
	t.s.asked = append(t.s.asked, r.URL.String())
	answer := t.s.served[where]
	t.s.mu.Unlock()
	status, body := http.StatusNotFound, []byte(nil)
	if answer != nil {
		status, body = answer()
	}
	if status == 0 {
		return nil, fmt.Errorf("no route to host")
	}
	header := http.Header{}
	if status/100 == 3 {
		header.Set("Location", string(body))
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// Message is what SNS posts of a type, signed with a signature of a version.
// Given members take the place of those that it has by itself before it is
// signed; an empty one is left out.
func (s *Senders) Message(kind, version string, given map[string]string) []byte {
	m := map[string]string{
		"Type": kind, "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b", "TopicArn": Topic, "Message": `{"a":1}`,
		"Timestamp": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "SignatureVersion": version, "SigningCertURL": CertURL,
	}
	if kind != "Notification" {
		m["Token"] = "2336412f37fb687f5d51e6e2425"
		m["SubscribeURL"] = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=" + Topic + "&Token=" + m["Token"]
	}
	maps.Copy(m, given)
	maps.DeleteFunc(m, func(_, v string) bool { return v == "" })
	// The order of the members is that of their names.
	members := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if kind != "Notification" {
		members = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var text strings.Builder
	for _, name := range members {
		if v, ok := m[name]; ok {
			text.WriteString(name + "\n" + v + "\n")
		}
	}
	hash, sum := crypto.SHA1, func(b []byte) []byte { h := sha1.Sum(b); return h[:] }
	if version == "2" {
		hash, sum = crypto.SHA256, func(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, hash, sum([]byte(text.String())))
	if err != nil {
		s.t.Fatal(err)
	}
	m["Signature"] = base64.StdEncoding.EncodeToString(signature)
	body, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return body
}

// Token is what Google brings with a push, signed with the key of an id. Given
// claims take the place of those that it has by itself; nil leaves one out.
func (s *Senders) Token(id string, given map[string]any) string {
	return s.token(s.key, jose.RS256, id, given)
}

// Forged is a token that says the same and is signed with another's key.
func (s *Senders) Forged(given map[string]any) string {
	return s.token(s.other, jose.RS256, keyID, given)
}

// Odd is a token of the right key, by an algorithm that is not taken.
func (s *Senders) Odd(given map[string]any) string { return s.token(s.key, jose.PS256, keyID, given) }

func (s *Senders) token(key *rsa.PrivateKey, by jose.SignatureAlgorithm, id string, given map[string]any) string {
	if id == "" {
		id = keyID
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: by, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		s.t.Fatal(err)
	}
	now := time.Now()
	claims := map[string]any{
		"iss": Issuer, "aud": Audience, "email": Account, "email_verified": true, "sub": "113774264463038321964",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(claims, given)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

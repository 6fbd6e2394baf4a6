package webhook

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"
)

// The hosts of SNS, and the names that its certificates have.
var (
	snsHost = regexp.MustCompile(`^sns\.[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(\.cn)?$`)
	snsName = regexp.MustCompile(`^sns(-signing\.[a-z0-9-]+|-[a-z0-9-]+|\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?$`)
	pemPath = regexp.MustCompile(`^/[A-Za-z0-9._-]+\.pem$`)
)

// genuine tells whether a URL leads to SNS and nowhere else.
func genuine(text string) (*url.URL, bool) {
	if len(text) > 4096 {
		return nil, false
	}
	u, err := url.Parse(text)
	return u, err == nil && u.Scheme == "https" && u.User == nil && u.Opaque == "" && u.Fragment == "" &&
		(u.Port() == "" && u.Host == u.Hostname() || u.Host == u.Hostname()+":443") && snsHost.MatchString(u.Hostname())
}

func genuineCertificate(text string) bool {
	u, ok := genuine(text)
	return ok && u.RawQuery == "" && !u.ForceQuery && u.RawPath == "" && pemPath.MatchString(u.Path)
}

const (
	maxCertificates = 8 // kept; SNS has one for each region at a time
	maxPEM          = 64 << 10
	certificateAge  = 24 * time.Hour // then it is fetched again
)

// certificates keeps those that were fetched and found to be of SNS.
type certificates struct {
	fetch *fetcher
	roots *x509.CertPool
	turn  turn
	kept  map[string]*certificate // by URL
}

type certificate struct {
	key              *rsa.PublicKey
	notBefore, until time.Time
	used             time.Time
}

// errNotSNS says that a certificate is none of SNS.
var errNotSNS = errors.New("not a valid certificate of SNS")

// key is that of the certificate at a genuine URL. It is an errNotSNS where
// what lies there is not to be trusted; any other error may pass.
func (c *certificates) key(ctx context.Context, u string) (*rsa.PublicKey, error) {
	if err := c.turn.take(ctx); err != nil {
		return nil, err
	}
	defer c.turn.give()
	now := time.Now()
	if one := c.kept[u]; one != nil && now.Before(one.until) && !now.Before(one.notBefore) {
		one.used = now
		return one.key, nil
	}
	delete(c.kept, u)
	// Who asked may go away; those after it need the certificate as well.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchLimit)
	defer cancel()
	text, err := c.fetch.get(ctx, u, maxPEM)
	if err != nil {
		return nil, err
	}
	one, err := c.read(text, now)
	if err != nil {
		return nil, err
	}
	if len(c.kept) >= maxCertificates {
		c.forget()
	}
	c.kept[u] = one
	return one.key, nil
}

// forget drops the one that was not used for longest.
func (c *certificates) forget() {
	oldest := ""
	for u, one := range c.kept {
		if oldest == "" || one.used.Before(c.kept[oldest].used) {
			oldest = u
		}
	}
	delete(c.kept, oldest)
}

// read checks a certificate: its time, its name, its key, and its chain. SNS
// may publish it without its issuers; then what vouches for it is the TLS
// connection to a genuine host, over which it came.
func (c *certificates) read(text []byte, now time.Time) (*certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" || len(chain) == 8 {
			return nil, fmt.Errorf("%w: it cannot be read", errNotSNS)
		}
		chain = append(chain, one)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: no PEM", errNotSNS)
	}
	leaf := chain[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("%w: it has run out or does not hold yet", errNotSNS)
	}
	named := snsName.MatchString(leaf.Subject.CommonName)
	for _, name := range leaf.DNSNames {
		named = named || snsName.MatchString(name)
	}
	if !named {
		return nil, fmt.Errorf("%w: it has another name", errNotSNS)
	}
	key, ok := leaf.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < 2048 {
		return nil, fmt.Errorf("%w: it has no RSA key of 2048 bits or more", errNotSNS)
	}
	issuers := x509.NewCertPool()
	for _, one := range chain[1:] {
		issuers.AddCert(one)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: issuers, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var stranger x509.UnknownAuthorityError
	if err != nil && !(len(chain) == 1 && errors.As(err, &stranger)) {
		return nil, fmt.Errorf("%w: its chain does not lead to a known root", errNotSNS)
	}
	until := now.Add(certificateAge)
	if leaf.NotAfter.Before(until) {
		until = leaf.NotAfter
	}
	return &certificate{key: key, notBefore: leaf.NotBefore, until: until, used: now}, nil
}

package control

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// localServer is the name by which the verbs of this machine ask for the
// certificate that is made for each run. It is nobody's: .invalid never is.
const localServer = "verbs.ct2fluent.invalid"

// localYears is longer than any run.
const localYears = 20

// A local certificate is made for each run and never leaves the process: the
// verbs trust it, and nothing else, by the control file. What happens to the
// files of control.tls is nothing to them.
func localCertificate() (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a key for the verbs: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a certificate for the verbs: %w", err)
	}
	now := time.Now()
	made := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: localServer}, DNSNames: []string{localServer},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(localYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, made, made, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a certificate for the verbs: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(text), nil
}

// withLocal serves c, and to the verbs the local certificate.
func withLocal(c *tls.Config, local tls.Certificate) *tls.Config {
	c = c.Clone()
	others := c.GetCertificate
	certificates := c.Certificates
	c.Certificates = nil
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		switch {
		case hello.ServerName == localServer:
			return &local, nil
		case others != nil:
			return others(hello)
		}
		return &certificates[0], nil
	}
	return c
}

// trusting is the TLS of a verb: it trusts the certificate of the control file
// alone.
func trusting(certificate string) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(certificate)) {
		return nil, fmt.Errorf("control file: holds no certificate that can be read")
	}
	return &tls.Config{RootCAs: pool, ServerName: localServer, MinVersion: tls.VersionTLS13}, nil
}

package keypair

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// made makes a certificate of a name, good until then, and its key.
func made(t *testing.T, name string, until time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-1000 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	cert, key := made(t, "a.example", time.Now().Add(time.Hour))
	_, other := made(t, "b.example", time.Now().Add(time.Hour))
	old, oldKey := made(t, "a.example", time.Now().Add(-time.Hour))
	tests := []struct {
		name      string
		cert, key []byte
		err       string
	}{
		{"a pair", cert, key, ""},
		{"the key of another", cert, other, "give the certificate's own key"},
		{"no PEM", []byte("x"), key, "both as PEM"},
		{"the wrong way round", key, cert, "both as PEM"},
		{"run out", old, oldKey, "ran out on"},
		{"no key", cert, nil, "key.pem: no such file or directory; create it or correct the path"},
		{"no certificate", nil, key, "cert.pem: no such file or directory; create it or correct the path"},
		{"a disk image", bytes.Repeat([]byte("x"), maxFile+1), key, "larger than 1 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string][]byte{"cert.pem": tt.cert, "key.pem": tt.key} {
				if text != nil {
					write(t, filepath.Join(dir, name), text)
				}
			}
			_, err := Load(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), nil)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

// A renewed pair is served within a second; a half-written one is not, and is
// told once.
func TestRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		put := func(cert, key []byte) {
			write(t, certFile, cert)
			write(t, keyFile, key)
		}
		cert, key := made(t, "old.example", time.Now().Add(time.Hour))
		put(cert, key)
		p, err := Load(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		served := func() string {
			time.Sleep(lookEvery)
			ours, theirs := net.Pipe()
			server := tls.Server(theirs, p.Config())
			go server.Handshake()
			client := tls.Client(ours, &tls.Config{InsecureSkipVerify: true})
			if err := client.Handshake(); err != nil {
				t.Fatal(err)
			}
			name := client.ConnectionState().PeerCertificates[0].Subject.CommonName
			ours.Close()
			theirs.Close()
			return name
		}
		if got := served(); got != "old.example" {
			t.Errorf("at first %s", got)
		}
		newCert, newKey := made(t, "new.example", time.Now().Add(time.Hour))
		put(newCert, key)
		for range 3 {
			if got := served(); got != "old.example" {
				t.Errorf("half written: %s", got)
			}
		}
		put(newCert, newKey)
		if got := served(); got != "new.example" {
			t.Errorf("renewed: %s", got)
		}
		if err := os.Remove(certFile); err != nil {
			t.Fatal(err)
		}
		if got := served(); got != "new.example" {
			t.Errorf("removed: %s", got)
		}
		if n := strings.Count(log.String(), "cannot be used"); n != 2 {
			t.Errorf("told %d times, want twice:\n%s", n, log.String())
		}
	})
}

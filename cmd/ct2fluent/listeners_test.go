package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/std"
)

const listeners = top + "/docs/listeners.md"

var (
	placeholder = regexp.MustCompile(`\$\{([A-Z0-9_]+)\}`)
	tlsFile     = regexp.MustCompile(`tls-(cert|key): (\S+)`)
)

// Every listener of docs/listeners.md is taken by `ct2fluent check --offline`,
// and each auth of a webhook and each type of listener stands there.
func TestDocumentedListeners(t *testing.T) {
	text, err := os.ReadFile(listeners)
	if err != nil {
		t.Fatal(err)
	}
	seen := ""
	for _, block := range fenced.FindAllStringSubmatch(string(text), -1) {
		if block[1] != "yaml" {
			continue
		}
		seen += block[2]
		dir := t.TempDir()
		for _, name := range placeholder.FindAllStringSubmatch(block[2], -1) {
			t.Setenv(name[1], "a-value")
		}
		cert, key := pair(t)
		for _, file := range tlsFile.FindAllStringSubmatch(block[2], -1) {
			pem := map[string][]byte{"cert": cert, "key": key}[file[1]]
			local := filepath.Join(dir, file[1])
			if err := os.WriteFile(local, pem, 0o600); err != nil {
				t.Fatal(err)
			}
			block[2] = strings.ReplaceAll(block[2], file[0], "tls-"+file[1]+": "+local)
		}
		config := filepath.Join(dir, "application-connector.yml")
		if err := os.WriteFile(config, []byte(block[2]+`
accounts:
  - commercetools: { project-key: fluent-ct-dev, api-url: "https://api", auth-url: "https://auth", client-id: c, client-secret: s }
    fluent: { base-url: "https://fluent", account: A, retailer-id: "1", client-id: c, client-secret: s, username: u, password: p }
`), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if code := app.Run(context.Background(), std.Setup, []string{"check", "--offline", "--config", config}, strings.NewReader(""), &out, &out); code != 0 {
			t.Errorf("exit code %d for\n%s\n%s", code, block[2], out.String())
		}
	}
	auth, _ := reflect.TypeFor[app.WebhookConfig]().FieldByName("Auth")
	for _, kind := range strings.Fields(auth.Tag.Get("oneof")) {
		if !strings.Contains(seen, "auth: "+kind) && kind != "token" {
			t.Errorf("no listener with auth: %s", kind)
		}
	}
	s := &app.Setup{Sources: map[string]app.SourceType{}}
	std.Setup(s)
	for kind := range s.Sources {
		if !strings.Contains(seen, "type: "+kind) {
			t.Errorf("no listener with type: %s", kind)
		}
	}
}

// pair is a TLS certificate and its key.
func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"ct2fluent.example"}, NotAfter: time.Now().Add(time.Hour)}
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

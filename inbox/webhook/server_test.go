package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func source(t *testing.T, name, address, path string) *Source {
	t.Helper()
	s, err := New(Options{Name: name, Address: address, Path: path, Auth: Token(secret)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestJoin(t *testing.T) {
	tests := []struct {
		name                 string
		first, firstPath     string
		second, secondPath   string
		err                  string // a part of it
		shared, cannotListen bool
	}{
		{"two paths of one address", "127.0.0.1:9", "/a", "127.0.0.1:9", "/b", "", true, true},
		{"written another way", "localhost:9", "/a", "127.0.0.1:9", "/b", "", true, true},
		{"all addresses, written another way", ":9", "/a", "0.0.0.0:9", "/b", "", true, true},
		{"two ports", "127.0.0.1:9", "/a", "127.0.0.1:10", "/a", "", false, false},
		{"two addresses", "127.0.0.1:9", "/a", "127.0.0.2:9", "/a", "", false, false},
		{"a free port each", "127.0.0.1:0", "/a", "127.0.0.1:0", "/a", "", false, false},
		{"one path", "127.0.0.1:9", "/a", "127.0.0.1:9", "/a", `path /a of address "127.0.0.1:9" is listener "first"'s`, false, true},
		{"one path, written another way", "localhost:9", "/a", "127.0.0.1:9", "/a", `is listener "first"'s`, false, true},
		{"all addresses and one of them", ":9", "/a", "127.0.0.1:9", "/b", "overlaps", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, second := source(t, "first", tt.first, tt.firstPath), source(t, "second", tt.second, tt.secondPath)
			err := second.Join(first)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if shared := first.server == second.server; shared != tt.shared {
				t.Errorf("shared: %v", shared)
			}
			if got := second.Overlaps(tt.first); got != tt.cannotListen {
				t.Errorf("overlaps: %v", got)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for address, warned := range map[string]bool{
		"127.0.0.1:1": false, "localhost:1": false, "[::1]:1": false,
		":1": true, "0.0.0.0:1": true, "10.0.0.1:1": true, "ct2fluent.example:1": true,
	} {
		if got := len(source(t, "x", address, "/").Warnings()) > 0; got != warned {
			t.Errorf("%s: warned %v", address, got)
		}
	}
}

// Sources of one address: each has its path and its credential, one that has
// ended leaves the others be, and the address is let go with the last.
func TestShared(t *testing.T) {
	first := source(t, "first", "127.0.0.1:0", "/a")
	addr, err := first.Listen()
	if err != nil {
		t.Fatal(err)
	}
	first.o.Address, first.server.address = addr.String(), addr.String()
	second, err := New(Options{Name: "second", Address: addr.String(), Path: "/b", Auth: APIKey("X-Key", secret)})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Join(first); err != nil {
		t.Fatal(err)
	}
	if again, err := second.Listen(); err != nil || again.String() != addr.String() {
		t.Fatalf("the second listens on %v (%v)", again, err)
	}
	begin := func(s *Source) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done, ready := make(chan error), make(chan struct{})
		go func() {
			close(ready)
			done <- s.Run(ctx, kept)
		}()
		<-ready
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	status := func(path, header, value string) int {
		req, _ := http.NewRequest("POST", "http://"+addr.String()+path, strings.NewReader("{}"))
		req.Header.Set(header, value)
		resp, err := client.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	expect := func(what string, want int, path, header, value string) {
		t.Helper()
		// Whoever has just been started may not be there yet.
		for deadline := time.Now().Add(5 * time.Second); status(path, header, value) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d, want %d", what, status(path, header, value), want)
			}
		}
	}
	for range 2 {
		stopFirst := begin(first)
		expect("the first", 202, "/a", "Authorization", "Bearer "+token)
		expect("the second, not started yet", 503, "/b", "X-Key", token)
		stopSecond := begin(second)
		expect("the second", 202, "/b", "X-Key", token)
		expect("the credential of the other", 401, "/a", "X-Key", token)
		expect("the credential of the other", 401, "/b", "Authorization", "Bearer "+token)
		expect("no path of anyone", 404, "/c", "X-Key", token)
		stopFirst()
		expect("the first, stopped", 503, "/a", "Authorization", "Bearer "+token)
		expect("the second, while the first is stopped", 202, "/b", "X-Key", token)
		stopSecond()
		client.CloseIdleConnections()
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			t.Fatal("the address is still taken")
		}
	}
}

// made writes a certificate of a name and its key.
func made(t *testing.T, dir, name string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TLS is served, HTTP without it is not, and a renewed certificate needs no
// restart.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	o := Options{Address: "127.0.0.1:0", Auth: Token(secret), CertFile: cert, KeyFile: key}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), cert+": no such file") {
		t.Fatalf("without the files: %v", err)
	}
	made(t, dir, "old.example")
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, kept) }()
	ask := func(scheme string) (status int, name string) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		defer client.CloseIdleConnections()
		req, _ := http.NewRequest("POST", scheme+"://"+addr.String()+"/notifications", strings.NewReader("{}"))
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		resp.Body.Close()
		if resp.TLS == nil {
			return resp.StatusCode, ""
		}
		return resp.StatusCode, resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	if status, name := ask("https"); status != 202 || name != "old.example" {
		t.Errorf("https: %d by %s", status, name)
	}
	if status, _ := ask("http"); status == 202 {
		t.Errorf("http: %d", status)
	}
	made(t, dir, "new.example")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, name := ask("https")
		if status == 202 && name == "new.example" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("renewed: %d by %s", status, name)
		}
	}
	if len(s.Warnings()) > 0 {
		t.Errorf("warned: %v", s.Warnings())
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	none := func() (string, error) { return "", nil }
	tests := []struct {
		name string
		auth Auth
		err  string
	}{
		{"basic without a user", Basic("", secret), "auth basic: no username"},
		{"basic with a colon", Basic("a:b", secret), "colon"},
		{"basic without a password", Basic("a", none), "no password"},
		{"an API key without a header", APIKey("", secret), "no name of an HTTP header"},
		{"an API key without a key", APIKey("X-Key", none), "no key"},
		{"Event Grid without a key", EventGrid(EventGridOptions{}), "no key"},
		{"SNS without a topic", SNS(SNSOptions{}), "no ARN of a topic"},
		{"SNS with the name of a topic", SNS(SNSOptions{TopicARN: "ct-customers"}), "no ARN of a topic"},
		{"Pub/Sub without an audience", PubSub(PubSubOptions{ServiceAccount: "a"}), "no audience"},
		{"Pub/Sub without an account", PubSub(PubSubOptions{Audience: "a"}), "no service account"},
	}
	for _, tt := range tests {
		if _, err := New(Options{Auth: tt.auth}); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
	unreadable := errors.New("permission denied")
	if _, err := New(Options{Auth: Basic("a", func() (string, error) { return "", unreadable })}); !errors.Is(err, unreadable) {
		t.Errorf("an unreadable password: %v", err)
	}
}

// Who opens a connection and does not shake hands is cut off.
func TestTLSHandshakeHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		made(t, dir, "a.example")
		b := start(t, Options{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}, kept)
		for name, begin := range map[string]string{"silent": "", "the beginning of a handshake": "\x16\x03\x01\x02\x00\x01"} {
			conn, err := b.network.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := io.WriteString(conn, begin); err != nil {
				t.Error(err)
			}
			_, err = io.ReadAll(conn)
			if took := time.Since(began); took > headerLimit {
				t.Errorf("%s: cut off after %s (%v)", name, took, err)
			}
			conn.Close()
		}
		b.stop()
	})
}

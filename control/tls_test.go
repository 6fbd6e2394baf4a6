package control

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// With TLS the verbs trust the certificate of the control file and nothing
// else, whatever happens to the one that is served to others.
func TestTLS(t *testing.T) {
	served, text, err := localCertificate()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "control.json")
	broken := false
	s := newServer(t, Options{Address: "127.0.0.1:0", File: file, Status: full().Status, Tokens: tokens("right"), TLS: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if broken {
				return nil, errors.New("gone")
			}
			return &served, nil
		},
	}})
	stop := run(t, s)
	c := dial(t, file)
	if !strings.HasPrefix(c.base, "https://127.0.0.1:") {
		t.Errorf("the file leads to %s", c.base)
	}
	verb := func(what string) {
		t.Helper()
		var st Status
		if err := c.Do(t.Context(), "GET", "/admin/status", nil, &st); err != nil || st.Received != 3 {
			t.Errorf("%s: %+v, %v", what, st, err)
		}
	}
	verb("a verb")

	// Others get what is configured.
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(text))
	other := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: localServer}}}
	if _, err := other.Get(c.base + "/healthz"); err == nil {
		t.Error("the certificate of the verbs is that of others")
	}
	name := &tls.Config{RootCAs: pool, InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error {
		if !c.PeerCertificates[0].Equal(must(x509.ParseCertificate(served.Certificate[0]))) {
			return errors.New("another certificate")
		}
		return nil
	}}
	other.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: name}
	if res, err := other.Get(c.base + "/healthz"); err != nil || res.StatusCode != 200 {
		t.Errorf("another: %v", err)
	} else {
		res.Body.Close()
	}
	broken = true
	verb("a verb while the files are broken")

	// Nobody gets a token out of a verb who only has its port.
	stolen, err := Dial(strings.TrimPrefix(c.base, "https://"), "right")
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := stolen.Do(t.Context(), "GET", "/admin/status", nil, nil); !errors.As(err, &e) || e.Status != 400 {
		t.Errorf("without TLS: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	again, _, err := localCertificate()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", strings.TrimPrefix(c.base, "https://"), &tls.Config{Certificates: []tls.Certificate{again}})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- ""
			return
		}
		text, _ := io.ReadAll(conn)
		conn.Close()
		got <- string(text)
	}()
	if err := c.Do(t.Context(), "GET", "/admin/status", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("another process on the port: %v", err)
	}
	l.Close()
	if text := <-got; strings.Contains(text, "Bearer") {
		t.Errorf("it was told %s", text)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAControlFileWithoutACertificateThatCanBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.json")
	if err := WriteFile(path, File{Address: "https://127.0.0.1:1", Token: "t", Certificate: "nonsense"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(path, ""); err == nil || !strings.Contains(err.Error(), "holds no certificate that can be read") {
		t.Errorf("got %v", err)
	}
}

package std_test

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
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// certify writes a TLS certificate of a name, and its key.
func (r *rig) certify(name string) {
	r.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	r.must(err)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	r.must(err)
	r.write("tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	r.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
}

// Several senders of one process: three share an address with TLS, each by its
// path and credential, what they bring is worked, and a renewed certificate is
// served without a restart.
func TestSendersShareAnAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	free, err := net.Listen("tcp", "127.0.0.1:0") // taken by the process in a moment
	r.must(err)
	address := free.Addr().String()
	r.must(free.Close())
	r.certify("old.example")
	var listeners strings.Builder
	for path, auth := range map[string]string{
		"basic":     "auth: basic, username: eventbridge, password: " + pushToken,
		"api-key":   "auth: api-key, header: X-Door, key: " + pushToken,
		"eventgrid": "auth: eventgrid, key: " + pushToken,
	} {
		fmt.Fprintf(&listeners, "    %s: { type: webhook, address: %q, path: /%s, tls-cert: %q, tls-key: %q, %s }\n", path, address, path, r.path("tls.crt"), r.path("tls.key"), auth)
	}
	text, err := os.ReadFile(r.path("application-connector.yml"))
	r.must(err)
	r.write("application-connector.yml", strings.Replace(string(text), "  listeners:\n", "  listeners:\n"+listeners.String(), 1))
	r.unannounced(func() { r.create("ann", "ben", "cem") })
	r.start()
	r.hears(`"webhook listens","listener":"eventgrid"`)
	r.hears(`"webhook listens","listener":"basic"`)
	r.hears(`"webhook listens","listener":"api-key"`)

	post := func(path, name string, bring func(*http.Request)) (status int, server string) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		req, err := http.NewRequest("POST", "https://"+address+path, strings.NewReader(r.notification(name, "")))
		r.must(err)
		bring(req)
		resp, err := client.Do(req)
		r.must(err)
		resp.Body.Close()
		return resp.StatusCode, resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	nobody := func(*http.Request) {}
	for path, is := range map[string]struct {
		name  string
		bring func(*http.Request)
	}{
		"/basic":     {"ann", func(q *http.Request) { q.SetBasicAuth("eventbridge", pushToken) }},
		"/api-key":   {"ben", func(q *http.Request) { q.Header.Set("X-Door", pushToken) }},
		"/eventgrid": {"cem", func(q *http.Request) { q.URL.RawQuery = "code=" + pushToken }},
	} {
		if status, _ := post(path, is.name, nobody); status != 401 {
			t.Errorf("%s without a credential: %d", path, status)
		}
		if status, _ := post(path, is.name, func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+pushToken) }); status != 401 {
			t.Errorf("%s with the credential of another: %d", path, status)
		}
		if status, server := post(path, is.name, is.bring); status != 202 || server != "old.example" {
			t.Errorf("%s: %d by %s", path, status, server)
		}
	}
	if status, _ := post("/notifications", "ann", nobody); status != 404 {
		t.Errorf("a path of another address: %d", status)
	}
	r.settle()
	r.equal()
	r.certify("new.example")
	r.wait("the new certificate", func() bool {
		_, server := post("/basic", "ann", nobody)
		return server == "new.example"
	})
	r.adds(r.settle())
	r.impersonal()
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Addresses are where the stand-ins listen.
type Addresses struct {
	Commercetools, Fluent string
	Control               string
	CA                    string // file of the certificate to trust; empty: plain HTTP
}

// Counts are what the stand-ins have seen and used.
type Counts struct {
	Commercetools, Fluent Side
	CPU                   time.Duration // of their process
}

// standinsChild serves both sides until its standard input ends. It says where
// by one line of JSON.
func standinsChild(ctx context.Context, spec *json.Decoder) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var scene Scene
	if err := spec.Decode(&scene); err != nil {
		return err
	}
	t, err := newStage(ctx, scene)
	if err != nil {
		return err
	}
	s := &standins{stage: t, ct: newMeter(t.ct, ofCommercetools), fluent: newMeter(t.fluent, ofFluent)}
	s.ct.before = t.move
	var at Addresses
	var certificate *tls.Certificate
	if scene.TLS != "" {
		if certificate, at.CA, err = authority(scene.TLS); err != nil {
			return err
		}
	}
	for _, one := range []struct {
		h   http.Handler
		m   *meter
		tls *tls.Certificate
		url *string
	}{{s.ct, s.ct, certificate, &at.Commercetools}, {s.fluent, s.fluent, certificate, &at.Fluent}, {s.routes(), nil, nil, &at.Control}} {
		if *one.url, err = serve(ctx, one.h, one.m, one.tls); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(at); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serve serves h at a free port of loopback until ctx is done.
func serve(ctx context.Context, h http.Handler, m *meter, certificate *tls.Certificate) (url string, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	if m != nil {
		server.ConnState = m.accepted
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if certificate == nil {
		go func() { _ = server.Serve(l) }() // ends with Close only
		return "http://" + l.Addr().String(), nil
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	go func() { _ = server.ServeTLS(l, "", "") }()
	return "https://" + l.Addr().String(), nil
}

// authority makes a certificate for loopback that is its own authority, and
// writes it to a file in dir for those who are to trust it.
func authority(dir string) (*tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ct2fluent bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file, os.WriteFile(file, text, 0o600)
}

// standins are both sides and what the bench asks of them.
type standins struct {
	*stage
	ct, fluent *meter
}

func (s *standins) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			if raw, ok := v.([]byte); ok {
				_, _ = w.Write(raw)
				return
			}
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	handle("GET /counts", func(*http.Request) (any, error) {
		return Counts{s.ct.read(), s.fluent.read(), usageOf("self").CPU}, nil
	})
	handle("POST /reset", func(*http.Request) (any, error) {
		s.ct.reset()
		s.fluent.reset()
		return nil, nil
	})
	handle("PUT /knobs", func(r *http.Request) (any, error) {
		var k Knobs
		if err := json.NewDecoder(r.Body).Decode(&k); err != nil {
			return nil, err
		}
		return nil, s.knobs(k)
	})
	handle("POST /silence", func(*http.Request) (any, error) { s.silence(); return nil, nil })
	handle("POST /notifications", func(r *http.Request) (any, error) {
		all, err := s.take(r.Context())
		return lines(all), err
	})
	handle("POST /change", func(r *http.Request) (any, error) {
		return nil, s.changeAll(r.FormValue("mapped") == "true")
	})
	handle("POST /one", s.one)
	handle("GET /answered", func(r *http.Request) (any, error) {
		n, err := strconv.Atoi(r.FormValue("after"))
		if err != nil {
			return nil, err
		}
		a, err := s.fluent.wait(r.Context(), n)
		a.Busy += s.ct.read().Busy
		return a, err
	})
	handle("GET /verdict", func(*http.Request) (any, error) { return s.verdict(), nil })
	handle("GET /made", func(*http.Request) (any, error) { return madeCustomers{s.ids, s.created}, nil })
	handle("POST /written", func(r *http.Request) (any, error) {
		var ids []string
		if err := json.NewDecoder(r.Body).Decode(&ids); err != nil {
			return nil, err
		}
		return s.writtenAt(ids), nil
	})
	handle("GET /arrivals", func(*http.Request) (any, error) {
		first := map[string]time.Time{}
		for _, w := range s.stage.fluent.Writes() {
			if id := idOf(w.Customer()); first[id].IsZero() {
				first[id] = w.At
			}
		}
		return first, nil
	})
	return mux
}

// madeCustomers are the customers in the order in which they were made.
type madeCustomers struct {
	IDs, Created []string
}

// writtenAt is when Fluent has applied writes of customers, oldest first.
func (s *standins) writtenAt(ids []string) map[string][]time.Time {
	asked := map[string]bool{}
	for _, id := range ids {
		asked[id] = true
	}
	at := map[string][]time.Time{}
	for _, w := range s.stage.fluent.Writes() {
		if id := idOf(w.Customer()); asked[id] {
			at[id] = append(at[id], w.At)
		}
	}
	return at
}

// one makes a customer, or changes the customer of a number, and gives the
// notification of it.
func (s *standins) one(r *http.Request) (any, error) {
	if r.FormValue("change") == "" {
		if _, err := s.create(); err != nil {
			return nil, err
		}
	} else {
		i, err := strconv.Atoi(r.FormValue("change"))
		if err != nil || i < 0 || i >= len(s.ids) {
			return nil, fmt.Errorf("no customer %s", r.FormValue("change"))
		}
		if err := s.change(s.ids[i], true); err != nil {
			return nil, err
		}
	}
	all, err := s.take(r.Context())
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, errors.New("one change made another number of notifications than one")
	}
	return all[0], nil
}

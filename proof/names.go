package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// A nameServer answers that every name is this machine's loopback, or that
// there is no such name. It is asked by what runs in this process.
type nameServer struct {
	gone atomic.Bool
}

// serverName is what a stand-in is called.
const serverName = "fluent.example"

// start gives the server at a URL a name, and with it TLS, which any host but
// loopback has to have. It serves until this process ends.
func (s *nameServer) start(url string) (string, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := s.answer(buf[:n]); a != nil {
				_, _ = conn.WriteTo(a, from)
			}
		}
	}()
	at, err := secured(strings.TrimPrefix(url, "http://"))
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(at)
	return "https://" + net.JoinHostPort(serverName, port), err
}

// secured listens with TLS before a server, and has this process trust it.
func secured(server string) (address string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 1),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	roots, err := os.CreateTemp("", "ct2fluent-proof-*.pem")
	if err != nil {
		return "", err
	}
	defer os.Remove(roots.Name())
	defer roots.Close()
	if err := pem.Encode(roots, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return "", err
	}
	// The system's certificates are read once, and nobody has needed them yet.
	if err := os.Setenv("SSL_CERT_FILE", roots.Name()); err != nil {
		return "", err
	}
	if _, err := x509.SystemCertPool(); err != nil {
		return "", err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go bridge(c, server)
		}
	}()
	return l.Addr().String(), nil
}

// bridge connects c with a server until one of them leaves.
func bridge(c net.Conn, server string) {
	defer c.Close()
	to, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		defer c.Close()
		_, _ = io.Copy(c, to)
	}()
	_, _ = io.Copy(to, c)
}

// answer is that to a query with one question, by RFC 1035.
func (s *nameServer) answer(query []byte) []byte {
	const head, typeA, noSuchName = 12, 1, 3
	end := head
	for end < len(query) && query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5 // the root, the type, the class
	if end > len(query) {
		return nil
	}
	question := query[head:end]
	a := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	switch {
	case s.gone.Load():
		a[3] |= noSuchName
	case binary.BigEndian.Uint16(question[len(question)-4:]) == typeA:
		a[7] = 1
		a = append(a, 0xc0, head, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return a
}

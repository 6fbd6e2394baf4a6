// Package keypair is a TLS certificate and its key in files that are read
// again when they change, so that a renewed certificate needs no restart.
//
// What is wrong with the files at the start is an error. What is wrong with
// them later, such as a certificate written before its key, is told once; the
// last good pair is served on.
package keypair

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	lookEvery = time.Second // the files are looked at so often, at most
	maxFile   = 1 << 20     // bytes; more is no certificate
)

// A Pair is a certificate with its key. Safe for concurrent use.
type Pair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	looked time.Time
	cert   []byte // what the files held when they were read last
	key    []byte
	pair   *tls.Certificate
	told   string // what was wrong with them
}

// Load reads the files, PEM both; the certificate's may hold its issuers
// behind it. An error names the file and says what to do. A nil log discards.
func Load(certFile, keyFile string, log *slog.Logger) (*Pair, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Pair{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	if err := p.read(time.Now()); err != nil {
		return nil, err
	}
	return p, nil
}

// Config serves the pair: TLS 1.2 and newer.
func (p *Pair) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.Certificate}
}

// Certificate gives the pair as the files have it now, or the last good one.
// It has the signature of tls.Config.GetCertificate.
func (p *Pair) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.looked) < lookEvery {
		return p.pair, nil
	}
	p.looked = now
	before := p.pair
	err := p.read(now)
	switch {
	case err != nil && err.Error() != p.told:
		p.told = err.Error()
		p.log.Error("TLS files have changed and cannot be used; the certificate before them is served on", "error", err)
	case err == nil && p.pair != before:
		p.log.Info("TLS certificate was read again", "file", p.certFile, "until", p.pair.Leaf.NotAfter)
		fallthrough
	case err == nil:
		p.told = ""
	}
	return p.pair, nil
}

// read takes what the files hold, if it is another pair and a good one.
func (p *Pair) read(now time.Time) error {
	cert, err := read("certificate", p.certFile)
	if err != nil {
		return err
	}
	key, err := read("key", p.keyFile)
	if err != nil {
		return err
	}
	if p.pair != nil && bytes.Equal(cert, p.cert) && bytes.Equal(key, p.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s and key %s: %w; give the certificate's own key, both as PEM", p.certFile, p.keyFile, err)
	}
	if now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("TLS certificate %s: ran out on %s; renew it", p.certFile, pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	p.cert, p.key, p.pair = cert, key, &pair
	return nil
}

func read(what, name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, explain(what, name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, explain(what, name, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("TLS %s %s: larger than 1 MiB; name a PEM file", what, name)
	}
	return text, nil
}

func explain(what, name string, err error) error {
	remedy := "name a file that can be read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = "create it or correct the path"
	case errors.Is(err, fs.ErrPermission):
		remedy = "let this user read it"
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("TLS %s %s: %w; %s", what, name, err, remedy)
}

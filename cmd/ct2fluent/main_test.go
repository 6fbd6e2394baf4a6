package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The scripts wait far more than they work.
	if !given("test.parallel") {
		_ = flag.Set("test.parallel", "8")
	}
	testscript.Main(m, map[string]func(){"ct2fluent": main, "recorded": recorded})
}

func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

// recorded NAME ct2fluent ARGS… writes what ct2fluent says to NAME.out and
// NAME.err, where a script can read it while ct2fluent runs.
func recorded() {
	var err error
	if os.Stdout, err = os.Create(os.Args[1] + ".out"); err != nil {
		panic(err)
	}
	if os.Stderr, err = os.Create(os.Args[1] + ".err"); err != nil {
		panic(err)
	}
	os.Args = os.Args[2:]
	main()
}

// The command line, as testdata/script has it. Where a script has no
// configuration of its own, it has that of testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// The race detector would have every command sleep for a second.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			handlers, err := filepath.Abs(top + "/examples/handlers")
			if err != nil {
				return err
			}
			e.Setenv("HANDLERS", handlers)
			docs, err := filepath.Abs(top + "/docs")
			if err != nil {
				return err
			}
			e.Setenv("DOCS", docs)
			to := e.Getenv("WORK") + "/application-connector.yml"
			if _, err := os.Stat(to); err == nil {
				return nil
			}
			text, err := os.ReadFile("testdata/application-connector.yml")
			if err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o600)
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "waitfor": waitFor, "until": until, "customer": customer, "uncustomer": uncustomer, "session": session, "expand": expand, "status": status, "asks": asks, "certificate": certificate,
		},
	})
}

// condition knows python: whether it is there. In CI it has to be: what cannot
// run is a failure.
func condition(name string) (bool, error) {
	if name != "python" {
		return false, fmt.Errorf("unknown condition %s", name)
	}
	_, err := exec.LookPath("python3")
	if err != nil && os.Getenv("CI") != "" {
		return false, err
	}
	return err == nil, nil
}

// patience is how long something may take that happens by itself.
const patience = 20 * time.Second

// exits CODE COMMAND… runs a command, which is to end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	code, err := 0, ts.Exec(args[1], args[2:]...)
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		code = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// waitfor FILE REGEXP waits until the file matches. What the named groups of
// the expression match is in the environment afterwards.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor FILE REGEXP")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	var text []byte
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		// It is there when the process has made it.
		text, _ = os.ReadFile(ts.MkAbs(args[0]))
		if found := want.FindSubmatch(text); found != nil {
			for i, name := range want.SubexpNames() {
				if name != "" {
					ts.Setenv(name, string(found[i]))
				}
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not match %s:\n%s", args[0], want, text)
		}
	}
}

// until REGEXP COMMAND… runs a command again and again until it succeeds and
// its output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND…")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not match %s; last: %v", strings.Join(args[1:], " "), want, err)
		}
	}
}

// customer NAME FILE makes the customer of a file in the stand-in of
// commercetools at $CT; the environment then has its id as NAME.
func customer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: customer NAME FILE")
	}
	var token struct {
		Value string `json:"access_token"`
	}
	post(ts, "/oauth/token", "application/x-www-form-urlencoded", "grant_type=client_credentials", "", &token)
	var made struct {
		Customer struct {
			ID string `json:"id"`
		} `json:"customer"`
	}
	post(ts, "/sandbox/customers", "application/json", ts.ReadFile(args[1]), token.Value, &made)
	ts.Setenv(args[0], made.Customer.ID)
}

// asks CODE METHOD URL [TOKEN [FILE]] sends a request, which is to be answered
// with this code; the answer is in the file answer afterwards. Over https it
// trusts tls.crt alone, and asks again until that is served.
func asks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 5 {
		ts.Fatalf("usage: asks CODE METHOD URL [TOKEN [FILE]]")
	}
	body := ""
	if len(args) == 5 {
		body = ts.ReadFile(args[4])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if strings.HasPrefix(args[2], "https:") {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(ts.ReadFile("tls.crt")))
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	client := &http.Client{Transport: transport}
	var res *http.Response
	for deadline := time.Now().Add(patience); res == nil; time.Sleep(50 * time.Millisecond) {
		req, err := http.NewRequest(args[1], args[2], strings.NewReader(body))
		ts.Check(err)
		if len(args) > 3 && args[3] != "" {
			req.Header.Set("Authorization", "Bearer "+args[3])
		}
		res, err = client.Do(req)
		var other *tls.CertificateVerificationError
		if !errors.As(err, &other) || time.Now().After(deadline) {
			ts.Check(err)
		}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), text, 0o600))
	if strconv.Itoa(res.StatusCode) != args[0] {
		ts.Fatalf("%s %s: %s: %s", args[1], args[2], res.Status, text)
	}
}

// certificate NAME HOST makes NAME.crt and NAME.key, for HOST and loopback.
func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate NAME HOST")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	made := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: args[1:], IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, made, made, &key.PublicKey, key)
	ts.Check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+name), pem.EncodeToMemory(block), 0o600))
	}
}

func post(ts *testscript.TestScript, path, kind, body, token string, answer any) {
	req, err := http.NewRequest("POST", ts.Getenv("CT")+path, strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", kind)
	if token == "" {
		req.SetBasicAuth("client", "secret")
	} else {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		ts.Fatalf("post %s: %s", path, res.Status)
	}
	ts.Check(json.NewDecoder(res.Body).Decode(answer))
}

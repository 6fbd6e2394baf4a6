package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/inbox/sendertest"
)

// The binary as it is, between SNS and Google as they are, but for their keys:
// their hosts are behind a proxy, and their authority is a test's.
func TestSendersOfTheBinary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("another authority cannot be given by the environment here")
	}
	t.Parallel()
	services := sendertest.New(t)
	proxy, authority := services.Proxy()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("application-connector.yml", fmt.Sprintf(`
listeners:
  sns: { type: webhook, address: "127.0.0.1:0", auth: sns, topic-arn: %q }
  pubsub: { type: webhook, address: "127.0.0.1:0", auth: pubsub, audience: %q, service-account: %q }
accounts:
  - commercetools: { project-key: shop, api-url: "http://127.0.0.1:1", auth-url: "http://127.0.0.1:1", client-id: c, client-secret: s }
    fluent: { base-url: "http://127.0.0.1:1", account: A, retailer-id: "1", client-id: c, client-secret: s, username: u, password: p }
queue: { store: %q }
control: { address: "127.0.0.1:0" }
`, sendertest.Topic, sendertest.Audience, sendertest.Account, filepath.Join(dir, "data")))
	// The test binary is ct2fluent under that name: see TestMain.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "ct2fluent")
	if err := os.Symlink(self, binary); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	process := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "run", "--config", config)
	process.Env = append(os.Environ(), "HTTPS_PROXY="+proxy, "NO_PROXY=", "SSL_CERT_FILE="+write("authority.pem", string(authority)), "SSL_CERT_DIR="+dir)
	process.Stderr = log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	defer func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("run: %v\n%s", err, said())
		}
		if t.Failed() {
			t.Log(said())
		}
	}()
	address := func(listener string) string {
		t.Helper()
		at := regexp.MustCompile(`"webhook listens","listener":"` + listener + `","address":"([^"]+)"`)
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if m := at.FindStringSubmatch(said()); m != nil {
				return m[1]
			}
			select {
			case err := <-ended:
				ended <- err
				t.Fatalf("run ended: %v\n%s", err, said())
			default:
			}
		}
		t.Fatalf("%s does not listen:\n%s", listener, said())
		return ""
	}
	sns, pubsub := "http://"+address("sns")+"/notifications", "http://"+address("pubsub")+"/notifications"
	send := func(what, url, token string, body []byte, want int) {
		t.Helper()
		req, err := http.NewRequest("POST", url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", what, resp.StatusCode, text, want)
		}
	}
	old := map[string]string{"Timestamp": time.Now().UTC().Add(-61 * time.Minute).Format("2006-01-02T15:04:05.000Z")}
	send("confirm the subscription", sns, "", services.Message("SubscriptionConfirmation", "1", nil), 200)
	send("SNS, version 1", sns, "", services.Message("Notification", "1", nil), 202)
	send("SNS, version 2", sns, "", services.Message("Notification", "2", nil), 202)
	send("SNS, a replay", sns, "", services.Message("Notification", "2", old), 401)
	send("SNS, another's", sns, "", bytes.Replace(services.Message("Notification", "2", nil), []byte(`{\"a\":1}`), []byte(`{\"a\":2}`), 1), 401)
	send("SNS, a confirmation elsewhere", sns, "", services.Message("SubscriptionConfirmation", "2", map[string]string{"SubscribeURL": "https://evil.example/"}), 401)
	send("Pub/Sub", pubsub, services.Token("", nil), []byte(`{"message":{"data":"e30="}}`), 202)
	send("Pub/Sub, another's", pubsub, services.Forged(nil), []byte(`{}`), 401)
	send("Pub/Sub, nobody's", pubsub, "", []byte(`{}`), 401)
	asked := strings.Join(services.Asked(), "\n")
	want := strings.Join([]string{
		sendertest.CertURL,
		"https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37fb687f5d51e6e2425&TopicArn=" + strings.ReplaceAll(sendertest.Topic, ":", "%3A"),
		sendertest.KeysURL,
	}, "\n")
	if asked != want {
		t.Errorf("asked for\n%s\nwant\n%s", asked, want)
	}
}

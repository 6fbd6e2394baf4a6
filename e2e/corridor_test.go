//go:build e2e

// Package e2e proves the corridor from outside: the binary as a process, an SQS
// server that is not ours, and the stand-ins of both sides.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

const (
	customers = 1000
	changes   = 5000
)

// 5,000 changes of 1,000 customers arrive late, twice and out of order.
func TestCorridor(t *testing.T) {
	c := newCorridor(t)
	c.start()
	c.change()
	c.settle()
	c.equal()
	c.again()
	c.stop()
}

// The same, and the process is killed ten times on the way.
func TestCorridorKilled(t *testing.T) {
	c := newCorridor(t)
	c.start()
	done := make(chan struct{})
	go func() { defer close(done); c.change() }()
	for range 10 {
		c.progress(changes / 20)
		c.kill()
		c.start()
	}
	<-done
	c.settle()
	c.equal()
	c.again()
	c.stop()
}

type corridor struct {
	t      *testing.T
	dir    string
	binary string
	queue  *sqs.Client
	url    string
	ct     *sandbox.CommerceTools
	fluent *sandbox.Fluent
	cmd    *exec.Cmd
	log    *os.File
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newCorridor(t *testing.T) *corridor {
	c := &corridor{t: t, dir: t.TempDir()}
	c.binary = filepath.Join(c.dir, "ct2fluent")
	if out, err := exec.Command("go", "build", "-o", c.binary, "../cmd/ct2fluent").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	endpoint := c.fauxqs()
	cfg := must(config.LoadDefaultConfig(t.Context(), config.WithRegion("eu-central-1"),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("test", "test", ""))))(t)
	c.queue = sqs.NewFromConfig(cfg, func(o *sqs.Options) { o.BaseEndpoint = aws.String(endpoint) })
	made := must(c.queue.CreateQueue(t.Context(), &sqs.CreateQueueInput{
		QueueName: aws.String("ct2fluent"), Attributes: map[string]string{"VisibilityTimeout": "5"},
	}))(t)
	c.url = *made.QueueUrl

	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c.ct = must(sandbox.NewCommerceTools(sandbox.CTOptions{
		ProjectKey: "shop", Seed: 7,
		Deliver: func(ctx context.Context, _ map[string]any, body []byte) error {
			_, err := c.queue.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &c.url, MessageBody: aws.String(string(body))})
			return err
		},
		Knobs: sandbox.CTKnobs{
			Common:     sandbox.Common{Latency: sandbox.Duration(2 * time.Millisecond)},
			Duplicates: 0.3, Window: sandbox.Duration(2 * time.Second), Lag: sandbox.Duration(50 * time.Millisecond),
		},
	}))(t)
	c.fluent = must(sandbox.NewFluent(sandbox.FluentOptions{
		Account: "ACME", ClientID: "client", Knobs: sandbox.FluentKnobs{Common: sandbox.Common{Latency: sandbox.Duration(2 * time.Millisecond)}},
	}))(t)
	ctServer := must(sandbox.Start(ctx, "", c.ct))(t)
	flServer := must(sandbox.Start(ctx, "", c.fluent))(t)
	t.Cleanup(ctServer.Close)
	t.Cleanup(flServer.Close)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.ct.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	must(c.ct.Subscribe(map[string]any{
		"key":         "ct2fluent",
		"destination": map[string]any{"type": "EventBridge", "accountId": "000000000000", "region": "eu-central-1"},
		"changes":     []any{map[string]any{"resourceTypeId": "customer"}},
	}))(t)

	yml := fmt.Sprintf(`
fluent-connect:
  listeners:
    ct-queue: { type: sqs, name: %q, region: eu-central-1, endpoint: %q, wait: 1s }
accounts:
  - commercetools: { project-key: shop, api-url: %q, auth-url: %q, client-id: client, client-secret: "${CT_SECRET}" }
    fluent: { base-url: %q, account: ACME, retailer-id: "1", client-id: client, client-secret: secret, username: user, password: password, timeout: 2s }
fluent: { unclear-wait: 3s }
queue: { store: %q }
control: { address: "127.0.0.1:0" }
`, c.url, endpoint, ctServer.URL, ctServer.URL, flServer.URL, filepath.Join(c.dir, "data"))
	if err := os.WriteFile(c.config(), []byte(yml), 0o600); err != nil {
		t.Fatal(err)
	}
	c.log = must(os.Create(filepath.Join(c.dir, "run.log")))(t)
	t.Cleanup(func() {
		if c.cmd != nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
		if t.Failed() {
			text, _ := os.ReadFile(c.log.Name())
			t.Logf("the process said:\n%s", text[max(0, len(text)-8000):])
		}
	})
	return c
}

func (c *corridor) config() string { return filepath.Join(c.dir, "application-connector.yml") }

// fauxqs starts the SQS server on a free port of loopback.
func (c *corridor) fauxqs() string {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(c.t)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	script := fmt.Sprintf(`import { startFauxqs } from "fauxqs"; await startFauxqs({ port: %d, host: "127.0.0.1", logger: false });`, port)
	cmd := exec.Command("node_modules/.bin/node", "--input-type=module", "-e", script)
	cmd.Env = append(os.Environ(), "FAUXQS_HOST=127.0.0.1")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := fmt.Sprintf("127.0.0.1:%d", port)
	c.wait("the SQS server", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "http://" + address
}

// wait polls for something that another process does.
func (c *corridor) wait(what string, is func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			s, err := c.status()
			c.t.Fatalf("waited too long for %s: status %+v, %v; %d to be delivered; the queue has %v", what, s, err, c.ct.Pending(), c.inQueue())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *corridor) start() {
	c.cmd = exec.Command(c.binary, "run", "--config", c.config())
	c.cmd.Env = append(os.Environ(), "CT_SECRET=secret", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test")
	c.cmd.Stderr = c.log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.wait("the process", func() bool { _, err := c.status(); return err == nil })
}

func (c *corridor) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *corridor) stop() {
	c.t.Helper()
	_ = c.cmd.Process.Signal(os.Interrupt)
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("stopped with %v, want exit 0", err)
	}
	c.cmd = nil
}

type status struct {
	Received, Waiting, Written, Unchanged, Merged, Skipped, Dead uint64
	SkippedBy, DeadBy                                            map[string]uint64
}

func (c *corridor) status() (s status, err error) {
	cmd := exec.Command(c.binary, "status", "--json", "--config", c.config())
	cmd.Env = append(os.Environ(), "CT_SECRET=secret")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

// progress waits until so many more notifications have been received.
func (c *corridor) progress(n int) {
	before, _ := c.status()
	c.wait("progress", func() bool {
		s, err := c.status()
		return err == nil && (s.Received >= before.Received+uint64(n) || c.idle())
	})
}

func (c *corridor) idle() bool { return c.ct.Pending() == 0 && c.inQueue() == 0 }

// inQueue is how many messages the SQS server holds, those in flight included.
func (c *corridor) inQueue() (n int) {
	a, err := c.queue.GetQueueAttributes(context.Background(), &sqs.GetQueueAttributesInput{QueueUrl: &c.url, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		return -1
	}
	for name, value := range a.Attributes {
		if strings.HasPrefix(name, "ApproximateNumberOfMessages") {
			in, _ := strconv.Atoi(value)
			n += in
		}
	}
	return n
}

// change makes the customers and their changes, emails among them.
func (c *corridor) change() {
	rng := rand.New(rand.NewPCG(1, 2))
	var ids []string
	for i := range customers {
		doc, err := c.ct.Create(map[string]any{
			"email": fmt.Sprintf("c%d@example.com", i), "firstName": fmt.Sprintf("First%d", i), "lastName": "Last",
			"addresses": []any{map[string]any{"country": "DE", "mobile": fmt.Sprintf("+49%09d", i)}},
		})
		if err != nil {
			c.t.Error(err)
			return
		}
		ids = append(ids, doc["id"].(string))
	}
	for i := range changes - customers {
		action := map[string]any{"action": "setFirstName", "firstName": fmt.Sprintf("Name%d", i)}
		switch i % 5 {
		case 1:
			action = map[string]any{"action": "changeEmail", "email": fmt.Sprintf("n%d@example.com", i)}
		case 2:
			action = map[string]any{"action": "setLastName", "lastName": fmt.Sprintf("L%d", i)}
		case 3:
			action = map[string]any{"action": "setTitle", "title": "Dr."}
		}
		if _, err := c.ct.Update(ids[rng.IntN(len(ids))], action); err != nil {
			c.t.Error(err)
			return
		}
		if i%100 == 0 {
			time.Sleep(20 * time.Millisecond) // changes come over some time
		}
	}
}

// settle waits until everything has been delivered and worked.
func (c *corridor) settle() {
	c.t.Helper()
	c.wait("everything to be worked", func() bool {
		if !c.idle() {
			return false
		}
		s, err := c.status()
		return err == nil && s.Waiting == 0 && c.idle()
	})
	s, err := c.status()
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("%+v", s)
	if sum := s.Written + s.Unchanged + s.Merged + s.Skipped + s.Dead + s.Waiting; s.Received != sum {
		c.t.Errorf("received %d, outcomes %d: the ledger does not add up", s.Received, sum)
	}
	if s.Received < changes+1 {
		c.t.Errorf("received %d, want at least the %d changes and the test notification", s.Received, changes)
	}
	if s.Dead != 0 {
		c.t.Errorf("%d dead: %v", s.Dead, s.DeadBy)
	}
}

// equal compares Fluent with what this test, not the product, makes of the
// last version of each customer.
func (c *corridor) equal() {
	c.t.Helper()
	has := map[string]map[string]any{}
	c.fluent.Each(func(doc map[string]any) {
		id := attribute(doc, "commercetoolsId")
		if has[id] != nil {
			c.t.Errorf("two Fluent customers for %s", id)
		}
		has[id] = doc
	})
	wrong := 0
	c.ct.Each(func(doc map[string]any) {
		f := has[doc["id"].(string)]
		if f == nil {
			c.t.Errorf("customer %v is not in Fluent", doc["id"])
			return
		}
		address := doc["addresses"].([]any)[0].(map[string]any)
		want := map[string]any{
			"primaryEmail": doc["email"], "firstName": doc["firstName"], "lastName": doc["lastName"], "title": doc["title"],
			"primaryPhone": address["mobile"], "country": address["country"], "promotionOptIn": false,
		}
		for name, v := range want {
			if f[name] != v && wrong < 10 {
				wrong++
				c.t.Errorf("customer %v: %s is %v in Fluent, want %v", doc["id"], name, f[name], v)
			}
		}
	})
	if c.fluent.Len() != customers || c.ct.Len() != customers {
		c.t.Errorf("%d customers in commercetools, %d in Fluent, want %d", c.ct.Len(), c.fluent.Len(), customers)
	}
	if n := c.fluent.Stats().EmptyTexts; n != 0 {
		c.t.Errorf("%d empty texts were sent", n)
	}
}

func attribute(doc map[string]any, name string) string {
	text, _ := json.Marshal(doc["attributes"])
	var all []struct {
		Name  string
		Value any
	}
	_ = json.Unmarshal(text, &all)
	for _, a := range all {
		if a.Name == name {
			return fmt.Sprint(a.Value)
		}
	}
	return ""
}

// again delivers everything a second time: no API is called.
func (c *corridor) again() {
	c.t.Helper()
	before, _ := c.status()
	c.ct.ResetCalls()
	c.fluent.ResetCalls()
	n := c.ct.Redeliver()
	c.settle()
	after, _ := c.status()
	if after.Received-before.Received < uint64(n) {
		c.t.Errorf("received %d of %d redelivered", after.Received-before.Received, n)
	}
	for side, calls := range map[string]map[string]map[string]int{"commercetools": c.ct.Calls(), "Fluent": c.fluent.Calls()} {
		for operation, answers := range calls {
			if operation != "deliver" {
				c.t.Errorf("a second delivery cost %s calls: %s %v", side, operation, answers)
			}
		}
	}
}

// Promise 7: no email in what the process said.
func TestCorridorSaysNothingPersonal(t *testing.T) {
	c := newCorridor(t)
	text := must(os.ReadFile(c.config()))(t)
	text = append(text, "log: { level: debug }\n"...)
	if err := os.WriteFile(c.config(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.change()
	c.settle()
	c.stop()
	said := must(os.ReadFile(c.log.Name()))(t)
	if !bytes.Contains(said, []byte("outcome")) {
		t.Error("no outcome was logged")
	}
	if found := regexp.MustCompile(`[cn]\d+(@|%40)example|\+49\d+|First\d+`).Find(said); found != nil {
		t.Errorf("the log holds %q", found)
	}
	if strings.Contains(string(said), "secret\"") {
		t.Error("the log holds a secret")
	}
}

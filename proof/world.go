package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// mark is in every personal value and in every secret, so that promise 7 can
// be checked by looking for it.
const mark = "qzmark"

const (
	clientSecret = mark + "-client-secret"
	password     = mark + "-password"
	pushToken    = mark + "-push-token"
)

// A setup says what a world is.
type setup struct {
	config  string // sections of the configuration that are not the usual ones
	account string // keys of the account that are not the usual ones
	level   string // of the log; default debug
	ct      sandbox.CTKnobs
	fluent  sandbox.FluentKnobs
	// handleCT and handleFluent may put something before a stand-in.
	handleCT, handleFluent func(http.Handler) http.Handler
	// ctURL and fluentURL may lead the process to a stand-in another way.
	ctURL, fluentURL func(url string) (string, error)
	// command may start the process by another one.
	command func(argv []string) []string
	// inside runs ct2fluent in this process.
	inside bool
	// sameEmails has no change change an email.
	sameEmails bool
	// sample is how many timelines are read at most; default all.
	sample int
	// deliverers is how many notifications are posted at once; default 8.
	deliverers int
	// polls has the process ask for changes: there is no subscription and no
	// webhook.
	polls bool
	// late is how far commercetools' clock is behind.
	late time.Duration
}

// A world is a ct2fluent between the two stand-ins, and all that is known of
// what went through it.
type world struct {
	*prover
	setup
	dir          string
	ct           *sandbox.CommerceTools
	fluent       *sandbox.Fluent
	ctServer     *sandbox.Server
	fluentServer *sandbox.Server
	client       *http.Client
	address      atomic.Pointer[string]             // of the webhook; nil while there is none
	stage        atomic.Pointer[func(stage string)] // is told where the work is
	process      *process
	finding      sync.WaitGroup
	close        func()

	mu      sync.Mutex
	rng     *rand.Rand
	count   int
	ids     []string
	history check.History
}

// The stages that are told.
const (
	posting  = "a notification is being put"
	applied  = "Fluent has applied a write and not answered yet"
	answered = "Fluent has answered a write"
)

// newWorld starts the stand-ins and writes a configuration. What was begun ends
// with close.
func (p *prover) newWorld(ctx context.Context, s setup) (*world, error) {
	dir, err := os.MkdirTemp(p.dir, "world-*")
	if err != nil {
		return nil, err
	}
	w := &world{prover: p, setup: s, dir: dir, rng: rand.New(rand.NewPCG(p.seed, p.seed))}
	w.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 30 * time.Second}
	w.history = check.History{
		Made: map[string][]check.Version{}, Timelines: map[string]check.Timeline{}, Foreign: map[string]bool{}, Refused: map[string]bool{},
		Marks: []string{mark}, Texts: map[string][]byte{},
	}
	w.ct, err = sandbox.NewCommerceTools(sandbox.CTOptions{
		ProjectKey: "shop", ClientSecret: clientSecret, Deliver: w.deliver, Deliverers: s.deliverers, Knobs: s.ct, Seed: p.seed,
		Now: func() time.Time { return time.Now().Add(-s.late) },
	})
	if err != nil {
		return nil, err
	}
	w.fluent, err = sandbox.NewFluent(sandbox.FluentOptions{
		Account: "ACME", ClientID: "client", ClientSecret: clientSecret, Password: password, Knobs: s.fluent, Seed: p.seed,
		Remember: 1 << 29, // all: the checker counts on each
	})
	if err != nil {
		return nil, err
	}
	var ctHandler, fluentHandler http.Handler = w.ct, http.HandlerFunc(w.observe)
	if s.handleCT != nil {
		ctHandler = s.handleCT(ctHandler)
	}
	if s.handleFluent != nil {
		fluentHandler = s.handleFluent(fluentHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	if w.ctServer, err = sandbox.Start(ctx, "", ctHandler); err != nil {
		cancel()
		return nil, err
	}
	if w.fluentServer, err = sandbox.Start(ctx, "", fluentHandler); err != nil {
		cancel()
		return nil, err
	}
	var delivering sync.WaitGroup
	delivering.Go(func() { _ = w.ct.Run(ctx) })
	w.close = func() {
		if w.process != nil {
			w.process.kill()
		}
		w.finding.Wait()
		cancel()
		w.ctServer.Close()
		w.fluentServer.Close()
		delivering.Wait()
		w.client.CloseIdleConnections()
	}
	if s.polls {
		// Nothing announces a change.
	} else if _, err := w.ct.Subscribe(map[string]any{
		"key":         "ct2fluent",
		"destination": map[string]any{"type": "EventBridge", "accountId": "000000000000", "region": "eu-central-1"},
		"changes":     []any{map[string]any{"resourceTypeId": "customer"}},
	}); err != nil {
		w.close()
		return nil, err
	}
	if err := w.configure(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }
func (w *world) store() string           { return w.path("data") }
func (w *world) config() string          { return w.path("application-connector.yml") }

func (w *world) configure() error {
	ctURL, fluentURL := w.ctServer.URL, w.fluentServer.URL
	var err error
	if w.ctURL != nil {
		if ctURL, err = w.ctURL(ctURL); err != nil {
			return err
		}
	}
	if w.fluentURL != nil {
		if fluentURL, err = w.fluentURL(fluentURL); err != nil {
			return err
		}
	}
	listener := fmt.Sprintf(`push: { type: webhook, address: "127.0.0.1:0", token: "${file:%s}" }`, w.path("secrets/push"))
	if w.polls {
		listener = "poll: { type: poll, every: 1s, from: beginning }"
	}
	level := w.level
	if level == "" {
		level = "debug"
	}
	text := fmt.Sprintf(`
fluent-connect:
  listeners:
    %s
accounts:
  - commercetools: { project-key: shop, api-url: %q, auth-url: %q, client-id: client, client-secret: "${file:%s}", timeout: 1s }
    fluent: { base-url: %q, account: ACME, retailer-id: "1", client-id: client, client-secret: "${file:%s}", username: user, password: "${file:%s}", timeout: 700ms }
    %s
fluent: { unclear-wait: 1s }
control: { address: "127.0.0.1:0" }
log: { level: %s }
`, listener, ctURL, ctURL, w.path("secrets/client"), fluentURL, w.path("secrets/client"), w.path("secrets/password"), w.account, level)
	if !strings.Contains(w.setup.config, "queue:") {
		text += fmt.Sprintf("queue: { store: %q }\n", w.store())
	}
	text += strings.ReplaceAll(w.setup.config, "STORE", w.store())
	if err := os.MkdirAll(w.path("secrets"), 0o700); err != nil {
		return err
	}
	for name, value := range map[string]string{"push": pushToken, "client": clientSecret, "password": password} {
		if err := os.WriteFile(w.path("secrets/"+name), []byte(value), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(w.config(), []byte(text), 0o600)
}

// observe tells the stages of a write.
func (w *world) observe(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte("mutation")) {
		w.fluent.ServeHTTP(rw, r)
		return
	}
	t := &teller{ResponseWriter: rw, tell: func() { w.tell(applied) }}
	w.fluent.ServeHTTP(t, r)
	if t.told {
		_ = http.NewResponseController(rw).Flush() // who is gone needs no answer
		w.tell(answered)
	}
}

func (w *world) tell(stage string) {
	if f := w.stage.Load(); f != nil {
		(*f)(stage)
	}
}

// A teller tells before an answer goes.
type teller struct {
	http.ResponseWriter
	tell func()
	told bool
}

func (t *teller) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *teller) WriteHeader(status int) {
	t.tell()
	t.told = true
	t.ResponseWriter.WriteHeader(status)
}

// deliver posts a notification until it is acknowledged, as a queue does.
func (w *world) deliver(ctx context.Context, _ map[string]any, body []byte) error {
	put := check.Put{}
	var wrapping struct {
		Detail struct {
			Resource struct{ TypeID, ID string }
			Version  int64
		}
	}
	if err := json.Unmarshal(body, &wrapping); err != nil {
		return err
	}
	if n := wrapping.Detail; n.Resource.TypeID == "customer" {
		put.ID, put.Version = n.Resource.ID, n.Version
	}
	for ctx.Err() == nil {
		w.tell(posting)
		sent, status, err := w.post(ctx, body)
		if sent {
			put.Sent++
		}
		if err == nil && status == http.StatusAccepted {
			put.Acked = time.Now()
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.Puts = append(w.history.Puts, put)
	return ctx.Err()
}

// post brings a body to the webhook, and tells whether anybody was there.
func (w *world) post(ctx context.Context, body []byte) (sent bool, status int, err error) {
	address := w.address.Load()
	if address == nil {
		return false, 0, errors.New("nobody listens")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+*address+"/notifications", bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+pushToken)
	res, err := w.client.Do(req)
	if err != nil {
		return true, 0, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return true, res.StatusCode, res.Body.Close()
}

// create makes customers; of a kind, that their emails tell.
func (w *world) create(kind string, n int) error {
	for range n {
		w.mu.Lock()
		w.count++
		n := w.count
		w.mu.Unlock()
		doc, err := w.ct.Create(map[string]any{
			"email": fmt.Sprintf("%s.%s%d@example.com", mark, kind, n), "firstName": fmt.Sprintf("%s %d", mark, n), "lastName": mark,
			"addresses": []any{map[string]any{"country": "DE", "mobile": fmt.Sprintf("+49 %s %d", mark, n), "city": mark, "streetName": mark}},
		})
		if err != nil {
			return err
		}
		id := w.made(doc)
		w.mu.Lock()
		w.ids = append(w.ids, id)
		w.history.Refused[id] = kind == poor
		w.mu.Unlock()
	}
	return nil
}

// poor is the kind of customers that Fluent may be told to refuse.
const poor = "poor"

// change changes customers, each time something else, and always the first
// name, so that no two versions are alike.
func (w *world) change(n int) error {
	for range n {
		w.mu.Lock()
		id := w.ids[w.rng.IntN(len(w.ids))]
		w.mu.Unlock()
		if err := w.changeOne(id); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) changeOne(id string) error {
	w.mu.Lock()
	w.count++
	n, kind := w.count, ""
	if w.history.Refused[id] {
		kind = poor
	}
	w.mu.Unlock()
	actions := []map[string]any{{"action": "setFirstName", "firstName": fmt.Sprintf("%s %d", mark, n)}}
	switch n % 5 {
	case 1:
		if w.sameEmails {
			break
		}
		actions = append(actions, map[string]any{"action": "changeEmail", "email": fmt.Sprintf("%s.%s%d@example.com", mark, kind, n)})
	case 2:
		actions = append(actions, map[string]any{"action": "setLastName", "lastName": fmt.Sprintf("%s %d", mark, n)})
	case 3:
		actions = append(actions, map[string]any{"action": "setTitle", "title": mark})
	case 4:
		actions = append(actions, map[string]any{"action": "setTitle"})
	}
	doc, err := w.ct.Update(id, actions...)
	if err != nil {
		return err
	}
	w.made(doc)
	return nil
}

// made notes a version of a customer.
func (w *world) made(doc map[string]any) string {
	text := func(of map[string]any, name string) string { s, _ := of[name].(string); return s }
	var version int64
	_, _ = fmt.Sscan(fmt.Sprint(doc["version"]), &version)
	address := doc["addresses"].([]any)[0].(map[string]any)
	id := text(doc, "id")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.Made[id] = append(w.history.Made[id], check.Version{Number: version, Fields: check.Fields{
		Email: text(doc, "email"), FirstName: text(doc, "firstName"), LastName: text(doc, "lastName"), Title: text(doc, "title"),
		Phone: text(address, "mobile"), Country: text(address, "country"),
	}})
	return id
}

// ofFluent reads a document of Fluent's.
func ofFluent(doc map[string]any) (c check.Customer) {
	text := func(name string) string { s, _ := doc[name].(string); return s }
	c = check.Customer{Username: text("username"), Fields: check.Fields{
		Email: text("primaryEmail"), FirstName: text("firstName"), LastName: text("lastName"), Title: text("title"),
		Phone: text("primaryPhone"), Country: text("country"),
	}}
	attributes, _ := doc["attributes"].([]any)
	for _, a := range attributes {
		if a, ok := a.(map[string]any); ok && a["name"] == "commercetoolsId" {
			raw, _ := a["value"].(json.RawMessage)
			_ = json.Unmarshal(raw, &c.ID)
		}
	}
	return c
}

// status is what the running process says of itself.
func (w *world) status() (s control.Status, err error) {
	return s, w.ask(http.MethodGet, "/admin/status", nil, &s)
}

// ask asks the running process.
func (w *world) ask(method, path string, body, answer any) error {
	c, err := control.Dial(filepath.Join(w.store(), "control.json"), "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.Do(ctx, method, path, body, answer)
}

// until polls for what happens by itself.
func (w *world) until(what string, limit time.Duration, is func() bool) error {
	for deadline := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if w.process != nil && w.process.ended() {
			return fmt.Errorf("the process ended while it was waited for %s: %w\n%s", what, w.process.err, w.lastSaid())
		}
		if time.Now().After(deadline) {
			s, err := w.status()
			return fmt.Errorf("waited %v for %s; status %+v, %v; %d still to be delivered", limit, what, s, err, w.ct.Pending())
		}
	}
	return nil
}

// rest waits until everything has been delivered and worked.
func (w *world) rest(limit time.Duration) error {
	err := w.until("everything to be worked", limit, func() bool {
		if w.ct.Pending() > 0 {
			return false
		}
		s, err := w.status()
		return err == nil && s.Received > 0 && s.Waiting == 0 && len(s.Held) == 0
	})
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.history.Rests = append(w.history.Rests, time.Now())
	}
	return err
}

// known is a copy of the ids of all customers.
func (w *world) known() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.ids)
}

package std_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/sandbox"
	"github.com/ct2fluent/ct2fluent/std"
)

// The tests wait far more than they work: for pauses that a real fault needs.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", "24")
	}
	os.Exit(m.Run())
}

// mark is in every personal value and in every secret of a rig, so that
// promise 7 can be checked by looking for it.
const mark = "MARKED"

const (
	clientSecret = mark + "-client-secret"
	password     = mark + "-password"
	pushToken    = mark + "-push-token"
)

// A rig is the stock binary's command line between the two stand-ins.
type rig struct {
	*testing.T
	ct           *sandbox.CommerceTools
	fluent       *sandbox.Fluent
	ctServer     *sandbox.Server
	fluentServer *sandbox.Server
	dir          string
	ids          map[string]string // of commercetools, by the name of the customer
	count        int
	process      atomic.Pointer[process]
	said         buffer // by every process of the rig
}

// newRig starts the stand-ins, and writes a configuration to which more is
// added.
func newRig(t *testing.T, more string) *rig {
	t.Helper()
	return newRigAt(t, more, nil)
}

// newRigAt has commercetools go by another clock.
func newRigAt(t *testing.T, more string, now func() time.Time) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir(), ids: map[string]string{}}
	var err error
	r.ct, err = sandbox.NewCommerceTools(sandbox.CTOptions{ProjectKey: "shop", ClientSecret: clientSecret, Deliver: r.deliver, Now: now})
	r.must(err)
	r.fluent, err = sandbox.NewFluent(sandbox.FluentOptions{Account: "ACME", ClientSecret: clientSecret, ClientID: "client", Password: password, RetailerIDs: []string{"1", "2"}})
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	r.ctServer, err = sandbox.Start(ctx, "", r.ct)
	r.must(err)
	r.fluentServer, err = sandbox.Start(ctx, "", r.fluent)
	r.must(err)
	var delivering sync.WaitGroup
	delivering.Go(func() { _ = r.ct.Run(ctx) })
	t.Cleanup(func() {
		r.stop()
		cancel()
		r.ctServer.Close()
		r.fluentServer.Close()
		delivering.Wait()
		if t.Failed() {
			t.Logf("the processes said:\n%s", r.said.String())
		}
	})
	_, err = r.ct.Subscribe(map[string]any{
		"key":         "ct2fluent",
		"destination": map[string]any{"type": "EventBridge", "accountId": "000000000000", "region": "eu-central-1"},
		"changes":     []any{map[string]any{"resourceTypeId": "customer"}},
	})
	r.must(err)
	r.secret("ct", clientSecret)
	r.secret("fluent", password)
	r.write("application-connector.yml", fmt.Sprintf(`
fluent-connect:
  listeners:
    push: { type: webhook, address: "127.0.0.1:0", token: %q }
accounts:
  - commercetools: { project-key: shop, api-url: %q, auth-url: %q, client-id: client, client-secret: "${file:%s}", timeout: 1s }
    fluent: { base-url: %q, account: ACME, retailer-id: "1", client-id: client, client-secret: %q, username: user, password: "${file:%s}", timeout: 1s }
fluent: { unclear-wait: 1500ms }
log: { level: debug }
stop-timeout: 2s
`, pushToken, r.ctServer.URL, r.ctServer.URL, r.path("ct"), r.fluentServer.URL, clientSecret, r.path("fluent"))+r.defaults(more))
	return r
}

// defaults are the sections that a case may say otherwise.
func (r *rig) defaults(more string) string {
	more += "\n"
	for section, text := range map[string]string{
		"queue:":   fmt.Sprintf("queue: { store: %q, max-attempts: 3 }\n", r.store()),
		"control:": "control: { address: \"127.0.0.1:0\" }\n",
	} {
		if !strings.Contains(more, section) {
			more += text
		}
	}
	return strings.ReplaceAll(more, "STORE", r.store())
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }
func (r *rig) store() string           { return r.path("data") }

func (r *rig) write(name, text string) { r.must(os.WriteFile(r.path(name), []byte(text), 0o600)) }

// secret writes the file that a secret is read from: ct or fluent.
func (r *rig) secret(name, value string) { r.write(name, value) }

// A buffer takes what a process says.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// verb runs one command line to its end.
func (r *rig) verb(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = app.Run(r.Context(), std.Setup, append(args, "--config", r.path("application-connector.yml")), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// A process is `ct2fluent run` at work.
type process struct {
	stop context.CancelFunc
	done chan struct{}
	code int
	log  buffer
}

// launch starts the process, and does not wait for it.
func (r *rig) launch() {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{stop: cancel, done: make(chan struct{})}
	r.process.Store(p)
	go func() {
		defer close(p.done)
		p.code = app.Run(ctx, std.Setup, []string{"run", "--config", r.path("application-connector.yml")},
			strings.NewReader(""), io.Discard, io.MultiWriter(&p.log, &r.said))
	}()
}

// start starts the process, and waits until it has filled its empty ledger.
func (r *rig) start() {
	r.Helper()
	r.launch()
	r.hears("the ledger is filled from Fluent")
	r.hears(`"webhook listens"`)
}

// hears waits until the process says something.
func (r *rig) hears(pattern string) {
	r.Helper()
	is := regexp.MustCompile(pattern)
	r.wait(pattern+" in the log", func() bool { return is.MatchString(r.process.Load().log.String()) })
}

// stop ends the process as a signal does. That is a success.
func (r *rig) stop() {
	p := r.process.Swap(nil)
	if p == nil {
		return
	}
	p.stop()
	<-p.done
	if p.code != 0 {
		r.Errorf("run ended with %d, want 0", p.code)
	}
}

// wait polls for something that happens by itself.
func (r *rig) wait(what string, is func() bool) {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("waited too long for %s: status %+v", what, r.status())
		}
		select {
		case <-r.process.Load().done:
			r.Fatalf("the process ended with %d while it was waited for %s", r.process.Load().code, what)
		default:
		}
	}
}

// status is what the ledger says, empty while the process does not answer.
func (r *rig) status() (s control.Status) {
	c, err := control.Dial(filepath.Join(r.store(), "control.json"), "")
	if err == nil {
		err = c.Do(context.Background(), "GET", "/admin/status", nil, &s)
	}
	if err != nil && !errors.Is(err, control.ErrNotRunning) {
		r.Errorf("status: %v", err)
	}
	return s
}

var listens = regexp.MustCompile(`"webhook listens","listener":"push","address":"([^"]+)"`)

// post brings a body as a sender does, and gives the status of the answer.
func (r *rig) post(body []byte) (int, error) {
	p := r.process.Load()
	if p == nil {
		return 0, errors.New("nobody listens")
	}
	at := listens.FindStringSubmatch(p.log.String())
	if at == nil {
		return 0, errors.New("nobody listens yet")
	}
	req, err := http.NewRequest("POST", "http://"+at[1]+"/notifications", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+pushToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

func (r *rig) deliver(_ context.Context, _ map[string]any, body []byte) error {
	status, err := r.post(body)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("HTTP %d", status)
	}
	return err
}

// receives posts bodies, all of which are to be received.
func (r *rig) receives(bodies ...string) {
	r.Helper()
	for _, b := range bodies {
		r.must(r.deliver(r.Context(), nil, []byte(b)))
	}
}

// create makes customers of commercetools.
func (r *rig) create(names ...string) {
	r.Helper()
	for _, name := range names {
		r.createWith(name, nil)
	}
}

// createWith makes one customer, some of whose values are given.
func (r *rig) createWith(name string, given map[string]any) {
	r.Helper()
	draft := map[string]any{
		"email": email(name), "firstName": mark + " " + name, "lastName": mark,
		"addresses": []any{map[string]any{"country": "DE", "mobile": "+49 " + mark + " 1", "city": mark}},
	}
	maps.Copy(draft, given)
	maps.DeleteFunc(draft, func(_ string, v any) bool { return v == nil })
	doc, err := r.ct.Create(draft)
	r.must(err)
	r.ids[name] = doc["id"].(string)
}

func email(name string) string { return mark + "-" + name + "@example.com" }

// update changes something of customers that they did not have before.
func (r *rig) update(names ...string) {
	r.Helper()
	for _, name := range names {
		r.count++
		r.act(name, map[string]any{"action": "setFirstName", "firstName": fmt.Sprintf("%s %d", mark, r.count)})
	}
}

func (r *rig) act(name string, actions ...map[string]any) {
	r.Helper()
	_, err := r.ct.Update(r.ids[name], actions...)
	r.must(err)
}

// unannounced does something of which commercetools sends no notification.
func (r *rig) unannounced(do func()) {
	r.ct.SetSubscriptionStatus("key=ct2fluent", "ManuallySuspended")
	do()
	r.ct.SetSubscriptionStatus("key=ct2fluent", "Healthy")
}

// notification is one of commercetools about a customer as it is now.
func (r *rig) notification(name, more string) string {
	doc, _ := r.ct.Customer(r.ids[name])
	return fmt.Sprintf(`{"notificationType":"ResourceUpdated","projectKey":"shop","resource":{"typeId":"customer","id":%q},"version":%v,"modifiedAt":"2026-01-01T00:00:00Z"%s}`,
		r.ids[name], doc["version"], more)
}

// plant makes a customer of Fluent that others have made, with the id of a
// commercetools customer, or without one.
func (r *rig) plant(username, id string) {
	r.Helper()
	attributes := ""
	if id != "" {
		attributes = fmt.Sprintf(`, attributes: [{name: "commercetoolsId", type: "STRING", value: %q}]`, id)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	form := "grant_type=password&scope=api&client_id=client&client_secret=" + clientSecret + "&username=user&password=" + password
	r.ask("/oauth/token", "application/x-www-form-urlencoded", form, "", &token)
	query, _ := json.Marshal(map[string]string{"query": fmt.Sprintf(
		`mutation { createCustomer(input: {username: %q, firstName: %q, primaryEmail: %q, timezone: "UTC", promotionOptIn: true, retailer: {id: 1}%s}) { id } }`,
		username, mark+" foreign", mark+"@example.com", attributes)})
	var done struct{ Errors []any }
	r.ask("/graphql", "application/json", string(query), token.AccessToken, &done)
	if len(done.Errors) > 0 {
		r.Fatalf("plant %s: %v", username, done.Errors)
	}
}

func (r *rig) ask(path, contentType, body, token string, answer any) {
	r.Helper()
	req, err := http.NewRequest("POST", r.fluentServer.URL+path, strings.NewReader(body))
	r.must(err)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	r.must(err)
	defer res.Body.Close()
	r.must(json.NewDecoder(res.Body).Decode(answer))
}

// settle waits until all has been delivered and worked, and nothing is held.
func (r *rig) settle() control.Status {
	r.Helper()
	var s control.Status
	r.wait("everything to be worked", func() bool {
		if r.ct.Pending() > 0 {
			return false
		}
		s = r.status()
		return s.Received > 0 && s.Waiting == 0 && len(s.Held) == 0
	})
	return s
}

// adds checks promise 2.
func (r *rig) adds(s control.Status) {
	r.Helper()
	if sum := s.Written + s.Unchanged + s.Merged + s.Skipped + s.Dead + s.Waiting; s.Received != sum {
		r.Errorf("received %d, outcomes %d: %+v", s.Received, sum, s)
	}
}

// equal compares Fluent with what this test, not the product, makes of the
// last version of each customer. The absent are not to be in Fluent.
func (r *rig) equal(absent ...string) {
	r.Helper()
	has := map[string]map[string]any{}
	r.fluent.Each(func(doc map[string]any) {
		id := attribute(doc, "commercetoolsId")
		if id != "" && has[id] != nil {
			r.Errorf("two Fluent customers carry %s", id)
		}
		has[id] = doc
	})
	for name, id := range r.ids {
		f := has[id]
		if slices.Contains(absent, name) {
			if f != nil {
				r.Errorf("%s is in Fluent", name)
			}
			continue
		}
		if f == nil {
			r.Errorf("%s is not in Fluent", name)
			continue
		}
		doc, _ := r.ct.Customer(id)
		address := doc["addresses"].([]any)[0].(map[string]any)
		for field, want := range map[string]any{
			"primaryEmail": doc["email"], "firstName": doc["firstName"], "lastName": doc["lastName"], "title": doc["title"],
			"primaryPhone": address["mobile"], "country": address["country"],
		} {
			if f[field] != want {
				r.Errorf("%s: %s is %v in Fluent, want %v", name, field, f[field], want)
			}
		}
	}
}

func attribute(doc map[string]any, name string) string {
	for _, a := range doc["attributes"].([]any) {
		if a := a.(map[string]any); a["name"] == name {
			var text string
			_ = json.Unmarshal(a["value"].(json.RawMessage), &text)
			return text
		}
	}
	return ""
}

// told is all that a person can find out: the log, the dead letters, and the
// timelines of the customers.
func (r *rig) told() string {
	told := r.said.String()
	for _, id := range r.ids {
		_, out, _ := r.verb("show", id)
		told += out
	}
	_, out, _ := r.verb("dead", "ls")
	return told + out
}

// impersonal checks promise 7: neither a value of a customer nor a secret is in
// what the processes said, nor in what the verbs that print none of them on
// purpose show.
func (r *rig) impersonal() {
	r.Helper()
	texts := map[string]string{"the log": r.said.String()}
	for _, verb := range [][]string{{"status"}, {"status", "--json"}, {"dead", "ls"}} {
		_, out, errs := r.verb(verb...)
		texts[strings.Join(verb, " ")] = out + errs
	}
	texts["/metrics"] = r.metrics()
	for where, text := range texts {
		for _, line := range strings.Split(text, "\n") {
			if strings.Contains(strings.ToUpper(line), mark) {
				r.Errorf("%s has a personal value or a secret: %s", where, line)
			}
		}
	}
	if !strings.Contains(texts["the log"], `"level":"DEBUG"`) {
		r.Error("nothing was said at the level debug")
	}
}

func (r *rig) metrics() string {
	r.Helper()
	f, err := control.ReadFile(filepath.Join(r.store(), "control.json"))
	r.must(err)
	res, err := http.Get("http://" + f.Address + "/metrics")
	r.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	r.must(err)
	return string(text)
}

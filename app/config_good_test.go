package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func printed(t *testing.T, c *Config) string {
	t.Helper()
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func load(t *testing.T, file string, o LoadOptions) *Config {
	t.Helper()
	c, err := Load(file, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The file of DESIGN.md loads, and says what it says there.
func TestLoadDesign(t *testing.T) {
	c := load(t, "testdata/config/good/design.yml", testOptions(nil))
	if len(c.Listeners) != 2 || c.Listeners[0].ID != "ct-queue" || c.Listeners[1].ID != "push" {
		t.Fatalf("listeners %v", c.Listeners)
	}
	wantSQS := &SQSConfig{Name: testEnv["CT_QUEUE_URL"], Region: "eu-central-1", Receivers: 4, Wait: 20 * time.Second}
	if got := c.Listeners[0].Options; !reflect.DeepEqual(got, wantSQS) {
		t.Errorf("sqs %+v, want %+v", got, wantSQS)
	}
	push := c.Listeners[1].Options.(*WebhookConfig)
	if token, err := push.Token.Value(); token != "hush" || err != nil || push.Path != "/notifications" || push.MaxBody != 1<<20 {
		t.Errorf("webhook %+v", push)
	}
	a := c.Accounts[0]
	if a.Commercetools.ProjectKey != "fluent-ct-dev" || a.Fluent.RetailerID != "1" || a.Fluent.Timeout != 10*time.Second {
		t.Errorf("account %+v", a)
	}
	if c.Queue.MaxBytes != 8<<30 || c.Queue.MaxAttempts != 8 || c.Fluent.UnclearWait != 15*time.Second {
		t.Errorf("queue %+v, fluent %+v", c.Queue, c.Fluent)
	}
	if got := c.Mapping.Attributes[0].Value; got.Text != "customer.customerNumber" || got.At.Line != 34 {
		t.Errorf("attribute %+v", got)
	}
	if len(c.Ignored) != 0 {
		t.Errorf("ignored %v", c.Ignored)
	}
}

// A file of Fluent's Java connector loads as it is, with accounts beside it,
// and what is of no use here is named with the reason.
func TestLoadJavaFile(t *testing.T) {
	c := load(t, "testdata/config/good/java.yml", testOptions(nil))
	if l := c.Listeners[0]; l.Type != "sqs" || l.Options.(*SQSConfig).Name != testEnv["CT_QUEUE_URL"] {
		t.Errorf("listener %+v", l)
	}
	var got []string
	for _, n := range c.Ignored {
		got = append(got, strings.TrimPrefix(n.String(), "testdata/config/good/"))
	}
	want := []string{
		"java.yml:4: fluent-connect.batch-listener-mode: ignored: there is one kind of listener; a bulk load uses the same queue",
		"java.yml:5: fluent-connect.available-listeners: ignored: what this binary can listen to is built into it",
		"java.yml:8: fluent-connect.credential: ignored: secrets are named where they are needed, by ${NAME} or ${file:/path}",
		"java.yml:9: fluent-connect.job-scheduler: ignored: there are no scheduled jobs",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The example of the docs loads and leaves no key out.
func TestLoadExample(t *testing.T) {
	c := load(t, "../docs/application-connector.example.yml", testOptions(map[string]string{
		"/run/secrets/fluent_client_secret": "hush\n", "/run/secrets/fluent_password": "hush", "/run/secrets/support_token": "hush",
	}))
	text, err := os.ReadFile("../docs/application-connector.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	for key := range sectionsOf(reflect.TypeFor[Config]()) {
		found := false
		for word := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return !strings.ContainsRune("-_", r) && (r < 'A' || r > 'z') }) {
			found = found || fold(word) == key
		}
		switch key {
		case "availablelisteners", "batchlistenermode", "credential", "jobscheduler", "spring", "server", "management", "logging":
			if found {
				t.Errorf("the example has %s, which is not used", key)
			}
		default:
			if !found {
				t.Errorf("the example has no %s", key)
			}
		}
	}
	if strings.Contains(printed(t, c), "hush") {
		t.Error("a secret is printed")
	}
}

// Who starts from the example decides nothing by it but where customers come
// from and go to. What is commented out in it can be taken as it is.
func TestTheExampleMeansTheDefaults(t *testing.T) {
	text, err := os.ReadFile("../docs/application-connector.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"/run/secrets/fluent_client_secret": "hush\n", "/run/secrets/fluent_password": "hush", "/run/secrets/support_token": "hush",
	}
	sections := func(name, text string) (*Config, map[string]any) {
		c, err := parseConfig(name, []byte(text), testOptions(files))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := c.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]any
		if err := json.Unmarshal(doc, &all); err != nil {
			t.Fatal(err)
		}
		return c, all
	}
	example, has := sections("example.yml", string(text))
	whole := string(text)
	from := whole[:strings.Index(whole, "# Which customers are synced at all")]
	_, want := sections("defaults.yml", from)
	for _, all := range []map[string]any{has, want} {
		control := all["control"].(map[string]any)
		delete(control, "token") // the environment's
		delete(control, "tokens")
	}
	for key, v := range has {
		if !reflect.DeepEqual(v, want[key]) {
			t.Errorf("%s: the example says %v, the default is %v", key, v, want[key])
		}
	}
	if !example.Select.IsZero() || !example.Accounts[0].Select.IsZero() {
		t.Error("the example leaves customers out")
	}

	commented := regexp.MustCompile(`(?m)^( *)# (select: |username: |title: |firstName: |lastName: |primaryEmail: |primaryPhone: |country: |timezone: |promotionOptIn: |attributes:|  - |    (?:type|value): )`)
	at := strings.Index(whole, "# Which customers are synced at all")
	to := strings.Index(whole, "# What becomes of a customer that was deleted")
	if n := len(commented.FindAllString(whole[at:to], -1)); n != 15 {
		t.Errorf("%d lines of examples, want 15", n)
	}
	taken, _ := sections("taken.yml", whole[:at]+commented.ReplaceAllString(whole[at:to], "$1$2")+whole[to:])
	if taken.Select.IsZero() || len(taken.Mapping.Attributes) != 2 {
		t.Errorf("taken: %+v", taken.Mapping)
	}
}

// Ways to write one thing are one thing.
func TestLoadIsRelaxed(t *testing.T) {
	tests := []struct{ name, canonical, other string }{
		{"spelling", "queue: { max-attempts: 3 }\nstop-timeout: 1s\n", "queue: { maxAttempts: 3 }\nSTOP_TIMEOUT: 1s\n"},
		{"listeners at the top", "fluent-connect:\n  listeners: { a: { type: sqs, name: q } }\n", "listeners: { a: { type: sqs, name: q } }\n"},
		{"a listener takes the mode", "listeners: { a: { type: sqs, name: q } }\nfluent-connect: { message-listener-mode: sqs }\n", "listeners: { a: { name: q } }\nfluent-connect: { message_listener_mode: SQS }\n"},
		{"a list in one text", "control: { hosts: [a, b] }\n", "control: { hosts: 'a, b,' }\n"},
		{"a list by numbers", "control: { hosts: [a, b, c] }\n", "control: { hosts: { 10: c, 2: b, 1: a } }\n"},
		{"a policy alone", "deletes: { policy: mark }\n", "deletes: MARK\n"},
		{"a list by names", "routes:\n  - { route: a, handler-name: x }\n  - { route: b, handler-name: y }\n", "routes:\n  z: { route: a, handler-name: x }\n  a: { route: b, handler-name: y }\n"},
		{"a field's expression", "mapping: { title: { value: customer.title } }\n", "mapping: { title: customer.title }\n"},
		{"null, empty and nothing", "queue: {}\n", "queue: { workers: , store: ~, url: \"\", max-attempts: \"${EMPTY}\" }\nmapping:\n"},
		{"sections and lists of nothing", "queue: {}\n", "queue: ''\nfluent-connect: \"${EMPTY}\"\nroutes: ''\nhandlers: ${EMPTY}\ncontrol: { tls: '', tokens: '', hosts: '' }\nmapping: { title: '' }\n"},
		{"a handler with a section of nothing", "handlers: [{ name: x, exec: { command: [sh] } }]\n", "handlers: [{ name: x, exec: { command: [sh] }, http: '' }]\n"},
		{"a listener of nothing but a name", "fluent-connect: { message-listener-mode: poll }\nlisteners: { a: }\n", "fluent-connect: { message-listener-mode: poll }\nlisteners: { a: '${EMPTY}' }\n"},
		{"a number from the environment", "queue: { workers: 3 }\n", "queue: { workers: \"${NUM}\" }\n"},
		{"text without quotes", "control: { hosts: ['1', 'true'] }\n", "control: { hosts: [1, true] }\n"},
		{"yes and no", "control: { pprof: true }\n", "control: { pprof: Yes }\n"},
		{"sizes", "queue: { max-bytes: 1GiB, min-free: 1048576 }\n", "queue: { max-bytes: 1073741824 B, min-free: 1 MiB }\n"},
		{"durations", "stop-timeout: 1m30s\n", "stop-timeout: 90s\n"},
		{"merged", "queue: { workers: 2, max-attempts: 3 }\n", "queue:\n  <<: { workers: 5, max-attempts: 3 }\n  workers: 2\n"},
		{"aliases", "control: { hosts: [a] }\nlog: { level: info }\n", "control: { hosts: [&x a] }\nlog: { level: info, format: auto }\n"},
		{"a byte order mark", "queue: {}\n", "\ufeffqueue: {}\n"},
		{"Windows lines", "queue:\n  workers: 2\n", "queue:\r\n  workers: 2\r\n"},
		{"a slash behind the host", "queue: {}\n" + testAccounts, strings.ReplaceAll(testAccounts, "example,", "example/,")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, got := parse(t, whole(tt.canonical)), parse(t, whole(tt.other))
			// A mode that is only a default for others makes no difference.
			want.MessageListenerMode, got.MessageListenerMode = "", ""
			if w, g := printed(t, want), printed(t, got); w != g {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
		})
	}
}

// A file that says nothing of routes has those of Fluent's documentation.
func TestDefaultRoutes(t *testing.T) {
	silent, spoken := parse(t, whole("queue: {}\n")), load(t, "testdata/config/good/design.yml", testOptions(nil))
	var got, want []any
	for _, c := range []*Config{silent, spoken} {
		m, r := c.RouteMapping[0], c.Routes[0]
		m.At, r.At = Pos{}, Pos{}
		got, want = want, []any{m, r, len(c.RouteMapping), len(c.Routes)}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Promise 7: whatever prints a Secret, or what it lies in, prints <secret>.
func TestSecretIsNeverPrinted(t *testing.T) {
	c := parse(t, whole("control: { token: \"${PUSH_TOKEN}\" }\nqueue: { url: \"nats://user:hush@nats.example\" }\nlisteners: { w: { type: webhook, token: hush } }\n"))
	token := c.Control.Token
	type hidden struct{ token Secret }
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.3s"} {
		for _, v := range []any{token, &token, c.Control, &c.Control, []Secret{token}, map[string]Secret{"a": token}, hidden{token}, &hidden{token}, c, c.Queue.URL} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("a", "token", token, "pointer", &token, "section", c.Control, "all", c, "hidden", hidden{token}, "url", c.Queue.URL)
	}
	for _, v := range []any{token, &token, c.Control, c, hidden{token}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		if text, err = yaml.Dump(v); err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	if strings.Contains(out.String(), "hush") || strings.Contains(out.String(), fmt.Sprintf("%x", "hush")) {
		at := strings.Index(out.String(), "hush")
		t.Errorf("printed: …%.200s", out.String()[max(at-100, 0):])
	}
	for _, want := range []string{"token=<secret>", "token: <secret>", "nats://<secret>@nats.example"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nowhere %s", want)
		}
	}
}

// A secret in a file is read each time it is asked for; one in the environment
// stays what it was.
func TestSecretIsReadAgain(t *testing.T) {
	files := map[string]string{"/run/secrets/token": "old\r\n"}
	c, err := parseConfig("a.yml", []byte(whole("control: { token: \"${file:/run/secrets/token}\" }\n")), testOptions(files))
	if err != nil {
		t.Fatal(err)
	}
	token := c.Control.Token
	if v, err := token.Value(); v != "old" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	files["/run/secrets/token"] = "new\n\n"
	if v, err := token.Value(); v != "new\n" || err != nil {
		t.Errorf("got %q, %v: one newline goes, no more", v, err)
	}
	delete(files, "/run/secrets/token")
	const gone = "${file:/run/secrets/token}: file does not exist; create it or correct the path"
	if _, err := token.Value(); err == nil || err.Error() != gone {
		t.Errorf("got %v, want %s", err, gone)
	}
}

func TestSecretSource(t *testing.T) {
	for text, want := range map[string]string{
		"${PUSH_TOKEN}":              "environment PUSH_TOKEN",
		"${NONE:${PUSH_TOKEN}}":      "environment PUSH_TOKEN",
		"${NONE:word}":               "configuration file (in clear text)",
		"word":                       "configuration file (in clear text)",
		"${file:/run/secrets/token}": "file /run/secrets/token",
		"${NUM}${PUSH_TOKEN}${NUM}":  "environment NUM and environment PUSH_TOKEN",
	} {
		c, err := parseConfig("a.yml", []byte(whole("control: { token: '"+text+"' }\n")), testOptions(map[string]string{"/run/secrets/token": "x"}))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Control.Token.Source(); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	var none Secret
	if v, err := none.Value(); v != "" || err != nil || none.Source() != "" || !none.IsZero() {
		t.Errorf("the zero Secret is %q, %v, from %q", v, err, none.Source())
	}
}

// What check prints is a file that says the same.
func TestPrintLoadsAgain(t *testing.T) {
	files, err := filepath.Glob("testdata/config/good/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		first := printed(t, load(t, file, testOptions(nil)))
		if again := printed(t, parse(t, first)); again != first {
			t.Errorf("%s: printed\n%sloaded and printed again\n%s", file, first, again)
		}
	}
}

func TestMarshalJSON(t *testing.T) {
	text, err := json.Marshal(parse(t, whole("control: { token: x }\n")))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Queue   map[string]any `json:"queue"`
		Control map[string]any `json:"control"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Queue["max-bytes"] != "8GiB" || got.Queue["workers"] != 8.0 || got.Control["token"] != "<secret>" {
		t.Errorf("got %+v", got)
	}
}

// A partner's listener has options of its own, held to the same rules.
func TestPartnersListener(t *testing.T) {
	type topics struct {
		Names []string `yaml:"names" required:"true"`
	}
	type kafka struct {
		Brokers  []string      `yaml:"brokers" required:"true"`
		Password Secret        `yaml:"password"`
		Linger   time.Duration `yaml:"linger" default:"5ms" max:"1s"`
		Topics   topics        `yaml:"topics" required:"true"`
	}
	o := testOptions(nil)
	o.Listeners = map[string]func() any{"kafka": func() any { return new(kafka) }, "wrong": func() any { return kafka{} }}
	c, err := parseConfig("a.yml", []byte(testAccounts+"listeners:\n  k: { type: Kafka, brokers: 'a,b', password: \"${PUSH_TOKEN}\", topics: { names: [t] } }\n"), o)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Listeners[0].Options.(*kafka)
	if password, _ := got.Password.Value(); password != "hush" || len(got.Brokers) != 2 || got.Linger != 5*time.Millisecond || got.Topics.Names[0] != "t" {
		t.Errorf("got %+v", got)
	}
	if p := c.At("fluent-connect.listeners.k.topics.names"); p.Line != 6 {
		t.Errorf("names stand in %v", p)
	}
	_, err = parseConfig("a.yml", []byte(testAccounts+"listeners:\n  k: { type: kafka, broker: a, linger: 2s, topics: {} }\n  w: { type: wrong }\n"), o)
	want := strings.Join([]string{
		`a.yml:6: listeners.k.broker: unknown key; did you mean "brokers"?`,
		`a.yml:6: listeners.k.linger: "2s": more than 1s; lower it`,
		`a.yml:6: listeners.k.topics: has no names; add what is missing`,
		`a.yml:7: listeners.w: the options of type wrong in this binary are no pointer to a struct, but app.kafka`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestAt(t *testing.T) {
	c := parse(t, "queue:\n  store: x\n"+testAccounts+testListeners)
	for key, line := range map[string]int{
		"queue.store": 2, "queue.workers": 1, "control.address": 0, "accounts[0].fluent.password": 6,
		"accounts[0].fluent.batch-size": 6, "fluent-connect.listeners.ct-queue.name": 9, "accounts[7]": 4,
	} {
		if got := c.At(key); got.Line != line || got.File != "application-connector.yml" {
			t.Errorf("%s stands in %v, want line %d", key, got, line)
		}
	}
}

// The place of an expression is where its text begins.
func TestPlaceOfExpression(t *testing.T) {
	c := parse(t, whole("mapping:\n  title: customer.title\n  lastName: 'customer.lastName'\n  country: |\n    nil\n"))
	m := c.Mapping
	for _, tt := range []struct {
		name      string
		got, want Pos
	}{
		{"plain", m.Title.Value.At, Pos{"application-connector.yml", 2, 10}},
		{"quoted", m.LastName.Value.At, Pos{"application-connector.yml", 3, 14}},
		{"block", m.Country.Value.At, Pos{"application-connector.yml", 5, 0}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, tt.got, tt.want)
		}
	}
}

func TestWithoutListeners(t *testing.T) {
	o := testOptions(nil)
	o.WithoutListeners = true
	if _, err := parseConfig("a.yml", []byte(testAccounts), o); err != nil {
		t.Error(err)
	}
}

// Files that cannot be read at all.
func TestLoadWithoutFile(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("# \n"), maxFileLen/2), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yml"): "no such file; make one, or name another with --config",
		large:                          "larger than 256KiB; this is no configuration",
		dir:                            "is a directory",
	} {
		_, err := Load(path, LoadOptions{})
		var ce *ConfigError
		if !errors.As(err, &ce) || ce.Error() != path+": "+want {
			t.Errorf("got %v, want %s: %s", err, path, want)
		}
	}
}

// Load looks into the environment and the files of this machine by default.
func TestLoadByDefault(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CT2FLUENT_TEST_STORE", "from the environment")
	for name, text := range map[string]string{
		"token": "from a file\n",
		"a.yml": whole("queue: { store: \"${CT2FLUENT_TEST_STORE}\" }\ncontrol: { token: \"${file:" + filepath.ToSlash(dir) + "/token}\" }\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := load(t, filepath.Join(dir, "a.yml"), LoadOptions{})
	if token, err := c.Control.Token.Value(); token != "from a file" || err != nil || c.Queue.Store != "from the environment" {
		t.Errorf("store %q, token %q (%v)", c.Queue.Store, token, err)
	}
}

// A file of mistakes is told in a screen or so.
func TestManyMistakes(t *testing.T) {
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "unknown%d: 1\n", i)
	}
	_, err := parseConfig("a.yml", []byte(text.String()), testOptions(nil))
	lines := strings.Split(err.Error(), "\n")
	if want := "a.yml:49: and 152 more from here on; correct these first"; len(lines) != maxProblems+1 || lines[maxProblems] != want {
		t.Errorf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
}

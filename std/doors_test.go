package std_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/inbox/sendertest"
	"github.com/ct2fluent/ct2fluent/inbox/sourcetest"
	"github.com/ct2fluent/ct2fluent/inbox/webhook"
	"github.com/ct2fluent/ct2fluent/std"
)

// The table of doors: every way into the process, and what becomes of who
// comes without a credential, with a wrong one, with the right one, with what
// was sent before, with too much, and without end. It is made from the table of
// routes and from the values of auth, so that none can be forgotten; see it by
//
//	go test ./std -run Doors -v
func TestDoors(t *testing.T) {
	t.Parallel()
	rows := slices.Concat(pushDoors(t), controlDoors(t))
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DOOR\tFOR\tNO\tWRONG\tRIGHT\tREPLAY\tOVERSIZE\tSLOW")
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush()
	t.Logf("the table of doors\n%s", table.String())
}

// A sender is how one auth of the webhook is used.
type sender struct {
	auth func(s *sendertest.Senders) webhook.Auth
	// right is a request that may come in; wrong is the same by another.
	right, wrong func(s *sendertest.Senders, r *http.Request)
	body         func(s *sendertest.Senders, wrong bool) string // default a notification
	// later is what the answer is to a request that is sent again after an hour.
	later int
	// handshake: it asks by OPTIONS whether it may send.
	handshake bool
}

const doorKey = mark + "-door-key"

func doorSecret() (string, error) { return doorKey, nil }

func bring(name, value string) func(*sendertest.Senders, *http.Request) {
	return func(_ *sendertest.Senders, r *http.Request) { r.Header.Set(name, value) }
}

// senders has each value of auth.
var senders = map[string]sender{
	"token": {
		auth:  func(*sendertest.Senders) webhook.Auth { return webhook.Token(doorSecret) },
		right: bring("Authorization", "Bearer "+doorKey), wrong: bring("Authorization", "Bearer x"), later: 202,
	},
	"basic": {
		auth:  func(*sendertest.Senders) webhook.Auth { return webhook.Basic("user", doorSecret) },
		right: func(_ *sendertest.Senders, r *http.Request) { r.SetBasicAuth("user", doorKey) },
		wrong: func(_ *sendertest.Senders, r *http.Request) { r.SetBasicAuth("user", "x") }, later: 202,
	},
	"api-key": {
		auth:  func(*sendertest.Senders) webhook.Auth { return webhook.APIKey("X-Api-Key", doorSecret) },
		right: bring("X-Api-Key", doorKey), wrong: bring("X-Api-Key", "x"), later: 202,
	},
	"sns": {
		auth: func(s *sendertest.Senders) webhook.Auth {
			return webhook.SNS(webhook.SNSOptions{TopicARN: sendertest.Topic, Client: s.Client(), Roots: s.Roots()})
		},
		body: func(s *sendertest.Senders, wrong bool) string {
			m := string(s.Message("Notification", "2", nil))
			if wrong {
				m = strings.Replace(m, `{\"a\":1}`, `{\"a\":2}`, 1)
			}
			return m
		},
		later: 401,
	},
	"pubsub": {
		auth: func(s *sendertest.Senders) webhook.Auth {
			return webhook.PubSub(webhook.PubSubOptions{Audience: sendertest.Audience, ServiceAccount: sendertest.Account, Client: s.Client()})
		},
		right: func(s *sendertest.Senders, r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+s.Token("", nil))
		},
		wrong: func(s *sendertest.Senders, r *http.Request) { r.Header.Set("Authorization", "Bearer "+s.Forged(nil)) },
		later: 401,
	},
	"eventgrid": {
		auth: func(*sendertest.Senders) webhook.Auth {
			return webhook.EventGrid(webhook.EventGridOptions{Key: doorSecret})
		},
		right: bring("aeg-sas-key", doorKey), wrong: bring("aeg-sas-key", "x"), later: 202, handshake: true,
	},
}

// pushDoors are the webhook's, one for each value that auth may have.
func pushDoors(t *testing.T) (rows [][]string) {
	field, _ := reflect.TypeFor[app.WebhookConfig]().FieldByName("Auth")
	kinds := strings.Fields(field.Tag.Get("oneof"))
	for _, kind := range kinds {
		s, ok := senders[kind]
		if !ok {
			t.Fatalf("auth: %s has no row in the table of doors: say how its senders show who they are", kind)
		}
		synctest.Test(t, func(t *testing.T) { rows = append(rows, pushDoor(t, kind, s)...) })
	}
	for kind := range senders {
		if !slices.Contains(kinds, kind) {
			t.Errorf("auth: %s is none of the configuration", kind)
		}
	}
	return rows
}

func pushDoor(t *testing.T, kind string, s sender) [][]string {
	services := sendertest.New(t)
	auth := s.auth(services)
	if auth.Kind() != kind {
		t.Errorf("auth: %s is called %s", kind, auth.Kind())
	}
	network := sourcetest.Listen()
	const most = 16 << 10
	source, err := webhook.New(webhook.Options{Listener: network, Auth: auth, MaxBody: most})
	if err != nil {
		t.Fatal(err)
	}
	puts := 0
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- source.Run(ctx, func(context.Context, []byte) error { puts++; return nil }) }()
	client := &http.Client{Transport: &http.Transport{DialContext: network.Dial, DisableKeepAlives: true}}

	request := func(by func(*sendertest.Senders, *http.Request), body string) *http.Request {
		r, err := http.NewRequest("POST", "http://webhook/notifications", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if by != nil {
			by(services, r)
		}
		return r
	}
	body := func(wrong bool) string {
		if s.body != nil {
			return s.body(services, wrong)
		}
		return `{"a":1}`
	}
	// send expects a status, and that a body is put by 202 alone.
	send := func(what string, r *http.Request, want int) string {
		t.Helper()
		before := puts
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("%s, %s: %v", kind, what, err)
			return "?"
		}
		resp.Body.Close()
		if resp.StatusCode != want || (puts > before) != (want == 202) {
			t.Errorf("%s, %s: %d with %d puts, want %d", kind, what, resp.StatusCode, puts-before, want)
		}
		return fmt.Sprint(resp.StatusCode)
	}
	row := []string{"webhook POST", "auth: " + kind}
	none := `{"a":1}`
	row = append(row, send("no credential", request(nil, none), 401))
	row = append(row, send("a wrong one", request(s.wrong, body(true)), 401))
	right, sent := request(s.right, ""), body(false)
	again := func() *http.Request {
		r := request(nil, sent)
		r.Header = right.Header.Clone()
		return r
	}
	row = append(row, send("the right one", again(), 202))
	at := send("again at once", again(), 202)
	large := again()
	large.Body, large.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", most+1))), -1
	over := send("too large", large, 413)
	headers := again()
	headers.Header.Set("X-Large", strings.Repeat("x", 64<<10))
	over += ", " + send("headers too large", headers, 431)
	slow := dawdle(t, kind, network.Dial, right.Header)
	time.Sleep(time.Hour + 2*time.Minute)
	late := send("again after an hour", again(), s.later)
	rows := [][]string{append(row, at+", after an hour "+late, over, slow)}
	// Who asks whether it may send is told, where that is its way; nothing is
	// kept by it, and with a wrong credential it is refused.
	hello := func(by func(*sendertest.Senders, *http.Request)) *http.Request {
		r := request(by, "")
		r.Method = http.MethodOptions
		r.Header.Set("WebHook-Request-Origin", "eventgrid.azure.net")
		return r
	}
	if s.handshake {
		rows = append(rows, []string{"webhook OPTIONS", "auth: " + kind, send("a question", hello(nil), 200),
			send("a question with a wrong credential", hello(s.wrong), 401), send("a question with the right one", hello(s.right), 200),
			send("the question again", hello(s.right), 200), "-", "-"})
	} else {
		send("a question", hello(s.right), 405)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("%s: %v", kind, err)
	}
	client.CloseIdleConnections()
	return rows
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dawdle begins a request that never ends: in its headers, and in its body with
// the right credential. Both are cut off.
func dawdle(t *testing.T, door string, dial dialer, right http.Header) string {
	var took []string
	var credential strings.Builder
	_ = right.Write(&credential)
	for what, limit := range map[string]time.Duration{
		"POST /notifications HTTP/1.1\r\nHost: webhook\r\nX-Slow: ":                                                6 * time.Second,
		"POST /notifications HTTP/1.1\r\nHost: webhook\r\n" + credential.String() + "Content-Length: 100\r\n\r\n{": 20 * time.Second,
	} {
		conn, err := dial(t.Context(), "tcp", "webhook:80")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := io.WriteString(conn, what); err != nil {
			t.Errorf("%s, slow: %v", door, err)
		}
		status := "cut"
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			status = fmt.Sprint(resp.StatusCode)
		}
		conn.Close()
		if d := time.Since(began); d > limit || status == "202" {
			t.Errorf("%s, slow: %s after %s", door, status, d)
		}
		took = append(took, fmt.Sprintf("%s after %s", status, time.Since(began).Round(time.Second)))
	}
	slices.Sort(took)
	return strings.Join(took, ", ")
}

// controlDoors are the routes of a running process, as its own table has them.
func controlDoors(t *testing.T) [][]string {
	const viewer, operator = mark + "-viewer-token", mark + "-operator-token"
	r := newRig(t, fmt.Sprintf(`
control:
  address: "127.0.0.1:0"
  pprof: true
  tokens:
    - { name: eve, role: viewer, token: %q }
    - { name: oda, role: operator, token: %q }
`, viewer, operator))
	cfg, err := app.Load(r.path("application-connector.yml"), app.LoadOptions{})
	r.must(err)
	setup := &app.Setup{Sources: map[string]app.SourceType{}}
	std.Setup(setup)
	ctx, stop := context.WithCancel(t.Context())
	a, err := app.New(ctx, setup, cfg, slog.New(slog.NewJSONHandler(&r.said, nil)))
	r.must(err)
	addr, err := a.Control.Listen()
	r.must(err)
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()

	routes := a.Control.Routes()
	d := &doorway{rig: r, addr: addr.String(), tokens: map[string]string{"": "", "x": "x", "eve": viewer, "oda": operator}}
	rows, slow := make([][]string, len(routes)), make([]string, len(routes))
	var dawdling, coming sync.WaitGroup
	for i, route := range routes {
		dawdling.Go(func() { slow[i] = d.slow(route) })
		coming.Go(func() { rows[i] = d.admitted(route) })
	}
	// Those that come in, before those that do not and may be slowed down.
	coming.Wait()
	for _, who := range []string{"", "x"} {
		var kept sync.WaitGroup
		for i, route := range routes {
			kept.Go(func() { rows[i] = append(rows[i], d.kept(route, who)) })
		}
		kept.Wait()
	}
	dawdling.Wait()
	for i, r := range rows { // in the order of the columns
		rows[i] = []string{r[0], r[1], r[5], r[6], r[2], r[3], r[4], slow[i]}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	r.must(a.Close())
	return rows
}

// A doorway leads to a running process.
type doorway struct {
	*rig
	addr   string
	tokens map[string]string
}

// path fills in a route's path with things that are not there.
func path(route control.Route) string {
	var parts []string
	for part := range strings.SplitSeq(route.Path, "/") {
		if strings.HasPrefix(part, "{") {
			part = "1"
		}
		parts = append(parts, part)
	}
	p := strings.Join(parts, "/")
	if strings.HasPrefix(p, "/debug/pprof/") && p != "/debug/pprof/" {
		p += "?seconds=1"
	}
	return p
}

// ask is the status of one request. A large body may still be on its way when
// the answer comes and the connection is closed: then a client now and then
// loses the answer, and asks again.
func (d *doorway) ask(route control.Route, who, body string, headers ...string) int {
	for try := 1; ; try++ {
		status, err := d.askOnce(route, who, body, headers...)
		if err == nil {
			return status
		}
		if try == 5 || len(body) < 1<<20 {
			d.Errorf("%s %s as %q: %v", route.Method, route.Path, who, err)
			return 0
		}
	}
}

func (d *doorway) askOnce(route control.Route, who, body string, headers ...string) (int, error) {
	ctx, cancel := context.WithTimeout(d.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, route.Method, "http://"+d.addr+path(route), strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if token := d.tokens[who]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if strings.HasPrefix(route.Path, "/debug/pprof/") {
		// One profile is made at a time. A stream of events need not end.
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	return resp.StatusCode, nil
}

// entered are the statuses of who got in, whatever the route thought of it.
func entered(status int) bool {
	return !slices.Contains([]int{0, 401, 403, 405, 429, 431, 500}, status)
}

// admitted begins a row: what becomes of those who may come in.
func (d *doorway) admitted(route control.Route) []string {
	access := map[control.Access]string{
		control.Anyone: "anyone", control.OnLoopback: "anyone on loopback", control.Viewer: "viewers", control.Operator: "operators",
	}[route.Access]
	if access == "" {
		d.Errorf("%s %s: access %d has no row in the table of doors", route.Method, route.Path, route.Access)
	}
	right := d.ask(route, "oda", "{}")
	if !entered(right) {
		d.Errorf("%s %s: an operator is answered %d", route.Method, route.Path, right)
	}
	viewer := d.ask(route, "eve", "{}")
	if want := route.Access != control.Operator; entered(viewer) != want || !want && viewer != 403 {
		d.Errorf("%s %s: a viewer is answered %d", route.Method, route.Path, viewer)
	}
	again := d.ask(route, "oda", "{}")
	if !entered(again) {
		d.Errorf("%s %s: an operator is answered %d the second time", route.Method, route.Path, again)
	}
	over := d.ask(route, "oda", "{}", "X-Large", strings.Repeat("x", 64<<10))
	if over != 431 {
		d.Errorf("%s %s: large headers are answered %d", route.Method, route.Path, over)
	}
	size := fmt.Sprintf("headers %d", over)
	if route.Method != "GET" {
		// One value that never ends, for those who read values, too.
		body := d.ask(route, "oda", `{"x":"`+strings.Repeat("x", 3<<20)+`"}`)
		if body/100 != 4 || !entered(body) {
			d.Errorf("%s %s: a large body is answered %d", route.Method, route.Path, body)
		}
		size = fmt.Sprintf("%d, %s", body, size)
	}
	return []string{route.Method + " " + route.Path, access, fmt.Sprintf("%d, a viewer %d", right, viewer), fmt.Sprint(again), size}
}

// kept is what becomes of who has no right token: outside, unless the route is
// for anyone.
func (d *doorway) kept(route control.Route, who string) string {
	status := d.ask(route, who, "{}")
	open := route.Access == control.Anyone || route.Access == control.OnLoopback
	// 429 where wrong tokens came often.
	refused := status == 401 || who != "" && status == 429
	if open && !entered(status) || !open && !refused {
		d.Errorf("%s %s: the token %q is answered %d", route.Method, route.Path, who, status)
	}
	return fmt.Sprint(status)
}

// slow begins a request whose headers never end.
func (d *doorway) slow(route control.Route) string {
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		d.Errorf("%s %s: %v", route.Method, route.Path, err)
		return "?"
	}
	defer conn.Close()
	began := time.Now()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nX-Slow: ", route.Method, path(route), d.addr, d.tokens["oda"])
	_ = conn.SetReadDeadline(began.Add(20 * time.Second))
	status := "cut"
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		status = fmt.Sprint(resp.StatusCode)
	}
	took := time.Since(began)
	if took > 15*time.Second {
		d.Errorf("%s %s: a request without end was held for %s", route.Method, route.Path, took)
	}
	return fmt.Sprintf("%s after %s", status, took.Round(time.Second))
}

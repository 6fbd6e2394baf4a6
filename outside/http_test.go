package outside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// service is a handler that is a service; answer gets what was posted.
func service(t *testing.T, o HTTPOptions, answer func(w http.ResponseWriter, r *http.Request, body []byte)) *HTTP {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v %v", r.Method, r.Header, err)
		}
		answer(w, r, body)
	}))
	o.Name, o.URL = "Test", server.URL+"/push"
	h := NewHTTP(o)
	t.Cleanup(func() { h.Close(); server.Close() })
	return h
}

// What became of a notification is told by the body, and where that has no
// outcome, by the status.
func TestHTTPAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status int
		header string // Retry-After
		body   string
		want   string
	}{
		{200, "", `{"outcome":"written"}`, "written"},
		{200, "", `{"seq":SEQ,"outcome":"skip","reason":"no-loyalty"}`, "skipped|no-loyalty"},
		{200, "", "", "written"},
		{204, "", "", "written"},
		{201, "", `{"ok":true}`, "written"},
		{200, "", `<html>`, "unclear|handler Test: HTTP 200 OK: wrong answer: not a JSON object; answer with one, and print nothing else there"},
		{200, "", `{"outcome":"written"`, "unclear|handler Test: HTTP 200 OK: wrong answer: not JSON"},
		{200, "", `{"seq":0,"outcome":"written"}`, "unclear|handler Test: wrong answer: its seq is of another question"},
		{200, "", strings.Repeat(" ", maxAnswer+1), "unclear|handler Test: wrong answer: longer than 65536 bytes"},
		{200, "", `{"outcome":"done"}`, "retry|handler Test: wrong answer: its outcome is none of written, unchanged, skip, reject, retry, retry-after, unavailable, unclear"},
		{422, "", `{"outcome":"reject","reason":"too-old","why":"version 1"}`, "dead|too-old|version 1"},
		{500, "", `{"outcome":"unavailable","why":"CRM is down"}`, "held|CRM is down"},
		{302, "", "", "later|1s|handler Test is down: HTTP 302 Found; it is tried again in 1s"},
		{400, "", `<html>`, "dead|http-400|handler Test: HTTP 400 Bad Request"},
		{409, "", ``, "dead|http-409|handler Test: HTTP 409 Conflict"},
		{422, "", `{"error":"no"}`, "dead|http-422|handler Test: HTTP 422 Unprocessable Entity"},
		{401, "", "", "later|1s|handler Test is down: HTTP 401 Unauthorized; it is tried again in 1s"},
		{403, "", "", "later|1s|handler Test is down: HTTP 403 Forbidden; it is tried again in 1s"},
		{404, "", "", "later|1s|handler Test is down: HTTP 404 Not Found; it is tried again in 1s"},
		{405, "", "", "later|1s|handler Test is down: HTTP 405 Method Not Allowed; it is tried again in 1s"},
		{408, "", "", "later|1s|handler Test: HTTP 408 Request Timeout"},
		{429, "7", "", "later|7s|handler Test: HTTP 429 Too Many Requests"},
		{429, "", "", "later|1s|handler Test: HTTP 429 Too Many Requests"},
		{429, "99999999", "", "later|24h0m0s|handler Test: HTTP 429 Too Many Requests"},
		{503, "", "", "later|1s|handler Test is down: HTTP 503 Service Unavailable; it is tried again in 1s"},
		{503, "7", "", "later|7s|handler Test: HTTP 503 Service Unavailable"},
		{500, "", "<html>", "unclear|handler Test: HTTP 500 Internal Server Error"},
		{502, "", "<html>", "unclear|handler Test: HTTP 502 Bad Gateway"},
		{504, "", "", "unclear|handler Test: HTTP 504 Gateway Timeout"},
	}
	for _, tt := range tests {
		h := service(t, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request, body []byte) {
			var q Question
			if err := json.Unmarshal(body, &q); err != nil || q.Resource != "a" || string(q.Body) != `{"do":"","say":""}` {
				t.Errorf("posted %s: %v", body, err)
			}
			if tt.header != "" {
				w.Header().Set("Retry-After", tt.header)
			}
			if tt.status == 302 {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(tt.status)
			fmt.Fprint(w, strings.ReplaceAll(tt.body, "SEQ", fmt.Sprint(q.Seq)))
		})
		if got := about(ask1(t, h, told("a", "", ""))); got != tt.want {
			t.Errorf("%d %.60s\ngot  %s\nwant %s", tt.status, tt.body, got, tt.want)
		}
	}
}

// about has a delay of nearly a second as one.
func about(outcome string) string {
	words := strings.Split(outcome, "|")
	if d, err := time.ParseDuration(words[min(1, len(words)-1)]); err == nil {
		words[1] = d.Round(time.Second).String()
	}
	return strings.Join(words, "|")
}

// What was not sent was not done; what was sent and not answered may be.
func TestHTTPWithoutAnswer(t *testing.T) {
	t.Parallel()
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		h := NewHTTP(HTTPOptions{Name: "Test", URL: "http://" + l.Addr().String() + "/secret-path"})
		got := ask1(t, h, told("a", "", ""))
		if !strings.HasPrefix(about(got), "later|1s|handler Test is down: dial tcp") || strings.Contains(got, "secret-path") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("it hangs", func(t *testing.T) {
		release := make(chan bool)
		h := service(t, HTTPOptions{Timeout: 100 * time.Millisecond}, func(http.ResponseWriter, *http.Request, []byte) { <-release })
		defer close(release)
		if got := ask1(t, h, told("a", "", "")); !strings.HasPrefix(got, "unclear|handler Test: ") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("it is cut off", func(t *testing.T) {
		h := service(t, HTTPOptions{}, func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) })
		if got := ask1(t, h, told("a", "", "")); !strings.HasPrefix(got, "unclear|handler Test: ") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("its answer is cut off", func(t *testing.T) {
		h := service(t, HTTPOptions{}, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"outcome":`)
		})
		if got := ask1(t, h, told("a", "", "")); got != "unclear|handler Test: HTTP 200, and the answer was cut off" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("its headers cannot be made", func(t *testing.T) {
		h := service(t, HTTPOptions{Headers: func() (http.Header, error) { return nil, errors.New("no such file") }},
			func(http.ResponseWriter, *http.Request, []byte) { t.Error("asked") })
		if got := ask1(t, h, told("a", "", "")); about(got) != "later|1s|handler Test is down: its headers: no such file; it is tried again in 1s" {
			t.Errorf("got %s", got)
		}
	})
}

// A service that is down is not asked for each notification, but again and
// again, later and later; it is told to be down, once, and works at once when
// it answers.
func TestHTTPOutage(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	var asked atomic.Int32
	var log lockedBuffer
	h := service(t, HTTPOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		if asked.Add(1); down.Load() {
			w.WriteHeader(503)
		}
	})
	down.Store(true)
	for fails := 1; fails <= 3; fails++ {
		for i := range 3 {
			o, _, delay := ct2fluent.OutcomeOf(h.Handle(t.Context(), []ct2fluent.Notification{told("a", "", "")})[0])
			if want := restartDelay(fails); o != ct2fluent.Later || delay > want || delay < want-time.Second/2 {
				t.Fatalf("failure %d, notification %d: %v after %v", fails, i, o, delay)
			}
		}
		if n := int(asked.Load()); n != fails {
			t.Fatalf("asked %d times, want %d", n, fails)
		}
		h.until = time.Now()
	}
	if since, why := h.Down(); time.Since(since) > time.Minute || why != "HTTP 503 Service Unavailable" {
		t.Errorf("down since %v: %s", since, why)
	}
	down.Store(false)
	if got := ask1(t, h, told("a", "", "")); got != "written" {
		t.Error(got)
	}
	if _, why := h.Down(); why != "" || strings.Count(log.String(), "handler is down") != 1 || strings.Count(log.String(), "handler works again") != 1 {
		t.Errorf("down %q, log\n%s", why, log.String())
	}
}

// A service that refuses one notification and works others is not down: the
// company of its route decides about that one.
func TestHTTPRefusesOne(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	h := service(t, HTTPOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(w http.ResponseWriter, _ *http.Request, body []byte) {
		if strings.Contains(string(body), "poison") {
			w.WriteHeader(503)
		}
	})
	for round := range 5 {
		if got := ask1(t, h, told("a", "", "")); got != "written" {
			t.Fatalf("round %d: the good one is %s", round, got)
		}
		o, _, _ := ct2fluent.OutcomeOf(h.Handle(t.Context(), []ct2fluent.Notification{told("poison", "", "")})[0])
		if o != ct2fluent.Doubtful {
			t.Fatalf("round %d: the refused one is %v", round, o)
		}
	}
	if _, why := h.Down(); why != "" || strings.Contains(log.String(), "handler is down") {
		t.Errorf("down %q, log\n%s", why, log.String())
	}
	for range 2 {
		h.Handle(t.Context(), []ct2fluent.Notification{told("poison", "", "")})
	}
	if _, why := h.Down(); why == "" {
		t.Error("who refuses all is not down")
	}
}

func TestHTTPHeaders(t *testing.T) {
	t.Parallel()
	h := service(t, HTTPOptions{UserAgent: "ct2fluent/1", Headers: func() (http.Header, error) {
		return http.Header{"Authorization": {"Bearer hush"}}, nil
	}}, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if r.Header.Get("Authorization") != "Bearer hush" || r.Header.Get("User-Agent") != "ct2fluent/1" {
			t.Errorf("headers %v", r.Header)
		}
	})
	if got := ask1(t, h, told("a", "", "")); got != "written" {
		t.Errorf("got %s", got)
	}
}

// With a batch size, a request has a list, a notification of each resource at
// most, and its answer is a list in the same order.
func TestHTTPLists(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var posted []string
	h := service(t, HTTPOptions{BatchSize: 3, Concurrent: 1}, func(w http.ResponseWriter, _ *http.Request, body []byte) {
		var qs []Question
		if err := json.Unmarshal(body, &qs); err != nil {
			t.Error(err)
		}
		var ids, answers []string
		for _, q := range qs {
			ids = append(ids, q.Resource)
			say := map[string]string{"b": `"outcome":"retry","why":"E17"`, "c": `"outcome":"unavailable","why":"down"`}[q.Resource]
			if say == "" {
				say = `"outcome":"written"`
			}
			answers = append(answers, fmt.Sprintf(`{"seq":%d,%s}`, q.Seq, say))
		}
		mu.Lock()
		posted = append(posted, strings.Join(ids, ""))
		mu.Unlock()
		fmt.Fprint(w, "["+strings.Join(answers, ",")+"]")
	})
	var batch []ct2fluent.Notification
	for _, id := range strings.Fields("a a b b c c d d d e") {
		batch = append(batch, told(id, "", ""))
	}
	var got []string
	for _, err := range h.Handle(t.Context(), batch) {
		got = append(got, outcome(err))
	}
	const want = "written written retry|E17 later|E17 held|down held|down written written written written"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	if lists := strings.Join(posted, " "); lists != "abc de ad d" && lists != "de abc ad d" {
		t.Errorf("posted %s", lists)
	}
}

func TestHTTPListsThatAreWrong(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"outcome":"written"}`:                                 "unclear|handler Test: HTTP 200 OK: wrong answer: not a JSON list; a list of questions has a list of answers, in the same order",
		`[{"seq":1,"outcome":"written"}]`:                       "unclear|handler Test: HTTP 200 OK: wrong answer: a list of 1 for 2 questions",
		`[{"outcome":"written"},{"outcome":"written"}]`:         "unclear|handler Test: wrong answer: no seq; repeat that of the question",
		`[{"seq":0},{"seq":0}]`:                                 "retry|handler Test: wrong answer: no outcome; it is one of written, unchanged, skip, reject, retry, retry-after, unavailable, unclear",
		`[{"seq":0,"outcome":"written"},{"outcome":"written"}]`: "unclear|handler Test: wrong answer: its seq is of another question",
		``: "written",
	} {
		h := service(t, HTTPOptions{BatchSize: 2}, func(w http.ResponseWriter, _ *http.Request, body []byte) {
			fmt.Fprint(w, answer)
		})
		if got := outcome(h.Handle(t.Context(), []ct2fluent.Notification{told("a", "", ""), told("b", "", "")})[0]); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", answer, got, want)
		}
	}
}

// No more requests than configured go at once, and a stop ends the waiting.
func TestHTTPAtOnce(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2} {
		var now, most atomic.Int32
		release := make(chan bool)
		h := service(t, HTTPOptions{Concurrent: 2, BatchSize: size}, func(http.ResponseWriter, *http.Request, []byte) {
			most.Store(max(most.Load(), now.Add(1)))
			<-release
			now.Add(-1)
		})
		var batch []ct2fluent.Notification
		for i := range 12 {
			batch = append(batch, told(fmt.Sprint(i), "", ""))
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []error)
		go func() { done <- h.Handle(ctx, batch) }()
		for now.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		errs := <-done
		close(release)
		asked := 0
		for _, err := range errs {
			switch o, _, _ := ct2fluent.OutcomeOf(err); o {
			case ct2fluent.Doubtful:
				asked++
			case ct2fluent.Later:
			default:
				t.Errorf("%v", err)
			}
		}
		if asked != 2*size || most.Load() != 2 {
			t.Errorf("size %d: %d asked, %d at once", size, asked, most.Load())
		}
	}
}

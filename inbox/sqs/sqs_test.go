package sqs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNew(t *testing.T) {
	const eu = "https://sqs.eu-central-1.amazonaws.com/123456789012/ct-queue"
	tests := []struct {
		name   string
		o      Options
		region string
		err    string
	}{
		{name: "a name", o: Options{Name: "ct-queue", Region: "eu-west-1"}, region: "eu-west-1"},
		{name: "a URL tells the region", o: Options{Name: eu}, region: "eu-central-1"},
		{name: "an older URL too", o: Options{Name: "https://us-west-2.queue.amazonaws.com/1/q"}, region: "us-west-2"},
		{name: "a private endpoint too", o: Options{Name: "https://vpce-0a-1b.sqs.eu-north-1.vpce.amazonaws.com/1/q"}, region: "eu-north-1"},
		{name: "another service's URL does not", o: Options{Name: "http://sqs.localhost:4566/1/q", Region: "eu-west-1"}, region: "eu-west-1"},
		{name: "a URL of another region", o: Options{Name: eu, Region: "eu-west-1"}, err: "correct one of them"},
		{name: "no name", err: "set its name or URL"},
		{name: "a broken URL", o: Options{Name: "https://sqs.eu-central-1.amazonaws.com/"}, err: "should look like"},
		{name: "wait too long", o: Options{Name: eu, Wait: time.Minute}, err: "1 s to 20 s"},
		{name: "a wait that is none", o: Options{Name: eu, Wait: time.Millisecond}, err: "1 s to 20 s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.o)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want …%s…", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.o.Region != tt.region || s.o.Wait != 20*time.Second || s.o.Receivers != 4 {
				t.Errorf("region %q, wait %s, %d receivers", s.o.Region, s.o.Wait, s.o.Receivers)
			}
		})
	}
}

// What SQS refuses for good ends Run and Check with the thing, the code and the
// remedy; and with nothing that SQS echoes.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name      string
		queue     string
		operation string // that is refused
		status    int
		code      string
		want      string
	}{
		{"no such queue by name", "other", "", 0, "", "find queue other: refused: QueueDoesNotExist (HTTP 400): correct the name"},
		{"no such queue by URL", "http://sqs.invalid/1/other", "", 0, "", "queue http://sqs.invalid/1/other: refused: QueueDoesNotExist (HTTP 400)"},
		{"may not look it up", "ct-queue", "GetQueueUrl", 403, "AccessDenied", "find queue ct-queue: refused: AccessDenied (HTTP 403): allow these credentials"},
		{"may not receive", "ct-queue", "ReceiveMessage", 400, "AccessDeniedException", "receive from queue ct-queue: refused: AccessDeniedException"},
		{"may not delete", "ct-queue", "DeleteMessageBatch", 403, "AccessDenied", "delete from queue ct-queue: refused: AccessDenied"},
		{"wrong key", "ct-queue", "ReceiveMessage", 403, "InvalidClientTokenId", "correct the AWS credentials"},
		{"wrong secret", "ct-queue", "ReceiveMessage", 403, "SignatureDoesNotMatch", "correct the AWS credentials"},
		{"session over", "ct-queue", "ReceiveMessage", 403, "ExpiredToken", "renew the session"},
		{"encrypted with another's key", "ct-queue", "ReceiveMessage", 400, "KmsAccessDenied", "kms:Decrypt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{acknowledged: func([]byte) {}, refuse: func(operation string) (int, string) {
					if operation == tt.operation {
						return tt.status, tt.code
					}
					return 0, ""
				}}
				s, err := New(Options{Name: tt.queue, Client: f.open(t)})
				if err != nil {
					t.Fatal(err)
				}
				f.send("{}")
				err = s.Run(t.Context(), func(context.Context, []byte) error { return nil })
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Run: %v\nwant …%s…", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), "session-token") {
					t.Errorf("a secret in the text: %v", err)
				}
			})
		})
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		refuse string
		status int
		code   string
		want   string
	}{
		{"all is well", "", 0, "", ""},
		{"may not look", "GetQueueAttributes", 403, "AccessDenied", "sqs: look at queue ct-queue: refused: AccessDenied (HTTP 403): allow"},
		{"does not answer", "GetQueueUrl", 503, "ServiceUnavailable", "sqs: find queue ct-queue: ServiceUnavailable (HTTP 503)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{refuse: func(operation string) (int, string) {
					if operation == tt.refuse {
						return tt.status, tt.code
					}
					return 0, ""
				}}
				s, err := New(Options{Name: "ct-queue", Client: f.open(t)})
				if err != nil {
					t.Fatal(err)
				}
				err = s.Check(t.Context())
				if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if refused := tt.status/100 == 4; errors.Is(err, ErrRefused) != refused {
					t.Errorf("refused %v, want %v", !refused, refused)
				}
			})
		})
	}
}

// A bench runs a source on a fake and counts what it tells.
type bench struct {
	*fake
	log    lockedBuffer
	mu     sync.Mutex
	events map[string]int
	stop   func()
}

func start(t *testing.T, f *fake, put func(ctx context.Context, body []byte) error) *bench {
	if f.acknowledged == nil {
		f.acknowledged = func([]byte) {}
	}
	b := &bench{fake: f, events: map[string]int{}}
	s, err := New(Options{
		Name: queueURL, Client: f.open(t), Receivers: 2, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		Observe: func(event string, n int) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events[event] += n
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, put) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	return b
}

func (b *bench) count(event string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.events[event]
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func kept(context.Context, []byte) error { return nil }

// An outage is waited out, and said once.
func TestOutage(t *testing.T) {
	for _, code := range []struct {
		status int
		code   string
	}{{503, "ServiceUnavailable"}, {500, "InternalFailure"}, {400, "RequestThrottled"}, {403, "OverLimit"}} {
		t.Run(code.code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, &fake{refuse: func(string) (int, string) { return code.status, code.code }}, kept)
				b.send("{}")
				time.Sleep(10 * time.Minute)
				if n := b.count("receive-failed"); n < 30 || n > 150 {
					t.Errorf("asked %d times in ten minutes", n)
				}
				b.setRefuse(nil)
				time.Sleep(time.Minute)
				if n := b.count("acknowledged"); n != 1 {
					t.Errorf("%d acknowledged after the outage", n)
				}
				b.stop()
				if log := b.log.String(); strings.Count(log, "does not answer") != 1 || strings.Count(log, "answers again") != 1 || strings.Contains(log, "session-token") {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

func (f *fake) setRefuse(refuse func(string) (int, string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

// A queue that is full for long must not wear out the receives that a redrive
// policy counts, nor after the stop make others wait.
func TestPutFailsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, &fake{}, func(context.Context, []byte) error { return errors.New("full") })
		for i := range 15 {
			b.send(fmt.Sprint(i))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		for body, n := range b.receives {
			if n != 1 {
				t.Errorf("%s was received %d times", body, n)
			}
		}
		b.stop()
		time.Sleep(time.Second)
		for _, m := range b.messages {
			if m.visible.After(time.Now()) {
				t.Errorf("%s is still hidden %s after the stop", m.body, time.Until(m.visible))
			}
		}
		if len(b.messages) != 15 || b.count("released") != len(b.receives) {
			t.Errorf("%d left, %d of %d released", len(b.messages), b.count("released"), len(b.receives))
		}
	})
}

// What is kept is deleted while another message of its poll still fails, and
// is no longer extended.
func TestPutFailsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, &fake{}, func(_ context.Context, body []byte) error {
			if string(body) == "3" {
				return errors.New("full")
			}
			return nil
		})
		b.fake.mu.Lock() // no poll sees a part of them only
		for i := range 5 {
			b.messages = append(b.messages, &message{body: fmt.Sprint(i)})
		}
		b.change()
		b.fake.mu.Unlock()
		time.Sleep(10 * time.Minute)
		b.stop()
		if len(b.messages) != 1 || b.count("acknowledged") != 4 || b.count("extend-failed") != 0 || b.count("released") != 1 {
			t.Errorf("%d left, events %v", len(b.messages), b.events)
		}
	})
}

// Each entry of a deletion has an answer of its own.
func TestDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[string]int{}
		f := &fake{refuseEntry: func(operation, body string) (string, bool) {
			tries[body]++
			switch {
			case body == "again" && tries[body] < 3:
				return "InternalError", false
			case body == "never" && tries[body] < 4:
				return "InternalError", false
			case body == "fault" && tries[body] < 2:
				return "ReceiptHandleIsInvalid", true
			}
			return "", false
		}}
		b := start(t, f, kept)
		for _, body := range []string{"well", "again", "never", "fault"} {
			b.send(body)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := fmt.Sprint(tries); got != "map[again:3 fault:1 never:3 well:1]" {
			t.Errorf("tries %s", got)
		}
		if n := b.count("acknowledged"); n != 2 {
			t.Errorf("%d acknowledged, want 2", n)
		}
		// What is left comes again, and is deleted then.
		time.Sleep(2 * visibility)
		b.stop()
		if len(f.messages) > 0 || b.count("acknowledged") != 4 || b.count("delete-failed") != 2 {
			t.Errorf("%d left, %d acknowledged, %d failed", len(f.messages), b.count("acknowledged"), b.count("delete-failed"))
		}
	})
}

// Without the permission to extend nothing is lost: what takes long comes twice.
func TestMayNotExtend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{refuse: func(operation string) (int, string) {
			if operation == "ChangeMessageVisibilityBatch" {
				return 403, "AccessDenied"
			}
			return 0, ""
		}}
		var puts atomic.Int32
		b := start(t, f, func(context.Context, []byte) error {
			if puts.Add(1) == 1 {
				time.Sleep(3 * visibility / 2)
			}
			return nil
		})
		b.send("{}")
		time.Sleep(10 * visibility)
		b.stop()
		if len(f.messages) > 0 || puts.Load() != 2 || b.count("acknowledged") != 1 || b.count("extend-failed") == 0 {
			t.Errorf("%d left, %d puts, events %v", len(f.messages), puts.Load(), b.events)
		}
	})
}

// Without a Client in the options, one is made from the environment.
func TestEnvironment(t *testing.T) {
	f := &fake{}
	server := httptest.NewServer(f)
	defer server.Close()
	f.calls = map[string]int{}
	for _, name := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	check := func(o Options) error {
		t.Helper()
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return s.Check(t.Context())
	}
	want := func(err error, text string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want …%s…", err, text)
		}
	}

	want(check(Options{Name: "ct-queue", Region: "eu-central-1"}), "set AWS_ACCESS_KEY_ID")
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	want(check(Options{Name: "ct-queue"}), "set region, or AWS_REGION")

	if err := check(Options{Name: "ct-queue", Endpoint: server.URL}); err != nil {
		t.Errorf("by endpoint: %v", err)
	}
	// The queue's URL is where the service is, and of another queue here.
	want(check(Options{Name: server.URL + "/1/other"}), "QueueDoesNotExist")
	t.Setenv("AWS_ENDPOINT_URL_SQS", server.URL)
	if err := check(Options{Name: queueURL}); err != nil {
		t.Errorf("by the environment's endpoint: %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	want(check(Options{Name: "ct-queue", Region: "eu-central-1"}), "sqs: find queue ct-queue: dial tcp 127.0.0.1:1")
	if n := f.calls["GetQueueAttributes"]; n != 3 {
		t.Errorf("%d calls arrived, want 3", n)
	}
}

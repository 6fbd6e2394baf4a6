package outside

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"go.uber.org/goleak"
)

// behaviour, when set, makes this test binary a handler that behaves so.
const behaviour = "OUTSIDE_TEST_HANDLER"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if how, is := strings.CutPrefix(os.Args[1], "broken: "); is {
			broken(how)
			return
		}
	}
	if how := os.Getenv(behaviour); how != "" {
		play(how)
		return
	}
	goleak.VerifyTestMain(m)
}

// play answers lines: what the body of a question says is to be done.
func play(how string) {
	if how == "dies at once" {
		os.Exit(7)
	}
	in := bufio.NewReader(os.Stdin)
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if err != nil {
			if how == "stays" {
				time.Sleep(time.Hour)
			}
			return
		}
		var q struct {
			Seq   uint64
			Again bool
			Body  struct{ Do, Say string }
		}
		if err := json.Unmarshal(text, &q); err != nil {
			panic(err)
		}
		say := func(rest string) { fmt.Printf(`{"seq":%d,%s}`+"\n", q.Seq, rest) }
		switch q.Body.Do {
		case "", "written":
			say(`"outcome":"written"`)
		case "say":
			say(q.Body.Say)
		case "print":
			fmt.Print(q.Body.Say)
		case "print and write":
			fmt.Println(q.Body.Say)
			say(`"outcome":"written"`)
		case "write and print":
			say(`"outcome":"written"`)
			fmt.Println(q.Body.Say)
		case "die":
			os.Exit(3)
		case "answer and die":
			say(`"outcome":"unchanged"`)
			os.Exit(3)
		case "hang":
			time.Sleep(time.Hour)
		case "wait":
			time.Sleep(20 * time.Millisecond)
			say(`"outcome":"written"`)
		case "pid":
			say(fmt.Sprintf(`"outcome":"skip","reason":"pid-%d"`, os.Getpid()))
		case "count":
			say(fmt.Sprintf(`"outcome":"skip","reason":"n-%d"`, n))
		case "again":
			say(fmt.Sprintf(`"outcome":"skip","reason":"again-%v"`, q.Again))
		case "environment":
			say(fmt.Sprintf(`"outcome":"skip","reason":"%s"`, os.Getenv(q.Body.Say)))
		case "stderr":
			fmt.Fprint(os.Stderr, q.Body.Say)
			say(`"outcome":"written"`)
		case "memory":
			all := make([][]byte, 0, 64)
			for range 64 {
				all = append(all, make([]byte, 16<<20)) // not touched: it costs no real memory
			}
			say(fmt.Sprintf(`"outcome":"skip","reason":"has-%d"`, len(all)))
		}
	}
}

func newExec(t *testing.T, how string, o ExecOptions) *Exec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o.Name, o.Command = "Test", []string{exe}
	environment := o.Environment
	o.Environment = func() ([]string, error) {
		env := []string{behaviour + "=" + how}
		if environment == nil {
			return env, nil
		}
		more, err := environment()
		return append(env, more...), err
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	e, err := NewExec(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

var seq atomic.Uint64

// told is a notification that tells the handler what to do.
func told(id, do, say string) ct2fluent.Notification {
	body, _ := json.Marshal(map[string]string{"do": do, "say": say})
	return ct2fluent.Notification{
		Seq: seq.Add(1), ID: "n-" + id, Ref: ct2fluent.Ref{Project: "shop", TypeID: "customer", ID: id},
		Name: "ResourceUpdated", Kind: "ResourceUpdated", Version: 3, Received: time.Now(), Body: body,
	}
}

// outcome is what became of one notification, as it is read aloud.
func outcome(err error) string {
	o, reason, delay := ct2fluent.OutcomeOf(err)
	words := []string{o.String()}
	if reason != "" {
		words = append(words, reason)
	}
	if delay > 0 {
		words = append(words, delay.String())
	}
	if err != nil && (!o.Settled() || o == ct2fluent.Dead) {
		words = append(words, err.Error())
	}
	return strings.Join(words, "|")
}

func ask1(t *testing.T, h ct2fluent.Handler, n ct2fluent.Notification) string {
	t.Helper()
	return outcome(h.Handle(t.Context(), []ct2fluent.Notification{n})[0])
}

// Each answer is an outcome of the root's words.
func TestAnswers(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{})
	const outcomes = "written, unchanged, skip, reject, retry, retry-after, unavailable, unclear"
	for say, want := range map[string]string{
		`"outcome":"written"`: "written",
		`"outcome":"written","why":"said","more":{"of":"it"}`:        "written",
		`"outcome":"unchanged"`:                                      "unchanged",
		`"outcome":"skip","reason":"no-loyalty"`:                     "skipped|no-loyalty",
		`"outcome":"reject"`:                                         "dead|rejected|reject",
		`"outcome":"reject","reason":"too-old","why":"version 1"`:    "dead|too-old|version 1",
		`"outcome":"retry","why":"E17"`:                              "retry|E17",
		`"outcome":"retry-after","after":1.5,"why":"limit"`:          "later|1.5s|limit",
		`"outcome":"retry-after"`:                                    "later|retry-after",
		`"outcome":"unavailable","why":"CRM is down"`:                "held|CRM is down",
		`"outcome":"unclear","why":"CRM gave no answer"`:             "unclear|CRM gave no answer",
		`"outcome":"retry","why":"` + strings.Repeat("ä", 400) + `"`: "retry|" + strings.Repeat("ä", 150) + "…",
		`"outcome":"retry","why":"a\nb\u0000c"`:                      "retry|a b c",
		`"outcome":"skip"`:                                           "retry|handler Test: wrong answer: skip needs a reason",
		`"outcome":"skip","reason":"Jane Doe"`:                       "retry|handler Test: wrong answer: reason is not a word of up to 40 small letters, digits, - and _",
		`"outcome":"written","reason":"x"`:                           `retry|handler Test: wrong answer: a reason is of skip and reject only; say why in "why"`,
		`"outcome":"retry-after","after":-1`:                         "retry|handler Test: wrong answer: after is 0 to 86400 seconds",
		`"outcome":"done"`:                                           "retry|handler Test: wrong answer: its outcome is none of " + outcomes,
		`"result":"written"`:                                         "retry|handler Test: wrong answer: no outcome; it is one of " + outcomes,
	} {
		if got := ask1(t, e, told("a", "say", say)); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", say, got, want)
		}
	}
	if got := ask1(t, e, told("a", "count", "")); got == "skipped|n-1" {
		t.Error("an answer with a wrong outcome had the process started again")
	}
}

// Where the answer is lost, it is unclear what was done, and the process is
// started again.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, do, say, want string }{
		{"it dies", "die", "", "the process has ended"},
		{"it does not answer", "hang", "", "no answer in time: 300ms"},
		{"it prints something else", "print", "hello\n", "wrong answer: not a JSON object; answer with one, and print nothing else there"},
		{"it prints half a line and hangs", "print", `{"seq":1`, "no answer in time: 300ms"},
		{"it prints JSON of another kind", "print", `{"seq":1,"outcome":7}` + "\n", `wrong answer: "outcome" is number; it is a string`},
		{"it prints broken JSON", "print", `{"seq":1,"outcome":}` + "\n", "wrong answer: not JSON"},
		{"it prints something before the answer", "print and write", "DEBUG", "wrong answer: not a JSON object; answer with one, and print nothing else there"},
		{"it answers another question", "print", `{"seq":0,"outcome":"written"}` + "\n", "wrong answer: its seq is of another question"},
		{"it answers no question", "print", `{"outcome":"written"}` + "\n", "wrong answer: no seq; repeat that of the question"},
		{"it answers without end", "print", strings.Repeat("x", maxAnswer), "wrong answer: longer than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newExec(t, "answers", ExecOptions{Timeout: 300 * time.Millisecond})
			if got := ask1(t, e, told("a", tt.do, tt.say)); got != "unclear|handler Test: "+tt.want {
				t.Errorf("got %s", got)
			}
			// Until it is started again, no question is asked, and none is at fault.
			if got := ask1(t, e, told("a", "count", "")); !strings.HasPrefix(got, "later|") || !strings.Contains(got, "|handler Test is down: ") || !strings.Contains(got, "; it is tried again in ") {
				t.Errorf("meanwhile: %s", got)
			}
			e.free[0].until = time.Time{}
			if got := ask1(t, e, told("a", "count", "")); got != "skipped|n-1" {
				t.Errorf("then: %s, want that of a new process", got)
			}
			if _, why := e.Down(); why != "" {
				t.Errorf("down all the same: %s", why)
			}
		})
	}
}

// What is printed after an answer is not taken for the next one.
func TestALineTooMany(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{})
	if got := ask1(t, e, told("a", "write and print", "DEBUG")); got != "written" {
		t.Errorf("got %s", got)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		got := ask1(t, e, told("a", "written", ""))
		if strings.HasPrefix(got, "later|") && strings.Contains(got, "a line that was not asked for") || strings.HasPrefix(got, "unclear|") {
			return
		}
		if got != "written" || time.Now().After(deadline) {
			t.Fatalf("got %s", got)
		}
	}
}

// An answer that was given before the end counts.
func TestAnswerAndDie(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{})
	if got := ask1(t, e, told("a", "answer and die", "")); got != "unchanged" {
		t.Errorf("got %s", got)
	}
}

// The account goes on; the handler is told to be down, once.
func TestAProcessThatDiesAtOnce(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	e := newExec(t, "dies at once", ExecOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	got := ask1(t, e, told("a", "", ""))
	if !strings.HasPrefix(got, "unclear|handler Test: the process has ended") {
		t.Errorf("first: %s", got)
	}
	for _, id := range []string{"b", "c"} {
		o, _, delay := ct2fluent.OutcomeOf(e.Handle(t.Context(), []ct2fluent.Notification{told(id, "", "")})[0])
		if o != ct2fluent.Later || delay <= 0 || delay > restartMin {
			t.Errorf("then: %v after %v", o, delay)
		}
	}
	if since, why := e.Down(); time.Since(since) > time.Minute || why != "the process has ended (exit status 7)" {
		t.Errorf("down since %v: %s", since, why)
	}
	if n := strings.Count(log.String(), "handler is down"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	for fails, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 99: time.Minute} {
		if got := restartDelay(fails); got != want {
			t.Errorf("after %d deaths: %v, want %v", fails, got, want)
		}
	}
}

// While one of two processes is there, the handler is not down.
func TestOneProcessOfTwoDies(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{Processes: 2})
	ask1(t, e, told("a", "die", ""))
	if got := ask1(t, e, told("a", "", "")); got != "written" {
		t.Fatal(got)
	}
	working, _ := e.take() // so that the place of the dead one is all that is left
	got := ask1(t, e, told("b", "", ""))
	e.give(working)
	if _, why := e.Down(); why != "" || got != "later|handler Test: the process has ended (exit status 3)" {
		t.Errorf("%s, down: %q", got, why)
	}
}

// Notifications of one resource are asked one after the other; one that does
// not settle keeps the later ones waiting, unasked.
func TestOrderOfAResource(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{Processes: 2})
	batch := []ct2fluent.Notification{
		told("a", "written", ""), told("a", "say", `"outcome":"retry","why":"E17"`), told("a", "die", ""),
		told("b", "say", `"outcome":"unavailable","why":"down"`), told("b", "die", ""),
		told("c", "written", ""),
	}
	var got []string
	for _, err := range e.Handle(t.Context(), batch) {
		got = append(got, outcome(err))
	}
	const want = "written retry|E17 later|E17 held|down held|down written"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

// As many processes as configured work at once, over all calls together, and
// no more.
func TestProcesses(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{Processes: 3})
	pids := map[string]int{}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for call := range 4 {
		calls.Go(func() {
			var batch []ct2fluent.Notification
			for i := range 10 {
				batch = append(batch, told(fmt.Sprint(call, "-", i), "wait", ""), told(fmt.Sprint(call, "-", i), "pid", ""))
			}
			for _, err := range e.Handle(context.Background(), batch) {
				o, reason, _ := ct2fluent.OutcomeOf(err)
				mu.Lock()
				if o == ct2fluent.Skipped {
					pids[reason]++
				} else if o != ct2fluent.Written {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	calls.Wait()
	if len(pids) != 3 {
		t.Errorf("worked by %v, want three processes", pids)
	}
}

// A stop lets a process end by itself; one that does not is killed by its id,
// and what it was asked is unclear.
func TestStop(t *testing.T) {
	t.Parallel()
	t.Run("it ends with its input", func(t *testing.T) {
		t.Parallel()
		e := newExec(t, "answers", ExecOptions{})
		ask1(t, e, told("a", "", ""))
		c := e.free[0].child
		e.Close()
		if got := c.state(); got != "exit status 0" {
			t.Errorf("ended by %s", got)
		}
		if got := ask1(t, e, told("a", "", "")); got != "later|handler Test: is stopped" {
			t.Errorf("after the stop: %s", got)
		}
	})
	t.Run("it stays", func(t *testing.T) {
		t.Parallel()
		e := newExec(t, "stays", ExecOptions{})
		ask1(t, e, told("a", "", ""))
		c := e.free[0].child
		if c.stop(50 * time.Millisecond) {
			t.Error("it ended by itself")
		}
		if got := c.state(); runtime.GOOS != "windows" && got != "signal: killed" {
			t.Errorf("ended by %s", got)
		}
	})
	t.Run("while it is asked", func(t *testing.T) {
		t.Parallel()
		e := newExec(t, "answers", ExecOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		errs := e.Handle(ctx, []ct2fluent.Notification{told("a", "hang", ""), told("a", "", ""), told("b", "", "")})
		if o, _, _ := ct2fluent.OutcomeOf(errs[0]); o != ct2fluent.Doubtful {
			t.Errorf("asked: %v", errs[0])
		}
		if o, _, _ := ct2fluent.OutcomeOf(errs[2]); o != ct2fluent.Later {
			t.Errorf("not asked: %v", errs[2])
		}
	})
}

// A question as large as a body can be passes through the pipe, also to one
// that answers before it has read it all.
func TestALargeQuestion(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{})
	n := told("a", "say", `"outcome":"skip","reason":"read"`)
	n.Body = append(bytes.TrimSuffix(n.Body, []byte("}")), []byte(`,"long":"`+strings.Repeat("ü\\n", 300_000)+`"}`)...)
	if got := ask1(t, e, n); got != "skipped|read" {
		t.Errorf("got %s", got)
	}
}

// What ct2fluent has in its environment, secrets among it, is not handed on.
func TestEnvironment(t *testing.T) {
	t.Setenv("OUTSIDE_TEST_SECRET", "hush")
	e := newExec(t, "answers", ExecOptions{Environment: func() ([]string, error) { return []string{"OWN=given"}, nil }})
	if got := ask1(t, e, told("a", "environment", "OWN")); got != "skipped|given" {
		t.Errorf("its own: %s", got)
	}
	if got := ask1(t, e, told("a", "environment", "OUTSIDE_TEST_SECRET")); !strings.Contains(got, "skip needs a reason") {
		t.Errorf("ours: %s", got)
	}
	bad := newExec(t, "answers", ExecOptions{Environment: func() ([]string, error) { return nil, errors.New("no such file") }})
	if got := ask1(t, bad, told("a", "", "")); !strings.HasPrefix(got, "later|") || !strings.Contains(got, "|handler Test is down: its environment: no such file; it is tried again in 1s") {
		t.Errorf("one that cannot be read: %s", got)
	}
}

func TestAgainIsTold(t *testing.T) {
	t.Parallel()
	e := newExec(t, "answers", ExecOptions{})
	n := told("a", "again", "")
	if got := ask1(t, e, n); got != "skipped|again-false" {
		t.Errorf("got %s", got)
	}
	n.Again = true
	if got := ask1(t, e, n); got != "skipped|again-true" {
		t.Errorf("got %s", got)
	}
}

// What it says on standard error is in the log, a line each, bounded.
func TestStandardError(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	e := newExec(t, "answers", ExecOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	ask1(t, e, told("a", "stderr", "one\ntwo\x00\n"+strings.Repeat("x", 20_000)+"\n"+strings.Repeat("many\n", 500)))
	ask1(t, e, told("a", "", ""))
	e.Close()
	text := log.String()
	for _, want := range []string{"handler=Test", "line=one\n", "line=two\n", "line=" + strings.Repeat("x", longestLine) + "…\n", "lines of the handler were left out"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the log", want)
		}
	}
	if n := strings.Count(text, "line=many"); n < 10 || n > 200 {
		t.Errorf("%d lines of many", n)
	}
}

func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		if limitMemory(1, 1) == nil {
			t.Error("limited")
		}
		return
	}
	free := newExec(t, "answers", ExecOptions{})
	if got := ask1(t, free, told("a", "memory", "")); got != "skipped|has-64" {
		t.Errorf("without a limit: %s", got)
	}
	var log lockedBuffer
	e := newExec(t, "answers", ExecOptions{MaxMemory: 512 << 20, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got := ask1(t, e, told("a", "", "")); got != "written" {
		t.Fatalf("within the limit: %s", got)
	}
	if got := ask1(t, e, told("a", "memory", "")); !strings.HasPrefix(got, "unclear|") {
		t.Errorf("beyond the limit: %s", got)
	}
	if strings.Contains(log.String(), "is not limited") {
		t.Error(log.String())
	}
}

func TestNewExecRefuses(t *testing.T) {
	for want, command := range map[string][]string{
		"no command; name the program and its arguments":                                                                     nil,
		`command "no-such-program": executable file not found in $PATH; correct it, or install the program`:                  {"no-such-program"},
		`command "./no-such-program": stat ./no-such-program: no such file or directory; correct it, or install the program`: {"./no-such-program"},
	} {
		if _, err := NewExec(ExecOptions{Command: command}); err == nil || runtime.GOOS == "linux" && err.Error() != want {
			t.Errorf("%q: %v", command, err)
		}
	}
}

// lockedBuffer is a log that several write to.
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

var _ io.Writer = (*lockedBuffer)(nil)

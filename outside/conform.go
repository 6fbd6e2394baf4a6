package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// A Finding says whether a handler keeps a rule.
type Finding struct {
	Rule   string `json:"rule"`
	OK     bool   `json:"ok"`
	What   string `json:"what,omitempty"`   // it did instead
	Remedy string `json:"remedy,omitempty"` // what to do
}

// sample is a notification that a handler has to be able to answer. It names
// nobody who lives.
func sample(seq uint64, id, body string) Question {
	return question(ct2fluent.Notification{
		Seq: seq, ID: "sample-" + id, Ref: ct2fluent.Ref{Project: "sample", TypeID: "customer", ID: id},
		Name: "ResourceUpdated", Kind: "ResourceUpdated", Version: 2, Received: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Body: []byte(body),
	})
}

const usualBody = `{"notificationType":"ResourceUpdated","projectKey":"sample","resource":{"typeId":"customer","id":"c1"},"version":2}`

// oddBodies are such as a handler may meet: of another type, of a notification
// of our own, or of something that commercetools adds one day.
var oddBodies = []string{
	"", "null", "7", `"text"`, "[]", "{}", `{"resource":null}`, `{"resource":[{"typeId":1}],"version":"two"}`,
	`{"text":"line\nbreak \"quoted\" \\ {\"seq\":1} ünïcödé 漢字 \u0000 😀"}`,
}

// judge says what is wrong with an answer to q; "" for nothing.
func judge(q Question, a Answer, err error) error {
	if err == nil {
		err = a.of(q.Seq)
	}
	if err == nil {
		if w, is := a.verdict().(*wrongAnswer); is {
			err = w
		}
	}
	return err
}

// A rule of lines.
type rule struct {
	name, remedy string
	try          func(t *try) error
}

// A try has a process of its own.
type try struct {
	ctx     context.Context
	e       *Exec
	c       *child
	timeout time.Duration
}

// ask asks and judges.
func (t *try) ask(q Question) error {
	line, err := q.line()
	if err != nil {
		return err
	}
	return t.askLine(q, line)
}

func (t *try) askLine(q Question, line []byte) error {
	text, err := t.c.ask(t.ctx, line, t.timeout)
	var a Answer
	if err == nil {
		a, err = parseAnswer(text)
	}
	return judge(q, a, err)
}

var rules = []rule{
	{"answers a notification", "read a line of standard input, and print one line: {\"seq\":SEQ,\"outcome\":\"written\"}, with the seq of the question; flush after each line",
		func(t *try) error { return t.ask(sample(1, "c1", usualBody)) }},
	{"answers every line, in order", "print one answer for each line, whatever it says, in the order of the lines",
		func(t *try) error {
			var all []byte
			const n = 20
			for i := range n {
				line, err := sample(uint64(100+i), fmt.Sprint("c", i), usualBody).line()
				if err != nil {
					return err
				}
				all = append(all, line...)
			}
			if err := t.askLine(sample(100, "c0", usualBody), all); err != nil {
				return fmt.Errorf("line 1 of %d: %w", n, err)
			}
			for i := 1; i < n; i++ {
				if err := t.askLine(sample(uint64(100+i), "", ""), nil); err != nil {
					return fmt.Errorf("line %d of %d: %w", i+1, n, err)
				}
			}
			return nil
		}},
	{"passes over keys that it does not know", "read the keys that you need, and leave the others",
		func(t *try) error {
			q := sample(2, "c1", usualBody)
			line, err := q.line()
			if err != nil {
				return err
			}
			line = append(bytes.TrimSuffix(line, []byte("}\n")), []byte(`,"unheardOf":{"list":[1,{"seq":9}]}}`+"\n")...)
			return t.askLine(q, line)
		}},
	{"survives a body that it does not expect", "answer skip or reject what you cannot work, and go on with the next line; body may be null",
		func(t *try) error {
			for i, body := range oddBodies {
				if err := t.ask(sample(uint64(10+i), "c1", body)); err != nil {
					return fmt.Errorf("a body of %.40q: %w", body, err)
				}
			}
			return nil
		}},
	{"takes a large notification", "read whole lines, however long they are; a notification may have 1 MiB and more",
		func(t *try) error {
			return t.ask(sample(3, "c1", `{"long":"`+strings.Repeat("0123456789abcdef", 1<<16)+`"}`))
		}},
	{"waits for the rest of a slow line", "read until the end of the line; what is there may be a part of it",
		func(t *try) error {
			q := sample(4, "c1", usualBody)
			line, err := q.line()
			if err != nil {
				return err
			}
			half := len(line) / 2
			if _, err := t.c.stdin.Write(line[:half]); err != nil {
				return errEnded
			}
			if err := t.quiet(300 * time.Millisecond); err != nil {
				return err
			}
			return t.askLine(q, line[half:])
		}},
	{"stays while there is nothing to do", "wait for the next line, however long it takes, and print nothing meanwhile",
		func(t *try) error {
			if err := t.ask(sample(5, "c1", usualBody)); err != nil {
				return err
			}
			if err := t.quiet(500 * time.Millisecond); err != nil {
				return err
			}
			return t.ask(sample(6, "c1", usualBody))
		}},
	{"works again what it may have worked", "take \"again\" for a hint, not for an error: see whether it was done, or do it so that twice is as good as once",
		func(t *try) error {
			q := sample(7, "c1", usualBody)
			if err := t.ask(q); err != nil {
				return err
			}
			q.Again, q.Attempts = true, 3
			return t.ask(q)
		}},
	{"can be killed and started again", "keep nothing that a kill would break; a lock that is left behind must not stop the next start",
		func(t *try) error {
			if err := t.ask(sample(8, "c1", usualBody)); err != nil {
				return err
			}
			t.c.kill()
			c, err := t.e.start()
			if err != nil {
				return err
			}
			t.c = c
			return t.ask(sample(8, "c1", usualBody))
		}},
	{"ends when its input ends", fmt.Sprintf("leave with exit code 0 within %v when standard input is at its end", stopWithin),
		func(t *try) error {
			if err := t.ask(sample(9, "c1", usualBody)); err != nil {
				return err
			}
			if !t.c.stop(t.e.within) {
				return fmt.Errorf("it was still there after %v", t.e.within)
			}
			if state := t.c.state(); state != "exit status 0" {
				return fmt.Errorf("it ended with %s", state)
			}
			return nil
		}},
}

// quiet waits, and fails when the process ends or says something.
func (t *try) quiet(d time.Duration) error {
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case <-limit.C:
		return t.c.idle()
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

// ConformExec tries a handler that answers lines, with a process for each rule.
// It has the environment of ct2fluent. A rule is tried when its finding is asked
// for, until ctx is done. The error is one of the options.
func ConformExec(ctx context.Context, o ExecOptions) (iter.Seq[Finding], error) {
	o.Environment = func() ([]string, error) { return os.Environ(), nil }
	e, err := NewExec(o)
	if err != nil {
		return nil, err
	}
	return e.conform(ctx), nil
}

func (e *Exec) conform(ctx context.Context) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		for _, r := range rules {
			if !found(ctx, r.name, r.remedy, e.tryRule(ctx, r), yield) {
				return
			}
		}
	}
}

// found tells of a rule, but not of one that could not be tried to its end. It
// is false where nothing more is to be tried.
func found(ctx context.Context, rule, remedy string, err error, yield func(Finding) bool) bool {
	if ctx.Err() != nil {
		return false
	}
	f := Finding{Rule: rule, OK: err == nil}
	if err != nil {
		f.What, f.Remedy = err.Error(), remedy
	}
	return yield(f)
}

func (e *Exec) tryRule(ctx context.Context, r rule) error {
	c, err := e.start()
	if err != nil {
		return err
	}
	t := &try{ctx: ctx, e: e, c: c, timeout: e.o.Timeout}
	defer func() { t.c.kill() }()
	return r.try(t)
}

// A webRule of requests.
type webRule struct {
	name, remedy string
	try          func(ctx context.Context, h *HTTP) error
}

var webRules = []webRule{
	{"answers a notification", "answer with 2xx and {\"outcome\":\"written\"}, or with another outcome",
		func(ctx context.Context, h *HTTP) error { return h.try(ctx, sample(1, "c1", usualBody), "") }},
	{"passes over keys that it does not know", "read the keys that you need, and leave the others",
		func(ctx context.Context, h *HTTP) error {
			return h.try(ctx, sample(2, "c1", usualBody), `,"unheardOf":{"list":[1,{"seq":9}]}`)
		}},
	{"survives a body that it does not expect", "answer skip or reject what you cannot work; body may be null",
		func(ctx context.Context, h *HTTP) error {
			for i, body := range oddBodies {
				if err := h.try(ctx, sample(uint64(10+i), "c1", body), ""); err != nil {
					return fmt.Errorf("a body of %.40q: %w", body, err)
				}
			}
			return nil
		}},
	{"takes a large notification", "raise the limit of a request's body: a notification may have 1 MiB and more",
		func(ctx context.Context, h *HTTP) error {
			return h.try(ctx, sample(3, "c1", `{"long":"`+strings.Repeat("0123456789abcdef", 1<<16)+`"}`), "")
		}},
	{"works again what it may have worked", "take \"again\" for a hint, not for an error: see whether it was done, or do it so that twice is as good as once",
		func(ctx context.Context, h *HTTP) error {
			q := sample(7, "c1", usualBody)
			if err := h.try(ctx, q, ""); err != nil {
				return err
			}
			q.Again, q.Attempts = true, 3
			return h.try(ctx, q, "")
		}},
	{"answers several at once", "work requests at once, and answer each with its own seq",
		func(ctx context.Context, h *HTTP) error {
			errs := make([]error, 8)
			var asking sync.WaitGroup
			for i := range errs {
				asking.Go(func() { errs[i] = h.try(ctx, sample(uint64(50+i), fmt.Sprint("c", i), usualBody), "") })
			}
			asking.Wait()
			return errors.Join(errs...)
		}},
}

// try posts a question, with more keys at its end, and judges the answer.
func (h *HTTP) try(ctx context.Context, q Question, more string) error {
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	text = append(bytes.TrimSuffix(text, []byte("}")), []byte(more+"}")...)
	res, _, err := h.sendText(ctx, text, 1)
	switch {
	case err != nil:
		return err
	case res.err != nil:
		return fmt.Errorf("HTTP %d: %w", res.status, res.err)
	case res.answers != nil && res.answers[0].Outcome != "":
		a := res.answers[0]
		if a.Seq == nil {
			a.Seq = &q.Seq
		}
		return judge(q, a, nil)
	case res.status/100 == 2, res.status == http.StatusBadRequest, res.status == http.StatusUnprocessableEntity, res.status == http.StatusTooManyRequests:
		return nil
	}
	return fmt.Errorf("HTTP %d %s without an outcome", res.status, http.StatusText(res.status))
}

// ConformHTTP tries a handler that answers requests.
func ConformHTTP(ctx context.Context, o HTTPOptions) iter.Seq[Finding] {
	o.BatchSize = 1
	return func(yield func(Finding) bool) {
		h := NewHTTP(o)
		defer h.Close()
		for _, r := range webRules {
			if !found(ctx, r.name, r.remedy, r.try(ctx, h), yield) {
				return
			}
		}
	}
}

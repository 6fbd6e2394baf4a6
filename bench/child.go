package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// self is this program in another mode.
func self(ctx context.Context, mode string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, mode)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// work runs a mode to its end, reads its answer into v, and says what it used.
func work(ctx context.Context, mode string, spec any, ca string, v any) (usage, error) {
	cmd, err := self(ctx, mode)
	if err != nil {
		return usage{}, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return usage{}, err
	}
	cmd.Env, cmd.Stdin = trusting(ca), bytes.NewReader(text)
	return answer(cmd, v)
}

// answer runs a command that answers with JSON.
func answer(cmd *exec.Cmd, v any) (usage, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return usage{}, fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, tail(said.Bytes()))
	}
	u := usage{CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if err := json.Unmarshal(out.Bytes(), v); err != nil {
		return u, fmt.Errorf("%s: answer: %w\n%s", filepath.Base(cmd.Path), err, tail(out.Bytes()))
	}
	return u, nil
}

func tail(text []byte) []byte { return text[max(0, len(text)-4000):] }

// trusting is the environment of a process that is to trust a certificate.
func trusting(ca string) []string {
	if ca == "" {
		return os.Environ()
	}
	return append(os.Environ(), "SSL_CERT_FILE="+ca)
}

// A sides is the process of the stand-ins.
type sides struct {
	Addresses
	dir   string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	http  *http.Client
}

// newSides asks stand-ins that others have started.
func newSides(control string) *sides {
	return &sides{Addresses: Addresses{Control: control}, http: &http.Client{}}
}

// sides starts stand-ins.
func (b *bench) sides(ctx context.Context, s Scene) (*sides, error) {
	dir, err := b.dir()
	if err != nil {
		return nil, err
	}
	if s.TLS != "" {
		s.TLS = dir
	}
	cmd, err := self(ctx, "standins")
	if err != nil {
		return nil, err
	}
	p := newSides("")
	p.dir, p.cmd = dir, cmd
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err = json.NewEncoder(p.stdin).Encode(s)
	if err == nil {
		err = json.NewDecoder(out).Decode(&p.Addresses)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("the stand-ins did not start: %w", err)
	}
	return p, nil
}

// close ends the process, and removes what was written beside it.
func (p *sides) close() {
	p.http.CloseIdleConnections()
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
	_ = os.RemoveAll(p.dir)
}

// ask sends a request to the stand-ins' own API. The answer is decoded into v,
// or copied where v is a *[]byte; nil drops it.
func (p *sides) ask(ctx context.Context, method, path string, body, v any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, p.Control+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	res, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("stand-ins: %s %s: %s", method, path, bytes.TrimSpace(got))
	}
	switch v := v.(type) {
	case nil:
		return nil
	case *[]byte:
		*v = got
		return nil
	}
	return json.Unmarshal(got, v)
}

// take gives the notifications of all that happened since it was last called.
func (p *sides) take(ctx context.Context) (bodies [][]byte, err error) {
	var all []byte
	if err := p.ask(ctx, "POST", "/notifications", nil, &all); err != nil {
		return nil, err
	}
	for line := range bytes.Lines(all) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			bodies = append(bodies, line)
		}
	}
	return bodies, nil
}

func (p *sides) counts(ctx context.Context) (c Counts, err error) {
	err = p.ask(ctx, "GET", "/counts", nil, &c)
	return c, err
}

// measured makes the Run of what happened between two counts.
func measured(before, after Counts, notifications, customers int, took time.Duration, u usage) Run {
	return Run{
		Notifications: notifications, Customers: customers, Seconds: took.Seconds(),
		Commercetools: after.Commercetools.customers() - before.Commercetools.customers(),
		Fluent:        after.Fluent.customers() - before.Fluent.customers(),
		Apart: after.Commercetools.apart() + after.Fluent.apart() -
			before.Commercetools.apart() - before.Fluent.apart(),
		CPU: u.CPU.Seconds(), SidesCPU: (after.CPU - before.CPU).Seconds(), RSS: u.Max,
		Sockets: [2]int{
			after.Commercetools.Sockets - before.Commercetools.Sockets,
			after.Fluent.Sockets - before.Fluent.Sockets,
		},
	}
}

// until polls for something that another process does.
func until(ctx context.Context, what string, patience, every time.Duration, is func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		done, err := is()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", patience, what)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// build makes the binaries of the product and, where it is there, of the rival.
func (b *bench) build(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/ct2fluent/ct2fluent").Output()
	if err != nil {
		return errors.New("run the bench within ct2fluent's source, with go run ./bench")
	}
	dir := strings.TrimSpace(string(root))
	b.stock = filepath.Join(b.tmp, "ct2fluent")
	if err := goBuild(ctx, dir, b.stock, "./cmd/ct2fluent"); err != nil {
		return err
	}
	module := filepath.Join(dir, "bench", "rival")
	if _, err := os.Stat(filepath.Join(module, "go.mod")); err != nil || !b.rival {
		b.told("without the rival")
		return nil
	}
	b.rivals = filepath.Join(b.tmp, "rival")
	if err := goBuild(ctx, module, b.rivals, "."); err != nil {
		b.told("without the rival: %v", err)
		b.rivals = ""
	}
	return nil
}

func goBuild(ctx context.Context, dir, to, what string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, what)
	cmd.Dir = dir
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s in %s: %w\n%s", what, dir, err, said)
	}
	return nil
}

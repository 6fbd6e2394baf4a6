package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/std"
)

// A process is a `ct2fluent run`.
type process struct {
	from   int64 // where in the log it begins
	pid    int   // 0: it runs inside this one
	signal func(os.Signal) error
	done   chan struct{}
	err    error
}

// launch starts a process and does not wait for it.
func (w *world) launch() error {
	log, err := os.OpenFile(w.path("run.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	p := &process{from: from, done: make(chan struct{})}
	if w.inside {
		p.runInside(log, w.config())
	} else {
		argv := []string{w.binary, "run", "--config", w.config()}
		if w.command != nil {
			argv = w.command(argv)
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = w.dir
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return err
		}
		p.pid, p.signal = cmd.Process.Pid, cmd.Process.Signal
		go func() {
			defer close(p.done)
			p.err = cmd.Wait()
			log.Close()
		}()
	}
	w.process = p
	if !w.polls {
		w.address.Store(nil) // that of the process before
		w.finding.Go(func() { w.find(p) })
	}
	return nil
}

// runInside runs the stock binary's command line in this process; every signal
// stops it in order.
func (p *process) runInside(log *os.File, config string) {
	ctx, cancel := context.WithCancel(context.Background())
	p.signal = func(os.Signal) error { cancel(); return nil }
	go func() {
		defer close(p.done)
		defer log.Close()
		if code := app.Run(ctx, std.Setup, []string{"run", "--config", config}, strings.NewReader(""), log, log); code != 0 {
			p.err = fmt.Errorf("exit code %d", code)
		}
	}()
}

var listens = regexp.MustCompile(`"webhook listens".*"address":"([^"]+)"`)

// find finds out where the webhook of a process listens.
func (w *world) find(p *process) {
	for !p.ended() {
		if at := listens.FindSubmatch(w.said(p)); at != nil {
			address := string(at[1])
			w.address.Store(&address)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// said is what a process has said.
func (w *world) said(p *process) []byte {
	log, err := os.Open(w.path("run.log"))
	if err != nil {
		return nil
	}
	defer log.Close()
	text, err := io.ReadAll(io.NewSectionReader(log, p.from, 1<<40))
	if err != nil {
		return nil
	}
	return text
}

func (w *world) lastSaid() string {
	text := w.said(w.process)
	return string(text[max(0, len(text)-3000):])
}

// start starts a process, and waits until it answers.
func (w *world) start() error {
	if err := w.launch(); err != nil {
		return err
	}
	return w.until("the start", time.Minute, func() bool {
		_, err := w.status()
		return err == nil && (w.polls || w.address.Load() != nil)
	})
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process as a power switch does.
func (p *process) kill() {
	_ = p.signal(os.Kill)
	<-p.done
}

// stop ends the process in order. That is a success within its time.
func (w *world) stop() error {
	p := w.process
	w.process = nil
	w.address.Store(nil)
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		_ = p.signal(syscall.SIGQUIT) // has it print where it stands
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			p.kill()
		}
		w.kept()
		return fmt.Errorf("it did not stop within a minute; see %s", w.path("run.log"))
	}
	if p.err != nil {
		return fmt.Errorf("it was stopped and ended with: %w", p.err)
	}
	return nil
}

// verb runs one command line to its end.
func (w *world) verb(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.binary, append(args, "--config", w.config())...)
	cmd.Dir = w.dir
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%v: %w: %s", args, err, exit.Stderr)
	}
	return out, err
}

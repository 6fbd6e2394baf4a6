package outside

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"
)

// maxAnswer is how long an answer may be, in bytes.
const maxAnswer = 64 << 10

// A child is one process of a handler. It is asked by one at a time.
type child struct {
	cmd    *exec.Cmd
	pid    int
	began  time.Time
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	lines  chan line     // what it answers; closed at the end of its output
	gone   chan struct{} // closed when it has ended
	dead   chan struct{} // closed when nobody asks it any more
	killed sync.Once
	reads  sync.WaitGroup

	answered bool // at least once
}

// A line of output, or why there is none.
type line struct {
	text []byte
	err  error
}

// inherited are the variables that programs need to be found and to run.
var inherited = []string{"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "USERPROFILE"}

// start starts a process. What ct2fluent has in its environment is not handed
// on: it may be secrets.
func (e *Exec) start() (*child, error) {
	env := []string{}
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	if e.o.Environment != nil {
		own, err := e.o.Environment()
		if err != nil {
			return nil, fmt.Errorf("its environment: %w", err)
		}
		env = append(env, own...)
	}
	c := &child{began: time.Now(), lines: make(chan line), gone: make(chan struct{}), dead: make(chan struct{})}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	c.cmd = exec.Command(e.o.Command[0], e.o.Command[1:]...)
	c.cmd.Env = env
	group(c.cmd)
	for _, p := range []struct {
		ours   **os.File
		theirs func(*os.File)
		writes bool
	}{
		{&c.stdin, func(f *os.File) { c.cmd.Stdin = f }, true},
		{&c.stdout, func(f *os.File) { c.cmd.Stdout = f }, false},
		{&c.stderr, func(f *os.File) { c.cmd.Stderr = f }, false},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			c.closePipes()
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
		mine, other := r, w
		if p.writes {
			mine, other = w, r
		}
		*p.ours = mine
		p.theirs(other)
		theirs = append(theirs, other)
	}
	if err := c.cmd.Start(); err != nil {
		c.closePipes()
		return nil, fmt.Errorf("start: %w", err)
	}
	c.pid = c.cmd.Process.Pid
	if e.o.MaxMemory > 0 {
		if err := limitMemory(c.pid, e.o.MaxMemory); err != nil {
			e.log.Warn("the memory of the handler's process is not limited", "pid", c.pid, "error", err)
		}
	}
	c.reads.Go(c.readAnswers)
	c.reads.Go(func() { logLines(e.log.With("pid", c.pid), c.stderr) })
	go func() {
		_ = c.cmd.Wait() // state tells of it
		close(c.gone)
	}()
	e.log.Info("handler's process has started", "pid", c.pid)
	return c, nil
}

func (c *child) closePipes() {
	for _, f := range []*os.File{c.stdin, c.stdout, c.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// readAnswers reads lines until the output ends. Nobody waits for a line that
// was not asked for: it waits itself until somebody looks, or nobody will. What
// was said before the end of the process is still heard.
func (c *child) readAnswers() {
	defer close(c.lines)
	r := bufio.NewReaderSize(c.stdout, maxAnswer)
	for {
		text, err := r.ReadSlice('\n')
		l := line{text: append([]byte(nil), text...)}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.err = wrong("longer than %d bytes", maxAnswer)
		case err != nil:
			return // an answer ends with a line end; this one was cut off
		}
		select {
		case c.lines <- l:
		case <-c.dead:
			return
		}
		if l.err != nil {
			return
		}
	}
}

var (
	errEnded   = errors.New("the process has ended")
	errTimeout = errors.New("no answer in time")
	errChatter = wrong("a line that was not asked for; print nothing else there")
)

// idle tells whether the process waits for a question.
func (c *child) idle() error {
	select {
	case _, more := <-c.lines:
		if !more {
			return errEnded
		}
		return errChatter
	case <-c.gone:
		return errEnded
	default:
		return nil
	}
}

// ask sends a question and gives the answer. After an error the process is to
// be killed.
func (c *child) ask(ctx context.Context, question []byte, timeout time.Duration) ([]byte, error) {
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	wrote := make(chan error, 1)
	go func() {
		_, err := c.stdin.Write(question)
		wrote <- err
	}()
	var answer *line
	for wrote != nil || answer == nil {
		lines := c.lines
		if answer != nil {
			lines = nil
		}
		select {
		case err := <-wrote:
			if err != nil {
				// It may have read enough to act.
				return nil, fmt.Errorf("%w before it had read all of the question", errEnded)
			}
			wrote = nil
		case l, more := <-lines:
			if !more {
				return nil, errEnded
			}
			answer = &l
		case <-limit.C:
			return nil, fmt.Errorf("%w: %v", errTimeout, timeout)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return answer.text, answer.err
}

// kill ends the process and what it has started, and waits for its end. Of one
// that has ended already the id may be another's by now.
func (c *child) kill() {
	c.killed.Do(func() {
		close(c.dead)
		select {
		case <-c.gone:
		default:
			killGroup(c.cmd)
			<-c.gone
		}
		c.closePipes()
		c.reads.Wait()
	})
}

// stop ends the input of the process and waits for its end; what has not ended
// by then is killed. It tells whether it ended by itself.
func (c *child) stop(within time.Duration) bool {
	c.stdin.Close()
	limit := time.NewTimer(within)
	defer limit.Stop()
	ended := false
	select {
	case <-c.gone:
		ended = true
	case <-limit.C:
	}
	c.kill()
	return ended
}

// state is how it ended; to be asked after kill.
func (c *child) state() string { return c.cmd.ProcessState.String() }

// What of a process's standard error reaches the log.
const (
	longestLine = 1000 // bytes
	linesAtOnce = 100
	linesEvery  = 100 * time.Millisecond // one more
)

// logLines passes lines on to the log, bounded in length and in number.
func logLines(log *slog.Logger, from io.Reader) {
	r := bufio.NewReaderSize(from, 4*longestLine)
	budget, last, left := linesAtOnce, time.Now(), 0
	for {
		text, err := r.ReadSlice('\n')
		text = append([]byte(nil), text...)
		for cut := err; errors.Is(cut, bufio.ErrBufferFull); {
			_, cut = r.ReadSlice('\n') // the rest of a long line
			err = cut
		}
		if len(text) > 0 {
			more := int(time.Since(last) / linesEvery)
			last = last.Add(time.Duration(more) * linesEvery)
			if budget = min(budget+more, linesAtOnce); budget > 0 {
				budget--
				if left > 0 {
					log.Warn("lines of the handler were left out", "count", left)
					left = 0
				}
				log.Info("handler says", "line", cleanLine(text))
			} else {
				left++
			}
		}
		if err != nil {
			if left > 0 {
				log.Warn("lines of the handler were left out", "count", left)
			}
			return
		}
	}
}

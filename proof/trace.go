package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A syscall is one call of the traced process. Calls of several threads
// overlap: what is certain is that one whose end is before another's begin
// came first.
type sysCall struct {
	name       string
	args       []string // as strace writes them, texts in hexadecimal
	result     int64
	path       string // of the descriptor that was returned
	begin, end int    // lines of the trace; end is past the trace where it never returned
}

// effect is the line at which a call does what it does to the descriptors: one
// that is opened may have been closed by another thread meanwhile.
func (c *sysCall) effect() int {
	switch c.name {
	case "openat", "open", "creat":
		return c.end
	}
	return c.begin
}

// straceFlags have strace write what parseTrace reads: paths of descriptors,
// everything in hexadecimal, whole. The tracer is no parent, so that signals
// reach the process.
var straceFlags = []string{
	"-D", "-f", "-y", "-xx", "-s", "16000000", "-e", "signal=none",
	"-e", "trace=openat,open,creat,close,write,pwrite64,writev,pwritev,pwritev2,read,pread64,readv,lseek,fsync,fdatasync,syncfs,sync," +
		"sync_file_range,ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,dup,dup2,dup3," +
		"copy_file_range,sendfile,splice,link,linkat,symlink,symlinkat,mmap",
}

// parseTrace reads what strace wrote, in the order of the effects.
func parseTrace(r io.Reader) ([]*sysCall, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	var calls []*sysCall
	type half struct {
		call *sysCall
		text string
	}
	open := map[string]half{} // by thread
	for line := 0; ; line++ {
		text, err := in.ReadString('\n')
		if err == io.EOF && text == "" {
			for _, h := range open {
				h.call.end = line + 1
			}
			slices.SortStableFunc(calls, func(a, b *sysCall) int { return a.effect() - b.effect() })
			return calls, nil
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		thread, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case rest == "" || strings.HasPrefix(rest, "---") || strings.HasPrefix(rest, "+++"):
		case strings.HasPrefix(rest, "<..."):
			h, found := open[thread]
			_, tail, ok := strings.Cut(rest, "resumed>")
			if !found || !ok {
				continue // begun before the trace
			}
			delete(open, thread)
			h.call.end = line
			if err := h.call.parse(h.text + tail); err != nil {
				return nil, fmt.Errorf("line %d: %w", line+1, err)
			}
		case strings.HasSuffix(rest, "<unfinished ...>"):
			begun := strings.TrimSpace(strings.TrimSuffix(rest, "<unfinished ...>"))
			c := &sysCall{begin: line}
			// What was asked for is known before it returns.
			if err := c.parse(begun + ") = ?"); err != nil {
				return nil, fmt.Errorf("line %d: %w", line+1, err)
			}
			open[thread] = half{c, begun}
			calls = append(calls, c)
		default:
			c := &sysCall{begin: line, end: line}
			if err := c.parse(rest); err != nil {
				return nil, fmt.Errorf("line %d: %w", line+1, err)
			}
			calls = append(calls, c)
		}
	}
}

// parse reads name(args) = result<path>.
func (c *sysCall) parse(text string) error {
	name, rest, ok := strings.Cut(text, "(")
	if !ok {
		return fmt.Errorf("no call: %.100s", text)
	}
	c.name, c.args = name, nil
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(rest); i++ {
		switch ch := rest[i]; {
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == '(' || ch == '[' || ch == '{':
			depth++
		case depth > 0 && (ch == ')' || ch == ']' || ch == '}'):
			depth--
		case depth == 0 && (ch == ',' || ch == ')'):
			if arg := strings.TrimSpace(rest[from:i]); arg != "" {
				c.args = append(c.args, arg)
			}
			from = i + 1
			if ch == ')' {
				return c.returned(rest[from:])
			}
		}
	}
	return fmt.Errorf("no end of the call: %.100s", text)
}

func (c *sysCall) returned(text string) error {
	_, text, _ = strings.Cut(text, "=")
	text = strings.TrimSpace(text)
	text, _, _ = strings.Cut(text, " ")
	number, path, _ := strings.Cut(text, "<")
	c.path = unhex(strings.TrimSuffix(path, ">"))
	if number == "?" {
		c.result = -1
		return nil
	}
	var err error
	c.result, err = strconv.ParseInt(number, 0, 64)
	return err
}

// unhex reads \x2f\x74; what is not in that form stays.
func unhex(text string) string {
	if !strings.HasPrefix(text, `\x`) {
		return text
	}
	plain, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		return text
	}
	return string(plain)
}

// fd is the descriptor that an argument names, and its path.
func fd(arg string) (n int, path string) {
	number, path, _ := strings.Cut(arg, "<")
	n, err := strconv.Atoi(number)
	if err != nil {
		n = -1
	}
	return n, unhex(strings.TrimSuffix(path, ">"))
}

// data is the text of an argument.
func data(arg string) string { return unhex(strings.Trim(strings.TrimSuffix(arg, "..."), `"`)) }

func (c *sysCall) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

func (c *sysCall) number(i int) int64 {
	n, _ := strconv.ParseInt(c.arg(i), 0, 64)
	return n
}

// bytes are what a write or a read carried.
func (c *sysCall) bytes() string {
	if !strings.HasSuffix(c.name, "v") && !strings.HasSuffix(c.name, "v2") {
		return data(c.arg(1))
	}
	var all strings.Builder
	for part := range strings.SplitSeq(c.arg(1), "iov_base=") {
		if text, _, ok := strings.Cut(strings.TrimPrefix(part, `"`), `"`); ok && strings.HasPrefix(part, `"`) {
			all.WriteString(unhex(text))
		}
	}
	return all.String()
}

package inbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Values are the JSON values that r holds one after another, separated by
// white space or nothing, each as it stands there. It ends after the first
// error: that of r, or a *SyntaxError where r holds no JSON.
func Values(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		lines := &lineCounter{r: withoutBOM(r)}
		dec := json.NewDecoder(lines)
		for {
			var v json.RawMessage
			err := dec.Decode(&v)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, lines.explain(err))
				return
			}
			lines.passed(dec.InputOffset())
			if !yield(v, nil) {
				return
			}
		}
	}
}

// A SyntaxError says where text stops being JSON. Its text holds no part of
// the input (promise 7).
type SyntaxError struct {
	Line   int   // from 1
	Offset int64 // bytes before the fault
	short  bool  // ends in the middle of a value
}

func (e *SyntaxError) Error() string {
	if e.short {
		return fmt.Sprintf("line %d: ends in the middle of a JSON value (after %d bytes)", e.Line, e.Offset)
	}
	return fmt.Sprintf("line %d: not JSON (after %d bytes)", e.Line, e.Offset)
}

func withoutBOM(r io.Reader) io.Reader {
	b := bufio.NewReader(r)
	if head, _ := b.Peek(3); bytes.Equal(head, []byte("\ufeff")) {
		b.Discard(3)
	}
	return b
}

// A lineCounter knows the lines of what the decoder has read ahead but not
// passed.
type lineCounter struct {
	r      io.Reader
	read   int64
	lines  int     // newlines passed
	breaks []int64 // offsets of the newlines ahead
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.breaks = append(c.breaks, c.read+int64(i))
		}
	}
	c.read += int64(n)
	return n, err
}

func (c *lineCounter) passed(offset int64) {
	n := 0
	for n < len(c.breaks) && c.breaks[n] < offset {
		n++
	}
	c.lines += n
	c.breaks = c.breaks[n:]
}

func (c *lineCounter) explain(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at := max(syntax.Offset-1, 0) // the decoder counts the byte that is wrong
		c.passed(at)
		return &SyntaxError{Line: c.lines + 1, Offset: at}
	case errors.Is(err, io.ErrUnexpectedEOF):
		c.passed(c.read)
		return &SyntaxError{Line: c.lines + 1, Offset: c.read, short: true}
	}
	return err
}

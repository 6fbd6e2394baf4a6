package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	putIdle       = time.Minute // how long the sender of a put may pause
	putGroup      = 200         // values put together, at most
	putGroupBytes = 256 << 10
	readAhead     = 64 << 10
)

// A PutResult is the answer of POST /admin/put.
type PutResult struct {
	Put int `json:"put"` // notifications that are on disk
}

// put takes a stream of JSON values of any length. What is at hand is put
// together, and nothing waits for more to come. After an error it says how
// many were put before it.
func (s *Server) put(w http.ResponseWriter, r *http.Request) {
	deadline := http.NewResponseController(w)
	in := newValues(r.Body, s.o.MaxBody, func() {
		_ = deadline.SetReadDeadline(time.Now().Add(putIdle)) // an error means that there is none
	})
	var res PutResult
	for {
		body, end := in.group()
		if body != nil {
			n, err := s.o.Put(r.Context(), body)
			res.Put += n
			note(r, "", res.Put)
			if err != nil {
				end = err
			}
		}
		switch {
		case errors.Is(end, io.EOF):
			writeJSON(w, http.StatusOK, res)
			return
		case end != nil:
			fail(w, fmt.Errorf("%w; %d put before", end, res.Put))
			return
		}
	}
}

// values reads JSON values one after another. The elements of an array are
// values of their own, so that a file may be one large array.
type values struct {
	source  *source
	buf     *bufio.Reader
	dec     *json.Decoder
	inArray bool
	begun   bool
	passed  int // bytes before what dec reads
	count   int
	kept    []byte // read, and too much for the group before
}

// newValues reads values of at most limit bytes, or a little above; each read
// is announced.
func newValues(r io.Reader, limit int64, reading func()) *values {
	s := &source{r: r, limit: limit + readAhead, reading: reading}
	buf := bufio.NewReaderSize(s, readAhead)
	return &values{source: s, buf: buf, dec: json.NewDecoder(buf)}
}

// group gives the values at hand as one body: a value as it came, several as
// an array. The error may come with the last body; io.EOF at the end.
func (v *values) group() (body []byte, err error) {
	var group [][]byte
	size := 0
	for len(group) < putGroup && (len(group) == 0 || v.atHand()) {
		value := v.kept
		v.kept = nil
		if value == nil {
			if value, err = v.next(); err != nil {
				break
			}
		}
		if len(group) > 0 && size+len(value) > putGroupBytes {
			v.kept = value
			break
		}
		group, size = append(group, value), size+len(value)
	}
	switch len(group) {
	case 0:
		return nil, err
	case 1:
		return group[0], err
	}
	return array(group), err
}

// next reads one value.
func (v *values) next() ([]byte, error) {
	v.source.left = v.source.limit
	if !v.begun {
		v.begun = true
		v.passBOM()
	}
	for {
		more := v.dec.More()
		switch {
		case more && !v.inArray && v.first() == '[':
			v.inArray = true
		case !more && v.inArray:
			v.inArray = false
		default:
			return v.decode()
		}
		if _, err := v.dec.Token(); err != nil {
			return nil, v.broken(err)
		}
	}
}

// passBOM passes over the mark that some editors begin a file with.
func (v *values) passBOM() {
	const bom = "\ufeff"
	// More than one byte need not come.
	if head, _ := v.buf.Peek(1); string(head) != bom[:1] {
		return
	}
	if head, _ := v.buf.Peek(len(bom)); string(head) == bom {
		v.passed, _ = v.buf.Discard(len(bom)) // memory
	}
}

func (v *values) decode() ([]byte, error) {
	var value json.RawMessage
	err := v.dec.Decode(&value)
	if errors.Is(err, io.EOF) && !v.inArray {
		return nil, io.EOF
	}
	if err != nil {
		return nil, v.broken(err)
	}
	v.count++
	return value, nil
}

// broken says which value cannot be read. Promise 7: the decoder's own words
// may quote it.
func (v *values) broken(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		err = errors.New("not JSON")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("not complete")
	}
	return invalid("value %d, after byte %d: %w", v.count+1, v.dec.InputOffset()+int64(v.passed), err)
}

// first is the first byte of the value that More has found.
func (v *values) first() byte {
	var b [1]byte
	_, _ = v.dec.Buffered().Read(b[:]) // memory
	return b[0]
}

// atHand tells whether a further value, or a part of one, was already read.
func (v *values) atHand() bool {
	if v.kept != nil {
		return true
	}
	decoded, _ := io.ReadAll(v.dec.Buffered()) // memory
	buffered, _ := v.buf.Peek(v.buf.Buffered())
	const between = " \t\r\n,]"
	return len(bytes.TrimLeft(decoded, between)) > 0 || len(bytes.TrimLeft(buffered, between)) > 0
}

// array makes one JSON array of values.
func array(group [][]byte) []byte {
	body := append([]byte{'['}, bytes.Join(group, []byte{','})...)
	return append(body, ']')
}

// A largeError is of a value that no queue of ours takes.
type largeError struct{ http.MaxBytesError }

func (e *largeError) Error() string {
	return fmt.Sprintf("larger than the %d bytes that a notification may have", e.Limit)
}

func (e *largeError) Unwrap() error { return &e.MaxBytesError }

// A source limits what is read for one value, and announces each read.
type source struct {
	r           io.Reader
	left, limit int64
	reading     func()
}

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, &largeError{http.MaxBytesError{Limit: s.limit - readAhead}}
	}
	s.reading()
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}

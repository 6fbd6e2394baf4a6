package inbox

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
)

// The functions here walk through JSON that json.Valid has accepted. A body is
// checked once and then only cut into slices of itself: neither a large message
// inside a wrapping nor one that nobody looks into is decoded or copied. Names
// are compared exactly, where encoding/json would take "Message" for "message".

// members are the names and values of a valid JSON object, in order.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		rest := space(object)[1:]
		for {
			rest = space(rest)
			if rest[0] == '}' {
				return
			}
			name := rest[:end(rest)]
			rest = space(rest[len(name):])[1:] // the colon
			rest = space(rest)
			n := end(rest)
			value := rest[:n:n]
			if !yield(unquote(name), value) {
				return
			}
			rest = space(rest[len(value):])
			if rest[0] == ',' {
				rest = rest[1:]
			}
		}
	}
}

// elements are the values of a valid JSON array, in order.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest := space(array)[1:]
		for {
			rest = space(rest)
			if rest[0] == ']' {
				return
			}
			n := end(rest)
			value := rest[:n:n]
			if !yield(value) {
				return
			}
			rest = space(rest[len(value):])
			if rest[0] == ',' {
				rest = rest[1:]
			}
		}
	}
}

// space cuts the white space before a value.
func space(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// end is the length of the valid value that b begins with.
func end(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = quote(b, i)
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			// A number, true, false or null: up to what parts it from the next.
			if n := bytes.IndexAny(b[i:], ",]} \n\t\r"); n >= 0 {
				return i + n
			}
			return len(b)
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(b)
}

// quote is the index of the quote that closes the string opened at i.
func quote(b []byte, i int) int {
	for {
		i++
		i += bytes.IndexByte(b[i:], '"')
		escapes := 0
		for b[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
}

// unquote is what a valid JSON string says; nil if value is none. Where there
// is nothing to unescape it is a part of value.
func unquote(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return nil
	}
	return []byte(s)
}

// given tells whether a member is there and not null.
func given(value []byte) bool { return len(value) > 0 && value[0] != 'n' }

// whole reads an integer from 0 to 2^53, the largest that every JSON library
// agrees on. A proxy on the way may have made 3.0 or "3" of it.
func whole(value []byte) (int64, bool) {
	const most = 1 << 53
	if n, err := strconv.ParseInt(string(bytes.Trim(value, `"`)), 10, 64); err == nil {
		return n, 0 <= n && n <= most
	}
	if value[0] == '"' {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || f < 0 || f > most || f != float64(int64(f)) {
		return 0, false
	}
	return int64(f), true
}

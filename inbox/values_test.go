package inbox

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestValues(t *testing.T) {
	fail := errors.New("disk gone")
	tests := []struct {
		name string
		in   io.Reader
		want []string
		err  string
	}{
		{"nothing", strings.NewReader(""), nil, ""},
		{"white space", strings.NewReader(" \n\n"), nil, ""},
		{"one a line", strings.NewReader("{\"a\":1}\n{\"b\":2}\n"), []string{`{"a":1}`, `{"b":2}`}, ""},
		{"nothing between", strings.NewReader(`{"a":1}[2]"x"{}`), []string{`{"a":1}`, `[2]`, `"x"`, `{}`}, ""},
		{"over several lines, as it stands", strings.NewReader("\n{\n \"a\": 1\n}\n7"), []string{"{\n \"a\": 1\n}", "7"}, ""},
		{"byte order mark", strings.NewReader("\ufeff{}"), []string{"{}"}, ""},
		{"byte for byte", iotest.OneByteReader(strings.NewReader("{}\n[1]\n")), []string{"{}", "[1]"}, ""},
		{"not JSON", strings.NewReader("{}\n{\"a\":\n jane@example.com}\n"), []string{"{}"}, "line 3: not JSON (after 10 bytes)"},
		{"not JSON at all", strings.NewReader("hello"), nil, "line 1: not JSON (after 0 bytes)"},
		{"cut off", strings.NewReader("{}\n{\"a\":\n"), []string{"{}"}, "line 3: ends in the middle of a JSON value (after 9 bytes)"},
		{"the reader fails", io.MultiReader(strings.NewReader("{} {"), iotest.ErrReader(fail)), []string{"{}"}, "disk gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			var last error
			for v, err := range Values(tt.in) {
				if err != nil {
					last = err
					continue
				}
				got = append(got, string(v))
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.err == "" && last != nil || tt.err != "" && (last == nil || last.Error() != tt.err) {
				t.Errorf("error %v, want %q", last, tt.err)
			}
		})
	}
}

// What was read may be kept, and the caller may stop early.
func TestValuesAreTheCallers(t *testing.T) {
	var kept []byte
	for v := range Values(strings.NewReader(`{"a":1} {"b":2} x`)) {
		if kept != nil {
			break
		}
		kept = v
	}
	if string(kept) != `{"a":1}` {
		t.Errorf("overwritten: %s", kept)
	}
}

package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

const (
	maxNesting   = 8       // placeholders in defaults of placeholders
	maxSecretLen = 1 << 16 // bytes of a file named by ${file:…}
)

// A filler replaces placeholders: ${NAME} and ${NAME:default} by the
// environment, ${file:/path} by a file's text. $${ stands for ${ itself. What
// was filled in is not looked at again, so that a value can smuggle in neither
// another placeholder nor YAML.
type filler struct {
	lookup func(name string) (string, bool)
	open   func(name string) (io.ReadCloser, error)
}

var placeholderName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// fill returns text with its placeholders replaced, and where the parts came
// from. Its errors quote the names of placeholders, never their values or
// defaults.
func (f filler) fill(text string) (filled string, from []string, err error) {
	return f.fillNested(text, 0)
}

func (f filler) fillNested(text string, depth int) (string, []string, error) {
	var out strings.Builder
	var from []string
	note := func(sources ...string) {
		for _, s := range sources {
			if !slices.Contains(from, s) {
				from = append(from, s)
			}
		}
	}
	literal := func(s string) {
		if s != "" {
			out.WriteString(s)
			note("configuration file (in clear text)")
		}
	}
	for {
		at := strings.Index(text, "${")
		if at < 0 {
			literal(text)
			return out.String(), from, nil
		}
		if at > 0 && text[at-1] == '$' {
			literal(text[:at-1] + "${")
			text = text[at+2:]
			continue
		}
		literal(text[:at])
		body, rest, closed := cutPlaceholder(text[at+2:])
		if !closed {
			return "", nil, errors.New(`a placeholder is not closed; write ${NAME}, or $${ for ${ itself`)
		}
		if depth == maxNesting {
			return "", nil, fmt.Errorf("placeholders stand in each other more than %d deep; use fewer", maxNesting)
		}
		value, sources, err := f.placeholder(body, depth+1)
		if err != nil {
			return "", nil, err
		}
		out.WriteString(value)
		note(sources...)
		text = rest
	}
}

// cutPlaceholder parts what stands before the closing brace from what stands
// after it. Braces in a default count, so that {"a":1} can be one.
func cutPlaceholder(text string) (body, rest string, closed bool) {
	open := 1
	for i := range len(text) {
		switch text[i] {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return text[:i], text[i+1:], true
			}
		}
	}
	return "", "", false
}

func (f filler) placeholder(body string, depth int) (string, []string, error) {
	name, after, colon := strings.Cut(body, ":")
	if name == "file" && colon {
		path, _, err := f.fillNested(after, depth)
		if err != nil {
			return "", nil, err
		}
		value, err := f.file(path)
		return value, []string{"file " + path}, err
	}
	if !placeholderName.MatchString(name) {
		return "", nil, errors.New("a placeholder names nothing that could be set; write ${NAME}, ${NAME:default} or ${file:/path}, or $${ for ${ itself")
	}
	if value, ok := f.lookup(name); ok {
		return value, []string{"environment " + name}, nil
	}
	if colon {
		return f.fillNested(after, depth)
	}
	return "", nil, fmt.Errorf("${%s} is not set in the environment; set it, or give a default: ${%[1]s:…}", name)
}

// file reads a secret, without the newline that editors leave behind it.
func (f filler) file(path string) (string, error) {
	r, err := f.open(path)
	if err != nil {
		return "", fmt.Errorf("${file:%s}: %w", path, bareFileError(err))
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxSecretLen+1))
	if err != nil {
		return "", fmt.Errorf("${file:%s}: %w", path, bareFileError(err))
	}
	if len(text) > maxSecretLen {
		return "", fmt.Errorf("${file:%s}: larger than %d bytes; name the file of one value", path, maxSecretLen)
	}
	value := strings.TrimSuffix(string(text), "\n")
	return strings.TrimSuffix(value, "\r"), nil
}

// bareFileError drops the path that an error of package os repeats, and adds
// what to do where that is clear.
func bareFileError(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; create it or correct the path", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let this user read it", err)
	}
	return err
}

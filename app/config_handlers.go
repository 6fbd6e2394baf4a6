package app

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A HandlerConfig is a handler in another process: a program or a service.
type HandlerConfig struct {
	At Pos `yaml:"-"`

	// The name by which `routes` name it.
	Name string `yaml:"name" required:"true"`

	// A program that answers lines. This or `http`.
	Exec ExecConfig `yaml:"exec"`

	// A service that answers requests. This or `exec`.
	HTTP HTTPConfig `yaml:"http"`

	kind string // exec or http
}

// An ExecConfig is a program that is kept alive and answers lines.
type ExecConfig struct {
	// The program and its arguments. No shell looks at them; a relative program
	// or file is relative to where ct2fluent is started.
	Command []string `yaml:"command" required:"true"`

	// How long one notification may take. Then the process is killed and the
	// notification comes again.
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"10m"`

	// Processes at once, each with one notification at a time.
	Processes int `yaml:"processes" default:"1" min:"1" max:"100"`

	// How much memory a process may have: on Linux its private writable memory
	// (RLIMIT_DATA), elsewhere it is not limited. 0: no limit.
	MaxMemory Size `yaml:"max-memory" default:"0"`

	// What a process has in its environment beside PATH, HOME, TMPDIR and the
	// language: nothing else of ct2fluent's own is handed on.
	Environment []NameValueConfig `yaml:"environment,omitempty"`
}

// An HTTPConfig is a service that answers requests.
type HTTPConfig struct {
	// To where notifications are posted: https, or a loopback host.
	URL ServiceURL `yaml:"url" required:"true"`

	// How long one request may take. Then the notification comes again.
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"10m"`

	// Requests at once.
	Concurrent int `yaml:"concurrent" default:"4" min:"1" max:"1000"`

	// Notifications in one request, at most. With 1 a request has one object,
	// with more it has a list.
	BatchSize int `yaml:"batch-size" default:"1" min:"1" max:"200"`

	// Further headers, such as Authorization.
	Headers []NameValueConfig `yaml:"headers,omitempty"`
}

// A NameValueConfig is a variable of an environment, or a header.
type NameValueConfig struct {
	At Pos `yaml:"-"`

	// Its name.
	Name string `yaml:"name" required:"true"`

	// Its value; it is not printed. From a file it is read again for each
	// process or request.
	Value Secret `yaml:"value" required:"true"`
}

// A ServiceURL is the https URL of a service; a loopback host may go without
// TLS.
type ServiceURL string

// UnmarshalText takes https URLs without user, query and fragment.
func (s *ServiceURL) UnmarshalText(text []byte) error {
	var base BaseURL
	if err := base.UnmarshalText(text); err != nil {
		return err
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return err
	}
	*s = ServiceURL(u.String())
	return nil
}

// MarshalYAML writes the section that was given.
func (h HandlerConfig) MarshalYAML() (any, error) {
	if h.kind == "http" {
		return struct {
			Name string     `yaml:"name"`
			HTTP HTTPConfig `yaml:"http"`
		}{h.Name, h.HTTP}, nil
	}
	return struct {
		Name string     `yaml:"name"`
		Exec ExecConfig `yaml:"exec"`
	}{h.Name, h.Exec}, nil
}

// checkHandlers sees that each is one of both kinds. Whether names are taken
// is known to package route.
func (d *decoder) checkHandlers(c *Config) {
	for i := range c.Handlers {
		h := &c.Handlers[i]
		path := fmt.Sprintf("handlers[%d]", i)
		_, program := d.at[path+".exec"]
		_, service := d.at[path+".http"]
		switch {
		case program && service:
			d.fail(h.At, path, "has exec and http; a handler is one of them")
		case service:
			h.kind = "http"
		case program:
			h.kind = "exec"
		case !d.unread[path]:
			d.fail(h.At, path, "has no exec or http; add the one that it is")
		}
		for j, v := range h.Exec.Environment {
			if strings.ContainsAny(v.Name, "=\x00") {
				at := fmt.Sprintf("%s.exec.environment[%d].name", path, j)
				d.fail(c.At(at), at, "no name of a variable; take out the =")
			}
		}
		for j, v := range h.HTTP.Headers {
			if v.Name != "" && !headerName(v.Name) {
				at := fmt.Sprintf("%s.http.headers[%d].name", path, j)
				d.fail(c.At(at), at, "no name of a header; it has letters, digits and -")
			}
		}
	}
}

func headerName(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// header is the headers as they are now.
func (h HTTPConfig) header() (http.Header, error) {
	all := http.Header{}
	for _, v := range h.Headers {
		value, err := v.Value.Value()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("%s: holds a line end", v.Name)
		}
		all.Add(v.Name, value)
	}
	return all, nil
}

// environment is that of a process as it is now.
func (e ExecConfig) environment() (all []string, err error) {
	for _, v := range e.Environment {
		value, err := v.Value.Value()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		all = append(all, v.Name+"="+value)
	}
	return all, nil
}

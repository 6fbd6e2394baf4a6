package app

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Size is a number of bytes: 1048576, 1MiB, 8GiB, 10MB.
type Size int64

var sizeText = regexp.MustCompile(`^([0-9]+) ?(B|[KMGT]i?B)?$`)

var sizeUnits = map[string]int64{
	"": 1, "B": 1,
	"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

// UnmarshalText reads a whole number with or without a unit.
func (s *Size) UnmarshalText(text []byte) error {
	m := sizeText.FindStringSubmatch(string(text))
	if m == nil {
		return errors.New("not a size; write a whole number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 64MiB")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := sizeUnits[m[2]]
	if err != nil || n > math.MaxInt64/unit {
		return errors.New("too large for a size; write a smaller one")
	}
	*s = Size(n * unit)
	return nil
}

func (s Size) String() string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := sizeUnits[unit]; s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes the size in the largest unit that divides it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// durationText is what a duration looks like, however large.
var durationText = regexp.MustCompile(`^[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$`)

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, ferr := strconv.ParseFloat(text, 64); ferr == nil {
		return 0, fmt.Errorf("a duration without its unit; write %ss for seconds, or ms, m or h", text)
	}
	if durationText.MatchString(text) {
		return 0, errors.New("too large for a duration; write a smaller one")
	}
	return 0, errors.New("not a duration; write a number and its unit (ms, s, m, h), such as 10s or 1m30s")
}

// A BaseURL is the https URL of an API, without a slash at its end. A loopback
// host, such as a sandbox's, may go without TLS.
type BaseURL string

// UnmarshalText takes https URLs without user, query and fragment.
func (b *BaseURL) UnmarshalText(text []byte) error {
	u, err := parseURL(string(text))
	if err != nil {
		return err
	}
	if u.Scheme != "https" && !loopback(u.Hostname()) {
		return errors.New("not https; secrets go over it, and only a loopback host may go without")
	}
	*b = BaseURL(strings.TrimRight(u.String(), "/"))
	return nil
}

// An Endpoint is an http or https URL of a service beside this process.
type Endpoint string

// UnmarshalText takes http and https URLs without user, query and fragment.
func (e *Endpoint) UnmarshalText(text []byte) error {
	u, err := parseURL(string(text))
	if err != nil {
		return err
	}
	*e = Endpoint(strings.TrimRight(u.String(), "/"))
	return nil
}

// parseURL does not pass on the errors of url.Parse: they repeat the URL, which
// may hold a password (promise 7).
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("not a URL; write it as https://host")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("does not begin with https://; write it as https://host")
	case u.Hostname() == "":
		return nil, errors.New("has no host; write it as https://host")
	case u.User != nil:
		return nil, errors.New("holds a user or password; take them out")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("holds a query or fragment; take it out")
	}
	return u, nil
}

// A NATSURL is one address of a NATS cluster or several with commas between. It
// may hold a user and password or a token, which are not printed; the
// conversion to string keeps them.
type NATSURL string

// UnmarshalText takes URLs of the schemes nats, tls, ws and wss.
func (n *NATSURL) UnmarshalText(text []byte) error {
	for part := range strings.SplitSeq(string(text), ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Hostname() == "" {
			return errors.New("not an address of NATS; write it as nats://host:4222")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return errors.New("does not begin with nats://, tls://, ws:// or wss://; write it as nats://host:4222")
		}
	}
	*n = NATSURL(text)
	return nil
}

func (n NATSURL) String() string {
	parts := strings.Split(string(n), ",")
	for i, part := range parts {
		scheme, rest, _ := strings.Cut(part, "://")
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			parts[i] = scheme + "://" + redacted + rest[at:]
		}
	}
	return strings.Join(parts, ",")
}

// Format prints the same under every verb.
func (n NATSURL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, n.String()) }

// MarshalText writes the address without user, password and token.
func (n NATSURL) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// A URLPath is the path of a URL.
type URLPath string

// UnmarshalText takes what begins with a slash and is a path only.
func (p *URLPath) UnmarshalText(text []byte) error {
	if u, err := url.Parse(string(text)); err != nil || u.Path != string(text) || !strings.HasPrefix(u.Path, "/") {
		return errors.New("not the path of a URL; write it as /notifications")
	}
	*p = URLPath(text)
	return nil
}

// A Since is a moment from which on something is looked at: now, beginning, or
// a time that has passed.
type Since struct{ text string }

// UnmarshalText takes now, beginning, and times as RFC 3339 has them.
func (s *Since) UnmarshalText(text []byte) error {
	switch t := string(text); t {
	case "now", "beginning":
		s.text = t
	default:
		at, err := time.Parse(time.RFC3339, t)
		if err != nil || at.Year() < 1970 {
			return errors.New("no moment; write now, beginning or a time such as 2026-01-31T00:00:00Z")
		}
		if at.After(time.Now()) {
			return errors.New("lies in the future, until when nothing would be looked at; write now, beginning or a time that has passed")
		}
		s.text = at.UTC().Format(time.RFC3339Nano)
	}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (s Since) MarshalText() ([]byte, error) { return []byte(s.text), nil }

// Time is the moment; the zero time for now.
func (s Since) Time() time.Time {
	if s.text == "beginning" {
		return time.Unix(0, 0).UTC()
	}
	t, err := time.Parse(time.RFC3339, s.text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// An Address is where to listen: host:port. Port 0 takes a free one.
type Address string

// UnmarshalText takes host:port and :port.
func (a *Address) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return errors.New("not an address to listen on; write host:port, such as 127.0.0.1:8080")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("has no port from 0 to 65535; write host:port, such as 127.0.0.1:8080")
	}
	*a = Address(text)
	return nil
}

// Loopback tells whether only this machine can reach the address.
func (a Address) Loopback() bool {
	host, _, err := net.SplitHostPort(string(a))
	return err == nil && loopback(host)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

package app

// A ControlConfig is the HTTP side.
type ControlConfig struct {
	// Where it listens; port 0 takes a free one. Off loopback a token is
	// required, and `tls` or `behind-proxy`.
	Address Address `yaml:"address" default:"127.0.0.1:8080"`

	// The certificate that is served.
	TLS ControlTLSConfig `yaml:"tls,omitempty"`

	// Whether a proxy stands before it that brings TLS to the outside, and the
	// caller's address as the last of X-Forwarded-For. Then nobody counts as on
	// this machine: metrics and listings need a token, too.
	BehindProxy bool `yaml:"behind-proxy" default:"false"`

	// Who knows it may use the admin API: an operator named `control`. One given
	// by `${file:…}` is known from the moment on at which the file has changed,
	// and the one before is not any more.
	Token Secret `yaml:"token,omitempty"`

	// Further tokens, each with a name and a role.
	Tokens []TokenConfig `yaml:"tokens,omitempty"`

	// Host names, beside those of loopback, under which requests may come.
	Hosts []string `yaml:"hosts"`

	// Whether `/debug/pprof` is served.
	PProf bool `yaml:"pprof" default:"false"`
}

// A ControlTLSConfig is a certificate in files that are read again when they
// change.
type ControlTLSConfig struct {
	// File of the certificate, PEM, with its issuers behind it.
	Certificate string `yaml:"certificate" required:"true"`

	// File of its key, PEM.
	Key string `yaml:"key" required:"true"`
}

// A TokenConfig lets someone into the admin API.
type TokenConfig struct {
	At Pos `yaml:"-"`

	// The name that stands in the log and in the audit trail; not `local`, and
	// not `control` beside `control.token`.
	Name string `yaml:"name" required:"true"`

	// `viewer` reads: status, timelines, dead letters, the audit trail. Only an
	// `operator` works: puts, replays, drops, pauses, starts jobs.
	Role string `yaml:"role" default:"viewer" oneof:"viewer operator"`

	// The token, best from a file, which is read again when it changes.
	Token Secret `yaml:"token" required:"true"`
}

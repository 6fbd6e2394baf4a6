package app

import (
	"time"
)

// An SQSConfig holds the options of a listener of type sqs.
type SQSConfig struct {
	// Name or URL of the queue.
	Name string `yaml:"name" required:"true"`

	// AWS region. Default: that of the environment.
	Region string `yaml:"region"`

	// Another address of the service than the region's.
	Endpoint Endpoint `yaml:"endpoint,omitempty"`

	// Receivers that poll at once.
	Receivers int `yaml:"receivers" default:"4" min:"1" max:"100"`

	// How long one poll waits for a message, in whole seconds.
	Wait time.Duration `yaml:"wait" default:"20s" min:"1s" max:"20s"`
}

// A WebhookConfig holds the options of a listener of type webhook.
type WebhookConfig struct {
	// Where it listens; port 0 takes a free one. Several webhooks may have one
	// address, each with a path of its own.
	Address Address `yaml:"address" default:"127.0.0.1:8081"`

	// Path to which notifications are posted.
	Path URLPath `yaml:"path" default:"/notifications"`

	// How a sender shows who it is: `token` (`Authorization: Bearer …`), `basic`
	// (user and password), `api-key` (a header), `sns` (SNS' signature), `pubsub`
	// (Pub/Sub's OIDC token) or `eventgrid` (Event Grid's key, with its
	// handshakes). See [listeners.md](listeners.md).
	Auth string `yaml:"auth" default:"token" oneof:"token basic api-key sns pubsub eventgrid"`

	// `token`: the bearer token that a sender must bring.
	Token Secret `yaml:"token,omitempty"`

	// `basic`: the user that a sender must name.
	Username string `yaml:"username,omitempty"`

	// `basic`: the user's password.
	Password Secret `yaml:"password,omitempty"`

	// `api-key`, `eventgrid`: the key that a sender must bring.
	Key Secret `yaml:"key,omitempty"`

	// `api-key`, `eventgrid`: the header that holds the key. Default: `X-Api-Key`;
	// for `eventgrid` `aeg-sas-key`.
	Header string `yaml:"header,omitempty"`

	// `eventgrid`: the parameter of the URL that may hold the key in place of
	// the header. Default: `code`.
	Query string `yaml:"query,omitempty"`

	// `sns`: ARN of the topic. Messages of others are refused.
	TopicARN string `yaml:"topic-arn,omitempty"`

	// `pubsub`: the audience of the push subscription.
	Audience string `yaml:"audience,omitempty"`

	// `pubsub`: email of the service account as which the subscription pushes.
	ServiceAccount string `yaml:"service-account,omitempty"`

	// File of a TLS certificate as PEM, its issuers behind it; read again when
	// it changes. Without one the listener has no TLS.
	TLSCert string `yaml:"tls-cert,omitempty"`

	// File of the certificate's key, as PEM.
	TLSKey string `yaml:"tls-key,omitempty"`

	// How large a body may be.
	MaxBody Size `yaml:"max-body" default:"1MiB" min:"1KiB" max:"64MiB"`
}

// A PollConfig holds the options of a listener of type poll.
type PollConfig struct {
	// How long to wait when all changes have been read.
	Every time.Duration `yaml:"every" default:"30s" min:"1s" max:"24h"`

	// Where to begin at the first start: `now` (a minute before it), `beginning`
	// (every customer there is), or a time that has passed, such as
	// `2026-01-31T00:00:00Z`. Afterwards the mark in the ledger holds; a `from`
	// that is changed to something before it takes it back.
	From Since `yaml:"from" default:"now"`

	// Key of the project that is asked. Default: that of the only account.
	ProjectKey string `yaml:"project-key,omitempty"`
}

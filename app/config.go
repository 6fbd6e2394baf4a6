package app

import (
	"io"
	"time"
)

// A Config is application-connector.yml as understood: every default filled
// in, every placeholder replaced. The comments of the fields are the text of
// the reference page and of the editors' schema.
type Config struct {
	// What Fluent's Java connector has in this section as well. `listeners`,
	// `route-mapping` and `routes` may stand at the top of the file instead.
	ConnectConfig `yaml:"fluent-connect"`

	// Which commercetools project goes to which Fluent account and retailer.
	Accounts []AccountConfig `yaml:"accounts" required:"true"`

	// Which customers are synced at all: an expression as those of `mapping` that
	// is true or false; nothing counts as false. The others are skipped
	// (`not-selected`). Default: all are.
	Select Expr `yaml:"select,omitempty"`

	// How a commercetools customer becomes a Fluent customer: an expression
	// ([expr](https://expr-lang.org/docs/language-definition)) for each field,
	// over `customer`, `addresses` (the default shipping address first, the
	// default billing address next, then the others), `retailerId` and
	// `projectKey`. What not every customer has is followed by `?.`, as in
	// `customer.custom?.fields.tier`; followed by `.` alone, a customer without it
	// is a dead letter (`mapping`). What is left out keeps its default.
	Mapping MappingConfig `yaml:"mapping"`

	// What becomes of the Fluent customer of a customer that was deleted in
	// commercetools. See [deletes.md](deletes.md).
	Deletes DeletesConfig `yaml:"deletes"`

	// Handlers in other processes, in whatever language. Routes name them as
	// they name those of this binary.
	Handlers []HandlerConfig `yaml:"handlers,omitempty"`

	// When both sides are compared by themselves. See
	// [reconcile.md](reconcile.md).
	Reconcile ReconcileConfig `yaml:"reconcile"`

	// Where notifications wait and what the ledger remembers.
	Queue QueueConfig `yaml:"queue"`

	// What holds for every Fluent account.
	Fluent CommonFluentConfig `yaml:"fluent"`

	// The HTTP side: health, metrics, the admin API.
	Control ControlConfig `yaml:"control"`

	// What is logged and how.
	Log LogConfig `yaml:"log"`

	// How long the batches at hand may take after the signal to stop.
	StopTimeout time.Duration `yaml:"stop-timeout" default:"20s" min:"0s" max:"10m"`

	_ struct{} `yaml:"spring" unused:"it is for Spring Boot; nothing here reads it"`
	_ struct{} `yaml:"server" unused:"it is for Spring Boot; the address of the HTTP side is control.address"`
	_ struct{} `yaml:"management" unused:"it is for Spring Boot; the address of the HTTP side is control.address"`
	_ struct{} `yaml:"logging" unused:"it is for Spring Boot; see log.level and log.format"`

	// Ignored names the keys of the Java connector that stand in the file and
	// are not used.
	Ignored []Note `yaml:"-"`

	file string
	at   map[string]Pos
}

// A ConnectConfig is the section that Fluent's Java connector has too.
type ConnectConfig struct {
	// Name of this connector, for people to tell it from others.
	ConnectorName string `yaml:"connector-name" default:"commercetools"`

	// Type of the listeners that name none.
	MessageListenerMode string `yaml:"message-listener-mode"`

	// Which notifications take which route. The first match in the order of
	// the file decides; what matches none is skipped. Default: customers that
	// were created or updated take `commercetools.connect.customer.upsert`.
	RouteMapping []RouteMappingConfig `yaml:"route-mapping"`

	// Which handler works what takes a route. Default:
	// `commercetools.connect.customer.upsert` goes to `FluentCustomerUpsert`.
	Routes []RouteConfig `yaml:"routes"`

	// The sources of notifications by a name of your choice; at least one.
	Listeners Listeners `yaml:"listeners"`

	_ struct{} `yaml:"available-listeners" unused:"what this binary can listen to is built into it"`
	_ struct{} `yaml:"batch-listener-mode" unused:"there is one kind of listener; a bulk load uses the same queue"`
	_ struct{} `yaml:"credential" unused:"secrets are named where they are needed, by ${NAME} or ${file:/path}"`
	_ struct{} `yaml:"job-scheduler" unused:"there are no scheduled jobs"`
}

// A RouteMappingConfig sends the notifications it matches to a route.
type RouteMappingConfig struct {
	At Pos `yaml:"-"`

	// The route that a matching notification takes.
	Route string `yaml:"route" required:"true"`

	// What a notification must be to match.
	Props RoutePropsConfig `yaml:"props" required:"true"`
}

// A RoutePropsConfig tells the notifications of a route from others.
type RoutePropsConfig struct {
	// The typeId of the resource, compared exactly.
	Name string `yaml:"name" required:"true"`

	// Notification types (or, of a Message, message types) that match; a `*`
	// may end an entry. Default: all.
	InclusionFilter []string `yaml:"inclusion-filter"`

	// Types that do not match although `inclusion-filter` has them.
	ExclusionFilter []string `yaml:"exclusion-filter"`
}

// A RouteConfig names the handler of a route.
type RouteConfig struct {
	At Pos `yaml:"-"`

	// The route.
	Route string `yaml:"route" required:"true"`

	// The handler that works it: one of `handlers`, or of this binary; the stock
	// binary has `FluentCustomerUpsert`.
	HandlerName string `yaml:"handler-name" required:"true"`
}

// An AccountConfig pairs a commercetools project with a Fluent retailer.
type AccountConfig struct {
	At Pos `yaml:"-"`

	// Where customers are read.
	Commercetools CommercetoolsConfig `yaml:"commercetools" required:"true"`

	// Where customers are written.
	Fluent FluentConfig `yaml:"fluent" required:"true"`

	// Which of its customers are synced, in place of the file's `select`.
	Select Expr `yaml:"select,omitempty"`

	// The commercetools Subscription that brings its notifications: what
	// `ct2fluent subscription` makes or repairs, and the running process
	// watches. Default: none; it is somebody else's. See
	// [subscriptions.md](subscriptions.md).
	Subscription SubscriptionConfig `yaml:"subscription,omitempty"`
}

// A SubscriptionConfig is a Subscription to the changes of customers.
type SubscriptionConfig struct {
	At Pos `yaml:"-"`

	// Key of the Subscription in commercetools.
	Key string `yaml:"key" required:"true"`

	// Where it sends notifications. Left out, the Subscription is watched, and
	// somebody else makes it.
	Destination DestinationConfig `yaml:"destination,omitempty"`

	// Format of the notifications; EventGrid takes CloudEvents alone. It cannot
	// be changed once the Subscription is made.
	Format string `yaml:"format" default:"Platform" oneof:"Platform CloudEvents"`

	// Whether it sends the messages of customers, too. They hold personal data,
	// and nothing here needs them.
	Messages bool `yaml:"messages" default:"false"`

	// How often the running process looks at its status; 0 for never.
	Watch time.Duration `yaml:"watch" default:"1m" min:"0s" max:"1h"`
}

// A DestinationConfig is where a Subscription sends notifications. Which keys
// it has depends on its type.
type DestinationConfig struct {
	At Pos `yaml:"-"`

	// What it is, as commercetools calls it.
	Type string `yaml:"type" required:"true" oneof:"EventBridge SQS SNS AzureServiceBus EventGrid GoogleCloudPubSub ConfluentCloud"`

	// EventBridge: id of the AWS account.
	AccountID string `yaml:"account-id,omitempty"`

	// EventBridge, SQS: the AWS region.
	Region string `yaml:"region,omitempty"`

	// SQS: URL of the queue.
	QueueURL string `yaml:"queue-url,omitempty"`

	// SNS: ARN of the topic.
	TopicARN string `yaml:"topic-arn,omitempty"`

	// SQS, SNS: `Credentials`, or `IAM` without keys. Default: commercetools'
	// own, which is Credentials.
	AuthenticationMode string `yaml:"authentication-mode,omitempty" oneof:"Credentials IAM"`

	// SQS, SNS, EventGrid: the access key.
	AccessKey Secret `yaml:"access-key,omitempty"`

	// SQS, SNS: the secret of the access key.
	AccessSecret Secret `yaml:"access-secret,omitempty"`

	// AzureServiceBus: the connection string.
	ConnectionString Secret `yaml:"connection-string,omitempty"`

	// EventGrid: URI of the topic.
	URI string `yaml:"uri,omitempty"`

	// GoogleCloudPubSub: id of the project.
	ProjectID string `yaml:"project-id,omitempty"`

	// GoogleCloudPubSub, ConfluentCloud: the topic.
	Topic string `yaml:"topic,omitempty"`

	// ConfluentCloud: the bootstrap server.
	BootstrapServer string `yaml:"bootstrap-server,omitempty"`

	// ConfluentCloud: the API key.
	APIKey Secret `yaml:"api-key,omitempty"`

	// ConfluentCloud: the secret of the API key.
	APISecret Secret `yaml:"api-secret,omitempty"`

	// ConfluentCloud: which acknowledgements are waited for. Default: all.
	Acks string `yaml:"acks,omitempty"`

	// ConfluentCloud: the partitioning key of the records.
	Key string `yaml:"key,omitempty"`
}

// A CommercetoolsConfig is one commercetools project and the way into it.
type CommercetoolsConfig struct {
	// Key of the project, as notifications carry it. One account has it.
	ProjectKey string `yaml:"project-key" required:"true"`

	// Base URL of the HTTP API: the host alone, without the project key.
	APIURL BaseURL `yaml:"api-url" required:"true"`

	// Base URL of the token service.
	AuthURL BaseURL `yaml:"auth-url" required:"true"`

	// Id of the API client.
	ClientID string `yaml:"client-id" required:"true"`

	// Secret of the API client.
	ClientSecret Secret `yaml:"client-secret" required:"true"`

	// Scopes to ask for. Default: all that the API client has.
	Scopes []string `yaml:"scopes"`

	// Requests under way at once, at most. It adapts below that by itself.
	MaxConcurrent int `yaml:"max-concurrent" default:"20" min:"1" max:"1000"`

	// Requests a second, at most; 0 for no ceiling.
	MaxRate float64 `yaml:"max-rate" default:"0" min:"0" max:"100000"`

	// How long one request may take.
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"5m"`
}

// A FluentConfig is one Fluent account, its retailer and the way into it.
type FluentConfig struct {
	// Base URL of the API: the host alone, without /graphql.
	BaseURL BaseURL `yaml:"base-url" required:"true"`

	// Name of the account.
	Account string `yaml:"account" required:"true"`

	// Id of the retailer to whom new customers belong.
	RetailerID string `yaml:"retailer-id" required:"true"`

	// Id of the OAuth client.
	ClientID string `yaml:"client-id" required:"true"`

	// Secret of the OAuth client.
	ClientSecret Secret `yaml:"client-secret" required:"true"`

	// The user as whom customers are written.
	Username string `yaml:"username" required:"true"`

	// The user's password.
	Password Secret `yaml:"password" required:"true"`

	// Requests under way at once, at most. It adapts below that by itself.
	MaxConcurrent int `yaml:"max-concurrent" default:"20" min:"1" max:"1000"`

	// Requests a second, at most; 0 for no ceiling.
	MaxRate float64 `yaml:"max-rate" default:"0" min:"0" max:"100000"`

	// How long one request may take.
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"5m"`

	// Customers written by one request, at most.
	BatchSize int `yaml:"batch-size" default:"200" min:"1" max:"1000"`
}

// A MappingConfig has an expression for each field of a Fluent customer.
type MappingConfig struct {
	// The username a new customer gets; it is remembered, and never changes.
	// Default: `retailerId + "_" + customer.email`.
	Username Expr `yaml:"username,omitempty"`

	// Name of the attribute that holds the customer's commercetools id.
	IDAttribute string `yaml:"id-attribute" default:"commercetoolsId"`

	// What Fluent is sent for a field that commercetools no longer has: `null`,
	// or nothing (`omit`) for accounts that refuse null.
	Cleared string `yaml:"cleared" default:"null" oneof:"null omit"`

	// Default: the title, or else the salutation.
	Title FieldConfig `yaml:"title"`

	// Default: the first name; `-` on create where there is none.
	FirstName FieldConfig `yaml:"firstName"`

	// Default: the last name.
	LastName FieldConfig `yaml:"lastName"`

	// Default: the email. Its `too-long` can only be `reject`.
	PrimaryEmail FieldConfig `yaml:"primaryEmail"`

	// Default: the mobile, or else the phone, of the first of `addresses` that
	// has either.
	PrimaryPhone FieldConfig `yaml:"primaryPhone"`

	// Default: that of the first of `addresses`.
	Country FieldConfig `yaml:"country"`

	// Default: `UTC`, on create only.
	Timezone FieldConfig `yaml:"timezone"`

	// Whether the customer wants promotions. Default: false on create, and
	// left alone afterwards.
	PromotionOptIn Expr `yaml:"promotionOptIn,omitempty"`

	// Further attributes of the Fluent customer.
	Attributes []AttributeConfig `yaml:"attributes"`
}

// A FieldConfig is an expression, or an expression and what is done with a
// result that is longer than Fluent takes.
type FieldConfig struct {
	// The expression; left out, the field keeps its default.
	Value Expr `yaml:"value,omitempty" short:"true"`

	// `reject` makes a dead letter of it, `cut` shortens it, `omit` leaves the
	// field out.
	TooLong string `yaml:"too-long" default:"reject" oneof:"reject cut omit"`
}

// An AttributeConfig is one attribute of the Fluent customer.
type AttributeConfig struct {
	At Pos `yaml:"-"`

	// Its name, once per customer.
	Name string `yaml:"name" required:"true"`

	// Its type, as Fluent has it: STRING, INTEGER, BOOLEAN, JSON or another.
	Type string `yaml:"type" default:"STRING"`

	// The expression for its value.
	Value Expr `yaml:"value" required:"true"`
}

// A DeletesConfig says what a delete does.
type DeletesConfig struct {
	// `ignore` leaves Fluent's customer as it is; `mark` writes the time of the
	// delete into an attribute. With `mark` the filter of the route must let
	// `ResourceDeleted` (or the message `CustomerDeleted`) through.
	Policy string `yaml:"policy" default:"ignore" oneof:"ignore mark" short:"true"`

	// Name of that attribute, of type STRING.
	Attribute string `yaml:"attribute" default:"commercetoolsDeleted"`
}

// A ReconcileConfig says when both sides are compared.
type ReconcileConfig struct {
	// How often all customers of each project are compared, give or take a
	// twentieth; 0s for never.
	Every time.Duration `yaml:"every" default:"0s" min:"0s" max:"744h"`

	// Whether what is found then is mended.
	Fix bool `yaml:"fix" default:"false"`

	// How long a change may be under way. What differs for a customer that was
	// changed more lately is looked at again, in every reconciliation.
	Grace time.Duration `yaml:"grace" default:"30s" min:"0s" max:"1h"`
}

// A QueueConfig says where notifications wait and how they are worked.
type QueueConfig struct {
	// Directory of queue and ledger, mode 0700, used by one process at a time.
	// A relative one is relative to the directory ct2fluent is started in, not
	// to this file.
	Store string `yaml:"store" default:"./data"`

	// Address of a NATS cluster (`nats://…`) that keeps queue and ledger in
	// place of this process. Its streams must sync always.
	URL NATSURL `yaml:"url,omitempty"`

	// Replicas of the streams; more than 1 needs `url`.
	Replicas int `yaml:"replicas" default:"1" min:"1" max:"5"`

	// How often a notification is tried, when the fault is its own, before it
	// is a dead letter. Stops, outages and rate limits do not count.
	MaxAttempts int `yaml:"max-attempts" default:"8" min:"1" max:"1000"`

	// Customers in one batch, at most, each with all that is at hand of it. A batch never waits to be filled.
	BatchSize int `yaml:"batch-size" default:"200" min:"1" max:"500"`

	// Batches worked at once, at most.
	Workers int `yaml:"workers" default:"8" min:"1" max:"1000"`

	// How large the queue may grow. When it is full, sources are told to wait.
	MaxBytes Size `yaml:"max-bytes" default:"8GiB" min:"1MiB"`

	// Bytes that must stay free on the disk.
	MinFree Size `yaml:"min-free" default:"64MiB"`
}

// A CommonFluentConfig holds for every Fluent account.
type CommonFluentConfig struct {
	// How long to wait, after a write whose answer was lost, before its
	// customer is worked again: until the write cannot be applied late any
	// more. Default: the longest `timeout` of the accounts' `fluent` and 5s.
	UnclearWait time.Duration `yaml:"unclear-wait" min:"1s" max:"1h"`
}

// A LogConfig says what is logged and how.
type LogConfig struct {
	// The least serious level that is logged. `debug` has one line for each
	// outcome.
	Level string `yaml:"level" default:"info" oneof:"debug info warn error"`

	// `auto` is text on a terminal and JSON otherwise.
	Format string `yaml:"format" default:"auto" oneof:"auto text json"`
}

// LoadOptions say what a file may hold and where placeholders are looked up.
type LoadOptions struct {
	// Listeners has, for each type of listener, a function that makes a pointer
	// to the struct of its options: fields with the tags yaml (the key),
	// default, required, min, max and oneof, of the types string, bool, int,
	// int64, float64, time.Duration, Size, Secret, of any type that is an
	// encoding.TextUnmarshaler, of slices of these, or structs. What the tags
	// cannot say, a method Check() []Problem of the struct can: of each problem
	// the key and what it is. Default: sqs with SQSConfig, webhook with
	// WebhookConfig and poll with PollConfig.
	Listeners map[string]func() any

	// WithoutListeners takes a file that names none.
	WithoutListeners bool

	// LookupEnv looks up ${NAME}; default os.LookupEnv.
	LookupEnv func(name string) (string, bool)

	// Open opens the file of ${file:…}; default os.Open.
	Open func(name string) (io.ReadCloser, error)
}

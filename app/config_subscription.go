package app

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

// IsZero tells whether there is none.
func (s SubscriptionConfig) IsZero() bool { return s.Key == "" }

// IsZero tells whether there is none.
func (d DestinationConfig) IsZero() bool { return d.Type == "" }

var subscriptionKeyText = regexp.MustCompile(`^[A-Za-z0-9_-]{2,256}$`)

// destinationKeys are the keys that each type of destination has beside its
// type, those in brackets where they may be left out.
var destinationKeys = map[string]string{
	"EventBridge":       "account-id region",
	"SQS":               "queue-url region [authentication-mode] [access-key] [access-secret]",
	"SNS":               "topic-arn [authentication-mode] [access-key] [access-secret]",
	"AzureServiceBus":   "connection-string",
	"EventGrid":         "uri access-key",
	"GoogleCloudPubSub": "project-id topic",
	"ConfluentCloud":    "bootstrap-server api-key api-secret topic [acks] [key]",
}

func (d *decoder) checkSubscriptions(c *Config) {
	for i, a := range c.Accounts {
		s := a.Subscription
		if s.IsZero() {
			continue
		}
		path := fmt.Sprintf("accounts[%d].subscription", i)
		if !subscriptionKeyText.MatchString(s.Key) {
			d.fail(c.At(path+".key"), path+".key", "not a key of a Subscription; it has 2 to 256 letters, digits, - and _")
		}
		if !s.Destination.IsZero() {
			d.checkDestination(c, path, s)
		}
	}
}

// checkDestination sees that a destination has the keys of its type and no
// others.
func (d *decoder) checkDestination(c *Config, path string, s SubscriptionConfig) {
	here := path + ".destination"
	var allowed, missing []string
	given := func(key string) bool { _, ok := d.at[here+"."+key]; return ok }
	for key := range strings.FieldsSeq(destinationKeys[s.Destination.Type]) {
		name := strings.Trim(key, "[]")
		if allowed = append(allowed, name); name == key && !given(key) {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		d.fail(c.At(here), here, "%s has no %s; add what is missing", s.Destination.Type, either(missing))
	}
	for _, f := range fieldsOf(reflect.TypeFor[DestinationConfig]()) {
		if f.key != "type" && given(f.key) && !slices.Contains(allowed, f.key) {
			d.fail(c.At(here+"."+f.key), here+"."+f.key, "%s has none; it has %s", s.Destination.Type, either(allowed))
		}
	}
	if keys := given("access-key") || given("access-secret"); keys && s.Destination.AuthenticationMode == "IAM" {
		d.fail(c.At(here), here, "has keys, which authentication-mode IAM does not use; take them out")
	}
	if s.Destination.Type == "EventGrid" && s.Format != "CloudEvents" {
		d.fail(c.At(path+".format"), path+".format", "EventGrid takes CloudEvents alone; write format: CloudEvents")
	}
}

// destination is what commercetools is told. Secrets are read now: an error is
// one of a file that holds one.
func (d DestinationConfig) destination() (commercetools.Destination, error) {
	var failed error
	secret := func(s Secret) commercetools.Secret {
		text, err := s.Value()
		if err != nil {
			failed = err
		}
		return commercetools.Secret(text)
	}
	var to commercetools.Destination
	switch d.Type {
	case "EventBridge":
		to = commercetools.EventBridge{AccountID: d.AccountID, Region: d.Region}
	case "SQS":
		to = commercetools.SQS{QueueURL: d.QueueURL, Region: d.Region, AuthenticationMode: d.AuthenticationMode,
			AccessKey: string(secret(d.AccessKey)), AccessSecret: secret(d.AccessSecret)}
	case "SNS":
		to = commercetools.SNS{TopicARN: d.TopicARN, AuthenticationMode: d.AuthenticationMode,
			AccessKey: string(secret(d.AccessKey)), AccessSecret: secret(d.AccessSecret)}
	case "AzureServiceBus":
		to = commercetools.AzureServiceBus{ConnectionString: secret(d.ConnectionString)}
	case "EventGrid":
		to = commercetools.EventGrid{URI: d.URI, AccessKey: secret(d.AccessKey)}
	case "GoogleCloudPubSub":
		to = commercetools.GoogleCloudPubSub{ProjectID: d.ProjectID, Topic: d.Topic}
	case "ConfluentCloud":
		acks := d.Acks
		if acks == "" {
			acks = "all"
		}
		to = commercetools.ConfluentCloud{BootstrapServer: d.BootstrapServer, APIKey: secret(d.APIKey), APISecret: secret(d.APISecret),
			Acks: acks, Topic: d.Topic, Key: d.Key}
	}
	return to, failed
}

// draft is the Subscription as it is configured.
func (s SubscriptionConfig) draft() (commercetools.SubscriptionDraft, error) {
	to, err := s.Destination.destination()
	if err != nil {
		return commercetools.SubscriptionDraft{}, configError(s.Destination.At, err)
	}
	draft := commercetools.SubscriptionDraft{
		Key: s.Key, Destination: to, Changes: []commercetools.Change{{ResourceTypeID: "customer"}},
		Format: &commercetools.Format{Type: s.Format},
	}
	if s.Format == "CloudEvents" {
		draft.Format.CloudEventsVersion = "1.0"
	}
	if s.Messages {
		draft.Messages = []commercetools.Messages{{ResourceTypeID: "customer"}}
	}
	return draft, nil
}

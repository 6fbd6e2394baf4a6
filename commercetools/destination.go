package commercetools

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// A Secret is a text of a destination that nobody is to see: it prints as
// <secret>. Its JSON is the text itself, for commercetools.
type Secret string

const redacted = "<secret>"

// Format prints <secret> under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue makes slog print <secret>.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// A Destination is where a Subscription sends its notifications: one of SQS,
// SNS, EventBridge, AzureServiceBus, EventGrid, GoogleCloudPubSub,
// ConfluentCloud, or of what was read an UnknownDestination.
type Destination interface {
	// Type is commercetools' name of it.
	Type() string
}

// An SQS queue of AWS. AuthenticationMode is Credentials, or IAM without keys.
type SQS struct {
	QueueURL           string `json:"queueUrl"`
	Region             string `json:"region"`
	AuthenticationMode string `json:"authenticationMode,omitempty"`
	AccessKey          string `json:"accessKey,omitempty"`
	AccessSecret       Secret `json:"accessSecret,omitempty"`
}

// An SNS topic of AWS. AuthenticationMode is Credentials, or IAM without keys.
type SNS struct {
	TopicARN           string `json:"topicArn"`
	AuthenticationMode string `json:"authenticationMode,omitempty"`
	AccessKey          string `json:"accessKey,omitempty"`
	AccessSecret       Secret `json:"accessSecret,omitempty"`
}

// EventBridge of AWS, where the partner event source is to be accepted.
type EventBridge struct {
	AccountID string `json:"accountId"`
	Region    string `json:"region"`
}

// AzureServiceBus is a queue or a topic of Azure.
type AzureServiceBus struct {
	ConnectionString Secret `json:"connectionString"`
}

// EventGrid of Azure takes CloudEvents only.
type EventGrid struct {
	URI       string `json:"uri"`
	AccessKey Secret `json:"accessKey"`
}

// A GoogleCloudPubSub topic.
type GoogleCloudPubSub struct {
	ProjectID string `json:"projectId"`
	Topic     string `json:"topic"`
}

// A ConfluentCloud topic. Key is the partitioning key of the records.
type ConfluentCloud struct {
	BootstrapServer string `json:"bootstrapServer"`
	APIKey          Secret `json:"apiKey"`
	APISecret       Secret `json:"apiSecret"`
	Acks            string `json:"acks"`
	Topic           string `json:"topic"`
	Key             string `json:"key,omitempty"`
}

// An UnknownDestination was read from a Subscription that somebody else made.
// It cannot be sent.
type UnknownDestination struct{ Name string }

// Each is named as commercetools names it.

func (SQS) Type() string                  { return "SQS" }
func (SNS) Type() string                  { return "SNS" }
func (EventBridge) Type() string          { return "EventBridge" }
func (AzureServiceBus) Type() string      { return "AzureServiceBus" }
func (EventGrid) Type() string            { return "EventGrid" }
func (GoogleCloudPubSub) Type() string    { return "GoogleCloudPubSub" }
func (ConfluentCloud) Type() string       { return "ConfluentCloud" }
func (d UnknownDestination) Type() string { return d.Name }

// encodeDestination writes d with its type.
func encodeDestination(d Destination) (json.RawMessage, error) {
	if _, unknown := d.(UnknownDestination); d == nil || unknown {
		return nil, errors.New("commercetools: destination is none that can be sent")
	}
	fields, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	name, _ := json.Marshal(d.Type()) // a text always is JSON
	return append(append([]byte(`{"type":`), name...), append([]byte(","), fields[1:]...)...), nil
}

// decodeDestination reads one leniently: fields that it does not know may come
// with time.
func decodeDestination(data []byte) (Destination, error) {
	var t struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, err
	}
	switch t.Type {
	case "SQS":
		return decodeAs[SQS](data)
	case "SNS":
		return decodeAs[SNS](data)
	case "EventBridge":
		return decodeAs[EventBridge](data)
	case "AzureServiceBus":
		return decodeAs[AzureServiceBus](data)
	case "EventGrid":
		return decodeAs[EventGrid](data)
	case "GoogleCloudPubSub":
		return decodeAs[GoogleCloudPubSub](data)
	case "ConfluentCloud":
		return decodeAs[ConfluentCloud](data)
	}
	return UnknownDestination{Name: t.Type}, nil
}

func decodeAs[D Destination](data []byte) (Destination, error) {
	var d D
	err := json.Unmarshal(data, &d)
	return d, err
}

package commercetools_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	. "github.com/ct2fluent/ct2fluent/commercetools"
)

// Every destination as commercetools wants it; it comes back as it went.
func TestDestinations(t *testing.T) {
	tests := []struct {
		d    Destination
		want string
	}{
		{SQS{QueueURL: "u", Region: "r"}, `{"type":"SQS","queueUrl":"u","region":"r"}`},
		{SQS{QueueURL: "u", Region: "r", AuthenticationMode: "Credentials", AccessKey: "k", AccessSecret: "hush"},
			`{"type":"SQS","queueUrl":"u","region":"r","authenticationMode":"Credentials","accessKey":"k","accessSecret":"hush"}`},
		{SNS{TopicARN: "t", AuthenticationMode: "IAM"}, `{"type":"SNS","topicArn":"t","authenticationMode":"IAM"}`},
		{EventBridge{AccountID: "1", Region: "r"}, `{"type":"EventBridge","accountId":"1","region":"r"}`},
		{AzureServiceBus{ConnectionString: "hush"}, `{"type":"AzureServiceBus","connectionString":"hush"}`},
		{EventGrid{URI: "u", AccessKey: "hush"}, `{"type":"EventGrid","uri":"u","accessKey":"hush"}`},
		{GoogleCloudPubSub{ProjectID: "p", Topic: "t"}, `{"type":"GoogleCloudPubSub","projectId":"p","topic":"t"}`},
		{ConfluentCloud{BootstrapServer: "b", APIKey: "hush", APISecret: "hush", Acks: "all", Topic: "t", Key: "k"},
			`{"type":"ConfluentCloud","bootstrapServer":"b","apiKey":"hush","apiSecret":"hush","acks":"all","topic":"t","key":"k"}`},
	}
	for _, test := range tests {
		t.Run(test.d.Type(), func(t *testing.T) {
			format := &Format{Type: "CloudEvents", CloudEventsVersion: "1.0"}
			w := newTown(t, 1)
			draft := SubscriptionDraft{Key: "k", Destination: test.d, Changes: []Change{{"customer"}}, Format: format}
			got, err := json.Marshal(draft)
			if err != nil || string(got) != `{"key":"k","destination":`+test.want+`,"changes":[{"resourceTypeId":"customer"}],"format":{"type":"CloudEvents","cloudEventsVersion":"1.0"}}` {
				t.Errorf("%s, %v", got, err)
			}
			s, err := w.CreateSubscription(t.Context(), draft)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(s.Destination, test.d) || s.Format != *format || s.Status != Healthy {
				t.Errorf("came back as %#v", s)
			}
			if shown := fmt.Sprintf("%v %+v %#v %s %q", test.d, *s, draft, test.d, test.d); strings.Contains(shown, "hush") {
				t.Errorf("promise 7: %s", shown)
			}
		})
	}
}

// The life of a subscription.
func TestSubscriptions(t *testing.T) {
	w := newTown(t, 1)
	ctx := t.Context()
	wants := func(err error, kind Kind, code string) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Kind != kind || e.Code != code {
			t.Errorf("err = %v, want %v with code %q", err, kind, code)
		}
	}
	_, err := w.Subscription(ctx, "k")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("err = %v", err)
	}
	draft := SubscriptionDraft{Key: "k", Destination: SQS{QueueURL: "u", Region: "r"}, Changes: []Change{{"customer"}}}
	made, err := w.CreateSubscription(ctx, draft)
	if err != nil || made.Version != 1 || made.Key != "k" || made.ID == "" || made.CreatedAt == "" || made.Format.Type != "Platform" {
		t.Fatalf("%+v, %v", made, err)
	}
	_, err = w.CreateSubscription(ctx, draft)
	wants(err, Refused, "DuplicateField")
	_, err = w.CreateSubscription(ctx, SubscriptionDraft{Key: "l", Destination: SQS{}, Changes: []Change{{"customer"}}})
	wants(err, Refused, "InvalidInput")
	_, err = w.CreateSubscription(ctx, SubscriptionDraft{Key: "l"})
	wants(err, Refused, "impossible-destination")
	_, err = w.CreateSubscription(ctx, SubscriptionDraft{Destination: SQS{QueueURL: "u", Region: "r"}})
	wants(err, Refused, "impossible-key")
	_, err = w.Subscription(ctx, "../customers")
	wants(err, Refused, "impossible-key")
	_, err = w.UpdateSubscription(ctx, "k", 1, ChangeDestination(UnknownDestination{"Pigeon"}))
	wants(err, Refused, "impossible-destination")

	if !w.s.SetSubscriptionStatus("key=k", "ConfigurationErrorDeliveryStopped") {
		t.Fatal("there is no such subscription")
	}
	read, err := w.Subscription(ctx, "k")
	if err != nil || read.Status != DeliveryStopped || read.ID != made.ID {
		t.Errorf("%+v, %v", read, err)
	}
	changed, err := w.UpdateSubscription(ctx, "k", read.Version, ChangeDestination(SNS{TopicARN: "t"}),
		SetMessages(Messages{ResourceTypeID: "customer", Types: []string{"CustomerDeleted"}}), SetChanges(), SetKey("l"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Subscription{ID: made.ID, Version: 2, Key: "l", Destination: SNS{TopicARN: "t"}, Changes: []Change{},
		Messages: []Messages{{"customer", []string{"CustomerDeleted"}}}, Format: made.Format, Status: DeliveryStopped,
		CreatedAt: made.CreatedAt, LastModifiedAt: changed.LastModifiedAt}
	if !reflect.DeepEqual(changed, want) {
		t.Errorf("changed to\n%+v, want\n%+v", changed, want)
	}
	_, err = w.UpdateSubscription(ctx, "l", 1, SetKey("k"))
	wants(err, Conflict, "ConcurrentModification")
	_, err = w.UpdateSubscription(ctx, "k", 1, SetKey("l"))
	wants(err, NotFound, "ResourceNotFound")

	draft.Key = "m"
	if _, err := w.CreateSubscription(ctx, draft); err != nil {
		t.Fatal(err)
	}
	if all, err := w.Client.Subscriptions(ctx); err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	_, err = w.DeleteSubscription(ctx, "l", 1)
	wants(err, Conflict, "ConcurrentModification")
	if gone, err := w.DeleteSubscription(ctx, "l", 2); err != nil || gone.ID != made.ID {
		t.Errorf("%+v, %v", gone, err)
	}
	_, err = w.DeleteSubscription(ctx, "l", 2)
	wants(err, NotFound, "ResourceNotFound")
}

// A destination that this program does not know is read, not lost.
func TestUnknownDestination(t *testing.T) {
	var s Subscription
	err := json.Unmarshal([]byte(`{"id":"i","version":1,"destination":{"type":"Pigeon","loft":7},"new":{}}`), &s)
	if err != nil || s.Destination != (UnknownDestination{"Pigeon"}) || s.ID != "i" {
		t.Errorf("%+v, %v", s, err)
	}
}

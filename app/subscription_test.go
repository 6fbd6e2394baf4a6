package app

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

// registry is a project's only Subscription, and what goes wrong with the next
// change of it.
type registry struct {
	has   *commercetools.Subscription
	wrong string // "lost", "never", "overtaken", "taken", "no scope"
	calls []string
}

func (s *registry) Subscription(context.Context, string) (*commercetools.Subscription, error) {
	s.calls = append(s.calls, "read")
	if s.wrong == "no scope" {
		return nil, &commercetools.Error{Operation: "subscription", Kind: commercetools.Stopped, Code: "insufficient_scope", Status: 403}
	}
	if s.has == nil {
		return nil, &commercetools.Error{Kind: commercetools.NotFound}
	}
	c := *s.has
	return &c, nil
}

func (s *registry) CreateSubscription(_ context.Context, d commercetools.SubscriptionDraft) (*commercetools.Subscription, error) {
	return s.change("create", func() {
		s.has = &commercetools.Subscription{Key: d.Key, Version: 1, Destination: d.Destination, Changes: d.Changes, Messages: d.Messages, Format: *d.Format, Status: "Healthy"}
	})
}

func (s *registry) UpdateSubscription(_ context.Context, _ string, version int64, actions ...commercetools.Action) (*commercetools.Subscription, error) {
	var names []string
	for _, a := range actions {
		names = append(names, a.Name)
	}
	return s.change("update "+strings.Join(names, " "), func() {
		if version != s.has.Version {
			panic("an update of another version")
		}
		s.has.Version++
		doc, _ := json.Marshal(actions) // all that is sent is JSON
		for _, a := range actions {
			switch a.Name {
			case "setChanges":
				s.has.Changes = []commercetools.Change{{ResourceTypeID: "customer"}}
			case "setMessages":
				s.has.Messages = nil
			case "changeDestination":
				s.has.Destination = commercetools.EventBridge{AccountID: "1", Region: "eu"}
				if strings.Contains(string(doc), "SQS") {
					s.has.Destination = commercetools.SQS{QueueURL: "q", Region: "eu"}
				}
			}
		}
	})
}

func (s *registry) DeleteSubscription(context.Context, string, int64) (*commercetools.Subscription, error) {
	return s.change("delete", func() { s.has = nil })
}

func (s *registry) change(what string, do func()) (*commercetools.Subscription, error) {
	s.calls = append(s.calls, what)
	wrong := s.wrong
	s.wrong = ""
	switch wrong {
	case "lost":
		do()
		return nil, &commercetools.Error{Kind: commercetools.Down}
	case "never":
		return nil, &commercetools.Error{Kind: commercetools.Down}
	case "overtaken":
		s.has.Version += 5
		return nil, &commercetools.Error{Kind: commercetools.Conflict, Code: "ConcurrentModification"}
	case "overtaken again":
		s.wrong = wrong
		s.has.Version += 5
		return nil, &commercetools.Error{Kind: commercetools.Conflict, Code: "ConcurrentModification"}
	case "taken":
		s.has = bridge(func(h *commercetools.Subscription) { h.Changes = nil })
		return nil, &commercetools.Error{Kind: commercetools.Refused, Code: "DuplicateField", Status: 400}
	case "refused":
		return nil, &commercetools.Error{Kind: commercetools.Refused, Code: "InvalidInput", Status: 400}
	}
	do()
	return s.has, nil
}

// bridge is the Subscription as it is configured below, changed.
func bridge(changes ...func(*commercetools.Subscription)) *commercetools.Subscription {
	h := &commercetools.Subscription{
		Key: "ct2fluent", Version: 3, Status: "Healthy", Changes: []commercetools.Change{{ResourceTypeID: "customer"}},
		Destination: commercetools.EventBridge{AccountID: "1", Region: "eu"},
	}
	for _, change := range changes {
		change(h)
	}
	return h
}

func TestSubscriptionApply(t *testing.T) {
	toBridge := DestinationConfig{Type: "EventBridge", AccountID: "1", Region: "eu"}
	toQueue := DestinationConfig{Type: "SQS", QueueURL: "q", Region: "eu", AccessKey: plainSecret("AKIA"), AccessSecret: plainSecret("hush")}
	orders := func(h *commercetools.Subscription) { h.Changes = []commercetools.Change{{ResourceTypeID: "order"}} }
	queue := func(h *commercetools.Subscription) { h.Destination = commercetools.SQS{QueueURL: "q", Region: "eu"} }
	tests := []struct {
		name   string
		to     DestinationConfig
		has    *commercetools.Subscription
		wrong  string
		resend bool
		calls  string
		err    string
	}{
		{name: "none is there", to: toBridge, calls: "read create"},
		{name: "it is as configured", to: toBridge, has: bridge(), calls: "read"},
		{name: "it has other changes", to: toBridge, has: bridge(orders), calls: "read update setChanges"},
		{name: "it has messages", to: toBridge, has: bridge(func(h *commercetools.Subscription) {
			h.Messages = []commercetools.Messages{{ResourceTypeID: "customer", Types: []string{"CustomerDeleted"}}}
		}), calls: "read update setMessages"},
		{name: "it sends elsewhere", to: toQueue, has: bridge(), calls: "read update changeDestination"},
		{name: "it sends there with other fields", to: toBridge, has: bridge(func(h *commercetools.Subscription) {
			h.Destination = commercetools.EventBridge{AccountID: "1", Region: "us"}
		}), calls: "read update changeDestination"},
		{name: "a destination that this program does not know", to: toBridge, has: bridge(func(h *commercetools.Subscription) {
			h.Destination = commercetools.UnknownDestination{Name: "Carrier"}
		}), calls: "read update changeDestination"},
		{name: "secrets are not compared", to: toQueue, has: bridge(queue), calls: "read"},
		{name: "and sent when asked for", to: toQueue, has: bridge(queue), resend: true, calls: "read update changeDestination"},
		{name: "the format differs", to: toBridge, has: bridge(func(h *commercetools.Subscription) { h.Format.Type = "CloudEvents" }),
			calls: "read", err: "cannot be changed"},

		{name: "the answer of the create is lost", to: toBridge, wrong: "lost", calls: "read create read"},
		{name: "the create never arrives", to: toBridge, wrong: "never", calls: "read create read", err: "its answer was lost"},
		{name: "the answer of the update is lost", to: toBridge, has: bridge(orders), wrong: "lost", calls: "read update setChanges read"},
		{name: "the update never arrives", to: toBridge, has: bridge(orders), wrong: "never", calls: "read update setChanges read", err: "its answer was lost"},
		{name: "the answer of sending the secrets is lost", to: toQueue, has: bridge(queue), resend: true, wrong: "lost", calls: "read update changeDestination read"},
		{name: "sending the secrets never arrives", to: toQueue, has: bridge(queue), resend: true, wrong: "never",
			calls: "read update changeDestination read", err: "its answer was lost"},
		{name: "somebody changed it meanwhile", to: toBridge, has: bridge(orders), wrong: "overtaken", calls: "read update setChanges read update setChanges"},
		{name: "somebody changes it again and again", to: toBridge, has: bridge(orders), wrong: "overtaken again",
			calls: "read update setChanges read update setChanges", err: "conflict"},
		{name: "somebody made it meanwhile", to: toBridge, wrong: "taken", calls: "read create read update setChanges"},
		{name: "commercetools refuses it", to: toBridge, has: bridge(orders), wrong: "refused", calls: "read update setChanges", err: "InvalidInput"},
		{name: "the scope is missing", to: toBridge, wrong: "no scope", calls: "read", err: "needs the scope manage_subscriptions:shop"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			on := &registry{has: tt.has, wrong: tt.wrong}
			s := subscriber{project: "shop", calls: on, resend: tt.resend,
				config: SubscriptionConfig{Key: "ct2fluent", Format: "Platform", Destination: tt.to}}
			told := 0
			_, err := s.apply(t.Context(), func(p SubscriptionPlan) {
				told++
				var out strings.Builder
				doc, err := json.Marshal(p)
				err = errors.Join(err, p.print(&out))
				if out.Write(doc); err != nil || strings.Contains(out.String(), "hush") || strings.Contains(out.String(), "AKIA") {
					t.Errorf("told %s (%v)", &out, err)
				}
			})
			switch {
			case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("%v, want %q", err, tt.err)
			}
			if got := strings.Join(on.calls, " "); got != tt.calls {
				t.Errorf("calls %s, want %s", got, tt.calls)
			}
			if slices.Contains(on.calls, "delete") {
				t.Error("it was removed")
			}
			if told == 0 && tt.wrong != "no scope" {
				t.Error("nothing was told before")
			}
		})
	}
}

func plainSecret(text string) Secret {
	return Secret{value: func() (string, error) { return text, nil }}
}

func TestSubscriptionRemove(t *testing.T) {
	for _, tt := range []struct {
		has     *commercetools.Subscription
		wrong   string
		removed bool
		calls   string
		failed  bool
	}{
		{bridge(), "", true, "read delete", false},
		{nil, "", false, "read", false},
		{bridge(), "lost", true, "read delete read", false},
		{bridge(), "never", true, "read delete read delete", false},
		{bridge(), "overtaken", true, "read delete read delete", false},
		{bridge(), "refused", false, "read delete", true},
	} {
		on := &registry{has: tt.has, wrong: tt.wrong}
		removed, err := subscriber{project: "shop", calls: on, config: SubscriptionConfig{Key: "ct2fluent"}}.remove(t.Context())
		if got := strings.Join(on.calls, " "); removed != tt.removed || got != tt.calls || (err != nil) != tt.failed {
			t.Errorf("%s: %v, %s, %v", tt.wrong, removed, got, err)
		}
	}
}

// Every destination of the configuration is commercetools' own.
func TestDestinations(t *testing.T) {
	secret := plainSecret("s")
	for _, tt := range []struct {
		config DestinationConfig
		want   string
	}{
		{DestinationConfig{Type: "EventBridge", AccountID: "1", Region: "eu"}, `{"type":"EventBridge","accountId":"1","region":"eu"}`},
		{DestinationConfig{Type: "SQS", QueueURL: "q", Region: "eu", AuthenticationMode: "IAM"}, `{"type":"SQS","queueUrl":"q","region":"eu","authenticationMode":"IAM"}`},
		{DestinationConfig{Type: "SQS", QueueURL: "q", Region: "eu", AccessKey: secret, AccessSecret: secret}, `{"type":"SQS","queueUrl":"q","region":"eu","accessKey":"s","accessSecret":"s"}`},
		{DestinationConfig{Type: "SNS", TopicARN: "t", AccessKey: secret, AccessSecret: secret}, `{"type":"SNS","topicArn":"t","accessKey":"s","accessSecret":"s"}`},
		{DestinationConfig{Type: "AzureServiceBus", ConnectionString: secret}, `{"type":"AzureServiceBus","connectionString":"s"}`},
		{DestinationConfig{Type: "EventGrid", URI: "u", AccessKey: secret}, `{"type":"EventGrid","uri":"u","accessKey":"s"}`},
		{DestinationConfig{Type: "GoogleCloudPubSub", ProjectID: "p", Topic: "t"}, `{"type":"GoogleCloudPubSub","projectId":"p","topic":"t"}`},
		{DestinationConfig{Type: "ConfluentCloud", BootstrapServer: "b", APIKey: secret, APISecret: secret, Topic: "t", Key: "k"},
			`{"type":"ConfluentCloud","bootstrapServer":"b","apiKey":"s","apiSecret":"s","acks":"all","topic":"t","key":"k"}`},
	} {
		draft, err := SubscriptionConfig{Key: "ct2fluent", Destination: tt.config, Format: "CloudEvents", Messages: true}.draft()
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(draft)
		want := `{"key":"ct2fluent","destination":` + tt.want + `,"changes":[{"resourceTypeId":"customer"}],"messages":[{"resourceTypeId":"customer"}],"format":{"type":"CloudEvents","cloudEventsVersion":"1.0"}}`
		if err != nil || string(got) != want {
			t.Errorf("got\n%s (%v), want\n%s", got, err, want)
		}
	}
	if len(destinationKeys) != 7 {
		t.Error("a type of destination is missing")
	}
	gone := Secret{value: func() (string, error) { return "", errors.New("no such file") }}
	if _, err := (SubscriptionConfig{Destination: DestinationConfig{Type: "AzureServiceBus", ConnectionString: gone}}).draft(); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

// What is refused has the remedy that mends it: only a scope that is missing is
// no mistake in the credentials, and no reason to fail.
func TestSubscriptionRefused(t *testing.T) {
	stopped := func(status int, code string) error {
		return &commercetools.Error{Operation: "subscription", Kind: commercetools.Stopped, Status: status, Code: code}
	}
	for _, tt := range []struct {
		err    error
		state  string
		exit   int // of check
		remedy string
	}{
		{stopped(403, "insufficient_scope"), "warning", exitDone, "scope manage_subscriptions:shop"},
		{stopped(400, "invalid_scope"), "warning", exitDone, "scope manage_subscriptions:shop"},
		{stopped(401, "invalid_client"), "failed", exitConfig, "correct the credentials"},
		{stopped(401, "invalid_token"), "failed", exitConfig, "correct the credentials"},
		{stopped(400, "invalid_client"), "failed", exitConfig, "correct the credentials"},
		{stopped(0, ""), "failed", exitConfig, "correct the credentials"}, // the file of the secret cannot be read
		{stopped(404, ""), "failed", exitConfig, "api-url"},
		{stopped(302, ""), "failed", exitConfig, "api-url"},
		{&commercetools.Error{Kind: commercetools.Down, Status: 503}, "failed", exitSurroundings, "can be reached"},
	} {
		s := subscriber{project: "shop", calls: refusing{tt.err}, config: SubscriptionConfig{Key: "ct2fluent"}}
		f := s.check(t.Context())
		exit := exitDone
		if err := worst([]Finding{f}); err != nil {
			exit = exitCode(err)
		}
		if f.State != tt.state || exit != tt.exit || !strings.Contains(f.Remedy, tt.remedy) {
			t.Errorf("%v: %s, exit code %d: %s", tt.err, f.State, exit, f.Remedy)
		}
		_, err := s.remove(t.Context())
		if down := tt.exit == exitSurroundings; !down && !strings.Contains(err.Error(), tt.remedy) {
			t.Errorf("rm: %v", err)
		}
	}
}

// refusing is commercetools that has the same answer to all.
type refusing struct{ err error }

func (r refusing) Subscription(context.Context, string) (*commercetools.Subscription, error) {
	return nil, r.err
}

func (r refusing) CreateSubscription(context.Context, commercetools.SubscriptionDraft) (*commercetools.Subscription, error) {
	return nil, r.err
}

func (r refusing) UpdateSubscription(context.Context, string, int64, ...commercetools.Action) (*commercetools.Subscription, error) {
	return nil, r.err
}

func (r refusing) DeleteSubscription(context.Context, string, int64) (*commercetools.Subscription, error) {
	return nil, r.err
}

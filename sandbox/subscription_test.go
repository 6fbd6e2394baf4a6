package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

type obj = map[string]any

var customers = []any{obj{"resourceTypeId": "customer"}}

// A subscription over HTTP: drafts, update actions, versions.
func TestSubscriptions(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{})
	token := ctToken(t, s)
	sqs := `"destination":{"type":"SQS","queueUrl":"u","region":"r"}`
	refused := []struct{ name, draft, code string }{
		{"no destination", `{"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"an unknown destination", `{"destination":{"type":"Webhook"},"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"half a destination", `{"destination":{"type":"SQS"},"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"nothing wanted", `{` + sqs + `}`, "InvalidInput"},
		{"nothing named", `{` + sqs + `,"changes":[{}]}`, "InvalidInput"},
		{"another field", `{` + sqs + `,"changes":[{"resourceTypeId":"customer"}],"colour":1}`, "InvalidInput"},
		{"EventGrid in the Platform format", `{"destination":{"type":"EventGrid","uri":"u","accessKey":"k"},"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"CloudEvents of no version", `{` + sqs + `,"changes":[{"resourceTypeId":"customer"}],"format":{"type":"CloudEvents"}}`, "InvalidInput"},
		{"a field of another destination", `{"destination":{"type":"SQS","queueUrl":"u","region":"r","topicArn":"t"},"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"a number for a text", `{"destination":{"type":"EventBridge","accountId":"1","region":7},"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"a way to authenticate that is none", `{"destination":{"type":"SNS","topicArn":"t","authenticationMode":"Key"},"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"IAM with keys", `{"destination":{"type":"SNS","topicArn":"t","authenticationMode":"IAM","accessKey":"k"},"changes":[{"resourceTypeId":"customer"}]}`, "InvalidInput"},
		{"no JSON", `[`, "InvalidJsonInput"},
	}
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			if w, doc := ask(t, s, "POST", "/sandbox/subscriptions", token, test.draft); w.Code != 400 || errorCode(doc) != test.code {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	w, doc := ask(t, s, "POST", "/sandbox/subscriptions", token, `{"key":"k",`+sqs+`,"changes":[{"resourceTypeId":"customer"}]}`)
	if w.Code != 201 || doc["status"] != "Healthy" {
		t.Fatalf("create: %d %s", w.Code, w.Body)
	}
	id := doc["id"].(string)
	steps := []struct {
		name, method, target, body string
		status                     int
		holds                      string // in the answer
	}{
		{"the key again", "POST", "/sandbox/subscriptions", `{"key":"k",` + sqs + `,"changes":[{"resourceTypeId":"customer"}]}`, 400, "DuplicateField"},
		{"by id", "GET", "/sandbox/subscriptions/" + id, "", 200, `"key":"k"`},
		{"by key", "GET", "/sandbox/subscriptions/key=k", "", 200, id},
		{"all", "GET", "/sandbox/subscriptions", "", 200, `"count":1`},
		{"all, by id, without a total", "GET", "/sandbox/subscriptions?limit=500&sort=id+asc&withTotal=false", "", 200, `{"count":1,"limit":500,"offset":0,"results":[{`},
		{"too many at once", "GET", "/sandbox/subscriptions?limit=501", "", 400, "InvalidInput"},
		{"by another order", "GET", "/sandbox/subscriptions?sort=key+asc", "", 400, "InvalidInput"},
		{"behind the last", "GET", "/sandbox/subscriptions?offset=5", "", 200, `"results":[]`},
		{"it falls ill", "PUT", "/_sandbox/subscriptions/key=k", `{"status":"TemporaryError"}`, 200, ""},
		{"is seen to be", "GET", "/sandbox/subscriptions/key=k", "", 200, `"status":"TemporaryError","version":1`},
		{"a state there is not", "PUT", "/_sandbox/subscriptions/key=k", `{"status":"Ill"}`, 400, "ManuallySuspended"},
		{"of one there is not", "PUT", "/_sandbox/subscriptions/key=x", `{"status":"Healthy"}`, 404, "no such"},
		{"another one", "GET", "/sandbox/subscriptions/key=", "", 404, "ResourceNotFound"},
		{"another version", "POST", "/sandbox/subscriptions/key=k", `{"version":7,"actions":[]}`, 409, `"currentVersion":1`},
		{"an unknown action", "POST", "/sandbox/subscriptions/key=k", `{"version":1,"actions":[{"action":"dance"}]}`, 400, "InvalidInput"},
		{"all wishes gone", "POST", "/sandbox/subscriptions/key=k", `{"version":1,"actions":[{"action":"setChanges"}]}`, 400, "InvalidInput"},
		{"the destination gone", "POST", "/sandbox/subscriptions/key=k", `{"version":1,"actions":[{"action":"changeDestination"}]}`, 400, "InvalidInput"},
		{"messages instead", "POST", "/sandbox/subscriptions/key=k",
			`{"version":1,"actions":[{"action":"setMessages","messages":[{"resourceTypeId":"customer"}]},{"action":"setChanges","changes":[]}]}`, 200, `"version":2`},
		{"another destination", "POST", "/sandbox/subscriptions/" + id,
			`{"version":2,"actions":[{"action":"changeDestination","destination":{"type":"SNS","topicArn":"t"}},{"action":"setKey","key":"l"}]}`, 200, `"topicArn":"t"`},
		{"deleting another version", "DELETE", "/sandbox/subscriptions/key=l?version=1", "", 409, "ConcurrentModification"},
		{"deleting", "DELETE", "/sandbox/subscriptions/key=l?version=3", "", 200, id},
		{"deleting again", "DELETE", "/sandbox/subscriptions/key=l?version=3", "", 404, ""},
		{"another method", "PUT", "/sandbox/subscriptions", "", 404, ""},
	}
	for _, step := range steps {
		w, _ := ask(t, s, step.method, step.target, token, step.body)
		if w.Code != step.status || !strings.Contains(w.Body.String(), step.holds) {
			t.Errorf("%s: %d %s, want %d and %s", step.name, w.Code, w.Body, step.status, step.holds)
		}
	}
}

// What a subscription is sent: the test notification first, then changes, or
// several messages a request.
func TestNotifications(t *testing.T) {
	tests := []struct {
		name  string
		draft obj
		want  []string // notificationType, type, typeId
	}{
		{"changes", obj{"changes": customers}, []string{
			"ResourceCreated subscription", "ResourceCreated customer", "ResourceUpdated customer", "ResourceDeleted customer"}},
		{"messages", obj{"messages": customers}, []string{
			"ResourceCreated subscription", "Message CustomerCreated", "Message CustomerTitleSet", "Message CustomerLastNameSet", "Message CustomerDeleted"}},
		{"messages of a type", obj{"messages": []any{obj{"resourceTypeId": "customer", "types": []any{"CustomerTitleSet"}}}}, []string{
			"ResourceCreated subscription", "Message CustomerTitleSet"}},
		{"of other resources", obj{"changes": []any{obj{"resourceTypeId": "customer-group"}}}, []string{"ResourceCreated subscription"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, got := withDeliveries(t, sandbox.CTOptions{ProjectKey: "p"})
			create(t, s, obj{"email": "before@x"})
			subscribe(t, s, test.draft)
			id := create(t, s, obj{"email": "a@x"})["id"].(string)
			c, err := s.Update(id, obj{"action": "setTitle", "title": "Dr."}, obj{"action": "setLastName", "lastName": "Li"}, obj{"action": "setKey", "key": "k"})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(id); err != nil {
				t.Fatal(err)
			}
			var kinds []string
			var sequence float64
			for _, n := range got() {
				if n["projectKey"] != "p" {
					t.Errorf("project %v", n["projectKey"])
				}
				kind := n["notificationType"].(string) + " "
				if kind != "Message " {
					kinds = append(kinds, kind+n["resource"].(obj)["typeId"].(string))
					continue
				}
				kinds = append(kinds, kind+n["type"].(string))
				if n["version"] != 1.0 || n["sequenceNumber"].(float64) <= sequence || n["resource"].(obj)["id"] != id {
					t.Errorf("message %v", n)
				}
				if n["type"] == "CustomerTitleSet" && (fmt.Sprint(n["resourceVersion"]) != fmt.Sprint(c["version"]) || n["title"] != "Dr.") {
					t.Errorf("message %v of version %v", n, c["version"])
				}
				sequence = n["sequenceNumber"].(float64)
			}
			if fmt.Sprint(kinds) != fmt.Sprint(test.want) {
				t.Errorf("got %q\nwant %q", kinds, test.want)
			}
		})
	}
}

// A change names the version after it; the one before is missing at times.
func TestChangeVersions(t *testing.T) {
	s, got := withDeliveries(t, sandbox.CTOptions{})
	subscribe(t, s, obj{"changes": customers})
	id := create(t, s, obj{"email": "a@x"})["id"].(string)
	var versions []string
	for i := range 40 {
		c, err := s.Update(id, obj{"action": "setTitle", "title": fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, fmt.Sprint(c["version"]))
	}
	missing := 0
	before := "1"
	for i, n := range got()[2:] {
		if fmt.Sprint(n["version"]) != versions[i] {
			t.Errorf("update %d: version %v, want %s", i, n["version"], versions[i])
		}
		if n["oldVersion"] == nil {
			missing++
		} else if fmt.Sprint(n["oldVersion"]) != before {
			t.Errorf("update %d: oldVersion %v, want %s", i, n["oldVersion"], before)
		}
		before = versions[i]
	}
	if missing == 0 || missing > 15 {
		t.Errorf("oldVersion is missing %d times of 40", missing)
	}
}

// The wrappings: CloudEvents and EventBridge, and one in the other.
func TestFormats(t *testing.T) {
	bridge := obj{"type": "EventBridge", "accountId": "42", "region": "eu"}
	cloud := obj{"type": "CloudEvents", "cloudEventsVersion": "1.0"}
	tests := []struct {
		name  string
		draft obj
		path  []string // to the notification itself
		outer obj
	}{
		{"CloudEvents", obj{"changes": customers, "format": cloud}, []string{"data"},
			obj{"specversion": "1.0", "type": "com.commercetools.customer.change.ResourceUpdated", "source": "/sandbox/customers"}},
		{"CloudEvents of messages", obj{"messages": customers, "format": cloud}, []string{"data"},
			obj{"specversion": "1.0", "type": "com.commercetools.customer.message.CustomerTitleSet", "sequence": "2"}},
		{"EventBridge", obj{"key": "k", "changes": customers, "destination": bridge}, []string{"detail"},
			obj{"version": "0", "account": "42", "region": "eu", "source": "aws.partner/commercetools.com/sandbox/k"}},
		{"CloudEvents by EventBridge", obj{"changes": customers, "destination": bridge, "format": cloud}, []string{"detail", "data"}, obj{"version": "0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, got := withDeliveries(t, sandbox.CTOptions{})
			subscribe(t, s, test.draft)
			id := create(t, s, obj{"email": "a@x"})["id"].(string)
			if _, err := s.Update(id, obj{"action": "setTitle", "title": "Dr."}); err != nil {
				t.Fatal(err)
			}
			all := got()
			outer := all[len(all)-1]
			for k, v := range test.outer {
				if outer[k] != v {
					t.Errorf("%s is %v, want %v", k, outer[k], v)
				}
			}
			inner := outer
			for _, step := range test.path {
				inner, _ = inner[step].(obj)
			}
			if inner["projectKey"] != "sandbox" || inner["resource"].(obj)["id"] != id {
				t.Errorf("inside is %v", inner)
			}
		})
	}
}

// A message that is too large for a queue comes without its payload and type.
func TestPayloadNotIncluded(t *testing.T) {
	s, got := withDeliveries(t, sandbox.CTOptions{})
	subscribe(t, s, obj{"messages": customers})
	create(t, s, obj{"email": "a@x", "firstName": strings.Repeat("x", 300_000)})
	n := got()[1]
	if reason, _ := n["payloadNotIncluded"].(obj); reason["payloadType"] != "CustomerCreated" || n["type"] != nil {
		t.Errorf("got %.300v", n)
	}
}

// Notifications come late, twice and in another order when asked to.
func TestDelivery(t *testing.T) {
	tests := []struct {
		name  string
		knobs sandbox.CTKnobs
		check func(t *testing.T, order string, took time.Duration)
	}{
		{"faithful", sandbox.CTKnobs{}, func(t *testing.T, order string, took time.Duration) {
			if order != "abcdefgh" || took != 0 {
				t.Errorf("%s after %v", order, took)
			}
		}},
		{"late", sandbox.CTKnobs{Delay: sandbox.Duration(time.Minute)}, func(t *testing.T, order string, took time.Duration) {
			if order != "abcdefgh" || took != time.Minute {
				t.Errorf("%s after %v", order, took)
			}
		}},
		{"twice", sandbox.CTKnobs{Duplicates: 1}, func(t *testing.T, order string, _ time.Duration) {
			if sorted(order) != "aabbccddeeffgghh" {
				t.Errorf("%s", order)
			}
		}},
		{"in no order", sandbox.CTKnobs{Window: sandbox.Duration(time.Hour)}, func(t *testing.T, order string, took time.Duration) {
			if order == "abcdefgh" || sorted(order) != "abcdefgh" || took > time.Hour {
				t.Errorf("%s after %v", order, took)
			}
		}},
		{"reversed", sandbox.CTKnobs{Window: sandbox.Duration(time.Hour), Reverse: true}, func(t *testing.T, order string, _ time.Duration) {
			if order != "hgfedcba" {
				t.Errorf("%s", order)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, got := withDeliveries(t, sandbox.CTOptions{})
				subscribe(t, s, obj{"changes": customers})
				got()
				if err := s.SetKnobs(test.knobs); err != nil {
					t.Fatal(err)
				}
				names := map[string]string{}
				for _, name := range strings.Split("abcdefgh", "") {
					names[create(t, s, obj{"email": name + "@x"})["id"].(string)] = name
					if test.knobs.Reverse {
						time.Sleep(time.Millisecond)
					}
				}
				if s.Pending() < 8 {
					t.Errorf("%d are pending", s.Pending())
				}
				begin := time.Now()
				order := ""
				for _, n := range got()[1:] {
					order += names[n["resource"].(obj)["id"].(string)]
				}
				test.check(t, order, time.Since(begin))
			})
		})
	}
}

// What the queue does not take is delivered again, and nothing is lost.
func TestDeliverAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tries := map[string]int{}
		s := newCT(t, sandbox.CTOptions{Deliver: func(_ context.Context, destination map[string]any, body []byte) error {
			if destination["queueUrl"] != "q" {
				t.Errorf("destination %v", destination)
			}
			mu.Lock()
			defer mu.Unlock()
			if tries[string(body)]++; tries[string(body)] < 4 {
				return errors.New("no")
			}
			return nil
		}})
		subscribe(t, s, obj{"changes": customers})
		if err := sandbox.NewPopulation(1).Fill(s, 20); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		if err := s.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
		if len(tries) != 21 || s.Calls()["deliver"]["ok"] != 21 || s.Calls()["deliver"]["failed"] != 63 {
			t.Errorf("%d notifications, %v", len(tries), s.Calls())
		}
	})
}

// A second delivery brings the same notifications, the same ids in them.
func TestRedeliver(t *testing.T) {
	s, got := withDeliveries(t, sandbox.CTOptions{})
	subscribe(t, s, obj{"changes": customers, "messages": customers, "format": obj{"type": "CloudEvents", "cloudEventsVersion": "1.0"}})
	for range 3 {
		create(t, s, obj{})
	}
	first := got()
	if n := s.Redeliver(); n != len(first) || n != 7 {
		t.Fatalf("redelivers %d of %d", n, len(first))
	}
	all := got()
	ids := map[any]int{}
	for _, n := range all {
		ids[n["id"]]++
	}
	if len(all) != 14 || len(ids) != 7 {
		t.Errorf("%d deliveries of %d ids", len(all), len(ids))
	}
}

// A subscription that was stopped or deleted is sent nothing.
func TestStoppedSubscription(t *testing.T) {
	s, got := withDeliveries(t, sandbox.CTOptions{})
	doc := subscribe(t, s, obj{"key": "k", "changes": customers})
	for _, status := range []string{"ConfigurationErrorDeliveryStopped", "ManuallySuspended", "TemporaryError"} {
		if !s.SetSubscriptionStatus("key=k", status) {
			t.Fatal("there is no such subscription")
		}
		create(t, s, obj{})
	}
	if n := len(got()); n != 2 {
		t.Errorf("%d deliveries, want the test and that of TemporaryError", n)
	}
	create(t, s, obj{})
	if w, _ := ask(t, s, "DELETE", "/sandbox/subscriptions/"+doc["id"].(string)+"?version=1", ctToken(t, s), ""); w.Code != 200 {
		t.Fatalf("delete: %s", w.Body)
	}
	if n := len(got()); n != 2 {
		t.Errorf("%d deliveries after the subscription was deleted", n)
	}
	if s.SetSubscriptionStatus("key=k", "Healthy") {
		t.Error("a deleted subscription has a status")
	}
}

// Drain gives up with its context.
func TestDrainEnds(t *testing.T) {
	s := newCT(t, sandbox.CTOptions{Deliver: func(context.Context, map[string]any, []byte) error { return nil }})
	subscribe(t, s, obj{"changes": customers})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain ended with %v", err)
	}
}

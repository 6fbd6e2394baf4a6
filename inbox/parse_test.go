package inbox

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

const (
	change = `{"notificationType":"ResourceUpdated","projectKey":"shop","resource":{"typeId":"customer","id":"c1"},` +
		`"version":5,"oldVersion":3,"modifiedAt":"2024-05-06T07:08:09.000Z"}`
	// The sample in the documentation of Fluent's own connector.
	message = `{"notificationType":"Message","projectKey":"fluent-ct-dev","id":"85c1c53e-75c8-413a-b8f5-08701292486e","version":1,"sequenceNumber":3,
 "resource":{"typeId":"customer","id":"14a4ef54-957d-4148-b0be-de8d0fbc411d"},"resourceVersion":3,"resourceUserProvidedIdentifiers":{},
 "type":"CustomerDeleted","createdAt":"2022-07-27T06:11:11.021Z","lastModifiedAt":"2022-07-27T06:11:11.021Z"}`
	noKey = `{"notificationType":"ResourceUpdated","resource":{"typeId":"customer","id":"c1"},"version":5}`
)

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func cloudEvent(data string) string {
	return `{"specversion":"1.0","id":"9","type":"com.commercetools.customer.change.ResourceUpdated","source":"/shop/customers","subject":"c1","time":"2024-05-06T07:08:09Z","data":` + data + `}`
}

func eventBridge(detail string) string {
	return `{"version":"0","id":"e1","detail-type":"whatever","source":"aws.partner/commercetools.com/shop/sub-1","account":"1","time":"2024-05-06T07:08:09Z","region":"eu-central-1","resources":[],"detail":` + detail + `}`
}

func sns(text string) string {
	return `{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:eu-central-1:1:t","Message":` + quoted(text) + `,"Timestamp":"2024-05-06T07:08:09Z","SignatureVersion":"1","Signature":"x"}`
}

func pubsub(text string) string {
	return `{"message":{"data":"` + base64.StdEncoding.EncodeToString([]byte(text)) + `","messageId":"m","attributes":{}},"subscription":"projects/p/subscriptions/s"}`
}

// Each wrapping, and one around another, gives the notification inside.
func TestParseUnwraps(t *testing.T) {
	wrappings := map[string]func(string) string{
		"bare":                   func(s string) string { return s },
		"white space around":     func(s string) string { return "\r\n " + s + "\n" },
		"byte order mark":        func(s string) string { return "\ufeff" + s },
		"CloudEvents":            cloudEvent,
		"CloudEvents, text data": func(s string) string { return cloudEvent(quoted(s)) },
		"CloudEvents, base64 data": func(s string) string {
			return `{"specversion":"1.0","source":"/shop/customers","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}`
		},
		"EventBridge":                   eventBridge,
		"SNS":                           sns,
		"Pub/Sub push":                  pubsub,
		"Event Grid, array":             func(s string) string { return "[" + cloudEvent(s) + "]" },
		"EventBridge > CloudEvents":     func(s string) string { return eventBridge(cloudEvent(s)) },
		"SNS > EventBridge":             func(s string) string { return sns(eventBridge(s)) },
		"SNS > EventBridge > CE":        func(s string) string { return sns(eventBridge(cloudEvent(s))) },
		"Pub/Sub > CloudEvents":         func(s string) string { return pubsub(cloudEvent(s)) },
		"array > SNS > EventBridge > …": func(s string) string { return "[" + sns(eventBridge(cloudEvent("["+s+"]"))) + "]" },
	}
	received := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for name, wrap := range wrappings {
		t.Run(name, func(t *testing.T) {
			want := []ct2fluent.Notification{{
				ID:  "shop/customer/c1/5/ResourceUpdated",
				Ref: ct2fluent.Ref{Project: "shop", TypeID: "customer", ID: "c1"}, Version: 5,
				Name: "ResourceUpdated", Kind: "ResourceUpdated", Body: []byte(change), Received: received,
			}}
			if got := Parse([]byte(wrap(change)), received); !reflect.DeepEqual(got, want) {
				t.Errorf("a change:\n got %+v\nwant %+v", got, want)
			}
			want = []ct2fluent.Notification{{
				ID:  "85c1c53e-75c8-413a-b8f5-08701292486e",
				Ref: ct2fluent.Ref{Project: "fluent-ct-dev", TypeID: "customer", ID: "14a4ef54-957d-4148-b0be-de8d0fbc411d"}, Version: 3,
				Name: "CustomerDeleted", Kind: "Message", Body: []byte(message), Received: received,
			}}
			if got := Parse([]byte(wrap(message)), received); !reflect.DeepEqual(got, want) {
				t.Errorf("a message:\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestParseReads(t *testing.T) {
	long := strings.Repeat("i", 257)
	tests := []struct {
		name string
		body string
		want string // project/type/id version kind name id, or fault
	}{
		{"created", `{"notificationType":"ResourceCreated","projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":1}`,
			"p/customer/c v1 ResourceCreated ResourceCreated p/customer/c/1/ResourceCreated"},
		{"deleted", `{"notificationType":"ResourceDeleted","projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":9,"dataErasure":true}`,
			"p/customer/c v9 ResourceDeleted ResourceDeleted p/customer/c/9/ResourceDeleted"},
		{"a kind that came later", `{"notificationType":"ResourceTouched","projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":9}`,
			"p/customer/c v9 ResourceTouched ResourceTouched p/customer/c/9/ResourceTouched"},
		{"another type", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":{"typeId":"customer-email-token","id":"c"},"version":9}`,
			"p/customer-email-token/c v9 ResourceUpdated ResourceUpdated p/customer-email-token/c/9/ResourceUpdated"},
		{"payload not included", `{"notificationType":"Message","projectKey":"p","id":"m","version":1,"resource":{"typeId":"customer","id":"c"},"resourceVersion":4,"payloadNotIncluded":{"reason":"Payload size exceeds …","payloadType":"CustomerAddressAdded"}}`,
			"p/customer/c v4 Message CustomerAddressAdded m"},
		{"a message without id", `{"notificationType":"Message","projectKey":"p","version":1,"resource":{"typeId":"customer","id":"c"},"resourceVersion":4,"type":"CustomerCreated"}`,
			"p/customer/c v4 Message CustomerCreated p/customer/c/4/CustomerCreated"},
		{"a message's own version is not the resource's", `{"notificationType":"Message","projectKey":"p","id":"m","version":1,"resource":{"typeId":"customer","id":"c"},"type":"CustomerCreated"}`,
			"p/customer/c v0 Message CustomerCreated m"},
		{"a message of the API", `{"id":"m","version":1,"resource":{"typeId":"customer","id":"c"},"resourceVersion":4,"type":"CustomerCreated"}`,
			"/customer/c v4 Message CustomerCreated m"},
		{"a change without version has no ID", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":null}`,
			"p/customer/c v0 ResourceUpdated ResourceUpdated "},
		{"version as text", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":"7"}`,
			"p/customer/c v7 ResourceUpdated ResourceUpdated p/customer/c/7/ResourceUpdated"},
		{"version as float", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":7.0}`,
			"p/customer/c v7 ResourceUpdated ResourceUpdated p/customer/c/7/ResourceUpdated"},
		{"escaped names and values", `{"notification\u0054ype":"Resource\u0055pdated","projectKey":"p","resource":{"typeId":"customer","id":"c\/\"1\\"},"version":7}`,
			`p/customer/c/"1\ v7 ResourceUpdated ResourceUpdated p/customer/c/"1\/7/ResourceUpdated`},
		{"names are compared exactly", `{"notificationType":"ResourceUpdated","projectKey":"p","ProjectKey":"q","resource":{"typeId":"customer","id":"c","ID":"d"},"version":7,"Version":8}`,
			"p/customer/c v7 ResourceUpdated ResourceUpdated p/customer/c/7/ResourceUpdated"},
		{"members that look like a wrapping", `{"notificationType":"Message","projectKey":"p","id":"m","resource":{"typeId":"customer","id":"c"},"resourceVersion":2,"type":"CustomerCreated","specversion":"1","data":{},"detail":{},"detail-type":"x","message":{"data":""},"Type":"Notification","Message":""}`,
			"p/customer/c v2 Message CustomerCreated m"},
		{"projectKey from CloudEvents", cloudEvent(noKey), "shop/customer/c1 v5 ResourceUpdated ResourceUpdated shop/customer/c1/5/ResourceUpdated"},
		{"projectKey from EventBridge", eventBridge(noKey), "shop/customer/c1 v5 ResourceUpdated ResourceUpdated shop/customer/c1/5/ResourceUpdated"},
		{"projectKey from the inner wrapping", strings.Replace(eventBridge(cloudEvent(noKey)), "com/shop/", "com/other/", 1),
			"shop/customer/c1 v5 ResourceUpdated ResourceUpdated shop/customer/c1/5/ResourceUpdated"},
		{"projectKey over the wrapping's", strings.Replace(eventBridge(change), "com/shop/", "com/other/", 1),
			"shop/customer/c1 v5 ResourceUpdated ResourceUpdated shop/customer/c1/5/ResourceUpdated"},
		{"somebody else's CloudEvents source", strings.Replace(cloudEvent(noKey), "/shop/customers", "/subscriptions/1/topics/t", 1),
			"/customer/c1 v5 ResourceUpdated ResourceUpdated /customer/c1/5/ResourceUpdated"},
		{"somebody else's EventBridge source", strings.Replace(eventBridge(noKey), "aws.partner/commercetools.com/", "my.own/", 1),
			"/customer/c1 v5 ResourceUpdated ResourceUpdated /customer/c1/5/ResourceUpdated"},

		{"test of a subscription", `{"notificationType":"ResourceCreated","projectKey":"p","resource":{"typeId":"subscription","id":"s"},"version":1}`,
			"test p/subscription/s v1 ResourceCreated ResourceCreated p/subscription/s/1/ResourceCreated"},

		{"an event", `{"notificationType":"Event","id":"e","type":"ImportContainerCreated","resourceType":"import-container","data":{"id":"x"},"createdAt":"2024-05-06T07:08:09Z"}`, "no-resource"},
		{"resource without id", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":{"typeId":"customer"},"version":1}`, "no-resource"},
		{"resource null", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":null,"version":1}`, "no-resource"},
		{"SNS wants a confirmation", `{"Type":"SubscriptionConfirmation","MessageId":"m","Token":"t","TopicArn":"arn","Message":"You have chosen…","SubscribeURL":"https://…"}`, "no-resource"},
		{"CloudEvents without data", `{"specversion":"1.0","id":"1","source":"/shop/customers","type":"x","dataref":"https://…"}`, "no-resource"},
		{"Pub/Sub without data", `{"message":{"attributes":{"a":"b"}},"subscription":"s"}`, "no-resource"},
		{"something else", `{"hello":"world"}`, "no-resource"},
		{"an empty object", `{}`, "no-resource"},

		{"nothing", ``, "unreadable"},
		{"no JSON", `hello`, "unreadable"},
		{"cut off", change[:40], "unreadable"},
		{"two values", change + change, "unreadable"},
		{"null", `null`, "unreadable"},
		{"a number", `-12.5e3`, "unreadable"},
		{"a text", `"hello"`, "unreadable"},
		{"an empty array", `[]`, "unreadable"},
		{"not UTF-8", strings.Replace(change, "c1", "c\xff", 1), "unreadable"},
		{"UTF-16", "\xfe\xff\x00{\x00}", "unreadable"},
		{"SNS around no JSON", sns("hello"), "unreadable"},
		{"Pub/Sub around no base64", `{"message":{"data":"%%%"}}`, "unreadable"},
		{"Pub/Sub around not UTF-8", pubsub("\xff"), "unreadable"},
		{"EventBridge around a number", eventBridge("3"), "unreadable"},
		{"wrapped too deep", strings.Repeat(`{"detail-type":"x","detail":`, 9) + change + strings.Repeat("}", 9), "unreadable"},
		{"far too deep", strings.Repeat("[", 200_000), "unreadable"},
		{"notificationType is no text", `{"notificationType":7,"projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":1}`, "unreadable"},
		{"notificationType is empty", `{"notificationType":"","projectKey":"p","resource":{"typeId":"customer","id":"c"},"version":1}`, "unreadable"},
		{"neither kind nor version", `{"resource":{"typeId":"customer","id":"c"}}`, "unreadable"},
		{"resource is no object", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":"customer/c","version":1}`, "unreadable"},
		{"id is no text", `{"notificationType":"ResourceUpdated","projectKey":"p","resource":{"typeId":"customer","id":7},"version":1}`, "unreadable"},
		{"projectKey is no text", `{"notificationType":"ResourceUpdated","projectKey":["p"],"resource":{"typeId":"customer","id":"c"},"version":1}`, "unreadable"},
		{"message id is no text", `{"notificationType":"Message","projectKey":"p","id":{},"resource":{"typeId":"customer","id":"c"},"resourceVersion":1}`, "unreadable"},
		{"id too long", strings.Replace(change, "c1", long, 1), "unreadable"},
		{"id with a control character", strings.Replace(change, "c1", `c\u0000`, 1), "unreadable"},
		{"negative version", strings.Replace(change, `"version":5`, `"version":-5`, 1), "unreadable"},
		{"broken version", strings.Replace(change, `"version":5`, `"version":5.5`, 1), "unreadable"},
		{"version beyond 2^53", strings.Replace(change, `"version":5`, `"version":9007199254740993`, 1), "unreadable"},
		{"version beyond all", strings.Replace(change, `"version":5`, `"version":1e400`, 1), "unreadable"},
		{"version is a word", strings.Replace(change, `"version":5`, `"version":"five"`, 1), "unreadable"},
		{"version is an object", strings.Replace(change, `"version":5`, `"version":{}`, 1), "unreadable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Parse([]byte(tt.body), time.Time{})
			if len(got) != 1 {
				t.Fatalf("%d notifications", len(got))
			}
			if s := describe(got[0]); s != tt.want {
				t.Errorf("\n got %s\nwant %s", s, tt.want)
			}
			if got[0].Fault == unreadable && string(got[0].Body) != tt.body {
				t.Errorf("the body is not kept as it came: %q", got[0].Body)
			}
		})
	}
}

func describe(n ct2fluent.Notification) string {
	if n.Fault != "" {
		return n.Fault
	}
	test := ""
	if n.Test {
		test = "test "
	}
	return fmt.Sprintf("%s%s v%d %s %s %s", test, n.Ref, n.Version, n.Kind, n.Name, n.ID)
}

// An array gives each of its elements, and an element that cannot be read does
// not take the others along.
func TestParseArray(t *testing.T) {
	body := "[" + change + ` , {"a":[1,"]"]}, 7, [], ` + sns("["+message+"]") + "]"
	var got []string
	for _, n := range Parse([]byte(body), time.Time{}) {
		got = append(got, describe(n)+" "+string(n.Body))
	}
	want := []string{
		"shop/customer/c1 v5 ResourceUpdated ResourceUpdated shop/customer/c1/5/ResourceUpdated " + change,
		`no-resource {"a":[1,"]"]}`,
		"unreadable 7",
		"unreadable []",
		"fluent-ct-dev/customer/14a4ef54-957d-4148-b0be-de8d0fbc411d v3 Message CustomerDeleted 85c1c53e-75c8-413a-b8f5-08701292486e " + message,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// A large array of rubbish becomes one dead letter, not a million.
func TestParseBoundsAnArray(t *testing.T) {
	many := func(n int) []byte { return []byte("[[" + strings.Repeat("0,", n-1) + "0]]") }
	if n := len(Parse(many(maxCount), time.Time{})); n != maxCount {
		t.Errorf("%d of %d", n, maxCount)
	}
	body := many(500_000)
	got := Parse(body, time.Time{})
	if len(got) != 1 || got[0].Fault != unreadable || len(got[0].Body) != len(body) {
		t.Errorf("%d notifications", len(got))
	}
}

func TestAssign(t *testing.T) {
	tests := []struct {
		name     string
		body     string
		projects []string
		want     string
	}{
		{"named", change, []string{"shop", "b"}, "shop/customer/c1 v5 ResourceUpdated ResourceUpdated shop/customer/c1/5/ResourceUpdated"},
		{"the only account", noKey, []string{"shop"}, "shop/customer/c1 v5 ResourceUpdated ResourceUpdated shop/customer/c1/5/ResourceUpdated"},
		{"a message of the only account keeps its ID", `{"id":"m","resource":{"typeId":"customer","id":"c"},"resourceVersion":4,"type":"CustomerCreated"}`,
			[]string{"shop"}, "shop/customer/c v4 Message CustomerCreated m"},
		{"one of two accounts", noKey, []string{"shop", "b"}, "unknown-project"},
		{"of no account", change, []string{"b"}, "unknown-project"},
		{"a fault stays", `{}`, []string{"shop"}, "no-resource"},
		{"a test of no account", `{"notificationType":"ResourceCreated","projectKey":"p","resource":{"typeId":"subscription","id":"s"},"version":1}`,
			[]string{"b"}, "test p/subscription/s v1 ResourceCreated ResourceCreated p/subscription/s/1/ResourceCreated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns := Parse([]byte(tt.body), time.Time{})
			Assign(ns, tt.projects)
			if s := describe(ns[0]); s != tt.want {
				t.Errorf("\n got %s\nwant %s", s, tt.want)
			}
		})
	}
}

// Whatever the body: no panic, at least one notification, each with a fault or
// a resource, and no more memory than the body allows.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		change, message, noKey, cloudEvent(change), eventBridge(cloudEvent(message)), sns(eventBridge(change)), pubsub(change),
		"[" + change + "," + message + "]", "[]", "{}", `""`, `"\"\\\"{}\\\"\""`, " [ 1 , { \"a\" : \"\\\\\" } ] ", "\ufeff{}", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ns := Parse(body, time.Time{})
		if len(ns) == 0 {
			t.Fatal("dropped in silence")
		}
		for _, n := range ns {
			if n.Fault == "" && (n.Ref.TypeID == "" || n.Ref.ID == "" || n.Kind == "") {
				t.Errorf("neither fault nor resource: %+v", n)
			}
			if n.Version < 0 || len(n.Ref.ID) > maxName || len(n.Body) > len(body) {
				t.Errorf("absurd: %+v", n)
			}
		}
	})
}

// The walk through a body finds what encoding/json finds.
func FuzzScan(f *testing.F) {
	for _, s := range []string{change, sns(change), ` { "a" : [ 1 , {"b":"\\\"}"} ] , "c\u0041" : -1.5e3 , "d":null } `, `{}`, `[[],{},"",0]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			return
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) == nil && object != nil {
			got := map[string]json.RawMessage{}
			for name, v := range members(body) {
				got[string(name)] = v
			}
			for name, v := range object {
				if g, ok := got[name]; ok && string(g) != string(v) {
					t.Errorf("%q: got %s, want %s", name, g, v)
				}
			}
			if len(got) < len(object) {
				t.Errorf("got %d members, want %d", len(got), len(object))
			}
		}
		var array []json.RawMessage
		if json.Unmarshal(body, &array) == nil && array != nil {
			i := 0
			for v := range elements(body) {
				if string(v) != string(array[i]) {
					t.Errorf("[%d]: got %s, want %s", i, v, array[i])
				}
				i++
			}
			if i != len(array) {
				t.Errorf("got %d elements, want %d", i, len(array))
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	large := strings.Replace(message, `"type":`, `"customer":{"note":"`+strings.Repeat("lorem ipsum ", 25_000)+`"},"type":`, 1)
	for name, body := range map[string]string{
		"bare": message, "EventBridge": eventBridge(message), "SNS": sns(message), "EventBridge 300 KB": eventBridge(large),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if ns := Parse([]byte(body), time.Time{}); ns[0].Fault != "" {
					b.Fatal(ns[0].Fault)
				}
			}
		})
	}
}

package sqs

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/ct2fluent/ct2fluent/inbox/sourcetest"
)

// A fake is a queue of SQS behind its JSON protocol. Time is that of the
// bubble it is in.
type fake struct {
	mu           sync.Mutex
	messages     []*message
	changed      chan struct{} // closed when a message may have become visible
	taken        int
	acknowledged func(body []byte)
	receives     map[string]int // by body
	calls        map[string]int // by operation
	retention    int            // in seconds

	// refuse, if set, answers a call instead of the queue: with a status, a
	// code and a text.
	refuse func(operation string) (int, string)
	// refuseEntry, if set, gives the code with which an entry of a batch fails.
	refuseEntry func(operation, body string) (code string, senderFault bool)
}

type message struct {
	body    string
	visible time.Time
	receipt int // of the last receive; handles of former ones are void
}

const queueURL = "http://sqs.invalid/123456789012/ct-queue"

// open starts the queue on a network of its own and returns a real client.
func (f *fake) open(t *testing.T) *sqs.Client {
	network := sourcetest.Listen()
	f.changed, f.receives, f.calls = make(chan struct{}), map[string]int{}, map[string]int{}
	server := httptest.NewUnstartedServer(f)
	server.Listener.Close()
	server.Listener = network
	server.Start()
	transport := &http.Transport{DialContext: network.Dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return sqs.New(sqs.Options{
		Region:       "eu-central-1",
		BaseEndpoint: new("http://sqs.invalid"),
		Credentials:  credentials.NewStaticCredentialsProvider("id", "secret", "session-token"),
		HTTPClient:   &http.Client{Transport: transport},
	})
}

// attributes are what the queue tells of itself.
func (f *fake) attributes() object {
	f.mu.Lock()
	defer f.mu.Unlock()
	waiting, inHand := 0, 0
	for _, m := range f.messages {
		if m.visible.After(time.Now()) {
			inHand++
		} else {
			waiting++
		}
	}
	return object{
		"VisibilityTimeout": "30", "MessageRetentionPeriod": fmt.Sprint(f.retention),
		"ApproximateNumberOfMessages": fmt.Sprint(waiting), "ApproximateNumberOfMessagesNotVisible": fmt.Sprint(inHand),
	}
}

func (f *fake) send(body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, &message{body: body})
	f.change()
}

func (f *fake) change() {
	close(f.changed)
	f.changed = make(chan struct{})
}

type entry struct {
	ID                string `json:"Id"`
	ReceiptHandle     string
	VisibilityTimeout int
}

type request struct {
	QueueURL            string `json:"QueueUrl"`
	QueueName           string
	MaxNumberOfMessages int
	WaitTimeSeconds     int
	VisibilityTimeout   int
	Entries             []entry
}

type object map[string]any

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	f.mu.Lock()
	f.calls[operation]++
	refuse := f.refuse
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if refuse != nil {
		if status, code := refuse(operation); status != 0 {
			f.fail(w, status, code)
			return
		}
	}
	var req request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		f.fail(w, 400, "SerializationException")
		return
	}
	if operation != "GetQueueUrl" && req.QueueURL != queueURL || operation == "GetQueueUrl" && req.QueueName != "ct-queue" {
		f.fail(w, 400, "com.amazonaws.sqs#QueueDoesNotExist")
		return
	}
	var answer object
	switch operation {
	case "GetQueueUrl":
		answer = object{"QueueUrl": queueURL}
	case "GetQueueAttributes":
		answer = object{"Attributes": f.attributes()}
	case "ReceiveMessage":
		if req.MaxNumberOfMessages > 10 {
			f.fail(w, 400, "InvalidParameterValue")
			return
		}
		answer = object{"Messages": f.receive(r.Context(), req)}
	case "DeleteMessageBatch":
		answer = f.batch(operation, req, func(i int, _ entry) {
			f.acknowledged([]byte(f.messages[i].body))
			f.messages = append(f.messages[:i], f.messages[i+1:]...)
		})
	case "ChangeMessageVisibilityBatch":
		answer = f.batch(operation, req, func(i int, e entry) {
			f.messages[i].visible = time.Now().Add(time.Duration(e.VisibilityTimeout) * time.Second)
			f.change()
		})
	default:
		f.fail(w, 400, "UnknownOperationException")
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// The text of an error echoes what must not be passed on.
func (f *fake) fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"__type": code, "message": "x-amz-security-token:session-token"})
}

func (f *fake) receive(ctx context.Context, req request) []object {
	deadline := time.Now().Add(time.Duration(req.WaitTimeSeconds) * time.Second)
	for {
		f.mu.Lock()
		var got []object
		next := deadline
		for _, m := range f.messages {
			if m.visible.After(time.Now()) {
				if m.visible.Before(next) {
					next = m.visible
				}
				continue
			}
			if len(got) == req.MaxNumberOfMessages {
				break
			}
			m.visible = time.Now().Add(time.Duration(req.VisibilityTimeout) * time.Second)
			f.taken++
			f.receives[m.body]++
			m.receipt = f.taken
			sum := md5.Sum([]byte(m.body))
			got = append(got, object{
				"Body": m.body, "MD5OfBody": hex.EncodeToString(sum[:]),
				"MessageId": fmt.Sprint("m", m.receipt), "ReceiptHandle": fmt.Sprint(m.receipt),
			})
		}
		changed := f.changed
		f.mu.Unlock()
		if len(got) > 0 || !time.Now().Before(deadline) {
			return got
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(time.Until(next)):
		}
	}
}

// batch does what is asked for each entry whose receipt handle still holds.
func (f *fake) batch(operation string, req request, do func(i int, e entry)) object {
	f.mu.Lock()
	defer f.mu.Unlock()
	successful, failed := []object{}, []object{}
	for _, e := range req.Entries {
		i := f.find(e.ReceiptHandle)
		if i < 0 {
			failed = append(failed, object{"Id": e.ID, "Code": "ReceiptHandleIsInvalid", "SenderFault": true})
			continue
		}
		if operation == "ChangeMessageVisibilityBatch" && !f.messages[i].visible.After(time.Now()) {
			failed = append(failed, object{"Id": e.ID, "Code": "MessageNotInflight", "SenderFault": true})
			continue
		}
		if f.refuseEntry != nil {
			if code, fault := f.refuseEntry(operation, f.messages[i].body); code != "" {
				failed = append(failed, object{"Id": e.ID, "Code": code, "SenderFault": fault})
				continue
			}
		}
		do(i, e)
		successful = append(successful, object{"Id": e.ID})
	}
	return object{"Successful": successful, "Failed": failed}
}

func (f *fake) find(handle string) int {
	for i, m := range f.messages {
		if m.receipt > 0 && fmt.Sprint(m.receipt) == handle {
			return i
		}
	}
	return -1
}

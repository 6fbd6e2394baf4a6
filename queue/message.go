package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	"github.com/nats-io/nats.go"
)

// partitions is how many parts the resources are spread over. It is written
// into every subject: a stream made with another number cannot be read.
const partitions = 64

// longestToken keeps a subject far below the 4096 bytes of a NATS protocol
// line, which a made-up id of a notification could exceed.
const longestToken = 200

// An envelope is a notification without its body. It stands as one line of
// JSON before the body, so that the body is stored as it came.
type envelope struct {
	ID       string    `json:"id,omitempty"`
	Project  string    `json:"project,omitempty"`
	TypeID   string    `json:"type,omitempty"`
	Resource string    `json:"resource,omitempty"`
	Name     string    `json:"name,omitempty"`
	Kind     string    `json:"kind,omitempty"`
	Version  int64     `json:"version,omitempty"`
	Bulk     bool      `json:"bulk,omitempty"`
	Received time.Time `json:"received,omitzero"`
	Fault    string    `json:"fault,omitempty"`
	Test     bool      `json:"test,omitempty"`
	Force    bool      `json:"force,omitempty"`
}

// encode makes the message of n, to be kept in the lane of token. What decode
// would make of it is returned too, sharing the message's memory.
func encode(n ct2fluent.Notification, token string) (*nats.Msg, ct2fluent.Notification, error) {
	line, err := json.Marshal(envelope{
		ID: n.ID, Project: n.Ref.Project, TypeID: n.Ref.TypeID, Resource: n.Ref.ID,
		Name: n.Name, Kind: n.Kind, Version: n.Version, Bulk: n.Bulk,
		Received: n.Received.UTC(), Fault: n.Fault, Test: n.Test, Force: n.Force,
	})
	if err != nil {
		return nil, n, fmt.Errorf("write a notification received at %v: %w", n.Received, err)
	}
	data := make([]byte, 0, len(line)+1+len(n.Body))
	data = append(append(append(data, line...), '\n'), n.Body...)
	n.Body = data[len(line)+1:]
	n.Received = n.Received.UTC().Round(0)
	n.Seq, n.Attempts, n.Again = 0, 0, false
	subject := fmt.Sprintf("n.%d.%s.%s.%s.%s", partition(n.Ref), class(n.Bulk), token, part(n.Ref.TypeID), part(n.Ref.ID))
	return &nats.Msg{Subject: subject, Data: data}, n, nil
}

// decode reads a message of the stream. One that is no notification is handed
// out as an unreadable one: promise 2 lets nothing end in silence.
func decode(data []byte, seq uint64) ct2fluent.Notification {
	line, body, found := bytes.Cut(data, []byte{'\n'})
	var e envelope
	if !found || json.Unmarshal(line, &e) != nil {
		return ct2fluent.Notification{Body: data, Fault: "unreadable", Seq: seq}
	}
	return ct2fluent.Notification{
		ID:   e.ID,
		Ref:  ct2fluent.Ref{Project: e.Project, TypeID: e.TypeID, ID: e.Resource},
		Name: e.Name, Kind: e.Kind, Version: e.Version, Bulk: e.Bulk, Body: body, Received: e.Received.UTC(),
		Fault: e.Fault, Test: e.Test, Force: e.Force, Seq: seq,
	}
}

func class(bulk bool) string {
	if bulk {
		return "bulk"
	}
	return "live"
}

func partition(r ct2fluent.Ref) uint32 {
	h := fnv.New32a()
	h.Write([]byte(r.String()))
	return h.Sum32() % partitions
}

// part is s as a token of a subject. A subject only tells lanes and partitions
// apart, the envelope says which resource it is: so a long one may be a hash.
func part(s string) string {
	if t := store.Token(s); len(t) <= longestToken {
		return t
	}
	sum := sha256.Sum256([]byte(s))
	return "=" + hex.EncodeToString(sum[:])
}

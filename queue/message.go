package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
	jsonv2 "github.com/go-json-experiment/json"
)

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
	Own      bool      `json:"own,omitempty"`
	Run      string    `json:"run,omitempty"`
	Again    bool      `json:"again,omitempty"`
}

// encode writes n. What decode would make of it is returned too, sharing its
// memory.
func encode(n ct2fluent.Notification) ([]byte, ct2fluent.Notification, error) {
	line, err := json.Marshal(envelope{
		ID: n.ID, Project: n.Ref.Project, TypeID: n.Ref.TypeID, Resource: n.Ref.ID,
		Name: n.Name, Kind: n.Kind, Version: n.Version, Bulk: n.Bulk,
		Received: n.Received.UTC(), Fault: n.Fault, Test: n.Test, Force: n.Force, Own: n.Own, Run: n.Run, Again: n.Again,
	})
	if err != nil {
		return nil, n, fmt.Errorf("write a notification received at %v: %w", n.Received, err)
	}
	data := make([]byte, 0, len(line)+1+len(n.Body))
	data = append(append(append(data, line...), '\n'), n.Body...)
	n.Body = data[len(line)+1:]
	n.Received = n.Received.UTC().Round(0)
	n.Seq, n.Attempts = 0, 0
	return data, n, nil
}

// decode reads what encode wrote. What is no notification is handed out as an
// unreadable one: promise 2 lets nothing end in silence.
func decode(data []byte, seq uint64) ct2fluent.Notification {
	line, body, found := bytes.Cut(data, []byte{'\n'})
	var e envelope
	if !found || jsonv2.Unmarshal(line, &e) != nil {
		return ct2fluent.Notification{Body: data, Fault: "unreadable", Seq: seq}
	}
	return ct2fluent.Notification{
		ID:   e.ID,
		Ref:  ct2fluent.Ref{Project: e.Project, TypeID: e.TypeID, ID: e.Resource},
		Name: e.Name, Kind: e.Kind, Version: e.Version, Bulk: e.Bulk, Body: body, Received: e.Received.UTC(),
		Fault: e.Fault, Test: e.Test, Force: e.Force, Own: e.Own, Run: e.Run, Again: e.Again, Seq: seq,
	}
}

// A head begins a pack. A pack is one message of the stream: notifications of one lane that went to
// disk together, by one write and one sync. The head stands as one line
// of JSON before them.
type head struct {
	First uint64 `json:"first"` // the sequence of the first of them
	Sizes []int  `json:"sizes"` // of each in bytes
}

func pack(first uint64, pieces [][]byte) ([]byte, error) {
	h, size := head{First: first, Sizes: make([]int, len(pieces))}, 0
	for i, p := range pieces {
		h.Sizes[i] = len(p)
		size += len(p)
	}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("write a pack of notifications: %w", err)
	}
	data := append(slices.Grow(line, 1+size), '\n')
	for _, p := range pieces {
		data = append(data, p...)
	}
	return data, nil
}

var errNoPack = errors.New("it is none of the queue's messages")

// unpack is the inverse of pack. The pieces share data's memory.
func unpack(data []byte) (first uint64, pieces [][]byte, err error) {
	line, rest, found := bytes.Cut(data, []byte{'\n'})
	var h head
	if !found || json.Unmarshal(line, &h) != nil || h.First == 0 || len(h.Sizes) == 0 || len(h.Sizes) > packMost {
		return 0, nil, errNoPack
	}
	for _, size := range h.Sizes {
		if size < 0 || size > len(rest) {
			return 0, nil, errNoPack
		}
		pieces, rest = append(pieces, rest[:size:size]), rest[size:]
	}
	return h.First, pieces, nil
}

// A place is where a notification lies: its pack's sequence in the stream, and
// which of the pack it is.
type place uint64

const (
	placeBits = 10
	packMost  = 1 << placeBits
)

func placeOf(message uint64, i int) place { return place(message<<placeBits | uint64(i)) }

func (p place) message() uint64 { return uint64(p) >> placeBits }
func (p place) index() int      { return int(p % packMost) }

func class(bulk bool) string {
	if bulk {
		return "bulk"
	}
	return "live"
}

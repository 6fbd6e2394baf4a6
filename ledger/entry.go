package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
	jsonv2 "github.com/go-json-experiment/json"
)

// The subjects of the stream: resources, dead letters, totals, marks, and the
// acts of the audit trail.
const (
	resources     = "l.r."
	letters       = "l.d."
	totalsSubject = "l.t"
	marks         = "l.m."
	acts          = "l.a."
)

// longestToken keeps a subject far below the 4096 bytes of a NATS protocol
// line, which a made-up id of a notification could exceed.
const longestToken = 200

// longestText is how much of an id, a name or an error an entry keeps, in
// bytes: a resource's entries are read for each of its notifications.
const longestText = 300

// hashedToken is the length of the token of a longer one.
const hashedToken = 1 + 2*sha256.Size

func token(s string) string {
	if t := store.Token(s); len(t) <= longestToken {
		return t
	}
	sum := sha256.Sum256([]byte(s))
	return "=" + hex.EncodeToString(sum[:])
}

func subjectOf(r ct2fluent.Ref) string {
	return resources + token(r.Project) + "." + token(r.TypeID) + "." + token(r.ID)
}

func letterSubject(seq uint64) string { return letters + strconv.FormatUint(seq, 10) }

// An Entry is what was noted of a resource at one time.
type Entry struct {
	When time.Time `json:"when"`
	// Memory is what is remembered from then on.
	Memory ct2fluent.Memory `json:"memory,omitzero"`
	// Results are of the notifications worked then, oldest first; none where
	// only the memory was written.
	Results []Result `json:"results,omitempty"`
	// Open are the settled sequences of the resource that the queue might hand
	// out again.
	Open []uint64 `json:"open,omitempty"`
	// Floor is the sequence up to which all are settled, where another process
	// may have them at hand still and the queue of this one never hands them out.
	Floor uint64 `json:"floor,omitempty"`
	// Passing marks what was written before a write to Fluent, and is of no use
	// once there is a newer entry.
	Passing bool `json:"passing,omitempty"`
	// Runs are the runs that have counted the resource: all that have not ended,
	// and the last few of the others.
	Runs []string `json:"runs,omitempty"`
}

// A Result is what became of one notification.
type Result struct {
	Seq      uint64    `json:"seq"`
	ID       string    `json:"id,omitempty"`
	Name     string    `json:"name,omitempty"`
	Version  int64     `json:"version,omitempty"`
	Outcome  string    `json:"outcome"` // retry and unclear: it waits
	Reason   string    `json:"reason,omitempty"`
	Why      string    `json:"why,omitempty"`      // the error; no personal data
	Attempts int       `json:"attempts,omitempty"` // faults of its own before
	Received time.Time `json:"received,omitzero"`
}

// counts tells whether a notification of the resource is settled and counted.
func (e Entry) counts(seq uint64) bool { return seq <= e.Floor || slices.Contains(e.Open, seq) }

func (e Entry) encode() ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write an entry: %w", err)
	}
	return data, nil
}

func decodeEntry(data []byte) (Entry, error) {
	var e Entry
	if err := jsonv2.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("read an entry: %w", err)
	}
	return e, nil
}

// sameMemory tells whether an entry with b would say nothing new after a.
func sameMemory(a, b ct2fluent.Memory) bool {
	attributes := slices.Equal(a.Attributes, b.Attributes)
	a.Attributes, b.Attributes = nil, nil
	return attributes && reflect.DeepEqual(a, b)
}

// A DeadLetter is a notification that never will be worked as it is.
type DeadLetter struct {
	Notification ct2fluent.Notification // its Body only where one is asked for
	Reason       string
	Why          string // the error; no personal data
	When         time.Time
	Place        uint64 // in a list, for Filter.After
}

// envelope is a dead letter without its body. It stands as one line of JSON
// before the body, so that the body is kept as it came.
type envelope struct {
	Seq      uint64    `json:"seq"`
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
	Own      bool      `json:"own,omitempty"`
	Run      string    `json:"run,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Why      string    `json:"why,omitempty"`
	When     time.Time `json:"when"`
}

func (d DeadLetter) encode() ([]byte, error) {
	n := d.Notification
	line, err := json.Marshal(envelope{
		Seq: n.Seq, ID: n.ID, Project: n.Ref.Project, TypeID: n.Ref.TypeID, Resource: n.Ref.ID,
		Name: n.Name, Kind: n.Kind, Version: n.Version, Bulk: n.Bulk, Received: n.Received.UTC(),
		Fault: n.Fault, Test: n.Test, Own: n.Own, Run: n.Run, Attempts: n.Attempts, Reason: d.Reason, Why: d.Why, When: d.When,
	})
	if err != nil {
		return nil, fmt.Errorf("write a dead letter: %w", err)
	}
	return append(append(line, '\n'), n.Body...), nil
}

func decodeLetter(data []byte) (DeadLetter, error) {
	line, body, found := bytes.Cut(data, []byte{'\n'})
	if !found {
		return DeadLetter{}, errors.New("read a dead letter: it has no body")
	}
	var e envelope
	if err := json.Unmarshal(line, &e); err != nil {
		return DeadLetter{}, fmt.Errorf("read a dead letter: %w", err)
	}
	return DeadLetter{
		Notification: ct2fluent.Notification{
			Seq: e.Seq, ID: e.ID, Ref: ct2fluent.Ref{Project: e.Project, TypeID: e.TypeID, ID: e.Resource},
			Name: e.Name, Kind: e.Kind, Version: e.Version, Bulk: e.Bulk, Received: e.Received,
			Fault: e.Fault, Test: e.Test, Own: e.Own, Run: e.Run, Attempts: e.Attempts, Body: body,
		},
		Reason: e.Reason, Why: e.Why, When: e.When,
	}, nil
}

// short cuts a text that came from outside.
func short(s string) string {
	if len(s) <= longestText {
		return s
	}
	return strings.ToValidUTF8(s[:longestText], "") + "…"
}

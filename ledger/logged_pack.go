package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
)

// indexedAt parts a message of the index into its place in the log and its
// data.
func indexedAt(data []byte) (seq uint64, rest []byte) {
	line, rest, _ := bytes.Cut(data, []byte{'\n'})
	seq, _ = strconv.ParseUint(string(line), 10, 64)
	return seq, rest
}

// A logHead is the first line of a message of the log; the data follow it.
type logHead struct {
	Subject string `json:"s"`
	Size    int    `json:"n"`
	Passing bool   `json:"p,omitempty"`
}

func packLog(msgs []*nats.Msg) ([]byte, error) {
	heads, size := make([]logHead, len(msgs)), 0
	for i, m := range msgs {
		heads[i] = logHead{m.Subject, len(m.Data), m.Header.Get(passing) != ""}
		size += len(m.Data)
	}
	line, err := json.Marshal(heads)
	if err != nil {
		return nil, fmt.Errorf("write the ledger's log: %w", err)
	}
	data := append(slices.Grow(line, 1+size), '\n')
	for _, m := range msgs {
		data = append(data, m.Data...)
	}
	return data, nil
}

func messagesOf(at uint64, msgs []*nats.Msg) []logMessage {
	ms := make([]logMessage, len(msgs))
	for i, m := range msgs {
		ms[i] = logMessage{Message{m.Subject, placeOf(at, i), m.Data}, m.Header.Get(passing) != ""}
	}
	return ms
}

func unpackLog(m Message) ([]logMessage, error) {
	line, rest, _ := bytes.Cut(m.Data, []byte{'\n'})
	var heads []logHead
	if err := json.Unmarshal(line, &heads); err != nil {
		return nil, fmt.Errorf("read message %d of the ledger's log: %w", m.Seq, err)
	}
	ms := make([]logMessage, len(heads))
	for i, h := range heads {
		if h.Size < 0 || h.Size > len(rest) {
			return nil, fmt.Errorf("read message %d of the ledger's log: it is cut off", m.Seq)
		}
		ms[i] = logMessage{Message{h.Subject, placeOf(m.Seq, i), rest[:h.Size:h.Size]}, h.Passing}
		rest = rest[h.Size:]
	}
	return ms, nil
}

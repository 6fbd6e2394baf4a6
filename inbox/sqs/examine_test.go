package sqs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestExamine(t *testing.T) {
	deny := func(operations ...string) func(string) (int, string) {
		return func(operation string) (int, string) {
			if slices.Contains(operations, operation) {
				return 403, "AccessDeniedException"
			}
			return 0, ""
		}
	}
	const all = "not refused: sqs:GetQueueAttributes, sqs:DeleteMessage, sqs:ChangeMessageVisibility, sqs:ReceiveMessage"
	tests := []struct {
		name      string
		refuse    func(string) (int, string)
		waiting   int
		inHand    int
		running   bool
		retention int
		want      []string // "state detail"
		err       string
	}{
		{name: "all is well", waiting: 2, want: []string{"ok about 2 messages wait, 0 are in hand; " + all}},
		{name: "it may not delete or receive", refuse: deny("DeleteMessageBatch", "ReceiveMessage"), want: []string{
			"ok about 0 messages wait, 0 are in hand; not refused: sqs:GetQueueAttributes, sqs:ChangeMessageVisibility",
			"failed sqs:DeleteMessage is not allowed", "failed sqs:ReceiveMessage is not allowed"}},
		{name: "another consumes it, too", inHand: 3, want: []string{
			"ok about 0 messages wait, 3 are in hand; " + all,
			"warning 3 messages are in the hands of another consumer, and ct2fluent does not run: what it takes never comes here"}},
		{name: "it is consumed by ct2fluent", inHand: 3, running: true, want: []string{
			"ok about 0 messages wait, 3 are in hand; " + all + "; whether all are in ct2fluent's hands cannot be told"}},
		{name: "messages are kept for an hour", retention: 3600, want: []string{
			"ok about 0 messages wait, 0 are in hand; " + all,
			"warning messages are kept for 1h0m0s only, and are lost when ct2fluent is down for longer"}},
		{name: "it may not look", refuse: deny("GetQueueAttributes"), err: "look at queue"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{retention: 14 * 24 * 3600}
			if tt.retention != 0 {
				f.retention = tt.retention
			}
			client := f.open(t)
			f.refuse = tt.refuse
			for i := range tt.waiting + tt.inHand {
				f.send(fmt.Sprint("m", i))
				if i >= tt.waiting {
					f.messages[i].visible = time.Now().Add(time.Hour)
				}
			}
			s, err := New(Options{Name: queueURL, Client: client})
			if err != nil {
				t.Fatal(err)
			}
			found, err := s.Examine(t.Context(), tt.running)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("%v, want %q", err, tt.err)
			}
			var got []string
			for _, f := range found {
				got = append(got, f[0]+" "+f[1])
				if f[0] != "ok" && f[2] == "" {
					t.Errorf("%s: what is to be done?", f[1])
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if f.taken != 0 {
				t.Error("a message was taken")
			}
		})
	}
}

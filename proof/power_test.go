package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

const (
	anna   = "6f2a4f0e-0000-4000-8000-000000000001"
	socket = "socket:[17]"
)

func posted(id string, version int) string {
	text := fmt.Sprintf(`POST /notifications HTTP/1.1 {"resource":{"id":%q,"typeId":"customer"},"version":%d}`, id, version)
	return fmt.Sprintf(`7 read(%s, "%s", 4096) = %d`, at(9, socket), x(text), len(text))
}

func sendsTo(text string) string {
	return fmt.Sprintf(`7 write(%s, "%s", %d) = %d`, at(9, socket), x(text), len(text), len(text))
}

// The product broken on purpose, as its trace shows it: what is promised before
// it is synced is seen, whatever the way.
func TestInOrder(t *testing.T) {
	const f, g = "/s/f", "/s/g"
	stored := fmt.Sprintf(`{"id":%q,"version":4}`, anna)
	intends := fmt.Sprintf(`{"id":%q,"username":"1_anna"}`, anna)
	ack := sendsTo("HTTP/1.1 202 Accepted\r\n\r\n")
	create := sendsTo(fmt.Sprintf(`POST /graphql HTTP/1.1 createCustomer %s`, anna))
	begun := []string{opens(3, f, made), opens(4, g, made), posted(anna, 4)}
	kept := []string{writes(3, f, stored), syncs(3, f), ack}
	named := []string{writes(4, g, intends), syncs(4, g), create}
	tests := []struct {
		name  string
		trace [][]string
		want  string // is in the error
	}{
		{"in order", [][]string{kept, named}, ""},
		{"a file that syncs by itself", [][]string{{opens(3, f, "O_RDWR|O_CREAT|O_SYNC, 0600"), writes(3, f, stored), ack}, named}, ""},
		{"acknowledged before the sync", [][]string{{writes(3, f, stored), ack, syncs(3, f)}, named}, "promise 1: line 5"},
		{"acknowledged while it syncs", [][]string{{writes(3, f, stored), fmt.Sprintf(`8 fsync(%s <unfinished ...>`, at(3, f)), ack,
			"8 <... fsync resumed>) = 0"}, named}, "promise 1"},
		{"acknowledged after a sync that failed", [][]string{{writes(3, f, stored), fmt.Sprintf(`7 fsync(%s) = -1 EIO (Input/output error)`, at(3, f)), ack}, named}, "promise 1"},
		{"another file was synced", [][]string{{writes(3, f, stored), syncs(4, g), ack}, named}, "promise 1"},
		{"another version was synced", [][]string{{writes(3, f, strings.Replace(stored, ":4", ":3", 1)), syncs(3, f), ack}, named}, "promise 1"},
		{"it was written after the sync", [][]string{{syncs(3, f), writes(3, f, stored), ack}, named}, "promise 1"},
		{"never written", [][]string{{ack}, named}, "promise 1"},
		{"the create is sent before the username is synced", [][]string{kept, {writes(4, g, intends), create, syncs(4, g)}}, "rule 6"},
		{"the create is sent with no username in the ledger", [][]string{kept, {create}}, "rule 6"},
		{"nothing is acknowledged", [][]string{named}, "misread"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines := begun
			for _, part := range tt.trace {
				lines = append(lines[:len(lines):len(lines)], part...)
			}
			calls, err := parseTrace(strings.NewReader(strings.Join(lines, "\n") + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			tracked, err := follow(calls, "/s")
			if err != nil {
				t.Fatal(err)
			}
			err = tracked.inOrder(&prover{out: io.Discard})
			if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) && tt.want != "" {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

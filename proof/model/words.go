package model

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/ledger"
)

func name(p int) string { return [...]string{"worker 1", "worker 2"}[p] }

func (m *machine) list(batch []ct2fluent.Notification) string {
	if !m.telling {
		return ""
	}
	var all []string
	for _, n := range batch {
		text := fmt.Sprintf("%d (version %d", n.Seq, n.Version)
		if n.Again {
			text += ", again"
		}
		if n.Force {
			text += ", forced"
		}
		if n.HasRead() {
			text += ", brought along"
		}
		all = append(all, text+")")
	}
	return strings.Join(all, ", ")
}

func numbers(ns []uint8) string {
	var all []string
	for _, n := range ns {
		all = append(all, fmt.Sprint(n))
	}
	return strings.Join(all, " and ")
}

func (m *machine) words(create bool, username string, version uint8) string {
	if !m.telling {
		return ""
	}
	if create {
		return fmt.Sprintf("create of %s with version %d", username, version)
	}
	return fmt.Sprintf("update of %s to version %d", username, version)
}

func landed(r result) string {
	switch r {
	case exists:
		return "the customer exists already"
	case missing:
		return "there is no such customer"
	}
	return "Fluent has it"
}

func lagging(v uint8) string {
	if v < versions {
		return ", which is not the newest"
	}
	return ""
}

func (m *machine) memory(s *state) string {
	if s.entry == "" || !m.telling {
		return "nothing is known"
	}
	e := entryOf(s.entry).Memory
	if s.inOld {
		e.Hash = ""
	}
	text := fmt.Sprintf("username %q, floor %d, done %d", e.Username, e.Floor, e.Version)
	if e.Hash == "" {
		text += ", what Fluent has is in doubt"
	}
	return text
}

func entryOf(data string) ledger.Entry {
	var e ledger.Entry
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		panic(err) // the model wrote it
	}
	return e
}

package customer

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// A Target is where the customers of an account go.
type Target struct {
	BaseURL    string `json:"base-url"` // of Fluent's API
	Account    string `json:"account"`
	RetailerID string `json:"retailer-id"`
}

// Differs names the keys of the configuration in which two targets differ, with
// what t has and what other has.
func (t Target) Differs(other Target) (keys [][3]string) {
	if spelled(t.BaseURL) != spelled(other.BaseURL) {
		keys = append(keys, [3]string{"base-url", t.BaseURL, other.BaseURL})
	}
	if t.Account != other.Account {
		keys = append(keys, [3]string{"account", t.Account, other.Account})
	}
	if t.RetailerID != other.RetailerID {
		keys = append(keys, [3]string{"retailer-id", t.RetailerID, other.RetailerID})
	}
	return keys
}

// spelled is an address as all that mean the same are.
func spelled(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	host, port := strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), u.Port()
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = "default"
	}
	return u.Scheme + "://" + net.JoinHostPort(host, port) + strings.TrimRight(u.EscapedPath(), "/")
}

// Bind notes which target the ledger's memory of a project is of, and gives it:
// t, or another whose customers the ledger remembers. Then nothing may be worked
// with t: what is remembered of one Fluent says nothing of another (promises 3
// and 4). While no customer is remembered the target may change, and the ledger
// is filled from the new one. Call it before [Handler.Run] and any work; a
// ledger without a note is taken to be of t.
func Bind(ctx context.Context, l Ledger, project string, t Target) (Target, error) {
	name := "target/" + project
	text, err := l.Mark(ctx, name)
	if err != nil {
		return t, fmt.Errorf("ask the ledger which Fluent it is of: %w", err)
	}
	if text != "" {
		var noted Target
		if err := json.Unmarshal([]byte(text), &noted); err != nil {
			return t, fmt.Errorf("read which Fluent the ledger is of: %w", err)
		}
		if len(t.Differs(noted)) == 0 {
			return t, nil
		}
		known, err := l.Known(ctx, project)
		if err != nil {
			return t, fmt.Errorf("ask the ledger whether it is empty: %w", err)
		}
		if known {
			return noted, nil
		}
		// How far it was filled from the other says nothing here.
		if err := l.SetMark(ctx, fillMark(project), ""); err != nil {
			return t, err
		}
	}
	note, err := json.Marshal(t)
	if err != nil {
		return t, err
	}
	return t, l.SetMark(ctx, name, string(note))
}

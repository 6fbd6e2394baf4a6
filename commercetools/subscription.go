package commercetools

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// A Health is the status of a Subscription, as commercetools gives it.
type Health string

// The Healths there are. In DeliveryStopped and Suspended changes make no
// notification any more: what was changed since is to be read.
const (
	Healthy            Health = "Healthy"
	ConfigurationError Health = "ConfigurationError"
	DeliveryStopped    Health = "ConfigurationErrorDeliveryStopped"
	TemporaryError     Health = "TemporaryError"
	Suspended          Health = "ManuallySuspended"
)

// A Change asks for a notification of every change of a type of resource.
type Change struct {
	ResourceTypeID string `json:"resourceTypeId"`
}

// Messages asks for the messages of a type of resource: those of Types, or all
// where that is empty.
type Messages struct {
	ResourceTypeID string   `json:"resourceTypeId"`
	Types          []string `json:"types,omitempty"`
}

// A Format is that of the notifications: Platform, or CloudEvents of a version.
type Format struct {
	Type               string `json:"type"`
	CloudEventsVersion string `json:"cloudEventsVersion,omitempty"`
}

// A SubscriptionDraft is what a Subscription is made of.
type SubscriptionDraft struct {
	Key         string
	Destination Destination
	Changes     []Change
	Messages    []Messages
	Format      *Format // nil: Platform
}

// A Subscription has commercetools send notifications to a destination.
type Subscription struct {
	ID             string      `json:"id"`
	Version        int64       `json:"version"`
	Key            string      `json:"key"`
	Destination    Destination `json:"-"`
	Changes        []Change    `json:"changes"`
	Messages       []Messages  `json:"messages"`
	Format         Format      `json:"format"`
	Status         Health      `json:"status"`
	CreatedAt      string      `json:"createdAt"`
	LastModifiedAt string      `json:"lastModifiedAt"`
}

// An Action changes a Subscription: made by ChangeDestination, SetChanges,
// SetMessages or SetKey. Nothing changes a format.
type Action struct {
	Name  string // as commercetools calls it
	field string
	value any
}

// ChangeDestination sends the notifications to d from now on.
func ChangeDestination(d Destination) Action { return Action{"changeDestination", "destination", d} }

// SetChanges replaces the changes asked for.
func SetChanges(cs ...Change) Action { return Action{"setChanges", "changes", nonNil(cs)} }

// SetMessages replaces the messages asked for.
func SetMessages(ms ...Messages) Action { return Action{"setMessages", "messages", nonNil(ms)} }

// SetKey gives the Subscription another key.
func SetKey(key string) Action { return Action{"setKey", "key", key} }

// MarshalJSON writes a as commercetools wants it.
func (a Action) MarshalJSON() ([]byte, error) {
	v := a.value
	if a.field == "destination" {
		d, _ := v.(Destination)
		raw, err := encodeDestination(d)
		if err != nil {
			return nil, err
		}
		v = raw
	}
	return json.Marshal(map[string]any{"action": a.Name, a.field: v})
}

// MarshalJSON writes d as commercetools wants it.
func (d SubscriptionDraft) MarshalJSON() ([]byte, error) {
	destination, err := encodeDestination(d.Destination)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Key         string          `json:"key,omitempty"`
		Destination json.RawMessage `json:"destination"`
		Changes     []Change        `json:"changes,omitempty"`
		Messages    []Messages      `json:"messages,omitempty"`
		Format      *Format         `json:"format,omitempty"`
	}{d.Key, destination, d.Changes, d.Messages, d.Format})
}

// UnmarshalJSON reads what commercetools writes.
func (s *Subscription) UnmarshalJSON(data []byte) (err error) {
	type plain Subscription
	var with struct {
		*plain
		Destination json.RawMessage `json:"destination"`
	}
	with.plain = (*plain)(s)
	if err := json.Unmarshal(data, &with); err != nil {
		return err
	}
	if with.Destination != nil {
		s.Destination, err = decodeDestination(with.Destination)
	}
	return err
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// The methods below want the scope manage_subscriptions:{ProjectKey}. Errors
// are an *[Error]. After one of kind [Down] a change may have been made all the
// same: read the Subscription to find out.

// Subscriptions reads every Subscription of the project.
func (c *Client) Subscriptions(ctx context.Context) ([]Subscription, error) {
	const operation = "subscriptions"
	q := url.Values{"sort": {"id asc"}, "limit": {strconv.Itoa(maxLimit)}, "withTotal": {"false"}}
	body, err := c.get(ctx, operation, c.project+"/subscriptions?"+q.Encode())
	if err != nil {
		return nil, err
	}
	var all []Subscription
	_, bad := decodePage(body, func(result []byte) *Error {
		s, bad := decodeSubscription(result)
		if bad == nil {
			all = append(all, *s)
		}
		return bad
	})
	if bad != nil {
		bad.Operation, bad.Status = operation, http.StatusOK
		return nil, bad
	}
	return all, nil
}

// Subscription reads the one of a key; [ErrNotFound] where there is none.
func (c *Client) Subscription(ctx context.Context, key string) (*Subscription, error) {
	return c.subscription(ctx, "subscription", http.MethodGet, key, "", nil)
}

// CreateSubscription makes one, with a key: without one a lost answer could
// not be told from one that was never made. A key that is taken is Refused
// with the code DuplicateField.
func (c *Client) CreateSubscription(ctx context.Context, d SubscriptionDraft) (*Subscription, error) {
	const operation = "subscription-create"
	if !plausible(d.Key) {
		return nil, &Error{Operation: operation, Kind: Refused, Code: "impossible-key"}
	}
	body, err := json.Marshal(d)
	if err != nil {
		return nil, &Error{Operation: operation, Kind: Refused, Code: "impossible-destination"}
	}
	return c.change(ctx, operation, http.MethodPost, c.project+"/subscriptions", body)
}

// UpdateSubscription works actions on the Subscription of a key, all or none,
// if it still has the version; [Conflict] if not.
func (c *Client) UpdateSubscription(ctx context.Context, key string, version int64, actions ...Action) (*Subscription, error) {
	const operation = "subscription-update"
	body, err := json.Marshal(map[string]any{"version": version, "actions": nonNil(actions)})
	if err != nil {
		return nil, &Error{Operation: operation, Kind: Refused, Code: "impossible-destination"}
	}
	return c.subscription(ctx, operation, http.MethodPost, key, "", body)
}

// DeleteSubscription removes the Subscription of a key, if it still has the
// version, and returns what it was; [Conflict] if not.
func (c *Client) DeleteSubscription(ctx context.Context, key string, version int64) (*Subscription, error) {
	return c.subscription(ctx, "subscription-delete", http.MethodDelete, key, "?version="+strconv.FormatInt(version, 10), nil)
}

func (c *Client) subscription(ctx context.Context, operation, method, key, query string, body []byte) (*Subscription, error) {
	if !plausible(key) {
		return nil, &Error{Operation: operation, Kind: Refused, Code: "impossible-key"}
	}
	return c.change(ctx, operation, method, c.project+"/subscriptions/key="+url.PathEscape(key)+query, body)
}

func (c *Client) change(ctx context.Context, operation, method, u string, body []byte) (*Subscription, error) {
	answer, err := c.send(ctx, operation, method, u, body)
	if err != nil {
		return nil, err
	}
	s, bad := decodeSubscription(answer)
	if bad != nil {
		bad.Operation, bad.Status = operation, http.StatusOK
		return nil, bad
	}
	return s, nil
}

func decodeSubscription(data []byte) (*Subscription, *Error) {
	var s Subscription
	if json.Unmarshal(data, &s) != nil || s.ID == "" || s.Version <= 0 {
		return nil, &Error{Kind: Down, Err: errUnusable}
	}
	return &s, nil
}

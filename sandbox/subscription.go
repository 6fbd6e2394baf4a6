package sandbox

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// A subscription of a project. Its document is replaced, never changed.
type subscription struct {
	id      uuid
	version int64
	doc     atomic.Pointer[map[string]any] // nil: deleted
}

// target tells whether the subscription is there, where its notifications go,
// and whether as CloudEvents.
func (s *subscription) target() (alive bool, destination map[string]any, cloudEvents bool) {
	doc := s.doc.Load()
	if doc == nil {
		return false, nil, false
	}
	destination, _ = (*doc)["destination"].(map[string]any)
	format, _ := (*doc)["format"].(map[string]any)
	return true, destination, text(format, "type") == "CloudEvents"
}

func (s *subscription) name() string {
	doc := s.doc.Load()
	if doc == nil || text(*doc, "key") == "" {
		return s.id.String()
	}
	return text(*doc, "key")
}

// wants tells whether a change of customers, or a message of this type, is
// subscribed to.
func (s *subscription) wants(messageType string) bool {
	doc := s.doc.Load()
	if doc == nil {
		return false
	}
	switch text(*doc, "status") {
	case "ConfigurationErrorDeliveryStopped", "ManuallySuspended":
		return false
	}
	list := "changes"
	if messageType != "" {
		list = "messages"
	}
	entries, _ := objects((*doc)[list])
	for _, e := range entries {
		types, _ := e["types"].([]any)
		if text(e, "resourceTypeId") == "customer" &&
			(messageType == "" || len(types) == 0 || slices.Contains(types, any(messageType))) {
			return true
		}
	}
	return false
}

// notify makes the notes of an event for every subscription that wants them.
// before is how many messages the customer had made until then. It is called
// with s.mu held.
func (s *CommerceTools) notify(e event, before int64, messages []message) {
	var notes []note
	for _, sub := range s.subscriptions {
		if sub.wants("") {
			notes = append(notes, note{to: sub, event: &e})
		}
		for i := range messages {
			m := &messages[i]
			if !sub.wants(m.typ) {
				continue
			}
			if m.payload == nil {
				m.id, m.sequence = newUUID(s.rng), before+int64(i)+1
				m.payload, m.fields = encode(m.fields), nil
			}
			notes = append(notes, note{to: sub, event: &e, message: m})
		}
	}
	s.history = append(s.history, notes...)
	s.send(notes)
}

// Subscribe makes a subscription of a draft, as POST /subscriptions does, and
// returns the document.
func (s *CommerceTools) Subscribe(draft map[string]any) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc, err := subscriptionOf(draft)
	if err != nil {
		return nil, err
	}
	if s.subscription("key="+text(doc, "key")) != nil {
		return nil, duplicate("key", doc["key"])
	}
	now := s.gate.now()
	sub := &subscription{id: newUUID(s.rng), version: 1}
	maps.Copy(doc, map[string]any{"id": sub.id.String(), "version": 1, "status": "Healthy", "createdAt": stamp(now), "lastModifiedAt": stamp(now)})
	sub.doc.Store(&doc)
	s.subscriptions = append(s.subscriptions, sub)
	test := note{to: sub, event: &event{kind: created, id: sub.id, version: 1, at: now.UnixMilli(), subscription: true}}
	s.history = append(s.history, test)
	s.send([]note{test})
	return doc, nil
}

// SetSubscriptionStatus sets the status of a subscription, named by id or by
// key={key}, and tells whether it was there. In the states
// ConfigurationErrorDeliveryStopped and ManuallySuspended changes make no
// notification.
func (s *CommerceTools) SetSubscriptionStatus(name, status string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscription(name)
	if sub == nil {
		return false
	}
	doc := maps.Clone(*sub.doc.Load())
	doc["status"] = status
	sub.doc.Store(&doc)
	return true
}

// subscription finds one by id or by key={key}.
func (s *CommerceTools) subscription(name string) *subscription {
	for _, sub := range s.subscriptions {
		if sub.id.String() == name || name != "key=" && "key="+text(*sub.doc.Load(), "key") == name {
			return sub
		}
	}
	return nil
}

// subscriptionOf checks a draft.
func subscriptionOf(draft map[string]any) (map[string]any, error) {
	doc := map[string]any{"changes": []any{}, "messages": []any{}, "format": map[string]any{"type": "Platform"}}
	for field, v := range draft {
		if !slices.Contains([]string{"key", "destination", "changes", "messages", "format"}, field) {
			return nil, invalid("no field " + field + " in a draft of a subscription")
		}
		if v != nil {
			doc[field] = v
		}
	}
	if err := checkDestination(doc); err != nil {
		return nil, err
	}
	return doc, checkWishes(doc)
}

// destinations are the fields of each type of destination, a ? after those
// that may be missing.
func destinations() map[string]string {
	return map[string]string{
		"SQS":             "queueUrl region authenticationMode? accessKey? accessSecret?",
		"SNS":             "topicArn authenticationMode? accessKey? accessSecret?",
		"EventBridge":     "accountId region",
		"AzureServiceBus": "connectionString", "EventGrid": "uri accessKey", "GoogleCloudPubSub": "projectId topic",
		"ConfluentCloud": "bootstrapServer apiKey apiSecret acks topic key?",
	}
}

func checkDestination(doc map[string]any) error {
	destination, _ := doc["destination"].(map[string]any)
	typ := text(destination, "type")
	fields, known := destinations()[typ]
	if !known {
		return invalid("destination.type is none of commercetools'")
	}
	allowed := []string{"type"}
	for _, f := range strings.Fields(fields) {
		f, optional := strings.CutSuffix(f, "?")
		if allowed = append(allowed, f); text(destination, f) == "" && !optional {
			return invalid("destination." + f + " is missing")
		}
	}
	for f, v := range destination {
		if _, ok := v.(string); !ok || !slices.Contains(allowed, f) {
			return invalid("destination." + f + " is no field of " + typ + ", or no text")
		}
	}
	switch mode := text(destination, "authenticationMode"); {
	case mode != "" && mode != "Credentials" && mode != "IAM":
		return invalid("destination.authenticationMode is neither Credentials nor IAM")
	case mode == "IAM" && (destination["accessKey"] != nil || destination["accessSecret"] != nil):
		return invalid("destination has keys, which IAM does not use")
	}
	format, _ := doc["format"].(map[string]any)
	switch text(format, "type") {
	case "CloudEvents":
		if text(format, "cloudEventsVersion") != "1.0" {
			return invalid("format.cloudEventsVersion is not 1.0")
		}
	case "Platform":
		if typ == "EventGrid" {
			return invalid("EventGrid takes CloudEvents only")
		}
	default:
		return invalid("format.type is neither Platform nor CloudEvents")
	}
	return nil
}

func checkWishes(doc map[string]any) error {
	n := 0
	for _, list := range []string{"changes", "messages"} {
		entries, err := objects(doc[list])
		if err != nil {
			return fmt.Errorf("%s: %w", list, err)
		}
		for _, e := range entries {
			if text(e, "resourceTypeId") == "" {
				return invalid(list + ": resourceTypeId is missing")
			}
			n++
		}
	}
	if n == 0 {
		return invalid("one of changes and messages is needed")
	}
	return nil
}

// change works update actions on a subscription. It is called with s.mu held.
func (s *CommerceTools) change(sub *subscription, actions []map[string]any) error {
	doc := maps.Clone(*sub.doc.Load())
	for i, a := range actions {
		field, ok := map[string]string{"changeDestination": "destination", "setMessages": "messages", "setChanges": "changes", "setKey": "key"}[text(a, "action")]
		if !ok {
			return fmt.Errorf("actions[%d]: %w", i, invalid("no such update action"))
		}
		doc[field] = a[field]
		if other := s.subscription("key=" + text(doc, "key")); other != nil && other != sub {
			return duplicate("key", doc["key"])
		}
	}
	if err := checkDestination(doc); err != nil {
		return err
	}
	if err := checkWishes(doc); err != nil {
		return err
	}
	sub.version++
	doc["version"], doc["lastModifiedAt"] = sub.version, stamp(s.gate.now())
	sub.doc.Store(&doc)
	return nil
}

// serveSubscriptions works the requests under /{project}/subscriptions.
func (s *CommerceTools) serveSubscriptions(r *http.Request, name string, body []byte) (int, any, error) {
	if name == "" {
		switch r.Method {
		case http.MethodPost:
			draft, err := readObject(body)
			if err != nil {
				return 0, nil, err
			}
			doc, err := s.Subscribe(draft)
			return http.StatusCreated, doc, err
		case http.MethodGet:
			doc, err := s.querySubscriptions(r.URL.Query())
			return http.StatusOK, doc, err
		}
		return 0, nil, wrongMethod
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscription(name)
	if sub == nil {
		return 0, nil, notFound(name)
	}
	var err error
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		var u updateRequest
		if u, err = readUpdate(body); err == nil {
			if err = sub.expect(u.version); err == nil {
				err = s.change(sub, u.actions)
			}
		}
	case http.MethodDelete:
		doc := *sub.doc.Load()
		var version int64
		if version, err = queryVersion(r); err == nil {
			if err = sub.expect(version); err == nil {
				sub.doc.Store(nil)
				s.subscriptions = slices.DeleteFunc(s.subscriptions, func(x *subscription) bool { return x == sub })
				return http.StatusOK, doc, nil
			}
		}
	default:
		err = wrongMethod
	}
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, *sub.doc.Load(), nil
}

// querySubscriptions answers GET /subscriptions: all, by id, a page at a time.
func (s *CommerceTools) querySubscriptions(q url.Values) (map[string]any, error) {
	for name, v := range q {
		if !slices.Contains([]string{"limit", "offset", "withTotal", "sort"}, name) || name == "sort" && v[0] != "id asc" {
			return nil, invalid("Malformed parameter: " + name)
		}
	}
	limit, err := number(q, "limit", defaultLimit, maxLimit)
	if err != nil {
		return nil, err
	}
	offset, err := number(q, "offset", 0, maxOffset)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := slices.SortedFunc(slices.Values(s.subscriptions), func(a, b *subscription) int { return a.id.compare(b.id) })
	docs := []map[string]any{}
	for _, sub := range all[min(offset, len(all)):min(offset+limit, len(all))] {
		docs = append(docs, *sub.doc.Load())
	}
	doc := map[string]any{"limit": limit, "offset": offset, "count": len(docs), "results": docs}
	if q.Get("withTotal") != "false" {
		doc["total"] = len(all)
	}
	return doc, nil
}

// putStatus sets the health of a subscription.
func (s *CommerceTools) putStatus(w http.ResponseWriter, r *http.Request) {
	var to struct {
		Status string `json:"status"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		err = decodeStrict(body, &to)
	}
	states := []string{"Healthy", "ConfigurationError", "ConfigurationErrorDeliveryStopped", "TemporaryError", "ManuallySuspended"}
	switch {
	case err != nil || !slices.Contains(states, to.Status):
		http.Error(w, "status: one of "+strings.Join(states, ", "), http.StatusBadRequest)
	case !s.SetSubscriptionStatus(r.PathValue("name"), to.Status):
		http.Error(w, "no such subscription", http.StatusNotFound)
	default:
		writeJSON(w, to)
	}
}

func (s *subscription) expect(version int64) error {
	if version != s.version {
		return conflict(s.version)
	}
	return nil
}

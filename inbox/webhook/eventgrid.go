package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
)

// EventGridOptions say where Event Grid brings its key. Key is mandatory.
type EventGridOptions struct {
	Key    Secret
	Header string // that may hold the key; default aeg-sas-key
	Query  string // parameter of the URL that may hold it; default code
}

// EventGrid admits who brings the key in a header or in the URL. It answers
// Event Grid's two questions whether events may be sent here: the OPTIONS of
// CloudEvents, and the validation event of its own schema.
//
// The OPTIONS is answered without a key, too: it is no authentication, Event
// Grid does not promise to bring a header with it, and the answer opens
// nothing. A wrong key is refused.
func EventGrid(o EventGridOptions) Auth {
	if o.Header == "" {
		o.Header = "aeg-sas-key"
	}
	if o.Query == "" {
		o.Query = "code"
	}
	g := &eventGrid{o: o}
	g.named = named{&byHead{
		kind: "eventgrid", scheme: "ApiKey", what: "key", secret: o.Key, wrong: "the access key is missing or wrong",
		admits: func(r *http.Request, secret string) bool {
			inHeader, inQuery := g.keys(r)
			// Both are compared, so that the time tells nothing of either.
			a, b := same(inHeader, secret), same(inQuery, secret)
			return a || b
		},
	}, func() error { return checkHeader(o.Header) }}
	return g
}

type eventGrid struct {
	named
	o EventGridOptions
}

func (g *eventGrid) keys(r *http.Request) (inHeader, inQuery string) {
	return r.Header.Get(g.o.Header), r.URL.Query().Get(g.o.Query)
}

// An origin is a DNS expression, such as eventgrid.azure.net.
var requestOrigin = regexp.MustCompile(`^[A-Za-z0-9*][A-Za-z0-9.:*_-]{0,255}$`)

var requestRate = regexp.MustCompile(`^([1-9][0-9]{0,8}|\*)$`)

// handshake permits a sender to send, as CloudEvents' rules for webhooks have
// it.
func (g *eventGrid) handshake(r *http.Request) *reply {
	if inHeader, inQuery := g.keys(r); inHeader != "" || inQuery != "" {
		if no := g.head(r); no != nil {
			return no
		}
	}
	origin := r.Header.Get("WebHook-Request-Origin")
	if !requestOrigin.MatchString(origin) {
		return &reply{status: http.StatusBadRequest, say: "no WebHook-Request-Origin"}
	}
	header := map[string]string{"Allow": "OPTIONS, POST", "WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"}
	if asked := r.Header.Get("WebHook-Request-Rate"); requestRate.MatchString(asked) {
		header["WebHook-Allowed-Rate"] = asked
	}
	return &reply{status: http.StatusOK, say: "may send", header: header}
}

const validationEvent = "Microsoft.EventGrid.SubscriptionValidationEvent"

// whole answers the validation event, which is about no resource and is not
// kept.
func (g *eventGrid) whole(_ context.Context, _ *http.Request, body []byte) ([]byte, *reply) {
	if !bytes.Contains(body, []byte(validationEvent)) {
		return body, nil
	}
	var events []struct {
		EventType string `json:"eventType"`
		Data      struct {
			ValidationCode string `json:"validationCode"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &events) != nil || len(events) != 1 || events[0].EventType != validationEvent || events[0].Data.ValidationCode == "" {
		return body, nil
	}
	answer, err := json.Marshal(map[string]string{"validationResponse": events[0].Data.ValidationCode})
	if err != nil {
		return body, nil
	}
	return nil, &reply{status: http.StatusOK, say: string(answer), json: true}
}

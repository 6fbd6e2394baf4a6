package webhook

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" // of signature version 1
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// SNSOptions say whose messages are taken. TopicARN is mandatory.
type SNSOptions struct {
	// TopicARN is the topic; messages of any other are refused.
	TopicARN string
	// Client fetches certificates and confirms subscriptions; nil for one of
	// its own.
	Client *http.Client
	// Roots are those of certificates; nil for this machine's.
	Roots *x509.CertPool
	// Log; nil discards.
	Log *slog.Logger
}

// SNS admits what SNS has signed for a topic, within the last hour. It
// confirms the subscription of that topic by itself.
//
// Who may post is known by the body alone here, so that anyone can have one
// read, within the limits of a Source.
func SNS(o SNSOptions) Auth {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fetch := newFetcher(o.Client)
	return &sns{o: o, fetch: fetch, certs: certificates{fetch: fetch, roots: o.Roots, turn: newTurn(), kept: map[string]*certificate{}}}
}

type sns struct {
	o     SNSOptions
	fetch *fetcher
	certs certificates
}

// snsAge is how old a message may be: SNS tries no longer than an hour. It is
// also how far the clocks may be apart.
const snsAge = time.Hour

var topicARN = regexp.MustCompile(`^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$`)

func (s *sns) Kind() string      { return "sns" }
func (s *sns) challenge() string { return "SNS" }

func (s *sns) check() error {
	if !topicARN.MatchString(s.o.TopicARN) {
		return errors.New("no ARN of a topic: write it as arn:aws:sns:eu-central-1:123456789012:ct-customers")
	}
	return nil
}

// head refuses what SNS itself calls another topic's, or does not sign.
func (s *sns) head(r *http.Request) *reply {
	if strings.EqualFold(r.Header.Get("x-amz-sns-rawdelivery"), "true") {
		return refused("raw message delivery carries no signature: turn it off")
	}
	if arn := r.Header.Get("x-amz-sns-topic-arn"); arn != "" && !same(arn, s.o.TopicARN) {
		return refused("another topic")
	}
	return nil
}

// A snsMessage is what SNS posts.
type snsMessage struct {
	Type             string
	MessageID        string `json:"MessageId"`
	Token            string `json:",omitempty"`
	TopicArn         string
	Subject          *string `json:",omitempty"`
	Message          string
	Timestamp        string
	SubscribeURL     string `json:",omitempty"`
	SignatureVersion string `json:",omitempty"`
	Signature        string `json:",omitempty"`
	SigningCertURL   string `json:",omitempty"`
}

// The types of messages.
const (
	snsNotification = "Notification"
	snsSubscribe    = "SubscriptionConfirmation"
	snsUnsubscribe  = "UnsubscribeConfirmation"
)

// signed is the text that SNS has signed.
func (m *snsMessage) signed() []byte {
	var b bytes.Buffer
	add := func(name, value string) { b.WriteString(name + "\n" + value + "\n") }
	add("Message", m.Message)
	add("MessageId", m.MessageID)
	if m.Type == snsNotification {
		if m.Subject != nil {
			add("Subject", *m.Subject)
		}
	} else {
		add("SubscribeURL", m.SubscribeURL)
	}
	add("Timestamp", m.Timestamp)
	if m.Type != snsNotification {
		add("Token", m.Token)
	}
	add("TopicArn", m.TopicArn)
	add("Type", m.Type)
	return b.Bytes()
}

func (s *sns) whole(ctx context.Context, _ *http.Request, body []byte) ([]byte, *reply) {
	var m snsMessage
	if json.Unmarshal(body, &m) != nil {
		return nil, refused("no message of SNS")
	}
	if no := s.verify(ctx, &m); no != nil {
		return nil, no
	}
	switch m.Type {
	case snsSubscribe:
		return nil, s.confirm(ctx, &m)
	case snsUnsubscribe:
		s.o.Log.Warn("SNS says that its subscription has ended; nothing more comes until it is made again", "topic", s.o.TopicARN)
		return nil, &reply{status: http.StatusOK, say: "noted"}
	}
	// What stands in the body beside the signed members is nobody's word.
	keep, err := json.Marshal(snsMessage{Type: m.Type, MessageID: m.MessageID, TopicArn: m.TopicArn, Subject: m.Subject, Message: m.Message, Timestamp: m.Timestamp})
	if err != nil {
		return nil, refused("no message of SNS")
	}
	return keep, nil
}

// verify goes from what costs nothing to what costs a request.
func (s *sns) verify(ctx context.Context, m *snsMessage) *reply {
	switch {
	case m.Type != snsNotification && m.Type != snsSubscribe && m.Type != snsUnsubscribe:
		return refused("no message of SNS")
	case !same(m.TopicArn, s.o.TopicARN):
		return refused("another topic")
	}
	at, err := time.Parse(time.RFC3339, m.Timestamp)
	if err != nil {
		return refused("no time of the message")
	}
	if age := time.Since(at); age > snsAge || age < -snsAge {
		return refused("a message older than an hour")
	}
	signature, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil || len(signature) == 0 {
		return refused("the signature is missing or wrong")
	}
	var hash crypto.Hash
	var sum []byte
	switch m.SignatureVersion {
	case "1":
		s := sha1.Sum(m.signed())
		hash, sum = crypto.SHA1, s[:]
	case "2":
		s := sha256.Sum256(m.signed())
		hash, sum = crypto.SHA256, s[:]
	default:
		return refused("a signature of another version than 1 and 2")
	}
	if !genuineCertificate(m.SigningCertURL) {
		return refused("the certificate is not on a host of SNS")
	}
	key, err := s.certs.key(ctx, m.SigningCertURL)
	switch {
	case errors.Is(err, errNotSNS):
		return &reply{status: http.StatusUnauthorized, say: "the certificate is not one of SNS", why: err.Error()}
	case err != nil:
		return notReady("fetch the certificate of SNS: " + err.Error())
	case rsa.VerifyPKCS1v15(key, hash, sum, signature) != nil:
		return refused("the signature is missing or wrong")
	}
	return nil
}

// confirm asks SNS, and nobody else, to begin. The address is made here, of
// what is known to be right: a signed URL would still be a URL from outside.
func (s *sns) confirm(ctx context.Context, m *snsMessage) *reply {
	u, ok := genuine(m.SubscribeURL)
	if !ok || m.Token == "" {
		return refused("the subscription is not to be confirmed on a host of SNS")
	}
	q := u.Query()
	if q.Get("Action") != "ConfirmSubscription" || !same(q.Get("TopicArn"), s.o.TopicARN) {
		return refused("no confirmation of this topic's subscription")
	}
	ask := url.URL{Scheme: "https", Host: u.Hostname(), Path: "/", RawQuery: url.Values{
		"Action": {"ConfirmSubscription"}, "TopicArn": {s.o.TopicARN}, "Token": {m.Token},
	}.Encode()}
	if _, err := s.fetch.get(ctx, ask.String(), 64<<10); err != nil {
		return notReady("confirm the subscription of SNS: " + err.Error())
	}
	s.o.Log.Info("subscription of SNS is confirmed", "topic", s.o.TopicARN)
	return &reply{status: http.StatusOK, say: "confirmed"}
}

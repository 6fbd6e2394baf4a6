package std

import (
	"cmp"
	"fmt"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/inbox/webhook"
)

func newWebhook(options any, env app.SourceEnv) (ct2fluent.Source, error) {
	o := options.(*app.WebhookConfig)
	auth, err := authOf(o, env)
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Options{
		Name: env.Name, Address: string(o.Address), Path: string(o.Path), CertFile: o.TLSCert, KeyFile: o.TLSKey,
		Auth: auth, MaxBody: int64(o.MaxBody), Log: env.Log, Observe: env.Observe,
	})
}

// authOf makes what auth names.
func authOf(o *app.WebhookConfig, env app.SourceEnv) (webhook.Auth, error) {
	switch o.Auth {
	case "token":
		return webhook.Token(o.Token.Value), nil
	case "basic":
		return webhook.Basic(o.Username, o.Password.Value), nil
	case "api-key":
		return webhook.APIKey(cmp.Or(o.Header, "X-Api-Key"), o.Key.Value), nil
	case "sns":
		return webhook.SNS(webhook.SNSOptions{TopicARN: o.TopicARN, Log: env.Log}), nil
	case "pubsub":
		return webhook.PubSub(webhook.PubSubOptions{Audience: o.Audience, ServiceAccount: o.ServiceAccount}), nil
	case "eventgrid":
		return webhook.EventGrid(webhook.EventGridOptions{Key: o.Key.Value, Header: o.Header, Query: o.Query}), nil
	}
	return nil, fmt.Errorf("this binary knows no auth %q", o.Auth)
}

// joinWebhook has webhooks of one address share it.
func joinWebhook(s ct2fluent.Source, earlier []ct2fluent.Source) error {
	var others []*webhook.Source
	for _, e := range earlier {
		others = append(others, e.(*webhook.Source))
	}
	return s.(*webhook.Source).Join(others...)
}

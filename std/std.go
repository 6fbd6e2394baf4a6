// Package std is the stock binary: what it can listen to and what its handlers
// are called. A partner's main takes Setup and adds to it.
package std

import (
	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/inbox/sqs"
)

// Setup fills in what the stock binary has.
func Setup(s *app.Setup) {
	s.Sources["sqs"] = app.SourceType{Options: func() any { return new(app.SQSConfig) }, New: newSQS}
	s.Sources["webhook"] = app.SourceType{Options: func() any { return new(app.WebhookConfig) }, New: newWebhook, Join: joinWebhook}
	s.Sources["poll"] = app.SourceType{Options: func() any { return new(app.PollConfig) }, New: newPoll, Join: joinPoll}
	s.Handlers = append(s.Handlers, app.HandlerType{
		Name:        "FluentCustomerUpsert",
		Description: "creates or updates the Fluent customer of a commercetools customer",
		New:         newCustomer,
	})
}

func newSQS(options any, env app.SourceEnv) (ct2fluent.Source, error) {
	o := options.(*app.SQSConfig)
	return sqs.New(sqs.Options{
		Name: o.Name, Region: o.Region, Endpoint: string(o.Endpoint), Receivers: o.Receivers, Wait: o.Wait,
		Log: env.Log, Observe: env.Observe,
	})
}

func newCustomer(env app.Env) (ct2fluent.Handler, error) {
	var accounts []customer.Account
	for _, a := range env.Accounts {
		accounts = append(accounts, customer.Account{
			Project: a.Project, RetailerID: a.RetailerID, From: a.Commercetools, To: a.Fluent, Mapping: a.Mapping,
		})
	}
	return customer.New(customer.Options{Accounts: accounts, Ledger: env.Ledger, Deletes: env.Deletes, Log: env.Log, Observe: env.Observe})
}

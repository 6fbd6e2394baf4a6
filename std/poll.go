package std

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/app"
	"github.com/ct2fluent/ct2fluent/inbox/poll"
)

func newPoll(options any, env app.SourceEnv) (ct2fluent.Source, error) {
	o := options.(*app.PollConfig)
	account, err := asked(o.ProjectKey, env.Accounts)
	if err != nil {
		return nil, err
	}
	return poll.New(poll.Options{
		Name: env.Name, Project: account.Project, Reader: account.Commercetools, Marks: env.Marks,
		Every: o.Every, From: o.From.Time(), Log: env.Log, Observe: env.Observe, Reached: env.Reached,
	})
}

// asked finds the account of a project, or the only one.
func asked(project string, accounts []app.Account) (app.Account, error) {
	var keys []string
	for _, a := range accounts {
		if a.Commercetools != nil && (a.Project == project || project == "" && len(accounts) == 1) {
			return a, nil
		}
		keys = append(keys, a.Project)
	}
	if project == "" {
		return app.Account{}, errors.New("there are several accounts; name one with project-key: " + strings.Join(keys, ", "))
	}
	return app.Account{}, fmt.Errorf("no account has the project-key %q; there is %s", project, strings.Join(keys, ", "))
}

// joinPoll refuses two listeners that ask one project.
func joinPoll(s ct2fluent.Source, earlier []ct2fluent.Source) error {
	var others []*poll.Source
	for _, e := range earlier {
		others = append(others, e.(*poll.Source))
	}
	return s.(*poll.Source).Join(others...)
}

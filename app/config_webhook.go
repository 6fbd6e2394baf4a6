package app

import (
	"fmt"
	"slices"
	"strings"
)

// ofAuth says which keys each auth of a webhook needs, and which it may have.
var ofAuth = map[string]struct{ needs, may []string }{
	"token":     {needs: []string{"token"}},
	"basic":     {needs: []string{"username", "password"}},
	"api-key":   {needs: []string{"key"}, may: []string{"header"}},
	"sns":       {needs: []string{"topic-arn"}},
	"pubsub":    {needs: []string{"audience", "service-account"}},
	"eventgrid": {needs: []string{"key"}, may: []string{"header", "query"}},
}

// Check holds the keys against auth: what it needs and what is of another one.
func (w *WebhookConfig) Check() (found []Problem) {
	given := map[string]bool{
		"token": !w.Token.IsZero(), "username": w.Username != "", "password": !w.Password.IsZero(), "key": !w.Key.IsZero(),
		"header": w.Header != "", "query": w.Query != "", "topic-arn": w.TopicARN != "",
		"audience": w.Audience != "", "service-account": w.ServiceAccount != "",
	}
	auth, known := ofAuth[w.Auth]
	if !known {
		return nil
	}
	for _, key := range auth.needs {
		if !given[key] {
			found = append(found, Problem{Key: key, What: fmt.Sprintf("missing; auth %s needs it", w.Auth)})
		}
	}
	for _, f := range []string{"token", "username", "password", "key", "header", "query", "topic-arn", "audience", "service-account"} {
		if given[f] && !slices.Contains(auth.needs, f) && !slices.Contains(auth.may, f) {
			found = append(found, Problem{Key: f, What: fmt.Sprintf("is not for auth %s, which has %s; take it out, or correct auth", w.Auth, strings.Join(slices.Concat(auth.needs, auth.may), " and "))})
		}
	}
	switch {
	case w.TLSCert != "" && w.TLSKey == "":
		found = append(found, Problem{Key: "tls-cert", What: "without tls-key; add the file of its key"})
	case w.TLSCert == "" && w.TLSKey != "":
		found = append(found, Problem{Key: "tls-key", What: "without tls-cert; add the file of its certificate"})
	}
	return found
}

package app

import (
	"fmt"
	"log/slog"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/keypair"
)

// tokenName is that of the token given by control.token.
const tokenName = "control"

// tokens are those that let into the admin API.
func (c *ControlConfig) tokens() []control.Token {
	var all []control.Token
	if !c.Token.IsZero() {
		all = append(all, control.Token{Name: tokenName, Access: control.Operator, Value: c.Token.Value})
	}
	for _, t := range c.Tokens {
		access := control.Viewer
		if t.Role == "operator" {
			access = control.Operator
		}
		all = append(all, control.Token{Name: t.Name, Access: access, Value: t.Token.Value})
	}
	return all
}

// door are the options of the HTTP side that say who gets in.
func door(c *Config, log *slog.Logger) (control.Options, error) {
	o := control.Options{
		Address: string(c.Control.Address), Tokens: c.Control.tokens(), Hosts: c.Control.Hosts, BehindProxy: c.Control.BehindProxy,
	}
	if t := c.Control.TLS; t.Certificate != "" {
		pair, err := keypair.Load(t.Certificate, t.Key, log)
		if err != nil {
			return o, configError(c.At("control.tls"), err)
		}
		o.TLS = pair.Config()
	}
	return o, nil
}

// checkDoor finds what keeps the HTTP side from being opened as configured.
func checkDoor(c *Config) error {
	o, err := door(c, nil)
	if err != nil {
		return err
	}
	if _, err := control.New(o); err != nil {
		return configError(c.At("control"), err)
	}
	return nil
}

// doorFindings tell of who gets in.
func doorFindings(c *Config) []Finding {
	what := "control " + string(c.Control.Address)
	tokens := c.Control.tokens()
	f := Finding{What: what, State: "ok", Detail: count(len(tokens), "token") + " besides the one of each run"}
	switch {
	case c.Control.TLS.Certificate != "":
		f.Detail += ", TLS by " + c.Control.TLS.Certificate
	case c.Control.BehindProxy:
		f.Detail += ", behind a proxy that has to bring TLS"
	}
	found := []Finding{f}
	for _, t := range tokens {
		if v, err := t.Value(); err == nil && len(v) < control.LongToken {
			found = append(found, Finding{
				What: what, State: "warning", Detail: fmt.Sprintf("the token %q has %d characters, which can be guessed", t.Name, len(v)),
				Remedy: fmt.Sprintf("take a random one of %d characters or more", control.LongToken),
			})
		}
	}
	return found
}

package app

import (
	"fmt"

	"github.com/ct2fluent/ct2fluent/control"
)

// tokenName is that of the token given by control.token.
const tokenName = "control"

// shortToken is how many characters a token should have at least.
const shortToken = 20

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
func door(c *Config) control.Options {
	return control.Options{
		Address: string(c.Control.Address), Tokens: c.Control.tokens(), Hosts: c.Control.Hosts,
	}
}

// checkDoor finds what keeps the HTTP side from being opened as configured.
func checkDoor(c *Config) error {
	if _, err := control.New(door(c)); err != nil {
		return configError(c.At("control"), err)
	}
	return nil
}

// doorFindings tell of who gets in.
func doorFindings(c *Config) []Finding {
	what := "control " + string(c.Control.Address)
	tokens := c.Control.tokens()
	found := []Finding{{What: what, State: "ok", Detail: count(len(tokens), "token") + " besides the one of each run"}}
	for _, t := range tokens {
		if v, err := t.Value(); err == nil && len(v) < shortToken {
			found = append(found, Finding{
				What: what, State: "warning", Detail: fmt.Sprintf("the token %q has %d characters, which can be guessed", t.Name, len(v)),
				Remedy: fmt.Sprintf("take a random one of %d characters or more", shortToken),
			})
		}
	}
	return found
}

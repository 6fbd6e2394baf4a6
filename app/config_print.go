package app

import (
	"bytes"
	"encoding/json"
	"io"

	"go.yaml.in/yaml/v4"
)

// Print writes the file as understood: all keys, defaults filled in, secrets
// as <secret>.
func (c *Config) Print(w io.Writer) error {
	text, err := yaml.Dump(c)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// MarshalJSON is what Print writes, as JSON.
func (c *Config) MarshalJSON() ([]byte, error) {
	text, err := yaml.Dump(c)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := yaml.Load(text, &all); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // <secret> is to be read by people
	err = e.Encode(all)
	return out.Bytes(), err
}

package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A File is what a running process leaves for the verbs: where it listens, and
// the token of this run.
type File struct {
	Address string `json:"address"` // host:port, with TLS after https://
	Token   string `json:"token"`
	// Certificate is what the verbs trust, and nothing else: PEM, made for this
	// run. Empty without TLS.
	Certificate string `json:"certificate,omitempty"`
}

// WriteFile writes f to path for its owner only: whole, or not at all.
func WriteFile(path string, f File) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("control file: %w", err)
	}
	// CreateTemp's mode is 0600: the token is never readable by others.
	temp, err := os.CreateTemp(filepath.Dir(path), ".control-*")
	if err != nil {
		return fmt.Errorf("control file: %w", err)
	}
	_, err = temp.Write(append(b, '\n'))
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("control file: %w", errors.Join(err, os.Remove(temp.Name())))
	}
	return nil
}

// ReadFile reads what WriteFile wrote. ErrNotRunning: there is no such file.
func ReadFile(path string) (File, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, fmt.Errorf("%w: there is no %s", ErrNotRunning, path)
	}
	if err != nil {
		return File{}, fmt.Errorf("control file: %w", err)
	}
	var f File
	if err := json.Unmarshal(b, &f); err != nil || f.Address == "" {
		return File{}, fmt.Errorf("control file %s: not written by ct2fluent; remove it", path)
	}
	return f, nil
}

// removeFile removes the file of this run, not one that was written since.
func removeFile(path, token string) {
	if f, err := ReadFile(path); err == nil && f.Token == token {
		_ = os.Remove(path) // a file that is left leads to no listener: ErrNotRunning
	}
}

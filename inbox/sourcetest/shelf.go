package sourcetest

import (
	"context"
	"sync"
	"testing"
)

// A shelf is the put of the suite: it keeps bodies, and knows which of them
// may be acknowledged.
type shelf struct {
	mu    sync.Mutex
	err   error
	tries map[string]int
	keeps map[string]int
	acks  map[string]int
}

func (s *shelf) put(_ context.Context, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	count(&s.keeps, string(body))
	return nil
}

// fail makes put return err from now on.
func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// acknowledge is what the ct-queue calls. Promise 1.
func (s *shelf) acknowledge(t *testing.T) func([]byte) {
	return func(body []byte) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.keeps[string(body)] == 0 {
			t.Errorf("%.60s was acknowledged before put returned nil", body)
		}
		count(&s.acks, string(body))
	}
}

// acknowledged is how many different bodies have been acknowledged.
func (s *shelf) acknowledged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acks)
}

// keptAll is how many different bodies were put.
func (s *shelf) keptAll() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keeps)
}

// kept is how often a body was put.
func (s *shelf) kept(body string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keeps[body]
}

// tried counts a try to put a body and tells which one it is, from 1.
func (s *shelf) tried(body string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return count(&s.tries, body)
}

func count(m *map[string]int, key string) int {
	if *m == nil {
		*m = map[string]int{}
	}
	(*m)[key]++
	return (*m)[key]
}

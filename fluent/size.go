package fluent

import "sync"

// A size is how many writes go into one request. An account that undoes the
// whole request for one bad write, and does not say which, makes each bad one
// cost more requests the larger the first was: then they become smaller, and
// larger again when all goes well. Safe for concurrent use.
type size struct {
	most int

	mu   sync.Mutex
	now  int
	good int // full requests in a row that succeeded wholly
}

// The bounds of what is learned: no request becomes smaller by it, and so many
// good ones double it.
const (
	leastSize = 10
	goodRun   = 10
)

func newSize(most int) *size { return &size{most: most, now: most} }

func (s *size) get() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// undone notes that a request of n writes was undone and no one was named.
func (s *size) undone(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.good = 0
	s.now = min(s.now, max(n/2, min(leastSize, s.most)))
}

// done notes that a request of n writes succeeded wholly.
func (s *size) done(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < s.now {
		return
	}
	if s.good++; s.good == goodRun {
		s.good = 0
		s.now = min(2*s.now, s.most)
	}
}

package customer

import "sync"

// Claims keep two batches, or two customers of one batch, from deciding about
// one username at the same time: both would find it unclaimed, and the second
// would be written over the first (promise 4). A claim is held from before the
// lookup until after the write that trusts it. It is taken without waiting,
// and nobody waits while holding one, so nothing can lock up.
//
// Usernames are claimed across accounts, as two accounts may share one Fluent.
type claims struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed when the claim is given back
}

// take claims a username. Where another holds it, busy is closed once that
// claim is given back; it is nil where the username was taken.
func (c *claims) take(username string) (busy <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.taken[username]; ok {
		return held
	}
	if c.taken == nil {
		c.taken = map[string]chan struct{}{}
	}
	c.taken[username] = make(chan struct{})
	return nil
}

func (c *claims) give(usernames ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range usernames {
		close(c.taken[u])
		delete(c.taken, u)
	}
}

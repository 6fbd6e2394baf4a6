package webhook

import (
	"context"
	"net"
	"sync"

	"github.com/ct2fluent/ct2fluent/inbox/sourcetest"
)

// A network leads to whoever listened last.
type network struct {
	mu sync.Mutex
	l  *sourcetest.Listener
}

func (n *network) listen() net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.l = sourcetest.Listen()
	return n.l
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.l
	n.mu.Unlock()
	return l.Dial(ctx, network, address)
}

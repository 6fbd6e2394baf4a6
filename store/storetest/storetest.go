// Package storetest has a NATS server for the tests of what works against a
// cluster: one that goes away and comes back.
package storetest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A Cluster is a NATS server with JetStream. While it is away its address is
// kept, and who connects there is cut off: given back, a connection of another
// process could be given it.
type Cluster struct {
	t       testing.TB
	options server.Options
	door    net.Listener
	copying sync.WaitGroup

	mu    sync.Mutex
	one   *server.Server // nil while it is away
	tries int
}

// New starts a server with the options, of which address and directory are the
// cluster's own. It ends with the test.
func New(t testing.TB, o server.Options) *Cluster {
	t.Helper()
	o.Host, o.Port, o.JetStream, o.NoSigs, o.NoLog, o.StoreDir = "127.0.0.1", -1, true, true, true, t.TempDir()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, options: o, door: door}
	c.copying.Go(c.accept)
	t.Cleanup(func() {
		door.Close()
		c.Stop()
		c.copying.Wait()
	})
	c.Start()
	return c
}

// Address is where the cluster is reached: host and port.
func (c *Cluster) Address() string { return c.door.Addr().String() }

// Tries is how often somebody came while the server was there.
func (c *Cluster) Tries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries
}

// Start has the server come back with all that it had stored.
func (c *Cluster) Start() {
	c.t.Helper()
	o := c.options
	one, err := server.NewServer(&o)
	if err != nil {
		c.t.Fatal(err)
	}
	one.Start()
	c.mu.Lock()
	c.one = one
	c.mu.Unlock()
	if !one.ReadyForConnections(30 * time.Second) {
		c.t.Fatal("the NATS server does not start")
	}
}

// SetUsers is who may come in from the next Start on.
func (c *Cluster) SetUsers(users ...*server.User) { c.options.Users = users }

// Mute has the server stay, without giving an answer to what is to be stored, as
// one does whose cluster has no quorum. Stop and Start have it speak again.
func (c *Cluster) Mute() {
	c.t.Helper()
	if err := c.one.DisableJetStream(); err != nil {
		c.t.Fatal(err)
	}
}

// Stop has the server go away, and all its connections break.
func (c *Cluster) Stop() {
	c.mu.Lock()
	one := c.one
	c.one = nil
	c.mu.Unlock()
	if one != nil {
		one.Shutdown()
		one.WaitForShutdown()
	}
}

func (c *Cluster) accept() {
	for {
		from, err := c.door.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		one := c.one
		if one != nil {
			c.tries++
		}
		c.mu.Unlock()
		if one == nil || one.Addr() == nil {
			from.Close()
			continue
		}
		to, err := net.Dial("tcp", one.Addr().String())
		if err != nil {
			from.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
			c.copying.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				from.Close()
				to.Close()
			})
		}
	}
}

package control

import (
	linked "container/list"
	"context"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Wrong tokens are slowed down, by the address they come from and in all. A
// right token is never slowed, and an address that only others have used up
// costs nobody else anything.
const (
	// An address may be wrong so often at once, and once more every while.
	wrongAtOnce = 10
	wrongEvery  = 6 * time.Second
	// So may all addresses together.
	allWrongAtOnce = 200
	allWrongEvery  = 100 * time.Millisecond
	// Beyond that a wrong token's answer is held back, of so many at a time.
	heldBack     = time.Second
	heldOfOne    = 4
	heldOfAll    = 64
	visitorsMost = 4096 // addresses remembered
)

// A throttle counts wrong tokens. Its memory is bounded.
type throttle struct {
	mu       sync.Mutex
	visitors map[netip.Prefix]*visitor
	order    linked.List // of *visitor, who was here last at the front
	all      budget
	held     int
}

// A visitor is an address: of IPv6 the network of 64 bits that one subscriber
// has.
type visitor struct {
	from   netip.Prefix
	wrongs budget
	held   int
	known  map[string]bool // names of the tokens that were right from here
	place  *linked.Element
}

// A budget is spent one by one and comes back with time.
type budget struct {
	left float64
	at   time.Time
}

func (b *budget) refill(most int, every time.Duration, now time.Time) {
	b.left = math.Min(b.left+now.Sub(b.at).Seconds()/every.Seconds(), float64(most))
	b.at = now
}

func newThrottle() *throttle {
	return &throttle{visitors: map[netip.Prefix]*visitor{}, all: budget{left: allWrongAtOnce, at: time.Now()}}
}

// A knock is a token that is being looked at.
type knock struct {
	t       *throttle
	v       *visitor
	spent   bool // the address's budget is used up
	waits   bool // it holds one of the places of those whose answer is held back
	blocked bool // there is none left
}

// knock begins to look at a token from an address.
func (t *throttle) knock(from netip.Prefix) *knock {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	v := t.visitors[from]
	if v == nil {
		v = &visitor{from: from, wrongs: budget{left: wrongAtOnce, at: now}, known: map[string]bool{}}
		v.place = t.order.PushFront(v)
		t.visitors[from] = v
		t.forget()
	}
	t.order.MoveToFront(v.place)
	v.wrongs.refill(wrongAtOnce, wrongEvery, now)
	k := &knock{t: t, v: v, spent: v.wrongs.left < 1}
	if k.spent {
		k.blocked = !k.hold()
	}
	return k
}

// forget drops those who were here longest ago. mu is held.
func (t *throttle) forget() {
	for e := t.order.Back(); e != nil && len(t.visitors) > visitorsMost; {
		v, before := e.Value.(*visitor), e.Prev()
		if v.held == 0 {
			t.order.Remove(e)
			delete(t.visitors, v.from)
		}
		e = before
	}
}

// hold takes a place, if there is one. mu is held.
func (k *knock) hold() bool {
	if k.v.held >= heldOfOne || k.t.held >= heldOfAll {
		return false
	}
	k.v.held++
	k.t.held++
	k.waits = true
	return true
}

// mayBe tells whether a token is compared with the one of a name. Where wrong
// ones come faster than their answers leave, a short one, which could be
// guessed, is compared only if it was right from the same address before. A long
// one always is, like the one made for this run: nobody guesses it, however
// often he tries, and so nobody can lock out who has it.
func (k *knock) mayBe(name, token string) bool {
	if !k.blocked || len(token) >= LongToken {
		return true
	}
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	return k.v.known[name]
}

// right ends a knock by a right token.
func (k *knock) right(name string) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	k.v.known[name] = true
	k.release()
}

// release gives back the place. mu is held.
func (k *knock) release() {
	if k.waits {
		k.waits = false
		k.v.held--
		k.t.held--
	}
}

// wrong ends a knock by a wrong token: it tells after how long another may be
// tried, 0 for now. It returns when the answer may leave. The first beyond the
// budget of an address is told by first.
func (k *knock) wrong(ctx context.Context) (after time.Duration, first bool) {
	k.t.mu.Lock()
	now := time.Now()
	k.t.all.refill(allWrongAtOnce, allWrongEvery, now)
	k.v.wrongs.refill(wrongAtOnce, wrongEvery, now)
	fits := k.t.all.left >= 1
	if fits {
		k.t.all.left--
	}
	if !k.spent {
		k.v.wrongs.left--
		first = k.v.wrongs.left < 1
		if fits {
			k.t.mu.Unlock()
			return 0, first
		}
		k.hold()
	}
	waits := k.waits
	k.t.mu.Unlock()
	if waits {
		limit := time.NewTimer(heldBack)
		select {
		case <-limit.C:
		case <-ctx.Done():
		}
		limit.Stop()
	}
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	k.release()
	k.v.wrongs.refill(wrongAtOnce, wrongEvery, time.Now())
	return max(time.Second, time.Duration((1-k.v.wrongs.left)*float64(wrongEvery))), first
}

// addressOf is where a request comes from. Behind a proxy it is what the proxy
// has added to X-Forwarded-For: what stands before that may be anything.
func addressOf(r *http.Request, behindProxy bool) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, _ := netip.ParseAddr(host)
	if all := r.Header.Values("X-Forwarded-For"); behindProxy && len(all) > 0 {
		last := all[len(all)-1]
		last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		if forwarded, err := netip.ParseAddr(last); err == nil {
			ip = forwarded
		}
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if !ip.Is4() {
		bits = 64
	}
	from, _ := ip.Prefix(bits) // of no address: the zero Prefix
	return from
}

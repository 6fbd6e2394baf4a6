package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// What all contenders are told.
const (
	project      = "shop"
	account      = "ACME"
	retailer     = "1"
	clientID     = "client"
	clientSecret = "secret"
	apiUser      = "user"
	apiPassword  = "password"
)

// A Scene is what the stand-ins begin with.
type Scene struct {
	Customers int
	Changes   int // of each customer, after it was made
	// Shuffle mixes the notifications of so many customers made one after the
	// other; 0 leaves them in their order.
	Shuffle int
	// Moving has every so manyth customer change just before it is read, so
	// that two reads at once differ and a stale write shows; 0: none.
	Moving          int
	Latency, Jitter time.Duration // of both sides
	Silent          bool          // nothing is told of the customers that are made, and writes are not kept
	TLS             string        // directory for the CA's certificate; empty: plain HTTP
}

// A stage holds both stand-ins.
type stage struct {
	ct         *sandbox.CommerceTools
	fluent     *sandbox.Fluent
	population *sandbox.Population
	ids        []string
	created    []string // when, of each
	changes    int      // made so far

	mu      sync.Mutex
	bodies  [][]byte // of notifications not taken yet
	moving  map[string]bool
	movings int
}

const subscription = "bench"

// newStage makes the customers and their changes, and collects what
// commercetools sends of them until ctx is done.
func newStage(ctx context.Context, s Scene) (*stage, error) {
	t := &stage{population: sandbox.NewPopulation(1), moving: map[string]bool{}}
	var err error
	t.ct, err = sandbox.NewCommerceTools(sandbox.CTOptions{
		ProjectKey: project, ClientID: clientID, ClientSecret: clientSecret, Seed: 1, Deliverers: 1, Deliver: t.deliver,
	})
	if err != nil {
		return nil, err
	}
	t.fluent, err = sandbox.NewFluent(sandbox.FluentOptions{
		Account: account, RetailerIDs: []string{retailer}, ClientID: clientID, ClientSecret: clientSecret,
		Username: apiUser, Password: apiPassword, Seed: 1, Remember: remember(s),
	})
	if err != nil {
		return nil, err
	}
	go func() { _ = t.ct.Run(ctx) }()
	_, err = t.ct.Subscribe(map[string]any{
		"key":         subscription,
		"destination": map[string]any{"type": "SQS", "queueUrl": "https://sqs.example", "region": "eu-central-1"},
		"changes":     []any{map[string]any{"resourceTypeId": "customer"}},
	})
	if err != nil {
		return nil, err
	}
	if _, err := t.take(ctx); err != nil { // the test notification
		return nil, err
	}
	if s.Silent {
		t.silence()
	}
	if err := t.fill(ctx, s); err != nil {
		return nil, err
	}
	return t, t.knobs(Knobs{Latency: s.Latency, Jitter: s.Jitter})
}

// remember is how many writes Fluent's stand-in keeps.
func remember(s Scene) int {
	if s.Silent {
		return 1
	}
	return 10_000_000
}

func (t *stage) deliver(_ context.Context, _ map[string]any, body []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bodies = append(t.bodies, body)
	return nil
}

// take gives the notifications of all that has happened since it was last
// called.
func (t *stage) take(ctx context.Context) ([][]byte, error) {
	if err := t.ct.Drain(ctx); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	bodies := t.bodies
	t.bodies = nil
	return bodies, nil
}

func (t *stage) fill(ctx context.Context, s Scene) error {
	dice := rand.New(rand.NewPCG(1, 3))
	var all [][]byte
	for len(t.ids) < s.Customers {
		first := len(t.ids)
		for range min(max(s.Shuffle, 1), s.Customers-first) {
			if _, err := t.create(); err != nil {
				return err
			}
		}
		for _, id := range t.ids[first:] {
			for range s.Changes {
				if err := t.change(id, true); err != nil {
					return err
				}
			}
		}
		if s.Shuffle == 0 {
			continue
		}
		some, err := t.take(ctx)
		if err != nil {
			return err
		}
		dice.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		all = append(all, some...)
	}
	for i, id := range t.ids {
		if s.Moving > 0 && i%s.Moving == 0 {
			t.moving[id] = true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bodies = append(all, t.bodies...)
	return nil
}

func (t *stage) create() (id string, err error) {
	doc, err := t.ct.Create(t.population.Draft(len(t.ids)))
	if err != nil {
		return "", fmt.Errorf("make customer %d: %w", len(t.ids), err)
	}
	id = doc["id"].(string)
	t.ids = append(t.ids, id)
	at, _ := doc["createdAt"].(string)
	t.created = append(t.created, at)
	return id, nil
}

// change changes something of a customer: of what Fluent gets, or of the rest.
func (t *stage) change(id string, mapped bool) error {
	t.changes++
	n := t.changes
	action := map[string]any{"action": "setMiddleName", "middleName": fmt.Sprint("Middle ", n)}
	if mapped {
		switch n % 4 {
		case 0:
			action = map[string]any{"action": "setFirstName", "firstName": fmt.Sprint("First ", n)}
		case 1:
			action = map[string]any{"action": "changeEmail", "email": fmt.Sprintf("changed.%d@example.com", n)}
		case 2:
			action = map[string]any{"action": "setTitle", "title": fmt.Sprint("Title ", n)}
		case 3:
			action = map[string]any{"action": "setLastName", "lastName": fmt.Sprint("Last ", n)}
		}
	}
	if _, err := t.ct.Update(id, action); err != nil {
		return fmt.Errorf("change customer %s: %w", id, err)
	}
	return nil
}

// changeAll changes every customer once.
func (t *stage) changeAll(mapped bool) error {
	for _, id := range t.ids {
		if err := t.change(id, mapped); err != nil {
			return err
		}
	}
	return nil
}

var quoted = regexp.MustCompile(`"([^"]+)"`)

// move changes the moving ones among the customers that a request is about to
// read. Each reader sees at least its own change, so the newest change is
// always seen, and what Fluent holds at the end has to be that.
func (t *stage) move(r *http.Request, operation string) {
	if len(t.moving) == 0 {
		return
	}
	var ids []string
	switch operation {
	case "get":
		ids = []string{r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]}
	case "query":
		where, err := url.QueryUnescape(r.URL.Query().Get("where"))
		if err != nil {
			return
		}
		for _, found := range quoted.FindAllStringSubmatch(where, -1) {
			ids = append(ids, found[1])
		}
	}
	for _, id := range ids {
		if !t.moving[id] {
			continue
		}
		t.mu.Lock()
		t.movings++
		n := t.movings
		t.mu.Unlock()
		// An id that is not there is found out by the read.
		_, _ = t.ct.Update(id, map[string]any{"action": "setLastName", "lastName": fmt.Sprint(moved, n)})
	}
}

// moved begins the last names of moving customers; the number after it grows.
const moved = "Moved "

// Knobs are what is changed while the stand-ins run.
type Knobs struct {
	Latency, Jitter time.Duration
	// Hang has requests to Fluent that hold this text wait for so long, and
	// then lose their connection, not worked.
	Hang    string
	HangFor time.Duration
}

func (t *stage) knobs(k Knobs) error {
	common := sandbox.Common{Latency: sandbox.Duration(k.Latency), Jitter: sandbox.Duration(k.Jitter)}
	if err := t.ct.SetKnobs(sandbox.CTKnobs{Common: common}); err != nil {
		return err
	}
	if k.Hang != "" {
		common.Faults = []sandbox.Fault{{Kind: "timeout", Operation: "mutation", Match: k.Hang, Hold: sandbox.Duration(k.HangFor)}}
	}
	return t.fluent.SetKnobs(sandbox.FluentKnobs{Common: common})
}

// silence stops notifications: what moves while the work goes on is not told.
func (t *stage) silence() { t.ct.SetSubscriptionStatus("key="+subscription, "ManuallySuspended") }

func lines(all [][]byte) []byte { return append(bytes.Join(all, []byte("\n")), '\n') }

package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/inbox/webhook"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// The credentials of the stand-ins. They open nothing else.
const (
	sandboxProject  = "sandbox"
	sandboxAccount  = "SANDBOX"
	sandboxRetailer = "1"
	sandboxUser     = "user"
	sandboxPassword = "password"
	sandboxClient   = "client"
	sandboxSecret   = "secret"
	sandboxToken    = "sandbox-push-token"
)

// maxRate of changes a second: more than one process can make.
const maxRate = 1_000_000

type sandboxOptions struct {
	lasts     time.Duration
	customers int
	rate      float64
	seed      uint64
	store     string
	only      string
	address   string
	debug     bool
	ct        sandbox.CTKnobs
	fluent    sandbox.FluentKnobs
	latency   time.Duration
	lag       time.Duration
	disorder  time.Duration
	ctFaults  []string
	flFaults  []string
}

func (c *cli) sandbox() *cobra.Command {
	var o sandboxOptions
	verb := &cobra.Command{
		Use: "sandbox", Short: "Start stand-ins of both sides and watch customers flow; nothing else is needed", Args: cobra.NoArgs,
		Long: `Sandbox starts, offline, a stand-in of commercetools, one of Fluent, and the whole
pipeline between them. It makes customers and changes, and shows them arriving.
With --for it ends by itself: changes stop, the rest drains, and the ledger is
printed. The stand-ins' faults can be changed while it runs, by PATCH of
/_sandbox/knobs at the addresses it prints.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.knobs(); err != nil {
				return err
			}
			if o.only != "" {
				return c.standAlone(cmd.Context(), o)
			}
			return c.playSandbox(cmd.Context(), o)
		},
	}
	f := verb.Flags()
	f.DurationVar(&o.lasts, "for", 0, "end after this time; 0: at a signal")
	f.IntVar(&o.customers, "customers", 200, "how many customers to make")
	f.Float64Var(&o.rate, "rate", 50, "changes a second after that")
	f.Uint64Var(&o.seed, "seed", 1, "of customers, changes and faults")
	f.StringVar(&o.store, "store", "", "directory of queue and ledger; default: one that is removed at the end")
	f.StringVar(&o.only, "only", "", "start one stand-in alone: commercetools or fluent")
	f.StringVar(&o.address, "address", "127.0.0.1:0", "where the one of --only listens")
	f.BoolVar(&o.debug, "debug", false, "log each change of state and each outcome")
	f.DurationVar(&o.latency, "latency", 5*time.Millisecond, "of each call to a stand-in")
	f.DurationVar(&o.lag, "lag", 0, "how old the state is that a commercetools query sees")
	f.Float64Var(&o.ct.Duplicates, "duplicates", 0.1, "probability that a notification comes twice")
	f.DurationVar(&o.disorder, "disorder", 200*time.Millisecond, "how far notifications are spread, in no order")
	f.StringArrayVar(&o.ctFaults, "commercetools-fault", nil, "a fault and its probability, such as 503:0.05; may be repeated")
	f.StringArrayVar(&o.flFaults, "fluent-fault", nil, "the same of Fluent: 429, 502, 503, timeout, cut, null, S0002E, …")
	return verb
}

// knobs reads the flags of the stand-ins' faults.
func (o *sandboxOptions) knobs() error {
	if o.customers < 0 || o.lasts < 0 || !(o.rate >= 0 && o.rate <= maxRate) {
		return fmt.Errorf("%w: --customers and --for are not negative, --rate is 0 to %d", errUsage, maxRate)
	}
	if left, _ := os.ReadDir(o.store); o.store != "" && len(left) > 0 {
		return fmt.Errorf("%w: --store %s is not empty: the stand-ins begin anew, and its ledger would know their customers", errUsage, o.store)
	}
	o.ct.Latency, o.fluent.Latency = sandbox.Duration(o.latency), sandbox.Duration(o.latency)
	o.ct.Lag, o.ct.Window = sandbox.Duration(o.lag), sandbox.Duration(o.disorder)
	for _, f := range []struct {
		texts []string
		to    *[]sandbox.Fault
	}{{o.ctFaults, &o.ct.Faults}, {o.flFaults, &o.fluent.Faults}} {
		for _, text := range f.texts {
			kind, p, given := strings.Cut(text, ":")
			fault := sandbox.Fault{Kind: kind, Probability: 1}
			if given {
				var err error
				if fault.Probability, err = strconv.ParseFloat(p, 64); err != nil {
					return fmt.Errorf("%w: fault %q: want a kind and a probability, such as 503:0.05", errUsage, text)
				}
			}
			*f.to = append(*f.to, fault)
		}
	}
	return nil
}

func (o *sandboxOptions) commercetools(deliver func(context.Context, map[string]any, []byte) error) (*sandbox.CommerceTools, error) {
	s, err := sandbox.NewCommerceTools(sandbox.CTOptions{
		ProjectKey: sandboxProject, ClientID: sandboxClient, ClientSecret: sandboxSecret, Deliver: deliver, Knobs: o.ct, Seed: o.seed,
	})
	if err != nil {
		return nil, &kindError{errUsage, err}
	}
	return s, nil
}

func (o *sandboxOptions) fluentSide() (*sandbox.Fluent, error) {
	s, err := sandbox.NewFluent(sandbox.FluentOptions{
		Account: sandboxAccount, RetailerIDs: []string{sandboxRetailer}, ClientID: sandboxClient, ClientSecret: sandboxSecret,
		Username: sandboxUser, Password: sandboxPassword, Knobs: o.fluent, Seed: o.seed,
	})
	if err != nil {
		return nil, &kindError{errUsage, err}
	}
	return s, nil
}

// standAlone starts one stand-in. That of commercetools has customers, and
// prints its notifications, one a line, as ct2fluent put takes them.
func (c *cli) standAlone(ctx context.Context, o sandboxOptions) error {
	if o.lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.lasts)
		defer cancel()
	}
	g, ctx := errgroup.WithContext(ctx)
	var h http.Handler
	switch o.only {
	case "commercetools":
		s, err := o.commercetools(func(_ context.Context, _ map[string]any, body []byte) error {
			_, err := c.out.Write(append(bytes.ReplaceAll(body, []byte("\n"), nil), '\n'))
			return err
		})
		if err != nil {
			return err
		}
		if _, err := s.Subscribe(sandboxSubscription()); err != nil {
			return err
		}
		if err := sandbox.NewPopulation(o.seed).Fill(s, o.customers); err != nil {
			return err
		}
		h = s
		g.Go(func() error { return s.Run(ctx) })
	case "fluent":
		s, err := o.fluentSide()
		if err != nil {
			return err
		}
		h = s
	default:
		return fmt.Errorf("%w: --only is commercetools or fluent", errUsage)
	}
	server, err := sandbox.Start(ctx, o.address, h)
	if err != nil {
		return surroundings(err)
	}
	defer server.Close()
	fmt.Fprintf(c.err, "%s listens at %s\nproject %s, account %s, retailer %s, client %s, secret %s, user %s, password %s\n",
		o.only, server.URL, sandboxProject, sandboxAccount, sandboxRetailer, sandboxClient, sandboxSecret, sandboxUser, sandboxPassword)
	g.Go(func() error { <-ctx.Done(); return nil })
	return g.Wait()
}

// sandboxSubscription announces changes of customers through EventBridge, as
// the documented set-up does.
func sandboxSubscription() map[string]any {
	return map[string]any{
		"key":         "ct2fluent",
		"destination": map[string]any{"type": "EventBridge", "accountId": "000000000000", "region": "eu-central-1"},
		"changes":     []any{map[string]any{"resourceTypeId": "customer"}},
	}
}

// A play is a sandbox that runs.
type play struct {
	o      sandboxOptions
	out    io.Writer
	ct     *sandbox.CommerceTools
	fluent *sandbox.Fluent
	app    *App
}

func (c *cli) playSandbox(ctx context.Context, o sandboxOptions) (err error) {
	if o.store == "" {
		if o.store, err = os.MkdirTemp("", "ct2fluent-sandbox-"); err != nil {
			return surroundings(err)
		}
		defer os.RemoveAll(o.store)
	}
	private()
	p := &play{o: o, out: c.out}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return surroundings(err)
	}
	defer listener.Close()
	if p.fluent, err = o.fluentSide(); err != nil {
		return err
	}
	if p.ct, err = o.commercetools(pushTo("http://" + listener.Addr().String() + "/notifications")); err != nil {
		return err
	}
	// The stand-ins and the pipeline outlive the signal: what is under way
	// drains first.
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctServer, err := sandbox.Start(run, "", p.ct)
	if err != nil {
		return surroundings(err)
	}
	defer ctServer.Close()
	fluentServer, err := sandbox.Start(run, "", p.fluent)
	if err != nil {
		return surroundings(err)
	}
	defer fluentServer.Close()

	setup := *c.setup
	setup.Sources = map[string]SourceType{"webhook": {
		Options: func() any { return new(WebhookConfig) },
		New: func(options any, env SourceEnv) (ct2fluent.Source, error) {
			return webhook.New(webhook.Options{Listener: listener, Auth: webhook.Token(options.(*WebhookConfig).Token.Value), Log: env.Log, Observe: env.Observe})
		},
	}}
	cfg, err := parseConfig("sandbox.yml", []byte(sandboxConfig(o.store, ctServer.URL, fluentServer.URL)), LoadOptions{Listeners: setup.listeners()})
	if err != nil {
		return err
	}
	// What is held shows in the picture.
	level := "error"
	if o.debug {
		level = "debug"
	}
	if p.app, err = New(run, &setup, cfg, c.logger(LogConfig{Level: level, Format: "text"})); err != nil {
		return err
	}
	address, err := p.app.Control.Listen()
	if err != nil {
		return surroundings(err)
	}
	fmt.Fprintf(c.out, "commercetools  %s\nFluent         %s\ncontrol        http://%s\n\n", ctServer.URL, fluentServer.URL, address)

	g, groupCtx := errgroup.WithContext(run)
	g.Go(func() error { return p.ct.Run(groupCtx) })
	g.Go(func() error { return p.app.Run(groupCtx) })
	playErr := p.play(ctx, groupCtx)
	stop()
	return errors.Join(playErr, g.Wait(), p.app.Close())
}

func sandboxConfig(store, ct, fluent string) string {
	return fmt.Sprintf(`
fluent-connect:
  listeners:
    push: { type: webhook, token: %s }
accounts:
  - commercetools: { project-key: %s, api-url: %q, auth-url: %q, client-id: %s, client-secret: %s }
    fluent: { base-url: %q, account: %s, retailer-id: %q, client-id: %s, client-secret: %s, username: %s, password: %s, timeout: 3s }
fluent: { unclear-wait: 4s }
queue: { store: %q }
control: { address: "127.0.0.1:0" }
`, sandboxToken, sandboxProject, ct, ct, sandboxClient, sandboxSecret,
		fluent, sandboxAccount, sandboxRetailer, sandboxClient, sandboxSecret, sandboxUser, sandboxPassword, store)
}

// pushTo delivers notifications as an EventBridge API destination would.
func pushTo(url string) func(context.Context, map[string]any, []byte) error {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	return func(ctx context.Context, _ map[string]any, body []byte) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+sandboxToken)
		r.Header.Set("Content-Type", "application/json")
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			return fmt.Errorf("pushed: %s", res.Status)
		}
		return nil
	}
}

// drainLimit is how long the rest may take after the changes have stopped.
const drainLimit = 2 * time.Minute

// play makes customers and changes until ctx is done or the time is over, waits
// for the rest, and says how it ended.
func (p *play) play(ctx, run context.Context) error {
	if _, err := p.ct.Subscribe(sandboxSubscription()); err != nil {
		return err
	}
	if p.o.lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.o.lasts)
		defer cancel()
	}
	picture := newPicture(p)
	changes, err := p.change(ctx, picture)
	if err != nil {
		return err
	}
	picture.say("changes stop after %d; the rest drains", changes)
	if err := p.drain(run, picture); err != nil {
		return err
	}
	return p.verdict(run)
}

// change makes the population, then changes it at the rate asked for.
func (p *play) change(ctx context.Context, picture *picture) (changes int, err error) {
	people := sandbox.NewPopulation(p.o.seed)
	pick := rand.New(rand.NewPCG(p.o.seed, 0))
	for i := 0; i < p.o.customers && ctx.Err() == nil; i++ {
		if _, err := p.ct.Create(people.Draft(i)); err != nil {
			return changes, err
		}
		changes++
		picture.tick(ctx)
	}
	every := time.Hour
	if p.o.rate > 0 {
		every = min(every, time.Duration(float64(time.Second)/p.o.rate))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	ids := p.ct.IDs()
	if len(ids) == 0 {
		<-ctx.Done()
		return changes, nil
	}
	for {
		select {
		case <-ctx.Done():
			return changes, nil
		case <-tick.C:
		}
		id := ids[pick.IntN(len(ids))]
		doc, ok := p.ct.Customer(id)
		if !ok {
			continue
		}
		if _, err := p.ct.Update(id, people.Change(changes, doc)...); err != nil {
			return changes, err
		}
		changes++
		picture.tick(ctx)
	}
}

func (p *play) drain(ctx context.Context, picture *picture) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	if err := p.ct.Drain(ctx); err != nil {
		return fmt.Errorf("notifications are left in commercetools' stand-in: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := p.app.Status(ctx)
		if err == nil && s.Waiting == 0 {
			return nil
		}
		picture.tick(ctx)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d notifications still wait after %v", s.Waiting, drainLimit)
		case <-tick.C:
		}
	}
}

// verdict prints the ledger and whether it adds up.
func (p *play) verdict(ctx context.Context) error {
	s, err := p.app.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.out)
	if err := printStatus(p.out, s); err != nil {
		return err
	}
	sum := s.Written + s.Unchanged + s.Merged + s.Skipped + s.Dead + s.Waiting
	if s.Received != sum {
		return fmt.Errorf("the ledger does not add up: received %d, outcomes %d", s.Received, sum)
	}
	fmt.Fprintf(p.out, "\nreceived %d = %d written + %d unchanged + %d merged + %d skipped + %d dead + %d waiting: it adds up\n",
		s.Received, s.Written, s.Unchanged, s.Merged, s.Skipped, s.Dead, s.Waiting)
	fmt.Fprintf(p.out, "%d customers in commercetools, %d in Fluent\n", p.ct.Len(), p.fluent.Len())
	if s.Dead == 0 && p.ct.Len() != p.fluent.Len() {
		return fmt.Errorf("the sides differ: %d customers and %d", p.ct.Len(), p.fluent.Len())
	}
	return nil
}

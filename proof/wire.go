package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/proof/check"
	"github.com/ct2fluent/ct2fluent/sandbox"
)

// A trouble is something that goes wrong on the wire while customers change.
type trouble struct {
	name  string
	begin func(w *wired) error
	end   func(w *wired) error // nil: it never ends
	// held: the account has to be held, and the hold be seen.
	held bool
	// lasts is how long the trouble lasts once the account is held.
	lasts time.Duration
	setup setup
}

// resumeWithin is how soon everything has to be worked once a trouble is over:
// D, a probe, and what a busy machine takes.
const resumeWithin = 15 * time.Second

// wire has each trouble befall a process.
func wire(ctx context.Context, p *prover) error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	var mu sync.Mutex
	slowest, which, held := time.Duration(0), "", 0
	all := troubles(pick(p, 12*time.Second, 10*time.Minute))
	if err := abreast(6, all, func(t trouble) error {
		w := &wired{}
		took, err := w.befall(ctx, p, server, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if took > slowest {
			slowest, which = took, t.name
		}
		if t.held {
			held++
		}
		return nil
	}); err != nil {
		return err
	}
	p.note("%d troubles, in %d of them the account was held and that was seen; no attempt was burnt", len(all), held)
	p.note("the slowest was over %v after its trouble (%s)", slowest.Round(100*time.Millisecond), which)
	return nil
}

// A wired world has a proxy before each stand-in.
type wired struct {
	*world
	ctProxy, fluentProxy *toxiproxy.Proxy
}

func proxied(server *toxiproxy.ApiServer, at **toxiproxy.Proxy) func(string) (string, error) {
	return func(url string) (string, error) {
		*at = toxiproxy.NewProxy(server, url, "127.0.0.1:0", strings.TrimPrefix(url, "http://"))
		if err := (*at).Start(); err != nil {
			return "", err
		}
		return "http://" + (*at).Listen, nil
	}
}

func (w *wired) befall(ctx context.Context, p *prover, server *toxiproxy.ApiServer, t trouble) (took time.Duration, err error) {
	s := t.setup
	if s.ctURL == nil {
		s.ctURL = proxied(server, &w.ctProxy)
	}
	if s.fluentURL == nil {
		s.fluentURL = proxied(server, &w.fluentProxy)
	}
	if w.world, err = p.newWorld(ctx, s); err != nil {
		return 0, err
	}
	defer w.close()
	for _, proxy := range []*toxiproxy.Proxy{w.ctProxy, w.fluentProxy} {
		if proxy != nil {
			defer proxy.Stop()
		}
	}
	if err := w.start(); err != nil {
		return 0, err
	}
	if err := w.create("", 20); err != nil {
		return 0, err
	}
	if err := w.rest(restWithin); err != nil {
		return 0, err
	}
	if err := t.begin(w); err != nil {
		return 0, err
	}
	if err := w.create("", 5); err != nil {
		return 0, err
	}
	if err := w.change(30); err != nil {
		return 0, err
	}
	switch {
	case t.held:
		if err := w.seesHold(t.lasts); err != nil {
			return 0, err
		}
	case t.end != nil:
		time.Sleep(t.lasts)
	}
	begin := time.Now()
	if t.end != nil {
		if err := t.end(w); err != nil {
			return 0, err
		}
	}
	limit := resumeWithin
	if t.end == nil {
		limit = restWithin
	}
	if err := w.rest(limit); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	return took, w.verify(func(h *check.History) { h.Blameless, h.Whole = true, true })
}

// seesHold waits until the account is held, and looks how that is told, as
// long as the trouble lasts: the notifications are still accepted.
func (w *wired) seesHold(lasts time.Duration) error {
	if err := w.until("the account to be held", 30*time.Second, func() bool {
		s, err := w.status()
		return err == nil && len(s.Held) == 1 && s.Held[0].Account == "ACME" && s.Held[0].Why != ""
	}); err != nil {
		return err
	}
	f, err := control.ReadFile(filepath.Join(w.store(), "control.json"))
	if err != nil {
		return err
	}
	for over := time.Now().Add(lasts); ; time.Sleep(min(lasts, time.Second)) {
		res, err := w.client.Get("http://" + f.Address + "/readyz")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		var ready struct{ Held []control.Held }
		if err == nil {
			err = json.Unmarshal(text, &ready)
		}
		if err != nil || res.StatusCode != http.StatusOK || len(ready.Held) != 1 {
			return fmt.Errorf("/readyz while the account is held: %s %s, %v", res.Status, text, err)
		}
		s, err := w.status()
		if err != nil {
			return err
		}
		if s.Dead > 0 || s.Waiting == 0 || len(s.Held) != 1 {
			return fmt.Errorf("while the account is held: %+v", s)
		}
		if !time.Now().Before(over) {
			return nil
		}
		if err := w.change(1); err != nil {
			return err
		}
	}
}

// toxic makes a trouble of toxiproxy's.
func toxic(of func(w *wired) *toxiproxy.Proxy, text string) (begin, end func(w *wired) error) {
	begin = func(w *wired) error {
		_, err := of(w).Toxics.AddToxicJson(strings.NewReader(text))
		return err
	}
	return begin, func(w *wired) error {
		of(w).Toxics.ResetToxics(context.Background())
		return nil
	}
}

func (w *wired) ofFluent() *toxiproxy.Proxy { return w.fluentProxy }
func (w *wired) ofCT() *toxiproxy.Proxy     { return w.ctProxy }

func troubles(down time.Duration) []trouble {
	var all []trouble
	for _, side := range []struct {
		name string
		of   func(w *wired) *toxiproxy.Proxy
	}{{"Fluent", (*wired).ofFluent}, {"commercetools", (*wired).ofCT}} {
		for _, t := range []struct {
			name, toxic string
			held        bool
		}{
			{"is slow, but in time", `{"type":"latency","attributes":{"latency":200,"jitter":200}}`, false},
			{"answers later than it is waited for", `{"type":"latency","attributes":{"latency":5000}}`, true},
			{"resets connections", `{"type":"reset_peer","attributes":{"timeout":0}}`, true},
			{"resets connections before it is asked", `{"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`, true},
			{"is cut off in the middle of its answers", `{"type":"limit_data","attributes":{"bytes":150}}`, true},
			{"is cut off in the middle of requests", `{"type":"limit_data","stream":"upstream","attributes":{"bytes":150}}`, true},
			{"is at the end of half-open connections", `{"type":"timeout","attributes":{"timeout":0}}`, true},
			{"does not read", `{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`, true},
			{"answers byte by byte", `{"type":"slicer","attributes":{"average_size":2,"size_variation":1,"delay":200000}}`, true},
			{"answers in small parts", `{"type":"slicer","attributes":{"average_size":64,"size_variation":32,"delay":100}}`, false},
			{"has a thin line", `{"type":"bandwidth","attributes":{"rate":200}}`, false},
		} {
			begin, end := toxic(side.of, t.toxic)
			one := trouble{name: side.name + " " + t.name, begin: begin, held: t.held, lasts: 2 * time.Second}
			if t.held {
				one.end = end
			}
			all = append(all, one)
		}
	}
	for _, t := range []struct {
		name  string
		fault sandbox.Fault
		held  bool
	}{
		// Where Fluent asks to wait, or writes alone are lost, each waits for
		// itself and nothing is held.
		{"Fluent limits everything", sandbox.Fault{Kind: "429"}, false},
		{"Fluent limits most", sandbox.Fault{Kind: "429", Probability: 0.7, Count: 40}, false},
		{"a gateway before Fluent fails", sandbox.Fault{Kind: "502"}, true},
		{"a gateway before Fluent fails after the write was applied", sandbox.Fault{Kind: "502", Apply: true, Operation: "mutation"}, false},
		{"Fluent is not available", sandbox.Fault{Kind: "503"}, true},
		{"Fluent applies writes and does not answer", sandbox.Fault{Kind: "timeout", Apply: true, Operation: "mutation"}, false},
		{"Fluent applies writes late and does not answer", sandbox.Fault{Kind: "timeout", Late: sandbox.Duration(800 * time.Millisecond), Operation: "mutation", Count: 3}, false},
		{"Fluent fails", sandbox.Fault{Kind: "500"}, true},
		{"Fluent's tokens are refused again and again", sandbox.Fault{Kind: "401"}, true},
	} {
		all = append(all, trouble{
			name: t.name, held: t.held, lasts: 2 * time.Second,
			begin: func(w *wired) error { return w.fluent.Inject(t.fault) },
			end:   func(w *wired) error { return w.fluent.SetKnobs(sandbox.FluentKnobs{}) },
		})
	}
	for _, t := range []struct {
		name  string
		fault sandbox.Fault
		held  bool
	}{
		{"commercetools limits everything", sandbox.Fault{Kind: "429"}, false},
		{"a gateway before commercetools fails", sandbox.Fault{Kind: "502"}, true},
		{"commercetools is not available", sandbox.Fault{Kind: "503"}, true},
		{"commercetools answers too slowly", sandbox.Fault{Kind: "slow", Hold: sandbox.Duration(4 * time.Second)}, true},
	} {
		all = append(all, trouble{
			name: t.name, held: t.held, lasts: 2 * time.Second,
			begin: func(w *wired) error { return w.ct.Inject(t.fault) },
			end:   func(w *wired) error { return w.ct.SetKnobs(sandbox.CTKnobs{}) },
		})
	}
	names := &nameServer{}
	return append(all,
		trouble{
			name:  "tokens are invalidated all the time",
			begin: func(w *wired) error { w.invalidate(); return nil },
		},
		trouble{
			name:  fmt.Sprintf("Fluent is down for %v", down),
			begin: func(w *wired) error { w.fluentServer.Down(); return nil },
			end:   func(w *wired) error { return w.fluentServer.Up() },
			held:  true, lasts: down,
		},
		trouble{
			name:  "Fluent's name stops resolving",
			setup: setup{inside: true, fluentURL: names.start},
			begin: func(w *wired) error {
				names.gone.Store(true)
				w.fluentServer.Down() // the connections that are open need no name
				return w.fluentServer.Up()
			},
			end:  func(*wired) error { names.gone.Store(false); return nil },
			held: true, lasts: 2 * time.Second,
		},
	)
}

// invalidate invalidates all tokens twenty times while work goes on.
func (w *wired) invalidate() {
	for range 20 {
		w.ct.InvalidateTokens()
		w.fluent.InvalidateTokens()
		_ = w.change(1) // an error of the stand-in shows in the changes that follow
		time.Sleep(20 * time.Millisecond)
	}
}

package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

func TestScopes(t *testing.T) {
	for _, tt := range []struct {
		name       string
		has        string
		err        error
		subscribes bool
		state      string
		says       string
	}{
		{"the least", "view_customers:shop", nil, false, "ok", "view_customers:shop"},
		{"the least with a subscription", "view_customers:shop manage_subscriptions:shop", nil, true, "ok", ""},
		{"without that of the subscription", "view_customers:shop", nil, true, "warning", "may not manage_subscriptions:shop"},
		{"for the subscription, which is not configured", "view_customers:shop manage_subscriptions:shop", nil, false, "warning", "more than is needed: manage_subscriptions:shop"},
		{"of another project", "view_customers:other", nil, false, "warning", "may not view_customers:shop"},
		{"more of customers", "manage_customers:shop", nil, false, "warning", "more than is needed: manage_customers:shop"},
		{"everything", "manage_project:shop", nil, true, "warning", "more than is needed: manage_project:shop"},
		{"nothing is told", "", nil, false, "warning", "does not say"},
		{"it cannot be asked", "", errors.New("down"), false, "warning", "cannot be told: down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := scopes("commercetools project shop", "shop", strings.Fields(tt.has), tt.err, tt.subscribes)
			if f.State != tt.state || !strings.Contains(f.Detail, tt.says) {
				t.Errorf("%+v", f)
			}
			least := strings.Contains(f.Remedy, "view_customers:shop") && tt.subscribes == strings.Contains(f.Remedy, "manage_subscriptions:shop")
			if f.State != "ok" && !least {
				t.Errorf("the least is not named: %s", f.Remedy)
			}
		})
	}
}

func TestClock(t *testing.T) {
	for _, tt := range []struct {
		skew  time.Duration
		state string
		says  string
	}{
		{0, "ok", "0.0 s"},
		{-4 * time.Second, "ok", "4.0 s"},
		{6 * time.Second, "warning", "6.0 s behind that of Fluent"},
		{-time.Minute, "warning", "60.0 s ahead of that of Fluent"},
		{6 * time.Minute, "failed", "360.0 s behind"},
	} {
		f := clock("Fluent", tt.skew)
		if f.State != tt.state || !strings.Contains(f.Detail, tt.says) || (f.State == "ok") != (f.Remedy == "") || f.State == "failed" && !errors.Is(f.err, ErrSurroundings) {
			t.Errorf("%v: %+v", tt.skew, f)
		}
	}
}

// The clock of a server is read from whatever it answers.
func TestSkew(t *testing.T) {
	for _, away := range []time.Duration{0, -time.Hour, 10 * time.Second} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(away).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusNotFound)
		}))
		got, err := skewTo(t.Context(), server.URL)
		server.Close()
		if err != nil || (got-away).Abs() > time.Second {
			t.Errorf("%v, want about %v (%v)", got, away, err)
		}
		if _, err := skewTo(t.Context(), server.URL); err == nil {
			t.Error("one that cannot be reached has a clock")
		}
	}
}

func TestAnswered(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		began time.Time
		err   error
		state string
		kind  error
	}{
		{now, nil, "ok", nil},
		{now.Add(-3 * time.Second), nil, "warning", nil},
		{now, errors.New("refused"), "failed", ErrSurroundings},
		{now, &kindError{ErrConfig, errors.New("wrong")}, "failed", ErrConfig},
	} {
		f := answered("x", tt.began, tt.err, "", "do something")
		if f.State != tt.state || tt.kind != nil && !errors.Is(f.err, tt.kind) || (f.State == "ok") != (f.Remedy == "") {
			t.Errorf("%+v", f)
		}
	}
}

// Whether what a Subscription sends is received by anybody here.
func TestSubscriptionLeads(t *testing.T) {
	queue := func(h *commercetools.Subscription) {
		h.Destination = commercetools.SQS{QueueURL: "https://sqs.eu-central-1.amazonaws.com/1/ct-queue", Region: "eu-central-1"}
	}
	orders := func(h *commercetools.Subscription) {
		h.Changes = append(h.Changes, commercetools.Change{ResourceTypeID: "order"})
	}
	listener := func(name string) Listeners {
		return Listeners{{ID: "q", Type: "sqs", Options: &SQSConfig{Name: name}}, {ID: "w", Type: "webhook", Options: &WebhookConfig{}}}
	}
	for _, tt := range []struct {
		name      string
		has       *commercetools.Subscription
		wrong     string
		listeners Listeners
		state     string
		says      string
	}{
		{"to the queue by its name", bridge(queue), "", listener("ct-queue"), "ok", "which listener q reads"},
		{"to the queue by its URL", bridge(queue), "", listener("https://sqs.eu-central-1.amazonaws.com/1/ct-queue"), "ok", "which listener q reads"},
		{"to another queue", bridge(queue), "", listener("other"), "warning", "which no listener reads"},
		{"to an event bus", bridge(), "", listener("ct-queue"), "ok", "cannot be told from here"},
		{"of other resources, too", bridge(orders), "", nil, "warning", "other resources, too, which are skipped: order"},
		{"there is none", nil, "", nil, "failed", "there is none"},
		{"it has stopped", bridge(func(h *commercetools.Subscription) { h.Status = commercetools.DeliveryStopped }), "", nil, "failed", "ConfigurationErrorDeliveryStopped"},
		{"it is tried again", bridge(func(h *commercetools.Subscription) { h.Status = commercetools.TemporaryError }), "", nil, "warning", "TemporaryError"},
		{"of nothing that matters", bridge(func(h *commercetools.Subscription) { h.Changes = nil }), "", nil, "warning", "no change of customers"},
		{"it cannot be looked at", nil, "no scope", nil, "warning", "cannot be looked at"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := subscriber{project: "shop", calls: &registry{has: tt.has, wrong: tt.wrong}, config: SubscriptionConfig{Key: "ct2fluent"}}
			f := s.leads(context.Background(), tt.listeners)
			if f.State != tt.state || !strings.Contains(f.Detail, tt.says) || (f.State == "ok") != (f.Remedy == "") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// What a source says of its queue, and what fails by it.
func TestExamined(t *testing.T) {
	facts := func(context.Context, bool) ([][3]string, error) {
		return [][3]string{{"ok", "a", ""}, {"warning", "b", "do b"}, {"failed", "c", "do c"}}, nil
	}
	found := examined(t.Context(), "listener q", facts, true)
	states := []string{}
	for _, f := range found {
		states = append(states, f.State)
	}
	if !slices.Equal(states, []string{"ok", "warning", "failed"}) || !errors.Is(worst(found), ErrConfig) {
		t.Errorf("%+v", found)
	}
	found = examined(t.Context(), "listener q", func(context.Context, bool) ([][3]string, error) { return nil, errors.New("denied") }, false)
	if len(found) != 1 || found[0].State != "warning" {
		t.Errorf("%+v", found)
	}
}

package control

import "github.com/prometheus/client_golang/prometheus"

// subscriptionGauges are the states of the Subscriptions that are watched.
type subscriptionGauges struct {
	healthy *prometheus.GaugeVec
	status  *prometheus.GaugeVec
}

func newSubscriptionGauges(r prometheus.Registerer) subscriptionGauges {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ct2fluent_subscription_" + name, Help: help}, labels)
	}
	g := subscriptionGauges{
		healthy: gauge("healthy", "1 while the project's Subscription delivers; what it was last while it cannot be looked at.", "project"),
		status:  gauge("status", "1 for the status of the project's Subscription: commercetools' word, missing or unknown.", "project", "status"),
	}
	r.MustRegister(g.healthy, g.status)
	return g
}

// Subscription notes the status of a project's Subscription. One that is not
// known leaves alone whether it is healthy.
func (m *Metrics) Subscription(project, status string, healthy, known bool) {
	project = m.words.known("project", project)
	m.subscriptions.status.DeletePartialMatch(prometheus.Labels{"project": project})
	m.subscriptions.status.WithLabelValues(project, m.words.known("subscription", status)).Set(1)
	if !known {
		return
	}
	is := 0.0
	if healthy {
		is = 1
	}
	m.subscriptions.healthy.WithLabelValues(project).Set(is)
}

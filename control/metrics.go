package control

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are what Prometheus reads. Its methods are the hooks that the
// stations call; all may be called at once. Promise 7: labels are words of the
// program and of its configuration, and codes; no label grows without bound.
type Metrics struct {
	registry *prometheus.Registry
	projects []string
	words    words

	received *prometheus.CounterVec
	outcomes *prometheus.CounterVec
	warnings *prometheus.CounterVec
	sources  *prometheus.CounterVec
	stages   *prometheus.HistogramVec
	batches  *prometheus.HistogramVec
	calls    *prometheus.CounterVec
	retries  *prometheus.CounterVec
	callTime *prometheus.HistogramVec
	lags     *lags

	subscriptions subscriptionGauges
	drift         *prometheus.GaugeVec
	left          *prometheus.GaugeVec
	compared      *prometheus.GaugeVec
}

// NewMetrics makes a registry of its own. The version is that of the binary;
// the projects are those of the accounts: each is shown as held or not.
func NewMetrics(version string, projects ...string) *Metrics {
	seconds := prometheus.ExponentialBuckets(0.0005, 2.5, 12) // 0.5 ms to 12 s
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ct2fluent_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ct2fluent_" + name, Help: help, Buckets: buckets}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		projects: projects,
		received: counter("received_total", "Notifications accepted since the start, by source.", "source"),
		outcomes: counter("outcomes_total", "What became of notifications since the start. Of written, unchanged, merged, skipped and dead each has one.", "outcome", "reason"),
		sources:  counter("source_events_total", "What a source met: receives, answers, errors.", "source", "event"),
		warnings: counter("warnings_total", "What went on but deserves a look.", "kind"),
		stages:   histogram("stage_seconds", "How long a stage of the way took for a batch.", seconds, "stage"),
		batches:  histogram("batch_size", "Notifications or resources in a batch.", []float64{1, 2, 5, 10, 20, 50, 100, 200, 500}, "stage"),
		calls:    counter("api_calls_total", "Requests to commercetools and Fluent. Status 0: no answer.", "api", "operation", "status", "code"),
		retries:  counter("api_retries_total", "Those of the requests that repeat one that failed, by the status they met. Status 0: no answer.", "api", "operation", "status"),
		callTime: histogram("api_call_seconds", "How long requests took.", seconds, "api", "operation"),
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ct2fluent_" + name, Help: help}, labels)
	}
	m.drift = gauge("drift", "Customers that the last reconciliation found missing, different, extra or ambiguous in Fluent.", "project", "kind")
	m.left = gauge("drift_left", "Those of them that it has not mended.", "project")
	m.compared = gauge("reconciled_timestamp_seconds", "When the last reconciliation ended.", "project")
	m.lags = &lags{upTo: map[string]time.Time{}}
	m.subscriptions = newSubscriptionGauges(m.registry)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ct2fluent_build_info", Help: "1, with the version of this binary.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.received, m.outcomes, m.warnings, m.sources, m.stages, m.batches, m.calls, m.retries, m.callTime, m.lags, m.drift, m.left, m.compared, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Received counts notifications that a source had put.
func (m *Metrics) Received(source string, n int) {
	m.received.WithLabelValues(m.words.known("source", source)).Add(float64(n))
}

// Outcome counts what became of n notifications.
func (m *Metrics) Outcome(outcome, reason string, n int) {
	m.outcomes.WithLabelValues(m.words.known("outcome", outcome), m.words.known("reason", reason)).Add(float64(n))
}

// Warn counts a warning of a kind, such as a username that was taken.
func (m *Metrics) Warn(kind string) {
	m.warnings.WithLabelValues(m.words.known("kind", kind)).Inc()
}

// Source counts n times what a source met.
func (m *Metrics) Source(source, event string, n int) {
	m.sources.WithLabelValues(m.words.known("source", source), m.words.known("event", event)).Add(float64(n))
}

// Drift shows what the last reconciliation of a project found by kind, how much
// of it is left, and when it ended.
func (m *Metrics) Drift(project string, found map[string]int, left int, at time.Time) {
	project = m.words.known("project", project)
	for kind, n := range found {
		m.drift.WithLabelValues(project, m.words.known("kind", kind)).Set(float64(n))
	}
	m.left.WithLabelValues(project).Set(float64(left))
	m.compared.WithLabelValues(project).Set(float64(at.Unix()))
}

// Stage observes how long a stage took: put, read, write, settle.
func (m *Metrics) Stage(stage string, took time.Duration) {
	m.stages.WithLabelValues(m.words.known("stage", stage)).Observe(took.Seconds())
}

// Batch observes how many were in a batch of a stage.
func (m *Metrics) Batch(stage string, size int) {
	m.batches.WithLabelValues(m.words.known("stage", stage)).Observe(float64(size))
}

// Call observes a request to an API: its HTTP status, 0 where none came, and
// the code of the error, empty where there was none.
func (m *Metrics) Call(api, operation string, status int, code string, took time.Duration) {
	api, operation = m.words.known("api", api), m.words.known("operation", operation)
	m.calls.WithLabelValues(api, operation, m.status(status), m.words.known("code", code)).Inc()
	m.callTime.WithLabelValues(api, operation).Observe(took.Seconds())
}

// Retry counts a request that repeats one that failed, by the status it met
// itself. It is counted by Call, too.
func (m *Metrics) Retry(api, operation string, status int) {
	m.retries.WithLabelValues(m.words.known("api", api), m.words.known("operation", operation), m.status(status)).Inc()
}

func (m *Metrics) status(status int) string {
	return m.words.known("status", strconv.Itoa(status))
}

// words bounds the values of labels: codes and statuses come from outside.
type words struct {
	mu   sync.RWMutex
	seen map[string]map[string]bool // by label
}

const (
	maxWords = 100 // values of one label
	maxWord  = 64  // bytes of a value
	other    = "other"
)

// known returns the value, or "other" for one that is too many, too long or no
// text, which Prometheus would panic at.
func (w *words) known(label, value string) string {
	w.mu.RLock()
	ok := w.seen[label][value]
	w.mu.RUnlock()
	if ok {
		return value
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	values := w.seen[label]
	if len(values) >= maxWords || len(value) > maxWord || !utf8.ValidString(value) {
		return other
	}
	if values == nil {
		if w.seen == nil {
			w.seen = map[string]map[string]bool{}
		}
		values = map[string]bool{}
		w.seen[label] = values
	}
	values[value] = true
	return value
}

// watch adds the figures of status, read at each scrape. Only one Server can
// do so.
func (m *Metrics) watch(status func(context.Context) (Status, error)) error {
	return m.registry.Register(&gauges{status, m.projects})
}

// gauges are the figures of a Status.
type gauges struct {
	status   func(context.Context) (Status, error)
	projects []string
}

var (
	waitingDesc = prometheus.NewDesc("ct2fluent_waiting", "Notifications that have no outcome yet.", nil, nil)
	oldestDesc  = prometheus.NewDesc("ct2fluent_oldest_waiting_seconds", "Age of the oldest that waits; 0 when none does.", nil, nil)
	deadDesc    = prometheus.NewDesc("ct2fluent_dead_letters", "Dead letters that lie now.", nil, nil)
	heldDesc    = prometheus.NewDesc("ct2fluent_held", "1 while the work of the project's account is held or paused.", []string{"project"}, nil)
)

// Describe is of prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{waitingDesc, oldestDesc, deadDesc, heldDesc} {
		ch <- d
	}
}

// Collect is of prometheus.Collector. A figure that cannot be read is left
// out, and the rest is shown.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	st, err := g.status(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(waitingDesc, err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(waitingDesc, float64(st.Waiting))
	gauge(oldestDesc, float64(st.OldestWaitingSeconds))
	gauge(deadDesc, float64(st.DeadLetters))
	held := map[string]float64{}
	for _, p := range g.projects {
		held[p] = 0
	}
	for _, h := range st.Held { // the lane of strangers, too
		if h.Route == "" {
			held[h.Project] = 1
		}
	}
	for p, is := range held {
		gauge(heldDesc, is, p)
	}
}

// scrapeTimeout is below the 10 s that Prometheus waits.
const scrapeTimeout = 5 * time.Second

package control

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reached says up to when a source has come. How long ago that is, is told at
// each scrape: a source that no longer comes on is seen by it.
func (m *Metrics) Reached(source string, upTo time.Time) {
	m.lags.set(m.words.known("source", source), upTo)
}

// lags are those of the sources that work through the past.
type lags struct {
	mu   sync.Mutex
	upTo map[string]time.Time // by source
}

var lagDesc = prometheus.NewDesc("ct2fluent_source_lag_seconds",
	"How long ago the time is up to which a source that asks by itself has put all changes.", []string{"source"}, nil)

func (l *lags) set(source string, upTo time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.upTo[source] = upTo
}

// Describe is of prometheus.Collector.
func (l *lags) Describe(ch chan<- *prometheus.Desc) { ch <- lagDesc }

// Collect is of prometheus.Collector.
func (l *lags) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	now := maps.Clone(l.upTo)
	l.mu.Unlock()
	for source, upTo := range now {
		ch <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, max(0, time.Since(upTo).Seconds()), source)
	}
}

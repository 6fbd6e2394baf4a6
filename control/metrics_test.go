package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	m := NewMetrics("1.2.3", "shop", "outlet")
	st := Status{Waiting: 4, OldestWaitingSeconds: 9, DeadLetters: 2, Held: []Held{{Project: "shop"}, {Project: ""}, {Project: ""}}}
	if err := m.watch(func(context.Context) (Status, error) { return st, nil }); err != nil {
		t.Fatal(err)
	}
	m.Received("ct-queue", 3)
	m.Outcome("skipped", "filtered", 2)
	m.Outcome("written", "", 1)
	m.Warn("username-taken")
	m.Stage("read", 3*time.Millisecond)
	m.Batch("read", 150)
	m.Call("fluent", "write", 200, "C0141E", time.Millisecond)
	m.Call("fluent", "write", 0, "", time.Millisecond)
	m.Retry("commercetools", "customers", 502)
	m.Drift("shop", map[string]int{"missing": 7, "extra": 0}, 2, time.Unix(1_800_000_000, 0))
	want := `
# HELP ct2fluent_api_calls_total Requests to commercetools and Fluent. Status 0: no answer.
# TYPE ct2fluent_api_calls_total counter
ct2fluent_api_calls_total{api="fluent",code="",operation="write",status="0"} 1
ct2fluent_api_calls_total{api="fluent",code="C0141E",operation="write",status="200"} 1
# HELP ct2fluent_api_retries_total Those of the requests that repeat one that failed, by the status they met. Status 0: no answer.
# TYPE ct2fluent_api_retries_total counter
ct2fluent_api_retries_total{api="commercetools",operation="customers",status="502"} 1
# HELP ct2fluent_batch_size Notifications or resources in a batch.
# TYPE ct2fluent_batch_size histogram
ct2fluent_batch_size_bucket{stage="read",le="1"} 0
ct2fluent_batch_size_bucket{stage="read",le="2"} 0
ct2fluent_batch_size_bucket{stage="read",le="5"} 0
ct2fluent_batch_size_bucket{stage="read",le="10"} 0
ct2fluent_batch_size_bucket{stage="read",le="20"} 0
ct2fluent_batch_size_bucket{stage="read",le="50"} 0
ct2fluent_batch_size_bucket{stage="read",le="100"} 0
ct2fluent_batch_size_bucket{stage="read",le="200"} 1
ct2fluent_batch_size_bucket{stage="read",le="500"} 1
ct2fluent_batch_size_bucket{stage="read",le="+Inf"} 1
ct2fluent_batch_size_sum{stage="read"} 150
ct2fluent_batch_size_count{stage="read"} 1
# HELP ct2fluent_dead_letters Dead letters that lie now.
# TYPE ct2fluent_dead_letters gauge
ct2fluent_dead_letters 2
# HELP ct2fluent_drift Customers that the last reconciliation found missing, different, extra or ambiguous in Fluent.
# TYPE ct2fluent_drift gauge
ct2fluent_drift{kind="extra",project="shop"} 0
ct2fluent_drift{kind="missing",project="shop"} 7
# HELP ct2fluent_drift_left Those of them that it has not mended.
# TYPE ct2fluent_drift_left gauge
ct2fluent_drift_left{project="shop"} 2
# HELP ct2fluent_held 1 while the work of the project's account is held or paused.
# TYPE ct2fluent_held gauge
ct2fluent_held{project=""} 1
ct2fluent_held{project="outlet"} 0
ct2fluent_held{project="shop"} 1
# HELP ct2fluent_oldest_waiting_seconds Age of the oldest that waits; 0 when none does.
# TYPE ct2fluent_oldest_waiting_seconds gauge
ct2fluent_oldest_waiting_seconds 9
# HELP ct2fluent_outcomes_total What became of notifications since the start. Of written, unchanged, merged, skipped and dead each has one.
# TYPE ct2fluent_outcomes_total counter
ct2fluent_outcomes_total{outcome="skipped",reason="filtered"} 2
ct2fluent_outcomes_total{outcome="written",reason=""} 1
# HELP ct2fluent_received_total Notifications accepted since the start, by source.
# TYPE ct2fluent_received_total counter
ct2fluent_received_total{source="ct-queue"} 3
# HELP ct2fluent_reconciled_timestamp_seconds When the last reconciliation ended.
# TYPE ct2fluent_reconciled_timestamp_seconds gauge
ct2fluent_reconciled_timestamp_seconds{project="shop"} 1.8e+09
# HELP ct2fluent_waiting Notifications that have no outcome yet.
# TYPE ct2fluent_waiting gauge
ct2fluent_waiting 4
# HELP ct2fluent_warnings_total What went on but deserves a look.
# TYPE ct2fluent_warnings_total counter
ct2fluent_warnings_total{kind="username-taken"} 1
`
	var names []string
	for line := range strings.Lines(want) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "TYPE" {
			names = append(names, f[2])
		}
	}
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"ct2fluent_build_info", "ct2fluent_stage_seconds", "ct2fluent_api_call_seconds", "go_goroutines", "process_open_fds"} {
		if n, err := testutil.GatherAndCount(m.registry, name); err != nil || n != 1 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if problems, err := testutil.GatherAndLint(m.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// A label's values come from outside, some of them: their number is bounded.
func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics("")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				m.Call("fluent", "write", 200, fmt.Sprintf("C%d.%d", g, i), 0)
			}
		})
	}
	wg.Wait()
	m.Call("fluent", "write", 200, "\xff", 0)
	m.Outcome("dead", strings.Repeat("x", maxWord+1), 1)
	if n := testutil.CollectAndCount(m.calls); n != maxWords+1 {
		t.Errorf("%d codes", n)
	}
	if n := testutil.ToFloat64(m.calls.WithLabelValues("fluent", "write", "200", other)); n != 4*1000+1-maxWords {
		t.Errorf("%v other codes", n)
	}
	if n := testutil.ToFloat64(m.outcomes.WithLabelValues("dead", other)); n != 1 {
		t.Errorf("%v other reasons", n)
	}
}

// Metrics are there when the ledger is not.
func TestMetricsWithoutStatus(t *testing.T) {
	o := full()
	o.Status = func(context.Context) (Status, error) { return Status{}, errors.New("ledger: no answer") }
	o.Metrics.Received("push", 1)
	w := ask(newServer(t, o), "GET", "/metrics", "")
	if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, `ct2fluent_received_total{source="push"} 1`) || strings.Contains(body, "ct2fluent_waiting") {
		t.Errorf("%d %s", w.Code, body)
	}
}

package std_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// polled is a rig that polls beside its webhook. Its commercetools lives two
// minutes ago, so that what changes there is old enough to be read at once.
func polled(t *testing.T) *rig {
	t.Helper()
	r := newRigAt(t, "", func() time.Time { return time.Now().Add(-2 * time.Minute) })
	text, err := os.ReadFile(r.path("application-connector.yml"))
	r.must(err)
	r.write("application-connector.yml", strings.Replace(string(text), "  listeners:\n", "  listeners:\n    poll: { type: poll, every: 1s, from: beginning }\n", 1))
	return r
}

// What no notification told of is brought by the poll, after a restart too.
func TestPollBringsWhatNobodyToldOf(t *testing.T) {
	t.Parallel()
	r := polled(t)
	r.unannounced(func() { r.create("ann", "ben") })
	r.start()
	r.wait("the poll", func() bool { return r.status().Written == 2 })
	r.unannounced(func() { r.update("ann") })
	r.stop()
	r.unannounced(func() { r.create("cem") })
	r.launch()
	r.hears(`"webhook listens"`)
	r.wait("the poll after a restart", func() bool { return r.status().Written == 4 })
	r.equal()
	s := r.settle()
	r.adds(s)
	if s.Received-s.SkippedBy["test"] != 4 {
		t.Errorf("received %d, want what changed and nothing twice: %+v", s.Received, s)
	}
	lag := regexp.MustCompile(`(?m)^ct2fluent_source_lag_seconds\{source="poll"\} ([0-9.e+]+)$`).FindStringSubmatch(r.metrics())
	if lag == nil {
		t.Fatal("no metric of the lag")
	}
	if n, err := strconv.ParseFloat(lag[1], 64); err != nil || n < 55 || n > 120 {
		t.Errorf("lag %s s, want about a minute", lag[1])
	}
	r.impersonal()
}

// What the notifications have brought costs the poll no call to Fluent.
func TestPollBesideNotifications(t *testing.T) {
	t.Parallel()
	r := polled(t)
	text, err := os.ReadFile(r.path("application-connector.yml"))
	r.must(err)
	quiet := strings.Replace(string(text), "    poll: { type: poll, every: 1s, from: beginning }\n", "", 1)
	r.write("application-connector.yml", quiet)
	r.start()
	r.create("ann", "ben", "cem")
	r.settle()
	r.stop()
	r.write("application-connector.yml", string(text))
	r.fluent.ResetCalls()
	r.launch()
	r.hears(`"webhook listens"`)
	r.wait("the poll", func() bool { return r.status().SkippedBy["known"] == 3 })
	for operation := range r.fluent.Calls() {
		// The start asks whether the credentials are right.
		if operation == "mutation" || operation == "createCustomer" || operation == "updateCustomer" {
			t.Errorf("what was known cost Fluent %v", r.fluent.Calls())
		}
	}
	r.equal()
}

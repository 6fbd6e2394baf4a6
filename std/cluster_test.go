package std_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ct2fluent/ct2fluent/control"
	"github.com/ct2fluent/ct2fluent/store/storetest"
)

// users are those of a cluster.
func users() server.Options {
	return server.Options{Users: []*server.User{{Username: "ct2fluent", Password: clientSecret}}}
}

func clusterURL(c *storetest.Cluster, password string) string {
	return fmt.Sprintf("nats://ct2fluent:%s@%s", password, c.Address())
}

// readiness is the status of /readyz.
func (r *rig) readiness() int {
	c, err := control.Dial(filepath.Join(r.store(), "control.json"), "")
	r.must(err)
	var answer *control.Error
	switch err := c.Do(r.Context(), "GET", "/readyz", nil, nil); {
	case errors.As(err, &answer):
		return answer.Status
	case err != nil:
		r.Fatal(err)
	}
	return http.StatusOK
}

// While the cluster is away nothing can be kept: senders are told so, and who
// asks before sending. It goes on by itself.
func TestTheClusterGoesAway(t *testing.T) {
	t.Parallel()
	one := storetest.New(t, users())
	r := newRig(t, fmt.Sprintf("queue: { url: %q, store: %q }", clusterURL(one, clientSecret), "STORE"))
	r.start()
	if got := r.readiness(); got != http.StatusOK {
		t.Errorf("readyz is %d, want 200", got)
	}
	one.Stop()
	r.wait("no readiness", func() bool { return r.readiness() == http.StatusServiceUnavailable })
	one.Start()
	r.wait("readiness", func() bool { return r.readiness() == http.StatusOK })
	r.create("anna")
	r.settle()
	r.equal()
	r.stop() // before the cluster does
}

// What a restart does not mend ends with 2, by check as by a start.
func TestTheClusterRefusesTheCredentials(t *testing.T) {
	t.Parallel()
	one := storetest.New(t, users())
	r := newRig(t, fmt.Sprintf("queue: { url: %q, store: %q }", clusterURL(one, mark), "STORE"))
	remedy := regexp.MustCompile(`cluster refuses the credentials: nats: [aA]uthorization [vV]iolation.*\s+correct the credentials in queue.url`)
	for _, verb := range []string{"run", "check"} {
		code, out, said := r.verb(verb)
		if code != 2 || !remedy.MatchString(out+said) {
			t.Errorf("%s: exit code %d: %s%s", verb, code, out, said)
		}
		if regexp.MustCompile(mark).MatchString(out + said) {
			t.Errorf("%s: the password is said", verb)
		}
	}
}

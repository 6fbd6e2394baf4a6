package std_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A partner's handler that is down holds what takes its own route, over as many
// tries as it takes, and no customer of the stock route; the status names it.
func TestADownHandlerHoldsNoCustomer(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("sh is not there")
	}
	r := newRig(t, `
handlers:
  - { name: Crash, exec: { command: ["sh", "-c", "read question; exit 3"] } }
  - { name: Nobody, http: { url: "http://127.0.0.1:1/push" } }
`)
	text, err := os.ReadFile(r.path("application-connector.yml"))
	r.must(err)
	r.write("application-connector.yml", strings.Replace(string(text), "fluent-connect:\n", `fluent-connect:
  route-mapping:
    - { route: partner.order, props: { name: order, inclusion-filter: [ResourceCreated] } }
    - { route: partner.product, props: { name: product, inclusion-filter: [ResourceCreated] } }
    - { route: commercetools.connect.customer.upsert, props: { name: customer, inclusion-filter: [ResourceCreated, ResourceUpdated] } }
  routes:
    - { route: partner.order, handler-name: Crash }
    - { route: partner.product, handler-name: Nobody }
    - { route: commercetools.connect.customer.upsert, handler-name: FluentCustomerUpsert }
`, 1))
	r.start()
	for _, resource := range []string{`"order","id":"o1"`, `"order","id":"o2"`, `"product","id":"p1"`, `"product","id":"p2"`} {
		r.receives(`{"notificationType":"ResourceCreated","projectKey":"shop","resource":{"typeId":` + resource + `},"version":1}`)
	}
	r.wait("the handlers to be down", func() bool { return len(r.status().Held) == 2 })
	r.create("anna")
	for began := time.Now(); time.Since(began) < 6*time.Second; {
		r.update("anna")
		r.wait("anna to be written", func() bool {
			s := r.status()
			if len(s.Held) != 2 || s.Held[0].Route == "" || s.Held[1].Route == "" {
				r.Fatalf("held %+v, want both routes and no account", s.Held)
			}
			return r.ct.Pending() == 0 && s.Waiting == 4
		})
		time.Sleep(300 * time.Millisecond)
	}
	s := r.status()
	r.adds(s)
	if s.Dead > 0 {
		r.Errorf("attempts were burnt: %+v", s)
	}
	if s.Held[0].Route != "partner.order" || s.Held[0].Why != "handler Crash is down: the process has ended (exit status 3)" ||
		s.Held[1].Route != "partner.product" || !strings.HasPrefix(s.Held[1].Why, "handler Nobody is down: dial tcp 127.0.0.1:1: ") {
		r.Errorf("held %+v", s.Held)
	}
	r.equal()
	for _, handler := range []string{"Crash", "Nobody"} {
		if n := strings.Count(r.process.Load().log.String(), `"msg":"handler is down; what it is to work waits","handler":"`+handler); n != 1 {
			r.Errorf("%s was told to be down %d times", handler, n)
		}
	}
}

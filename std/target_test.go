package std_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// A store that remembers the customers of one Fluent is not started for
// another (promises 4 and 6).
func TestAStoreIsOfOneFluent(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.start()
	r.create("anna")
	r.settle()
	r.stop()
	text, err := os.ReadFile(r.path("application-connector.yml"))
	r.must(err)
	good := string(text)
	base := regexp.MustCompile(`base-url: "([^"]+)"`).FindStringSubmatch(good)
	other, err := sandbox.NewFluent(sandbox.FluentOptions{Account: "OTHER", ClientSecret: clientSecret, ClientID: "client", Password: password})
	r.must(err)
	server, err := sandbox.Start(t.Context(), "", other)
	r.must(err)
	defer server.Close()
	tests := []struct{ name, from, to, says string }{
		{"another address", base[1], strings.Replace(base[1], "127.0.0.1", "localhost", 1),
			`yml:7: project shop: base-url is .*localhost.*, and the ledger remembers customers of .*127\.0\.0\.1.*; set it back, or give queue\.store \(.*data\) another directory`},
		{"another account", base[0] + ", account: ACME", fmt.Sprintf("base-url: %q, account: OTHER", server.URL),
			`yml:7: project shop: account is "OTHER", and the ledger remembers customers of "ACME"`},
		{"another retailer", `retailer-id: "1"`, `retailer-id: "2"`, `yml:7: project shop: retailer-id is "2"`},
	}
	for _, test := range tests {
		r.write("application-connector.yml", strings.Replace(good, test.from, test.to, 1))
		is := regexp.MustCompile(test.says)
		r.launch()
		p := r.process.Swap(nil)
		select {
		case <-p.done:
		case <-time.After(30 * time.Second):
			p.stop()
			<-p.done
		}
		if said := p.log.String(); p.code != 2 || !is.MatchString(said) {
			t.Errorf("%s: exit code %d: %s", test.name, p.code, said)
		}
		if code, out, _ := r.verb("check"); code != 2 || !is.MatchString(out) {
			t.Errorf("%s: check: exit code %d: %s", test.name, code, out)
		}
	}
	r.write("application-connector.yml", good)
	if code, out, said := r.verb("check"); code != 0 {
		t.Errorf("check: exit code %d: %s%s", code, out, said)
	}
	r.launch()
	r.hears(`"webhook listens"`)
	r.update("anna")
	r.settle()
	r.equal()
}

// A first set-up with a mistake in it can be mended: nothing is remembered yet.
func TestAStoreThatRemembersNobodyIsOfAnyFluent(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.start()
	r.stop()
	text, err := os.ReadFile(r.path("application-connector.yml"))
	r.must(err)
	base := regexp.MustCompile(`base-url: "([^"]+)"`).FindStringSubmatch(string(text))[1]
	r.write("application-connector.yml", strings.Replace(string(text), base, strings.Replace(base, "127.0.0.1", "localhost", 1), 1))
	if code, out, said := r.verb("check"); code != 0 {
		t.Errorf("check: exit code %d: %s%s", code, out, said)
	}
	r.start()
	r.create("anna")
	r.settle()
	r.equal()
}

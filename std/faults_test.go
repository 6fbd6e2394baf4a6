package std_test

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

type counts = map[string]uint64

// Whatever goes wrong, nothing is lost, Fluent ends with the last version of
// every customer that can be written, and a clear word says what happened.
func TestFaults(t *testing.T) {
	second := sandbox.Duration(time.Second)
	tests := []struct {
		name   string
		config string                  // sections that are not as usual
		before func(r *rig)            // before the start
		ct     sandbox.CTKnobs         // from after the start on
		fluent sandbox.FluentKnobs     // the same
		work   func(r *rig)            // what happens then; default: three customers are created
		held   string                  // why the work is to be held then, once for all
		mend   func(r *rig)            // what mends it
		dead   counts                  // letters, by reason
		skip   counts                  // by reason; those that come twice or late aside
		says   string                  // in the log, the timelines or the dead letters
		count  func(r *rig) (int, int) // a figure that is to be another
		absent []string                // customers that Fluent is not to have
	}{
		// Bad input.
		{
			name: "bodies that are unreadable",
			work: func(r *rig) {
				r.receives(mark+" is no JSON", `{"resource":`, "[]", "7", "null", "\xff\xfe", `{"email":"`+mark+`"}`)
				r.create("anna")
			},
			dead: counts{"unreadable": 6, "no-resource": 1},
			says: `"outcome":"dead","reason":"unreadable"`,
		},
		{
			name: "an array with one bad element",
			work: func(r *rig) {
				r.unannounced(func() { r.create("anna") })
				r.receives("[" + r.notification("anna", "") + `,"` + mark + `"]`)
			},
			dead: counts{"unreadable": 1},
		},
		{
			name: "bodies of 300 KB",
			work: func(r *rig) {
				r.unannounced(func() { r.create("anna") })
				big := strings.Repeat(mark, 50_000)
				r.receives(r.notification("anna", `,"padding":"`+big+`"`), big)
			},
			dead: counts{"unreadable": 1},
		},
		{
			name: "members of wrong types",
			work: func(r *rig) {
				r.receives(
					`{"notificationType":7,"projectKey":"shop","resource":{"typeId":"customer","id":"1"},"version":1}`,
					`{"notificationType":"ResourceUpdated","projectKey":"shop","resource":"`+mark+`","version":1}`,
					`{"notificationType":"ResourceUpdated","projectKey":["`+mark+`"],"resource":{"typeId":"customer","id":"1"},"version":1}`,
					`{"notificationType":"ResourceUpdated","projectKey":"shop","resource":{"typeId":"customer","id":"1"},"version":{"a":"`+mark+`"}}`,
				)
				r.create("anna")
			},
			dead: counts{"unreadable": 4},
		},
		{
			name: "a notification that no handler is for",
			work: func(r *rig) {
				r.receives(
					`{"notificationType":"ResourceUpdated","projectKey":"shop","resource":{"typeId":"order","id":"o1"},"version":1}`,
					`{"notificationType":"Message","projectKey":"shop","id":"m1","type":"CustomerDeleted","resource":{"typeId":"customer","id":"c1"},"resourceVersion":1,"version":1,"sequenceNumber":1}`,
					`{"notificationType":"ResourceUpdated","projectKey":"other","resource":{"typeId":"customer","id":"c1"},"version":1}`,
					`{"notificationType":"ResourceUpdated","projectKey":"shop","resource":{"typeId":"customer","id":"c1"},"version":1}`,
				)
			},
			dead: counts{"unknown-project": 1},
			skip: counts{"no-route": 1, "filtered": 1, "gone": 1},
		},
		{
			name: "a customer without email",
			work: func(r *rig) {
				r.createWith("poor", map[string]any{"email": nil})
				r.create("anna")
			},
			dead:   counts{"no-email": 1},
			absent: []string{"poor"},
			says:   `mapping.primaryEmail: the customer has no email`,
		},
		{
			name: "a name that is too long, until it is shorter",
			work: func(r *rig) {
				r.createWith("anna", map[string]any{"lastName": strings.Repeat(mark, 9)})
				r.create("bert")
				r.wait("the death", func() bool { return r.status().Dead == 1 })
				r.act("anna", map[string]any{"action": "setLastName", "lastName": mark})
			},
			dead: counts{"too-long": 1},
			says: `mapping.lastName: longer than the 50 characters`,
		},

		// commercetools answers with errors.
		{
			name: "commercetools asks for patience",
			ct:   ctFaults(sandbox.Fault{Kind: "429", Count: 2, RetryAfter: second}),
			says: `"api":"commercetools".*"status":429`,
		},
		{
			name: "commercetools' gateway answers in HTML",
			ct:   ctFaults(sandbox.Fault{Kind: "502"}),
			held: `commercetools: .*: down.*HTTP 502`,
			mend: func(r *rig) { r.must(r.ct.SetKnobs(sandbox.CTKnobs{})) },
		},
		{
			name: "commercetools does not answer in time",
			ct:   ctFaults(sandbox.Fault{Kind: "timeout", Count: 2}),
			says: `no answer in time`,
		},
		{
			name: "commercetools is down",
			work: func(r *rig) { r.ctServer.Down(); r.create("anna", "bert") },
			held: `commercetools: .*connection refused`,
			mend: func(r *rig) { r.must(r.ctServer.Up()) },
		},
		{
			name: "commercetools takes a scope away",
			ct:   sandbox.CTKnobs{Common: sandbox.Common{Denied: []string{"view_customers"}}},
			held: `commercetools: .*stopped: insufficient_scope`,
			mend: func(r *rig) { r.must(r.ct.SetKnobs(sandbox.CTKnobs{})) },
		},
		{
			name: "commercetools' secret is rotated, here later than there",
			work: func(r *rig) {
				r.secret("ct", mark+"-old")
				r.ct.InvalidateTokens()
				r.create("anna", "bert")
			},
			held: `commercetools: .*stopped: .*invalid_client.*secrets come from file .*/ct, and are read again`,
			mend: func(r *rig) { r.secret("ct", clientSecret) },
		},
		{
			name: "commercetools' queries lag behind",
			ct:   sandbox.CTKnobs{Lag: second / 2},
			work: func(r *rig) {
				together(r, "anna", "bert")
				r.settle()
				settled := time.Now()
				r.wait("the queries to see them", func() bool { return time.Since(settled) > time.Second/2 })
				r.unannounced(func() { r.update("anna", "bert") })
				r.receives("[" + r.notification("anna", "") + "," + r.notification("bert", "") + "]")
				r.settle()
				if calls := r.ct.Calls(); calls["customers.query"]["200"] < 2 {
					r.Errorf("nothing was asked by a query that lags: %v", calls)
				}
			},
		},

		// Fluent answers with errors.
		{
			name:   "Fluent asks for patience",
			fluent: fluentFaults(sandbox.Fault{Kind: "429", Count: 2, RetryAfter: second}),
			says:   `"api":"fluent".*"status":429`,
		},
		{
			name:   "Fluent's C0011E for one alias",
			fluent: fluentFaults(sandbox.Fault{Kind: "C0011E", Count: 1}),
			says:   `C0011E`,
		},
		{
			name:   "Fluent's gateway answers in HTML",
			fluent: fluentFaults(sandbox.Fault{Kind: "502", Count: 2, Operation: "mutation"}),
			says:   `write: unclear.*HTTP 502`,
		},
		{
			name:   "Fluent does not take one customer: S0002E",
			fluent: fluentFaults(sandbox.Fault{Kind: "S0002E", Match: "poor", Operation: "createCustomer"}),
			work:   poorAmongOthers,
			dead:   counts{"attempts": 1},
			says:   `S0002E`,
			absent: []string{"poor"},
		},
		{
			name:   "Fluent answers S0002E to all that is asked, and no attempt counts",
			config: `queue: { store: "STORE", max-attempts: 1 }`,
			fluent: fluentFaults(sandbox.Fault{Kind: "S0002E"}),
			work: func(r *rig) {
				r.create("anna", "bert", "carl")
				r.wait("more tries than attempts", func() bool { return r.fluent.Calls()["customers"]["S0002E"] > 3 })
			},
			held: `fluent: lookup: failed: S0002E`,
			mend: func(r *rig) { r.must(r.fluent.SetKnobs(sandbox.FluentKnobs{})) },
		},
		{
			name:   "Fluent does not take any customer: S0002E, and no attempt counts",
			config: `queue: { store: "STORE", max-attempts: 1 }`,
			fluent: fluentFaults(sandbox.Fault{Kind: "S0002E", Operation: "createCustomer"}),
			work: func(r *rig) {
				r.create("anna", "bert", "carl")
				r.wait("more tries than attempts", func() bool { return r.fluent.Calls()["createCustomer"]["S0002E"] > 3 })
			},
			held: `fluent: write: failed: S0002E`,
			mend: func(r *rig) { r.must(r.fluent.SetKnobs(sandbox.FluentKnobs{})) },
		},
		{
			name:   "Fluent says that a value is too long after all",
			fluent: fluentFaults(sandbox.Fault{Kind: "C0141E", Match: "poor", Operation: "createCustomer"}),
			work:   func(r *rig) { r.create("poor", "anna", "bert") },
			dead:   counts{"refused": 1},
			says:   `C0141E`,
			absent: []string{"poor"},
		},
		{
			name:   "Fluent undoes a whole request for one customer in it",
			fluent: sandbox.FluentKnobs{Undo: true, Common: sandbox.Common{Faults: []sandbox.Fault{{Kind: "C0141E", Match: "poor", Operation: "createCustomer"}}}},
			work:   func(r *rig) { together(r, "anna", "poor", "bert", "carl") },
			dead:   counts{"refused": 1},
			absent: []string{"poor"},
		},
		{
			name:   "Fluent fails a whole request, and does not say for whom",
			fluent: fluentFaults(sandbox.Fault{Kind: "S0002E", Whole: true, Match: "poor", Operation: "mutation"}),
			work: func(r *rig) {
				together(r, "anna", "poor", "bert", "carl")
				r.wait("the poor one's death", func() bool { r.update("anna", "bert"); return r.status().Dead > 0 })
			},
			dead:   counts{"attempts": 1},
			says:   `S0002E`,
			absent: []string{"poor"},
		},
		{
			name:   "Fluent answers null and no error",
			fluent: fluentFaults(sandbox.Fault{Kind: "null", Count: 1, Operation: "createCustomer"}),
			work:   func(r *rig) { r.create("anna") },
			says:   `null without an error`,
		},
		{
			name:   "Fluent answers null and no error, always for one customer",
			fluent: fluentFaults(sandbox.Fault{Kind: "null", Match: "poor", Operation: "createCustomer"}),
			work:   poorAmongOthers,
			dead:   counts{"attempts": 1},
			absent: []string{"poor"},
		},
		{
			name: "Fluent is down",
			work: func(r *rig) { r.fluentServer.Down(); r.create("anna", "bert") },
			held: `fluent: .*connection refused`,
			mend: func(r *rig) { r.must(r.fluentServer.Up()) },
		},
		{
			name:   "Fluent takes a permission away",
			fluent: sandbox.FluentKnobs{Common: sandbox.Common{Denied: []string{"CUSTOMER_CREATE", "CUSTOMER_UPDATE"}}},
			held:   `fluent: write: stopped: C0020E`,
			mend:   func(r *rig) { r.must(r.fluent.SetKnobs(sandbox.FluentKnobs{})) },
		},
		{
			name: "Fluent's password is rotated, here later than there",
			work: func(r *rig) {
				r.secret("fluent", mark+"-old")
				r.fluent.InvalidateTokens()
				r.create("anna", "bert")
			},
			// The client's secret stands in the file of the configuration.
			held: `fluent: .*stopped: .*invalid_grant.*secrets come from .*clear text.* and file .*/fluent; only files are read again`,
			mend: func(r *rig) { r.secret("fluent", password) },
		},
		{
			name: "Fluent is down, and its password is rotated meanwhile",
			work: func(r *rig) {
				r.fluentServer.Down()
				r.create("anna", "bert")
				r.wait("the hold", func() bool { return len(r.status().Held) > 0 })
				r.secret("fluent", mark+"-old")
				r.fluent.InvalidateTokens()
				r.must(r.fluentServer.Up())
			},
			held: `fluent: .*stopped: .*invalid_grant`,
			mend: func(r *rig) { r.secret("fluent", password) },
		},

		// Tokens, connections, answers.
		{
			name: "tokens are invalidated in flight",
			work: func(r *rig) {
				for i := range 5 {
					r.create(fmt.Sprint("c", i))
					r.ct.InvalidateTokens()
					r.fluent.InvalidateTokens()
					r.settle()
				}
			},
			says: `"status":401`,
		},
		{
			name:   "an answer is lost",
			fluent: fluentFaults(sandbox.Fault{Kind: "cut", Apply: true, Count: 1, Operation: "mutation"}),
			says:   `write: unclear: answer lost`,
		},
		{
			name:   "a create is applied late",
			fluent: fluentFaults(sandbox.Fault{Kind: "timeout", Late: sandbox.Duration(1200 * time.Millisecond), Count: 1, Operation: "mutation"}),
			says:   `write: unclear: answer lost: no answer in time`,
		},
		{
			name: "an update is applied late, over a newer one",
			work: func(r *rig) {
				r.create("anna")
				r.settle()
				r.must(r.fluent.Inject(sandbox.Fault{Kind: "cut", Late: sandbox.Duration(700 * time.Millisecond), Count: 1, Operation: "updateCustomer"}))
				r.update("anna")
				r.wait("the cut", func() bool { return r.fluent.Calls()["mutation"]["cut"] == 1 })
				r.update("anna")
				r.wait("the late one", func() bool { return r.fluent.Stats().Updated >= 2 })
			},
			count: func(r *rig) (int, int) { return r.fluent.Stats().Updated, 3 },
		},

		// Who is who.
		{
			name:   "two customers map to one username",
			config: `mapping: { username: 'retailerId + "_same"' }`,
			work:   func(r *rig) { together(r, "anna", "bert"); r.settle(); r.update("anna", "bert") },
			says:   `username belongs to another Fluent customer`,
			count:  func(r *rig) (int, int) { return r.fluent.Len(), 2 },
		},
		{
			name: "the email changes",
			work: func(r *rig) {
				r.create("anna")
				r.settle()
				r.act("anna", map[string]any{"action": "changeEmail", "email": email("new")})
			},
			count: func(r *rig) (int, int) { return r.fluent.Len(), 1 },
		},
		{
			name:   "the username is a foreign customer's",
			before: func(r *rig) { r.plant("1_"+email("anna"), "foreign") },
			work:   func(r *rig) { r.create("anna") },
			says:   `username belongs to another Fluent customer`,
			count:  func(r *rig) (int, int) { return r.fluent.Len(), 2 },
		},
		{
			name: "both usernames are foreign customers'",
			before: func(r *rig) {
				r.create("poor", "anna")
				r.plant("1_"+email("poor"), "foreign")
				r.plant("1_"+r.ids["poor"], "another")
			},
			work:   func(*rig) {},
			dead:   counts{"foreign-username": 1},
			says:   `the username and its alternative belong to other Fluent customers`,
			absent: []string{"poor"},
		},
		{
			name:   "a customer of Fluent without an id is adopted",
			before: func(r *rig) { r.plant("1_"+email("anna"), "") },
			work:   func(r *rig) { r.create("anna") },
			count:  func(r *rig) (int, int) { return r.fluent.Len(), 1 },
		},

		// The process and what is around it.
		{
			name: "the store is lost, and an email changes meanwhile",
			work: func(r *rig) {
				r.create("anna", "bert")
				r.settle()
				r.stop()
				r.must(os.RemoveAll(r.store()))
				r.act("anna", map[string]any{"action": "changeEmail", "email": email("new")})
				r.start()
				r.hears(`"customers":2,"with_id":2`)
				r.create("carl")
			},
			skip:  counts{"test": 0}, // it came before
			count: func(r *rig) (int, int) { return r.fluent.Len(), 3 },
		},
		{
			name: "the store is lost, and Fluent's answers to its filling are null",
			before: func(r *rig) {
				r.create("anna")
				r.plant("1_"+email("earlier"), r.ids["anna"])
				r.must(r.fluent.Inject(sandbox.Fault{Kind: "null", Operation: "customers", Count: 3}))
			},
			work:  func(r *rig) { r.create("bert") },
			count: func(r *rig) (int, int) { return r.fluent.Len(), 2 },
			says:  `filling the ledger from Fluent cannot go on, trying again.*null without an error`,
		},
		{
			name:   "neither side can be reached at the start",
			before: func(r *rig) { r.create("anna"); r.ctServer.Down(); r.fluentServer.Down(); r.launch() },
			work:   func(r *rig) { r.create("bert") },
			held:   `connection refused`,
			mend:   func(r *rig) { r.must(r.ctServer.Up()); r.must(r.fluentServer.Up()) },
			says:   `cannot be reached at the start; its work waits`,
		},
		{
			name: "it is stopped while the work is held",
			work: func(r *rig) {
				r.fluentServer.Down()
				r.create("anna", "bert")
				r.wait("the hold", func() bool { return len(r.status().Held) > 0 })
				r.stop()
				r.create("carl")
				r.must(r.fluentServer.Up())
				r.launch()
			},
		},
		{
			name:   "the queue is full",
			config: `queue: { store: "STORE", max-bytes: 1MiB }`,
			work: func(r *rig) {
				r.fluentServer.Down()
				r.unannounced(func() { r.create("anna") })
				big := r.notification("anna", `,"padding":"`+strings.Repeat(mark, 50_000)+`"`)
				answer := 0
				r.wait("the queue to be full", func() bool {
					var err error
					answer, err = r.post([]byte(big))
					return err != nil || answer != http.StatusAccepted
				})
				if answer != http.StatusServiceUnavailable {
					r.Errorf("answered %d to what cannot be kept, want 503", answer)
				}
				r.create("bert") // is delivered until it is received
			},
			held: `connection refused`,
			mend: func(r *rig) { r.must(r.fluentServer.Up()) },
			says: `notifications cannot be kept; sources wait`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, test.config)
			if test.before != nil {
				test.before(r)
			}
			if r.process.Load() == nil {
				r.start()
			}
			r.must(r.ct.SetKnobs(test.ct))
			r.must(r.fluent.SetKnobs(test.fluent))
			if test.work == nil {
				r.create("anna", "bert", "carl")
			} else {
				test.work(r)
			}
			if test.held != "" {
				why := regexp.MustCompile(test.held)
				r.wait("the work to be held: "+test.held, func() bool {
					s := r.status()
					return len(s.Held) == 1 && why.MatchString(s.Held[0].Why) && s.Held[0].Account == "ACME" && s.Waiting > 0
				})
				test.mend(r)
			}
			s := r.settle()
			r.adds(s)
			if !maps.Equal(s.DeadBy, test.dead) || s.DeadLetters != s.Dead {
				r.Errorf("dead are %v, %d lie there, want %v", s.DeadBy, s.DeadLetters, test.dead)
			}
			skipped := counts{"test": 1}
			maps.Copy(skipped, test.skip)
			delete(s.SkippedBy, "known")
			delete(s.SkippedBy, "duplicate")
			maps.DeleteFunc(skipped, func(_ string, n uint64) bool { return n == 0 })
			if !maps.Equal(s.SkippedBy, skipped) {
				r.Errorf("skipped are %v, want %v", s.SkippedBy, skipped)
			}
			if told := r.told(); !regexp.MustCompile(test.says).MatchString(told) {
				r.Errorf("nothing was said that matches %s: %s", test.says, told)
			}
			if test.count != nil {
				if got, want := test.count(r); got != want {
					r.Errorf("got %d, want %d", got, want)
				}
			}
			r.equal(test.absent...)
			r.impersonal()
		})
	}
}

func ctFaults(fs ...sandbox.Fault) sandbox.CTKnobs {
	return sandbox.CTKnobs{Common: sandbox.Common{Faults: fs}}
}

func fluentFaults(fs ...sandbox.Fault) sandbox.FluentKnobs {
	return sandbox.FluentKnobs{Common: sandbox.Common{Faults: fs}}
}

// together makes customers whose notifications come in one body, so that they
// are worked in one batch.
func together(r *rig, names ...string) {
	r.Helper()
	var bodies []string
	r.unannounced(func() {
		for _, name := range names {
			r.create(name)
			bodies = append(bodies, r.notification(name, ""))
		}
	})
	r.receives("[" + strings.Join(bodies, ",") + "]")
}

// poorAmongOthers makes a customer that cannot be written, while others are,
// until it is given up.
func poorAmongOthers(r *rig) {
	r.create("poor", "anna", "bert")
	r.wait("the poor one's death", func() bool { r.update("anna"); return r.status().Dead > 0 })
}

// What is wrong with the set-up stops the start, with a word where it is and
// what mends it, before anything is received.
func TestStartIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		config string
		before func(r *rig)
		code   int
		says   string
	}{
		{"commercetools' secret is wrong", "", func(r *rig) { r.secret("ct", mark) }, 2,
			`yml:6: commercetools project shop: .*invalid_client.*; correct the credentials`},
		{"Fluent's password is wrong", "", func(r *rig) { r.secret("fluent", mark) }, 2,
			`yml:6: Fluent account ACME: .*invalid_grant.*; correct the credentials`},
		{"both are wrong", "", func(r *rig) { r.secret("ct", mark); r.secret("fluent", mark) }, 2,
			`(?s)invalid_client.*invalid_grant`},
		{"a scope is missing", "", func(r *rig) {
			r.must(r.ct.SetKnobs(sandbox.CTKnobs{Common: sandbox.Common{Denied: []string{"view_customers"}}}))
		}, 2, `yml:6: commercetools project shop: .*insufficient_scope.*; correct the credentials, or what they may do`},
		{"a permission is missing", "", func(r *rig) {
			r.must(r.fluent.SetKnobs(sandbox.FluentKnobs{Common: sandbox.Common{Denied: []string{"CUSTOMER_VIEW"}}}))
		}, 2, `yml:6: Fluent account ACME: .*C0020E.*; correct the credentials, or what they may do`},
		{"there is no such retailer", "", func(r *rig) {
			file, err := os.ReadFile(r.path("application-connector.yml"))
			r.must(err)
			r.write("application-connector.yml", strings.Replace(string(file), `retailer-id: "1"`, `retailer-id: "99"`, 1))
		}, 2, `yml:6: Fluent account ACME: .*no retailer of this id: "99"; correct the account's retailer-id`},
		{"a secret's file is missing", "", func(r *rig) { r.must(os.Remove(r.path("ct"))) }, 2, `yml:6: .*client-secret: .*no such file`},
		{"a handler is unknown", `routes: [{ route: commercetools.connect.customer.upsert, handler-name: FluentCustomerUpsrt }]`, nil, 2,
			`yml:11: .*no handler "FluentCustomerUpsrt".*"FluentCustomerUpsert"`},
		{"an expression is wrong", `mapping: { lastName: customer.lastNam }`, nil, 2, `yml:11:.*lastNam`},
		{"a key is misspelt", `quue: {}`, nil, 2, `yml:11: quue: .*queue`},
		{"the disk is full", `queue: { store: "STORE", min-free: 1000000GiB }`, nil, 3, `free space, or lower queue.min-free`},
		{"the control port is taken", `control: { address: "TAKEN" }`, nil, 3, `address already in use`},
		{"the directory is in use", "", func(r *rig) { r.start() }, 3, `directory is in use by another process; stop the other process, or give this one a queue.store of its own`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			r := newRig(t, strings.ReplaceAll(test.config, "TAKEN", taken.Addr().String()))
			if test.before != nil {
				test.before(r)
			}
			code, out, said := r.verb("run")
			if code != test.code || !regexp.MustCompile(test.says).MatchString(said) {
				t.Errorf("exit code %d: %s\nwant %d: %s", code, said, test.code, test.says)
			}
			if strings.Contains(said+out, mark) {
				t.Errorf("a secret was said: %s", said)
			}
			if test.code == 2 {
				// Promise 6: before a disk is touched.
				if _, err := os.Stat(r.store()); !os.IsNotExist(err) {
					t.Errorf("%s was made: %v", filepath.Base(r.store()), err)
				}
			}
			if r.process.Load() != nil {
				// The one that was there first works on.
				r.create("anna")
				r.settle()
				r.equal()
			}
		})
	}
}

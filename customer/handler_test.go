package customer

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

var (
	ctDown    = &commercetools.Error{Kind: commercetools.Down, Status: 503}
	ctStopped = &commercetools.Error{Kind: commercetools.Stopped, Status: 403, Code: "insufficient_scope"}
	ctLimited = &commercetools.Error{Kind: commercetools.Limited, Status: 429, RetryAfter: 7 * time.Second}
	ctRefused = &commercetools.Error{Kind: commercetools.Refused, Status: 400, Code: "InvalidInput"}
	ctBroken  = &commercetools.Error{Kind: commercetools.Down, Status: 500}
)

func flError(k fluent.Kind) error { return &fluent.Error{Kind: k, Code: "X0000E"} }

// remembered is the memory of person(id, version), written for certain.
func (w *world) remembered(t testing.TB, id string, version int64) ct2fluent.Memory {
	t.Helper()
	c := person(id, version)
	a := w.accounts["shop"]
	m, err := a.Mapping.Apply(t.Context(), &c, "shop", "1")
	if err != nil {
		t.Fatal(err)
	}
	return ct2fluent.Memory{Floor: version, Version: version, Username: m.Username, Hash: m.hash(id), Mapping: a.Mapping.Fingerprint()}
}

// One notification of version 3 of jane, who is at version 3 unless the case
// says otherwise, and what becomes of it.
func TestHandleOne(t *testing.T) {
	// knows has the ledger and Fluent hold version v of jane.
	knows := func(v int64) func(t *testing.T, w *world) {
		return func(t *testing.T, w *world) {
			m := w.remembered(t, "jane", v)
			w.ledger.memories[ref("jane")] = m
			w.om.customers[m.Username] = existing(m.Username, "jane", "1")
		}
	}
	type calls struct{ gets, lookups, requests, intents int }
	tests := []struct {
		name  string
		n     ct2fluent.Notification // default: version 3
		given func(t *testing.T, w *world)
		want  string
		calls calls
		after ct2fluent.Memory // compared without hash and mapping where Version is set
	}{
		{name: "created", want: "written", calls: calls{1, 1, 1, 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "updated, without a lookup", given: knows(2), want: "written", calls: calls{1, 0, 1, 0},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "known already", given: knows(3), want: "skipped known",
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "known in a later version", given: knows(4), want: "skipped known",
			after: ct2fluent.Memory{Floor: 4, Version: 4, Username: "1_jane@x"}},
		{name: "known, but forced", n: forced(updated("jane", 3)), given: knows(3), want: "written", calls: calls{1, 0, 1, 0},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "known, but handed out again", n: again(updated("jane", 3)), given: knows(3), want: "written", calls: calls{1, 0, 1, 0},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "of no version", n: updated("jane", 0), given: knows(3), want: "unchanged", calls: calls{gets: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "nothing that Fluent has did change", given: func(t *testing.T, w *world) {
			knows(2)(t, w)
			c := person("jane", 3)
			c.LastName = "v2"
			w.shop.set(c)
		}, want: "unchanged", calls: calls{gets: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "nothing did change, but it is handed out again", n: again(updated("jane", 3)), given: func(t *testing.T, w *world) {
			knows(2)(t, w)
			c := person("jane", 3)
			c.LastName = "v2"
			w.shop.set(c)
		}, want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "nothing did change but the mapping", given: func(t *testing.T, w *world) {
			knows(2)(t, w)
			c := person("jane", 3)
			c.LastName = "v2"
			w.shop.set(c)
			m := w.ledger.memories[ref("jane")]
			m.Mapping = "another"
			w.ledger.memories[ref("jane")] = m
		}, want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "the email changed, the username does not", given: func(t *testing.T, w *world) {
			knows(2)(t, w)
			c := person("jane", 3)
			c.Email = "doe@x"
			w.shop.set(c)
		}, want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "newer than notified", given: func(t *testing.T, w *world) { w.shop.set(person("jane", 9)) },
			want: "written", calls: calls{1, 1, 1, 1},
			after: ct2fluent.Memory{Floor: 9, Version: 9, Username: "1_jane@x"}},
		{name: "read older than notified", given: func(t *testing.T, w *world) { w.shop.set(person("jane", 2)) },
			want: "retry stale-read", calls: calls{gets: 1}},
		{name: "read older than a version that was read once", n: updated("jane", 2), given: func(t *testing.T, w *world) {
			w.ledger.memories[ref("jane")] = ct2fluent.Memory{Floor: 4, Username: "1_jane@x"}
		}, want: "retry stale-read", calls: calls{gets: 1}, after: ct2fluent.Memory{Floor: 4, Username: "1_jane@x"}},
		{name: "brought along: not read again", n: carried(person("jane", 3)), given: knows(2), want: "written", calls: calls{requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "brought along, and known already", n: carried(person("jane", 3)), given: knows(3), want: "skipped known",
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "brought along, known and forced", n: forced(carried(person("jane", 3))), given: knows(3), want: "written", calls: calls{requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "brought along, known, and written under another mapping", n: carried(person("jane", 3)), given: func(t *testing.T, w *world) {
			knows(3)(t, w)
			m := w.ledger.memories[ref("jane")]
			m.Mapping = "another"
			w.ledger.memories[ref("jane")] = m
		}, want: "written", calls: calls{requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "brought along, and handed out again: read anew", n: again(carried(person("jane", 2))), given: knows(2), want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "brought along, and a newer version was read since: read anew", n: carried(person("jane", 2)), given: func(t *testing.T, w *world) {
			w.ledger.memories[ref("jane")] = ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}
			w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
		}, want: "written", calls: calls{gets: 1, lookups: 1, requests: 1, intents: 0},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "brought along by what commercetools sent: a hint, and no read", n: func() ct2fluent.Notification {
			n := carried(person("jane", 3))
			n.Own = false
			return n
		}(), given: knows(2), want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "another's customer brought along", n: func() ct2fluent.Notification {
			n := carried(person("john", 3))
			n.Ref = ref("jane")
			return n
		}(), given: knows(2), want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "another version brought along than is said", n: func() ct2fluent.Notification {
			n := carried(person("jane", 1))
			n.Version = 3
			return n
		}(), given: knows(2), want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "what was brought along cannot be read", n: func() ct2fluent.Notification {
			n := carried(person("jane", 3))
			n.Body = []byte("{")
			return n
		}(), given: knows(2), want: "written", calls: calls{gets: 1, requests: 1},
			after: ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x"}},
		{name: "gone", given: func(t *testing.T, w *world) { knows(2)(t, w); delete(w.shop.fresh, "jane") },
			want: "skipped gone", calls: calls{gets: 1}, after: ct2fluent.Memory{Floor: 2, Version: 2, Username: "1_jane@x"}},
		{name: "not found a moment after it was announced", n: announcedNow(updated("jane", 3)),
			given: func(t *testing.T, w *world) { delete(w.shop.fresh, "jane") }, want: "later", calls: calls{gets: 1}},
		{name: "of a project without an account", n: ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "other", TypeID: "customer", ID: "jane"}, Version: 3},
			want: "dead unknown-project"},
		{name: "cannot be mapped", given: func(t *testing.T, w *world) { c := person("jane", 3); c.Email = ""; w.shop.set(c) },
			want: "dead no-email", calls: calls{gets: 1}, after: ct2fluent.Memory{Floor: 3}},
		{name: "the username would be too long", given: func(t *testing.T, w *world) {
			c := person("jane", 3)
			c.Email = strings.Repeat("x", 248) + "@x"
			w.shop.set(c)
		}, want: "dead too-long", calls: calls{gets: 1}, after: ct2fluent.Memory{Floor: 3}},

		{name: "commercetools is down", given: func(_ *testing.T, w *world) { w.shop.errs["jane"] = ctDown }, want: "held", calls: calls{gets: 1}},
		{name: "commercetools wants no one", given: func(_ *testing.T, w *world) { w.shop.errs["jane"] = ctStopped }, want: "held", calls: calls{gets: 1}},
		{name: "commercetools wants us slower", given: func(_ *testing.T, w *world) { w.shop.errs["jane"] = ctLimited }, want: "later", calls: calls{gets: 1}},
		{name: "commercetools refuses the request", given: func(_ *testing.T, w *world) { w.shop.errs["jane"] = ctRefused }, want: "dead refused", calls: calls{gets: 1}},
		{name: "commercetools fails, and nobody succeeds", given: func(_ *testing.T, w *world) { w.shop.errs["jane"] = ctBroken }, want: "held", calls: calls{gets: 1}},
		{name: "the read is cut off by the stop", given: func(_ *testing.T, w *world) { w.shop.errs["jane"] = errors.New("context canceled") }, want: "held", calls: calls{gets: 1}},

		{name: "the lookup: Fluent is down", given: lookupAnswers(fluent.Down), want: "held", calls: calls{gets: 1, lookups: 1}, after: ct2fluent.Memory{Floor: 3}},
		{name: "the lookup: no answer", given: lookupAnswers(fluent.Unclear), want: "held", calls: calls{gets: 1, lookups: 1}, after: ct2fluent.Memory{Floor: 3}},
		{name: "the lookup: no permission", given: lookupAnswers(fluent.Stopped), want: "held", calls: calls{gets: 1, lookups: 1}, after: ct2fluent.Memory{Floor: 3}},
		{name: "the lookup: slower", given: lookupAnswers(fluent.Limited), want: "later", calls: calls{gets: 1, lookups: 1}, after: ct2fluent.Memory{Floor: 3}},
		{name: "the lookup: refused", given: lookupAnswers(fluent.Refused), want: "dead refused", calls: calls{gets: 1, lookups: 1}, after: ct2fluent.Memory{Floor: 3}},

		{name: "the ledger cannot keep the username: nothing is sent", given: func(_ *testing.T, w *world) { w.ledger.intendErr = errors.New("disk full") },
			want: "later", calls: calls{1, 1, 0, 1}, after: ct2fluent.Memory{Floor: 3}},

		{name: "Fluent refuses the input", given: writeAnswers(fluent.Refused), want: "dead refused", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "one customer is too big", given: writeAnswers(fluent.TooBig), want: "dead refused", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "Fluent wants us slower", given: writeAnswers(fluent.Limited), want: "later", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "Fluent is down", given: writeAnswers(fluent.Down), want: "held", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "a permission is missing", given: writeAnswers(fluent.Stopped), want: "held", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "Fluent fails, and nobody succeeds", given: writeAnswers(fluent.Failed), want: "held", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "a create names a retailer that is not there", given: writeAnswers(fluent.Missing), want: "held", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "the answer is lost", given: writeAnswers(fluent.Unclear), want: "unclear", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "the answer is lost, of an update", given: func(t *testing.T, w *world) { knows(2)(t, w); writeAnswers(fluent.Unclear)(t, w) },
			want: "unclear", calls: calls{gets: 1, requests: 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
		{name: "the write is cut off by the stop", given: func(_ *testing.T, w *world) {
			w.om.before = func(fluent.Write) error { return errors.New("context canceled") }
		}, want: "unclear", calls: calls{1, 1, 1, 1}, after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.shop.set(person("jane", 3))
			if tt.given != nil {
				tt.given(t, w)
			}
			if tt.n.Ref.ID == "" {
				tt.n = updated("jane", 3)
			}
			if got := w.handle(t, tt.n); got[0] != tt.want {
				t.Errorf("%s, want %s", got[0], tt.want)
			}
			if got := (calls{w.shop.gets, w.om.lookups, w.om.requests, w.ledger.intents}); got != tt.calls {
				t.Errorf("calls %+v, want %+v", got, tt.calls)
			}
			got := w.ledger.of("jane")
			if tt.after.Version != 0 {
				if got.Hash == "" || got.Mapping == "" {
					t.Errorf("no hash remembered: %+v", got)
				}
				got.Hash, got.Mapping = "", ""
			}
			if !reflect.DeepEqual(got, tt.after) {
				t.Errorf("remembers %+v, want %+v", got, tt.after)
			}
		})
	}
}

func writeAnswers(k fluent.Kind) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.om.before = func(fluent.Write) error { return flError(k) } }
}

func lookupAnswers(k fluent.Kind) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.om.lookupErr = func([]string) error { return flError(k) } }
}

// A rate limit's delay is passed on; where none is told, it is a second.
func TestHandlePassesTheDelayOn(t *testing.T) {
	w := newWorld(t)
	w.shop.set(person("jane", 1))
	w.shop.errs["jane"] = ctLimited
	if _, _, d := ct2fluent.OutcomeOf(w.Handle(t.Context(), []ct2fluent.Notification{updated("jane", 1)})[0]); d != 7*time.Second {
		t.Error(d)
	}
	delete(w.shop.errs, "jane")
	writeAnswers(fluent.Limited)(t, w)
	if _, _, d := ct2fluent.OutcomeOf(w.Handle(t.Context(), []ct2fluent.Notification{updated("jane", 1)})[0]); d != pause {
		t.Error(d)
	}
}

// crowd gives notifications of n customers at version 1.
func (w *world) crowd(n int) []ct2fluent.Notification {
	var ns []ct2fluent.Notification
	for i := range n {
		id := fmt.Sprintf("c%03d", i)
		w.shop.set(person(id, 1))
		ns = append(ns, updated(id, 1))
	}
	return ns
}

func every(n int, word string) []string { return slices.Repeat([]string{word}, n) }

func TestHandleManyCostsOneCallOfEachKind(t *testing.T) {
	w := newWorld(t)
	ns := w.crowd(200)
	if got := w.handle(t, ns...); !slices.Equal(got, every(200, "written")) {
		t.Fatal(got)
	}
	if w.shop.querys != 1 || w.shop.gets != 0 || w.om.lookups != 1 || w.ledger.intents != 1 || w.om.requests != 1 {
		t.Errorf("%d queries, %d gets, %d lookups, %d intents, %d writes", w.shop.querys, w.shop.gets, w.om.lookups, w.ledger.intents, w.om.requests)
	}
	if got := w.handle(t, ns...); !slices.Equal(got, every(200, "skipped known")) {
		t.Fatal(got)
	}
	if w.shop.querys != 1 || w.om.lookups != 1 || w.om.requests != 1 {
		t.Error("a second delivery cost a call")
	}
	ns = w.crowd(200)
	for i := range ns {
		ns[i].Version = 2
		w.shop.set(person(ns[i].Ref.ID, 2))
	}
	if got := w.handle(t, ns...); !slices.Equal(got, every(200, "written")) {
		t.Fatal(got)
	}
	if w.shop.querys != 2 || w.shop.gets != 0 || w.om.lookups != 1 || w.ledger.intents != 1 || w.om.requests != 2 {
		t.Error("updates cost more than a read and a write")
	}
}

func TestHandleReadsByIDWhereTheQueryLags(t *testing.T) {
	w := newWorld(t)
	ns := w.crowd(5)
	for i := range ns {
		ns[i].Version = 2
		w.shop.set(person(ns[i].Ref.ID, 2))
	}
	w.shop.lags["c000"] = person("c000", 1)                                          // too old
	w.shop.lags["c001"] = commercetools.Customer{}                                   // not there yet
	w.shop.lags["c002"], w.shop.fresh["c002"] = person("c002", 1), person("c002", 1) // both too old
	delete(w.shop.fresh, "c003")                                                     // gone
	want := []string{"written", "written", "retry stale-read", "skipped gone", "written"}
	if got := w.handle(t, ns...); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if w.shop.querys != 1 || w.shop.gets != 4 {
		t.Errorf("%d queries, %d gets", w.shop.querys, w.shop.gets)
	}
	if l := *w.om.customers["1_c000@x"].LastName; l != "v2" {
		t.Error("an old read was written:", l)
	}
}

func TestHandleWhenTheQueryFails(t *testing.T) {
	tests := []struct {
		err  error
		want string
		gets int
	}{
		{ctDown, "held", 0}, {ctStopped, "held", 0}, {ctLimited, "later", 0},
		{ctRefused, "written", 3}, // one strange id must not bury the others
	}
	for _, tt := range tests {
		w := newWorld(t)
		w.shop.query = tt.err
		ns := w.crowd(3)
		for _, n := range ns {
			w.shop.lags[n.Ref.ID] = commercetools.Customer{}
		}
		if got := w.handle(t, ns...); !slices.Equal(got, every(3, tt.want)) || w.shop.gets != tt.gets {
			t.Errorf("%v: %v and %d gets", tt.err, got, w.shop.gets)
		}
	}
}

// Each customer of a batch has an outcome of its own.
func TestHandleAnswersForEach(t *testing.T) {
	w := newWorld(t)
	ns := w.crowd(7)
	kinds := map[string]fluent.Kind{"1_c001@x": fluent.Refused, "1_c002@x": fluent.Unclear, "1_c003@x": fluent.Failed,
		"1_c004@x": fluent.Down, "1_c005@x": fluent.Limited, "1_c006@x": fluent.Stopped}
	w.om.before = func(x fluent.Write) error {
		if k, ok := kinds[x.Username]; ok {
			return flError(k)
		}
		return nil
	}
	want := []string{"written", "dead refused", "unclear", "retry", "held", "later", "held"}
	if got := w.handle(t, ns...); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// The newest of a customer is worked, the others share its fate.
func TestHandleMerges(t *testing.T) {
	w := newWorld(t)
	w.shop.set(person("jane", 5))
	got := w.handle(t, updated("jane", 3), updated("jane", 5), updated("jane", 4), updated("jane", 5))
	if want := []string{"merged", "skipped duplicate", "merged", "written"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if w.om.requests != 1 {
		t.Error("written more than once")
	}
}

// A server error of one customer is its own fault if others of the call
// succeed; if nothing succeeds, it is an outage.
func TestOutageIsToldByCompany(t *testing.T) {
	w := newWorld(t)
	ns := w.crowd(4)
	poisoned := ""
	w.om.before = func(x fluent.Write) error {
		if poisoned == "" || poisoned == x.Username {
			return flError(fluent.Failed)
		}
		return nil
	}
	if got := w.handle(t, ns...); !slices.Equal(got, every(4, "held")) {
		t.Error("all fail:", got)
	}
	poisoned = "1_c000@x"
	if got := w.handle(t, ns[0]); got[0] != "held" {
		t.Error("alone:", got)
	}
	if got, want := w.handle(t, ns...), []string{"retry", "written", "written", "written"}; !slices.Equal(got, want) {
		t.Errorf("in company: %v, want %v", got, want)
	}
}

func TestReadOutageIsToldByCompany(t *testing.T) {
	w := newWorld(t)
	ns := w.crowd(3)
	w.shop.lags["c000"] = commercetools.Customer{}
	w.shop.errs["c000"] = ctBroken
	if got, want := w.handle(t, ns...), []string{"retry", "written", "written"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	w.shop.errs["c000"] = ctDown
	if got := w.handle(t, ns[0]); got[0] != "held" {
		t.Error("503 is an outage in any company:", got)
	}
}

// Where a lookup of many fails, each is asked for alone.
func TestLookupFailsForOne(t *testing.T) {
	for _, k := range []fluent.Kind{fluent.Failed, fluent.Refused, fluent.TooBig} {
		w := newWorld(t)
		ns := w.crowd(3)
		w.om.lookupErr = func(names []string) error {
			if slices.Contains(names, "1_c001@x") {
				return flError(k)
			}
			return nil
		}
		want := []string{"written", "retry", "written"}
		if k != fluent.Failed {
			want[1] = "dead refused"
		}
		if got := w.handle(t, ns...); !slices.Equal(got, want) {
			t.Errorf("kind %v: %v, want %v", k, got, want)
		}
	}
}

// Accounts are worked at once: one that hangs does not keep the other waiting.
func TestAccountsDoNotWaitForEachOther(t *testing.T) {
	otherWrote := make(chan struct{})
	w := newWorld(t, func(o *Options) {
		second := &om{customers: map[string]*fluent.Customer{}, arrived: func([]fluent.Write) { close(otherWrote) }}
		o.Accounts = append(o.Accounts, Account{Project: "second", RetailerID: "2", From: o.Accounts[0].From, To: second})
		o.Ledger.(*notebook).marks["fill/second"] = markDone
	})
	w.om.arrived = func([]fluent.Write) { <-otherWrote }
	w.shop.set(person("jane", 1))
	w.shop.set(person("joe", 1))
	joe := updated("joe", 1)
	joe.Ref.Project = "second"
	if got := w.handle(t, updated("jane", 1), joe); !slices.Equal(got, every(2, "written")) {
		t.Error(got)
	}
}

func TestLedgerThatCannotRecall(t *testing.T) {
	w := newWorld(t)
	w.shop.set(person("jane", 1))
	w.ledger.err = errors.New("disk gone")
	if got := w.handle(t, updated("jane", 1)); got[0] != "held" {
		t.Error(got)
	}
}

func TestNewRefusesAWrongSetUp(t *testing.T) {
	ok := Account{Project: "shop", RetailerID: "1", From: &shop{}, To: &om{}}
	tests := map[string]Options{
		"no ledger":           {Accounts: []Account{ok}},
		"two accounts of":     {Accounts: []Account{ok, ok}, Ledger: &notebook{}},
		"reader or writer is": {Accounts: []Account{{Project: "shop", RetailerID: "1"}}, Ledger: &notebook{}},
	}
	for want, o := range tests {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func announcedNow(n ct2fluent.Notification) ct2fluent.Notification {
	n.Received = time.Now()
	return n
}

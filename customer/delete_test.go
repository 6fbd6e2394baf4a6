package customer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

func marking(o *Options) { o.Deletes.Mark = true }

func deletedNote(id string, version int64) ct2fluent.Notification {
	return ct2fluent.Notification{ID: fmt.Sprintf("%s/%d/deleted", id, version), Ref: ref(id), Kind: "ResourceDeleted", Name: "ResourceDeleted", Version: version,
		Body: []byte(`{"modifiedAt":"2026-03-01T14:00:00.5+02:00"}`)}
}

const deleteStands = "2026-03-01T12:00:00.500Z"

// mark is the attribute that the Fluent customer of jane has; "-" for none.
func (w *world) mark() string {
	w.om.mu.Lock()
	defer w.om.mu.Unlock()
	c := w.om.customers["1_jane@x"]
	if c == nil {
		return "nobody"
	}
	for _, a := range c.Attributes {
		if a.Name == "commercetoolsDeleted" {
			return a.Type + " " + string(a.Value)
		}
	}
	return "-"
}

// jane is at version 2 in ledger and Fluent, unless the case says otherwise,
// and gone from commercetools, unless it says so.
func TestDelete(t *testing.T) {
	const marked = `STRING "` + deleteStands + `"`
	never := func(*testing.T, *world) {}
	has := func(version int64) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.shop.set(person("jane", version)) }
	}
	remembers := func(m ct2fluent.Memory) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.ledger.memories[ref("jane")] = m }
	}
	both := func(fs ...func(*testing.T, *world)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			for _, f := range fs {
				f(t, w)
			}
		}
	}
	gone := ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x", Deleted: 3}
	message := deletedNote("jane", 3)
	message.Kind, message.Name, message.Body = "Message", "CustomerDeleted", []byte(`{"createdAt":"2026-03-01T12:00:00.5Z"}`)
	received := deletedNote("jane", 3)
	received.Body, received.Received = nil, time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC)
	tests := []struct {
		name  string
		n     ct2fluent.Notification
		given func(*testing.T, *world)
		want  string
		calls string // gets, lookups, requests
		mark  string
		after ct2fluent.Memory // without hash and mapping
	}{
		{name: "is marked, and nothing else is written", n: deletedNote("jane", 3), given: never,
			want: "written", calls: "1 0 1", mark: marked, after: gone},
		{name: "is announced by a message", n: message, given: never, want: "written", calls: "1 0 1", mark: marked, after: gone},
		{name: "tells no time", n: received, given: never, want: "written", calls: "1 0 1", mark: marked, after: gone},
		{name: "has the version of the last update", n: deletedNote("jane", 2), given: never,
			want: "written", calls: "1 0 1", mark: marked, after: ct2fluent.Memory{Floor: 2, Version: 2, Username: "1_jane@x", Deleted: 2}},
		{name: "is announced again", n: deletedNote("jane", 3), given: remembers(gone),
			want: "skipped deleted", calls: "0 0 0", mark: "-", after: gone},
		{name: "is announced in a later version", n: deletedNote("jane", 4), given: remembers(gone),
			want: "skipped deleted", calls: "1 0 0", mark: "-", after: ct2fluent.Memory{Floor: 4, Version: 4, Username: "1_jane@x", Deleted: 4}},
		{name: "is handed out again: the mark may not have arrived", n: again(deletedNote("jane", 3)), given: remembers(gone),
			want: "written", calls: "1 0 1", mark: marked, after: gone},
		{name: "is forced", n: forced(deletedNote("jane", 3)), given: remembers(gone),
			want: "written", calls: "1 0 1", mark: marked, after: gone},
		{name: "of a customer that the ledger does not know", n: deletedNote("jane", 3), given: func(_ *testing.T, w *world) { delete(w.ledger.memories, ref("jane")) },
			want: "skipped deleted", calls: "1 0 0", mark: "-", after: ct2fluent.Memory{Floor: 3, Version: 3, Deleted: 3}},
		{name: "of a username that is merely intended: it is looked up", n: deletedNote("jane", 3), given: remembers(ct2fluent.Memory{Floor: 2, Username: "1_jane@x"}),
			want: "written", calls: "1 1 1", mark: marked, after: gone},
		{name: "of a username that another has taken", n: deletedNote("jane", 3),
			given: both(remembers(ct2fluent.Memory{Floor: 2, Username: "1_jane@x"}), func(_ *testing.T, w *world) {
				w.om.customers["1_jane@x"] = existing("1_jane@x", "joe", "1")
			}),
			want: "skipped deleted", calls: "1 1 0", mark: "-", after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x", Deleted: 3}},
		{name: "of a username that nobody has", n: deletedNote("jane", 3),
			given: both(remembers(ct2fluent.Memory{Floor: 2, Username: "1_jane@x"}), func(_ *testing.T, w *world) { delete(w.om.customers, "1_jane@x") }),
			want:  "skipped deleted", calls: "1 1 0", mark: "nobody", after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x", Deleted: 3}},
		{name: "of a customer that Fluent no longer has", n: deletedNote("jane", 3), given: func(_ *testing.T, w *world) { delete(w.om.customers, "1_jane@x") },
			want: "skipped deleted", calls: "1 0 1", mark: "nobody", after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x", Deleted: 3}},

		{name: "found gone by an update", n: updated("jane", 3), given: never, want: "written", calls: "1 0 1", mark: "now", after: gone},
		{name: "found gone a moment after the update: it is looked at again", n: announcedNow(updated("jane", 3)), given: never,
			want: "later", calls: "1 0 0", mark: "-", after: ct2fluent.Memory{Floor: 2, Version: 2, Username: "1_jane@x"}},
		{name: "found gone, and never synced", n: updated("jane", 3), given: func(_ *testing.T, w *world) { delete(w.ledger.memories, ref("jane")) },
			want: "skipped gone", calls: "1 0 0", mark: "-"},

		{name: "a late update does not bring it back", n: updated("jane", 2), given: both(remembers(gone), has(2)),
			want: "skipped deleted", calls: "0 0 0", mark: "-", after: gone},
		{name: "nor does one of the same version", n: updated("jane", 3), given: both(remembers(gone), has(3)),
			want: "skipped deleted", calls: "0 0 0", mark: "-", after: gone},
		{name: "nor one that is handed out again: it is marked again", n: again(updated("jane", 2)), given: remembers(gone),
			want: "written", calls: "1 0 1", mark: "now", after: gone},
		{name: "a delete that was noted and not yet marked is no reason to skip", n: updated("jane", 3),
			given: remembers(ct2fluent.Memory{Floor: 3, Version: 2, Username: "1_jane@x", Deleted: 3}),
			want:  "written", calls: "1 0 1", mark: "now", after: gone},
		{name: "there in a later version: written again, the mark emptied", n: updated("jane", 4), given: both(remembers(gone), has(4)),
			want: "written", calls: "1 0 1", mark: `STRING ""`, after: ct2fluent.Memory{Floor: 4, Version: 4, Username: "1_jane@x", Deleted: 3}},
		{name: "gone once more", n: deletedNote("jane", 5), given: remembers(ct2fluent.Memory{Floor: 4, Version: 4, Username: "1_jane@x", Deleted: 3, Hash: "h"}),
			want: "written", calls: "1 0 1", mark: marked, after: ct2fluent.Memory{Floor: 5, Version: 5, Username: "1_jane@x", Deleted: 5}},
		{name: "there in a later version than that of the delete", n: deletedNote("jane", 3), given: has(4),
			want: "written", calls: "1 0 1", mark: "-", after: ct2fluent.Memory{Floor: 4, Version: 4, Username: "1_jane@x"}},
		{name: "a mark whose answer was lost, and it is there all the same", n: again(deletedNote("jane", 3)),
			given: both(remembers(ct2fluent.Memory{Floor: 3, Username: "1_jane@x", Deleted: 3}), has(4)),
			want:  "written", calls: "1 1 1", mark: `STRING ""`, after: ct2fluent.Memory{Floor: 4, Version: 4, Username: "1_jane@x", Deleted: 3}},

		{name: "Fluent is down: it is noted, and not done", n: deletedNote("jane", 3), given: writeAnswers(fluent.Down),
			want: "held", calls: "1 0 1", mark: "-", after: ct2fluent.Memory{Floor: 3, Version: 2, Username: "1_jane@x", Deleted: 3}},
		{name: "the answer of the mark is lost", n: deletedNote("jane", 3), given: writeAnswers(fluent.Unclear),
			want: "unclear", calls: "1 0 1", mark: "-", after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x", Deleted: 3}},
		{name: "Fluent refuses the mark", n: deletedNote("jane", 3), given: writeAnswers(fluent.Refused),
			want: "dead refused", calls: "1 0 1", mark: "-", after: ct2fluent.Memory{Floor: 3, Version: 2, Username: "1_jane@x", Deleted: 3}},
		{name: "the ledger cannot keep it: nothing is sent", n: deletedNote("jane", 3),
			given: func(_ *testing.T, w *world) { w.ledger.intendErr = errors.New("disk full") },
			want:  "later", calls: "1 0 0", mark: "-", after: ct2fluent.Memory{Floor: 3, Version: 2, Username: "1_jane@x", Deleted: 3}},
		{name: "the lookup is refused by a server that is down", n: deletedNote("jane", 3),
			given: both(remembers(ct2fluent.Memory{Floor: 2, Username: "1_jane@x"}), lookupAnswers(fluent.Down)),
			want:  "held", calls: "1 1 0", mark: "-", after: ct2fluent.Memory{Floor: 3, Username: "1_jane@x", Deleted: 3}},
		{name: "commercetools is down", n: deletedNote("jane", 3), given: func(_ *testing.T, w *world) { w.shop.errs["jane"] = ctDown },
			want: "held", calls: "1 0 0", mark: "-", after: ct2fluent.Memory{Floor: 2, Version: 2, Username: "1_jane@x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, marking)
			w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
			w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
			tt.given(t, w)
			if got := w.handle(t, tt.n); got[0] != tt.want {
				t.Errorf("%s, want %s", got[0], tt.want)
			}
			if got := fmt.Sprint(w.shop.gets, w.om.lookups, w.om.requests); got != tt.calls {
				t.Errorf("calls %s, want %s", got, tt.calls)
			}
			switch got := w.mark(); {
			case tt.mark == "now":
				var at time.Time
				if err := json.Unmarshal([]byte(strings.TrimPrefix(got, "STRING ")), &at); err != nil || time.Since(at).Abs() > time.Minute {
					t.Errorf("marked %s, want the time of now", got)
				}
			case got != tt.mark:
				t.Errorf("marked %s, want %s", got, tt.mark)
			}
			got := w.ledger.of("jane")
			got.Hash, got.Mapping, got.Attributes, got.DeletedAt, got.Gone = "", "", nil, 0, 0
			if !same(got, tt.after) {
				t.Errorf("remembers %+v, want %+v", got, tt.after)
			}
			for _, sent := range w.om.writes {
				if tt.mark == marked && (len(sent.Fields) > 0 || len(sent.Attributes) != 1 || sent.Create) {
					t.Errorf("sent %+v besides the mark", sent)
				}
			}
		})
	}
}

// The time of a delete that is known is no other because somebody asks again:
// a sync, a forced replay, an update that comes late, a bulk run.
func TestDeleteTimeStays(t *testing.T) {
	const marked = `STRING "` + deleteStands + `"`
	replayed := ct2fluent.Notification{ID: "replay", Ref: ref("jane"), Name: "sync", Own: true, Force: true}
	noted := func(at string, version int64) ct2fluent.Notification {
		n := deletedNote("jane", version)
		n.Body = []byte(`{"modifiedAt":"` + at + `"}`)
		return n
	}
	for _, tt := range []struct {
		name string
		then []ct2fluent.Notification // after the delete of version 3
		want string
	}{
		{"a sync", []ct2fluent.Notification{replayed}, marked},
		{"two of them", []ct2fluent.Notification{replayed, replayed}, marked},
		{"a forced update of before", []ct2fluent.Notification{forced(updated("jane", 2))}, marked},
		{"an update that comes again", []ct2fluent.Notification{again(updated("jane", 3))}, marked},
		{"a forced update above it", []ct2fluent.Notification{forced(updated("jane", 4))}, marked},
		{"the delete, announced in a later version and later, then a sync", []ct2fluent.Notification{noted("2026-03-01T13:00:00Z", 4), replayed}, marked},
		{"an earlier time of it, then a sync", []ct2fluent.Notification{forced(noted("2026-03-01T11:00:00Z", 3)), replayed}, `STRING "2026-03-01T11:00:00.000Z"`},
		{"the delete of an earlier version, forced", []ct2fluent.Notification{forced(noted("2026-03-01T11:00:00Z", 2))}, marked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, marking)
			w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
			w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
			for _, n := range append([]ct2fluent.Notification{deletedNote("jane", 3)}, tt.then...) {
				w.handle(t, n)
			}
			if w.mark() != tt.want {
				t.Errorf("marked %s, want %s", w.mark(), tt.want)
			}
		})
	}
}

// The time is remembered while the mark cannot be written, and forgotten once
// the customer is there again.
func TestDeleteTimeWhileFluentIsDown(t *testing.T) {
	w := newWorld(t, marking)
	w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
	w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
	for _, kind := range []fluent.Kind{fluent.Down, fluent.Unclear} {
		writeAnswers(kind)(t, w)
		w.handle(t, deletedNote("jane", 3))
	}
	w.om.before = nil
	if got := w.handle(t, again(updated("jane", 3))); got[0] != "written" || w.mark() != `STRING "`+deleteStands+`"` {
		t.Errorf("%s, marked %s", got, w.mark())
	}
	w.shop.set(person("jane", 4))
	if got := w.handle(t, updated("jane", 4)); got[0] != "written" || w.ledger.of("jane").Gone != 0 {
		t.Errorf("%s, remembers %+v", got, w.ledger.of("jane"))
	}
	delete(w.shop.fresh, "jane")
	again := deletedNote("jane", 5)
	again.Body = []byte(`{"modifiedAt":"2026-04-01T12:00:00Z"}`)
	if got := w.handle(t, again); got[0] != "written" || w.mark() != `STRING "2026-04-01T12:00:00.000Z"` {
		t.Errorf("%s, marked %s", got, w.mark())
	}
}

// A bulk run may have read a customer before its delete, and put it after.
func TestDeleteAndCarriedReads(t *testing.T) {
	carried := func(version int64) ct2fluent.Notification {
		body, err := json.Marshal(person("jane", version))
		if err != nil {
			t.Fatal(err)
		}
		return ct2fluent.Notification{ID: fmt.Sprint("bulk/", version), Ref: ref("jane"), Name: "bulk", Version: version, Bulk: true, Own: true, Body: body}
	}
	gone := ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_jane@x", Deleted: 3}
	noted := ct2fluent.Memory{Floor: 3, Version: 2, Username: "1_jane@x", Deleted: 3}
	for _, tt := range []struct {
		name  string
		n     ct2fluent.Notification
		knows ct2fluent.Memory
		there int64 // the version that commercetools has; 0: none
		want  string
		gets  int
		mark  string
	}{
		{"below the delete", carried(2), gone, 0, "skipped deleted", 0, "-"},
		{"of the version of the delete", carried(3), gone, 0, "skipped deleted", 0, "-"},
		{"and the mark is not certain: it is written", carried(3), noted, 0, "written", 1, "now"},
		{"forced, and it is gone: it is marked again", forced(carried(3)), gone, 0, "written", 1, "now"},
		{"above the delete: it is there", carried(4), gone, 4, "written", 0, `STRING ""`},
		{"above a delete whose mark is not certain", carried(4), noted, 4, "written", 0, `STRING ""`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, marking)
			w.ledger.memories[ref("jane")] = tt.knows
			w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
			if tt.there > 0 {
				w.shop.set(person("jane", tt.there))
			}
			got := w.handle(t, tt.n)
			if mark := w.mark(); got[0] != tt.want || w.shop.gets != tt.gets || mark != tt.mark && (tt.mark != "now" || mark == "-" || mark == `STRING ""`) {
				t.Errorf("%s, %d reads, marked %s; want %s, %d, %s", got[0], w.shop.gets, mark, tt.want, tt.gets, tt.mark)
			}
		})
	}
}

// With the policy ignore a delete is what it was: a hint.
func TestDeleteIgnored(t *testing.T) {
	w := newWorld(t)
	w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
	if got := w.handle(t, deletedNote("jane", 3)); got[0] != "skipped gone" || w.om.requests != 0 {
		t.Error(got)
	}
	if got := w.handle(t, deletedNote("jane", 2)); got[0] != "skipped known" {
		t.Error(got)
	}
	if m := w.ledger.of("jane"); m.Deleted != 0 {
		t.Errorf("remembers %+v", m)
	}
}

// A read that finds what is to be deleted may lag, for a while; afterwards the
// customer is there.
func TestDeleteAndReadsThatLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, marking)
		w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
		w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
		w.shop.set(person("jane", 2))
		n := announcedNow(deletedNote("jane", 3))
		for range 3 {
			err := w.Handle(t.Context(), []ct2fluent.Notification{n})[0]
			if o, _, d := ct2fluent.OutcomeOf(err); o != ct2fluent.Later || d != lagPause {
				t.Fatalf("%v, after %v", said(err), d)
			}
			time.Sleep(lagPause)
		}
		delete(w.shop.fresh, "jane")
		if got := w.handle(t, n); got[0] != "written" || w.mark() != `STRING "`+deleteStands+`"` {
			t.Errorf("%s, marked %s", got, w.mark())
		}
		// Someone asks for it while the read lags, and when it does no longer.
		w.shop.set(person("jane", 3))
		n = announcedNow(forced(updated("jane", 3)))
		if got := w.handle(t, n); got[0] != "later" {
			t.Error(got)
		}
		time.Sleep(lagsFor)
		if got := w.handle(t, n); got[0] != "written" || w.mark() != `STRING ""` {
			t.Errorf("%s, marked %s", got, w.mark())
		}
		if m := w.ledger.of("jane"); m.Version != 3 || m.Deleted != 2 {
			t.Errorf("remembers %+v: it is not gone", m)
		}
		// A delete of the version that is there still is one, if it says so long.
		n = announcedNow(deletedNote("jane", 3))
		time.Sleep(lagsFor)
		if got := w.handle(t, n); got[0] != "unchanged" {
			t.Error(got)
		}
	})
}

// A query that lags does not bring a customer back, nor does one that is read
// for others.
func TestDeleteIsReadByID(t *testing.T) {
	w := newWorld(t, marking)
	ns := w.crowd(3)
	w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
	w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
	w.shop.lags["jane"] = person("jane", 3)
	ns = append(ns, deletedNote("jane", 3))
	if got := w.handle(t, ns...); got[3] != "written" || w.om.requests != 1 {
		t.Errorf("%v, %d requests", got, w.om.requests)
	}
	late := again(updated("jane", 3))
	if got := w.handle(t, append(w.crowd(2), late)...); got[2] != "written" || w.mark() == `STRING ""` {
		t.Errorf("%v, marked %s", got, w.mark())
	}
}

// The delete and the last update of one batch, in either order, and though
// both may be of one version.
func TestDeleteInOneBatch(t *testing.T) {
	for _, version := range []int64{2, 3} {
		for _, last := range []string{"delete", "update"} {
			t.Run(fmt.Sprintf("delete of version %d, the %s comes last", version, last), func(t *testing.T) {
				w := newWorld(t, marking)
				w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
				w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
				ns := []ct2fluent.Notification{updated("jane", 2), deletedNote("jane", version)}
				if last == "update" {
					ns[0], ns[1] = ns[1], ns[0]
				}
				got := w.handle(t, ns...)
				if w.mark() != `STRING "`+deleteStands+`"` {
					t.Errorf("%v, marked %s", got, w.mark())
				}
			})
		}
	}
}

// An update that lands after the mark leaves the mark alone; a late mark on a
// customer that is there again is taken back by what comes again.
func TestLateWritesAroundADelete(t *testing.T) {
	w := newWorld(t, marking)
	w.ledger.memories[ref("jane")] = w.remembered(t, "jane", 2)
	w.om.customers["1_jane@x"] = existing("1_jane@x", "jane", "1")
	lost := func(note ct2fluent.Notification) fluent.Write {
		t.Helper()
		writeAnswers(fluent.Unclear)(t, w)
		if got := w.handle(t, note); got[0] != "unclear" {
			t.Fatal(got)
		}
		w.om.before = nil
		return w.om.writes[len(w.om.writes)-1]
	}
	land := func(write fluent.Write) { w.om.Write(t.Context(), []fluent.Write{write}) }
	step := func(n ct2fluent.Notification, want, mark string) {
		t.Helper()
		if got := w.handle(t, n); got[0] != want || w.mark() != mark {
			t.Fatalf("%v, marked %s; want %s, %s", got, w.mark(), want, mark)
		}
	}
	const marked = `STRING "` + deleteStands + `"`

	w.shop.set(person("jane", 3))
	late := lost(updated("jane", 3))
	delete(w.shop.fresh, "jane")
	step(deletedNote("jane", 4), "written", marked)
	land(late)
	if w.mark() != marked {
		t.Fatal("a late update took the mark away:", w.mark())
	}

	w.shop.set(person("jane", 5))
	step(updated("jane", 5), "written", `STRING ""`)
	delete(w.shop.fresh, "jane")
	late = lost(deletedNote("jane", 6))
	w.shop.set(person("jane", 7))
	step(updated("jane", 7), "written", `STRING ""`)
	land(late)
	step(again(deletedNote("jane", 6)), "written", `STRING ""`)

	w.shop.set(person("jane", 8))
	late = lost(updated("jane", 8))
	delete(w.shop.fresh, "jane")
	step(deletedNote("jane", 9), "written", marked)
	land(late)
	if got := w.handle(t, again(updated("jane", 8))); got[0] != "written" || w.mark() == `STRING ""` {
		t.Errorf("%s: a late update took the mark away for good", got)
	}
}

func TestDeletesAttributeIsNoOther(t *testing.T) {
	for _, name := range []string{"commercetoolsId", "key"} {
		_, err := New(Options{
			Ledger: &notebook{}, Deletes: Deletes{Attribute: name},
			Accounts: []Account{{Project: "shop", RetailerID: "1", From: &shop{}, To: &om{}}},
			Mapping:  mustCompile(t, MappingConfig{Attributes: []Attribute{{Name: "key", Value: Expression{Text: "customer.key"}}}}),
		})
		if err == nil || err.Error() != "deletes.attribute: "+name+" is an attribute of the mapping already" {
			t.Error(err)
		}
	}
}

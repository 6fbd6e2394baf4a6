package check_test

import (
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/proof/check"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }

func fields(name string) check.Fields {
	return check.Fields{Email: name + "@example.com", FirstName: name}
}

// good is a run that kept every promise: anna was changed twice, of which one
// notification came twice; bert was refused once and was not replayed; one body
// was unreadable.
func good() *check.History {
	return &check.History{
		Made: map[string][]check.Version{
			"anna": {{1, fields("a1")}, {2, fields("a2")}, {4, fields("a4")}},
			"bert": {{1, fields("b1")}, {3, fields("b3")}},
		},
		Puts: []check.Put{
			{ID: "anna", Version: 1, Sent: 1, Acked: at(1)}, {ID: "anna", Version: 2, Sent: 1, Acked: at(2)},
			{ID: "anna", Version: 2, Sent: 1, Acked: at(3)}, {ID: "anna", Version: 4, Sent: 3, Acked: at(12)},
			{ID: "bert", Version: 1, Sent: 1, Acked: at(4)}, {ID: "bert", Version: 3, Sent: 1, Acked: at(13)},
			{Sent: 1, Acked: at(14)},
		},
		Writes: []check.Write{
			{At: at(1), Username: "ua", ID: "anna", Fields: fields("a1")}, {At: at(3), Username: "ua", ID: "anna", Fields: fields("a2")},
			{At: at(4), Username: "ub", ID: "bert", Fields: fields("b1")}, {At: at(12), Username: "ua", ID: "anna", Fields: fields("a4")},
		},
		Rests: []time.Time{at(10), at(20)},
		Customers: []check.Customer{
			{Username: "ua", ID: "anna", Fields: fields("a4")}, {Username: "ub", ID: "bert", Fields: fields("b1")}, {Username: "theirs"},
		},
		Totals: check.Totals{
			Received: 7, Written: 4, Skipped: 1, Dead: 2, DeadLetters: 2,
			SkippedBy: map[string]uint64{"known": 1}, DeadBy: map[string]uint64{"refused": 1, "unreadable": 1},
		},
		Timelines: map[string]check.Timeline{
			"anna": {Version: 4, Results: []check.Result{{6, 4, "written", 0}, {3, 2, "skipped", 0}, {2, 2, "written", 0}, {1, 1, "written", 0}}},
			"bert": {Version: 1, Results: []check.Result{{5, 3, "dead", 1}, {5, 3, "retry", 0}, {4, 1, "written", 0}}},
		},
		Letters: []check.Letter{{Seq: 5, ID: "bert", Version: 3, Reason: "refused"}, {Seq: 7, Reason: "unreadable"}},
		Foreign: map[string]bool{"theirs": true},
		Refused: map[string]bool{"bert": true},
		Whole:   true,
		Marks:   []string{"MARK"},
		Texts:   map[string][]byte{"the log": []byte("all is well")},
		Files: []check.File{
			{Name: "data", Mode: 0o700 | 1<<31, Exempt: true}, {Name: "data/1.blk", Mode: 0o600, Text: []byte("mark"), Exempt: true},
			{Name: "run.log", Mode: 0o644, Text: []byte("all is well")},
		},
	}
}

// Each rule refuses a history that was doctored to break it, and only that.
func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		doctor func(h *check.History)
		rules  []string
	}{
		{"nothing is wrong", func(*check.History) {}, nil},
		{"an outcome is missing", func(h *check.History) { h.Totals.Written-- }, []string{"2 sum"}},
		{"an outcome is counted twice", func(h *check.History) { h.Totals.Merged++ }, []string{"2 sum"}},
		{"a reason is missing", func(h *check.History) { h.Totals.DeadBy["refused"]-- }, []string{"2 sum"}},
		{"an acknowledged one was not received", func(h *check.History) { h.Totals.Received--; h.Totals.Written-- }, []string{"2 all received"}},
		{"one was received that nobody sent", func(h *check.History) { h.Totals.Received++; h.Totals.Written++ }, []string{"2 nothing invented"}},
		{"after a kill one may come more than once", func(h *check.History) { h.Totals.Received++; h.Totals.Written++; h.Whole = false }, nil},
		{"the last version was not notified, and need not be there", func(h *check.History) {
			h.Made["anna"] = append(h.Made["anna"], check.Version{Number: 5, Fields: fields("a5")})
		}, nil},
		{"it was to be brought all the same", func(h *check.History) {
			h.Made["anna"] = append(h.Made["anna"], check.Version{Number: 5, Fields: fields("a5")})
			h.Latest = true
		}, []string{"3 converged"}},
		{"what was replayed is received again", func(h *check.History) { h.Totals.Received++; h.Totals.Written++; h.Replayed++ }, nil},
		{"an unreadable one vanished", func(h *check.History) {
			h.Puts[0].ID = ""
			h.Puts[1].ID = ""
			h.Puts[2].ID = ""
		}, []string{"2 all received"}},
		{"one sequence is settled twice", func(h *check.History) {
			h.Timelines["anna"].Results[1].Seq = 2
		}, []string{"2 settled once"}},
		{"one sequence is settled for two", func(h *check.History) { h.Timelines["bert"].Results[2].Seq = 1 }, []string{"2 settled once"}},
		{"an acknowledged one has no outcome", func(h *check.History) { h.Timelines["anna"].Results[0].Outcome = "retry" }, []string{"2 in the ledger"}},
		{"it may have been in an entry that is no longer kept", func(h *check.History) {
			h.Timelines["anna"] = check.Timeline{Version: 4, Cut: true}
		}, nil},
		{"what the ledger remembers is older", func(h *check.History) {
			h.Timelines["anna"] = check.Timeline{Version: 2, Cut: true}
		}, []string{"2 in the ledger"}},
		{"the ledger knows nothing of a customer", func(h *check.History) { delete(h.Timelines, "anna") }, []string{"1 kept"}},
		{"its timeline was not read", func(h *check.History) { delete(h.Timelines, "anna"); h.Sampled = true }, nil},
		{"it waits, where nothing is at rest", func(h *check.History) {
			h.Timelines["anna"].Results[0].Outcome = "retry"
			h.Totals.Waiting, h.Totals.Written = 1, 3
			h.Rests = h.Rests[:1]
			h.Customers[0].Fields = fields("a2")
		}, nil},
		{"a dead letter vanished", func(h *check.History) { h.Letters = h.Letters[:1] }, []string{"2 letters"}},
		{"a dead letter is not in the timeline", func(h *check.History) { h.Letters[0].Seq = 17 }, []string{"2 letters"}},
		{"Fluent holds an older version", func(h *check.History) { h.Customers[0].Fields = fields("a2") }, []string{"3 converged"}},
		{"Fluent holds a newer version than was notified", func(h *check.History) {
			h.Made["anna"] = append(h.Made["anna"], check.Version{Number: 9, Fields: fields("a9")})
			h.Customers[0].Fields = fields("a9")
		}, nil},
		{"a run over all customers has left one out", func(h *check.History) {
			h.All = true
			h.Made["nobody told of"] = []check.Version{{Number: 1, Fields: fields("x")}}
		}, []string{"3 converged"}},
		{"Fluent has not the customer", func(h *check.History) { h.Customers = h.Customers[1:] }, []string{"3 converged"}},
		{"the dead one was replayed, and nothing came of it", func(h *check.History) {
			h.Letters = h.Letters[1:]
			h.Totals.DeadLetters--
		}, []string{"3 converged"}},
		{"it had not converged at a rest", func(h *check.History) { h.Writes[1].At = at(11) }, []string{"3 converged"}},
		{"an older one lay over a newer one at a rest", func(h *check.History) {
			h.Writes = append(h.Writes, check.Write{At: at(21), Username: "ua", ID: "anna", Fields: fields("a2")},
				check.Write{At: at(31), Username: "ua", ID: "anna", Fields: fields("a4")})
			h.Rests = append(h.Rests, at(30))
		}, []string{"3 converged", "4 not older"}},
		{"an older one lay over a newer one for a moment", func(h *check.History) {
			h.Writes = slices.Insert(h.Writes, 2, check.Write{At: at(5), Username: "ua", ID: "anna", Fields: fields("a1")},
				check.Write{At: at(6), Username: "ua", ID: "anna", Fields: fields("a2")})
		}, nil},
		{"a customer is there twice", func(h *check.History) {
			h.Customers = append(h.Customers, check.Customer{Username: "second", ID: "anna", Fields: fields("a4")})
		}, []string{"4 one customer"}},
		{"a customer was written under two names", func(h *check.History) { h.Writes[1].Username = "second" }, []string{"4 one customer"}},
		{"a customer of Fluent belongs to nobody", func(h *check.History) { h.Foreign = nil }, []string{"4 one customer"}},
		{"a customer of Fluent was never made", func(h *check.History) {
			h.Customers = append(h.Customers, check.Customer{Username: "u", ID: "nobody"})
		}, []string{"4 one customer"}},
		{"Fluent holds a mixture at the end", func(h *check.History) { h.Customers[0].Fields.FirstName = "a2" }, []string{"4 one version"}},
		{"Fluent held a mixture on the way", func(h *check.History) { h.Writes[0].Fields.FirstName = "a2" }, []string{"4 one version"}},
		{"somebody died of an outage", func(h *check.History) {
			h.Blameless = true
			h.Timelines["bert"].Results[0].Attempts = 0
		}, []string{"6 no attempts"}},
		{"an outage burnt attempts", func(h *check.History) {
			h.Blameless = true
			h.Totals.Dead, h.Totals.DeadBy, h.Totals.DeadLetters, h.Totals.Skipped, h.Totals.SkippedBy["known"], h.Letters = 0, nil, 0, 3, 3, nil
			h.Timelines["bert"].Results[0].Outcome = "skipped"
			h.Puts[5].Version = 1
		}, []string{"6 no attempts"}},
		{"the log has an email", func(h *check.History) { h.Texts["the log"] = []byte(`"why":"mark.1@example.com"`) }, []string{"7 nothing personal"}},
		{"a file beside the store has an email", func(h *check.History) { h.Files[2].Text = []byte("x MARK y") }, []string{"7 nothing personal"}},
		{"the log has a body in base64", func(h *check.History) {
			h.Texts["the log"] = []byte(base64.StdEncoding.EncodeToString([]byte(`{"email":"MARK@example.com"}`)))
		}, []string{"7 nothing personal"}},
		{"others may read the store", func(h *check.History) { h.Files[0].Mode |= 0o055 }, []string{"7 private"}},
		{"others may read a file of the store", func(h *check.History) { h.Files[1].Mode |= 0o040 }, []string{"7 private"}},
	}
	seen := map[string]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := good()
			test.doctor(h)
			got := map[string]bool{}
			for _, v := range h.Check() {
				got[v.Rule] = true
				seen[v.Rule] = true
				if !slices.Contains(test.rules, v.Rule) {
					t.Errorf("unexpected: %s", v)
				}
			}
			for _, rule := range test.rules {
				if !got[rule] {
					t.Errorf("%q saw nothing", rule)
				}
			}
		})
	}
	for _, rule := range check.Rules {
		if !seen[rule] {
			t.Errorf("no history breaks %q", rule)
		}
	}
}

// A thousand violations of one rule are not told one by one.
func TestCheckIsShort(t *testing.T) {
	h := good()
	for range 1000 {
		h.Customers = append(h.Customers, check.Customer{Username: "another", ID: "anna", Fields: fields("a4")})
	}
	if n := len(h.Check()); n > 10 {
		t.Errorf("%d violations told", n)
	}
}

func TestRegressions(t *testing.T) {
	h := good()
	if n := h.Regressions(); n != 0 {
		t.Errorf("%d regressions", n)
	}
	h.Writes = append(h.Writes, check.Write{At: at(15), Username: "ua", ID: "anna", Fields: fields("a1")})
	if n := h.Regressions(); n != 1 {
		t.Errorf("%d regressions, want 1", n)
	}
}

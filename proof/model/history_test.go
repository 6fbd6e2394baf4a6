package model

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// A history is what happens to a product, and what goes wrong meanwhile.
type history struct {
	events []event
	faults map[string][]string // by "read jane", "write jane", "ledger": what goes wrong with the first, the second, … call
}

// An event of a history.
type event struct {
	after time.Duration // since the one before
	what  string        // one of happenings
	who   string
	back  int // delete: from 1 on, its notification has the version of the last change; notify, bulk, anew: how many versions ago; crash: how many acknowledgements are lost
}

// people are the customers of commercetools. Two of them may come to have one
// email, and so one username.
var people = []string{"jane", "john"}

var happenings = map[string]string{
	"change": "%s is changed, and nobody tells",
	"tell":   "%s is changed",
	"email":  "%s gets a new email",
	"share":  "%s gets the email that both want",
	"undo":   "%s is changed back",
	"notify": "a notification about %s comes once more",
	"bulk":   "a bulk run puts %s, as it was read",
	"anew":   "a bulk run puts %s, as it was read, and has it written in any case",
	"delete": "%s is deleted",
	"vanish": "%s is deleted, and nobody tells",
	"return": "%s is there again in a later version",
	"crash":  "the process is killed and starts again",
	"stop":   "the process is stopped and starts again",
	"outage": "both sides are down for two minutes",
}

// drawHistory draws one.
func drawHistory(t *rapid.T) history {
	h := history{faults: map[string][]string{}}
	whats := []string{"tell", "tell", "tell", "email", "crash", "undo", "share", "notify", "change", "stop", "outage", "bulk", "anew", "delete", "return", "vanish"}
	one := rapid.Custom(func(t *rapid.T) event {
		return event{
			after: time.Duration(rapid.SampledFrom([]int{70, 120, 1500, 16000, 0, 20}).Draw(t, "after")) * time.Millisecond,
			what:  rapid.SampledFrom(whats).Draw(t, "what"),
			who:   rapid.SampledFrom(people).Draw(t, "who"),
			back:  rapid.IntRange(0, 2).Draw(t, "back"),
		}
	})
	h.events = rapid.SliceOfN(one, 3, 14).Draw(t, "events")
	few := func(key string, kinds ...string) {
		fs := rapid.SliceOfN(rapid.SampledFrom(kinds), 3, 8).Draw(t, key)
		if len(fs) > 0 {
			h.faults[key] = fs
		}
	}
	for _, who := range people {
		few("read "+who, "", "", "", "old", "older", "down", "limited", "500")
		few("write "+who, "", "late", "", "applied, no answer", "", "never arrives", "late", "down", "limited", "500", "refused")
	}
	few("ledger", "", "", "", "", "answer lost", "fails")
	return h
}

// String tells the history in plain words.
func (h history) String() string {
	var b strings.Builder
	for i, e := range h.events {
		says := happenings[e.what]
		if strings.Contains(says, "%s") {
			says = fmt.Sprintf(says, e.who)
		}
		switch {
		case (e.what == "notify" || e.what == "bulk" || e.what == "anew") && e.back > 0:
			says += fmt.Sprintf(", of %d versions ago", e.back)
		case e.what == "crash" && e.back > 0:
			says += fmt.Sprintf(", without the last %d acknowledgements", e.back)
		}
		if e.after > 0 {
			says = fmt.Sprintf("%v later: %s", e.after, says)
		}
		fmt.Fprintf(&b, "%3d. %s\n", i+1, says)
	}
	for _, key := range faultKeys {
		for i, f := range h.faults[key] {
			if f != "" {
				fmt.Fprintf(&b, "     %s, call %d: %s\n", key, i+1, f)
			}
		}
	}
	return b.String()
}

var faultKeys = []string{"read jane", "read john", "write jane", "write john", "ledger"}

// smaller makes a history as short as it can be while it still fails.
func smaller(h history, fails func(history) bool) history {
	for again := true; again; {
		again = false
		for i := range h.events {
			c := h
			c.events = append(append([]event(nil), h.events[:i]...), h.events[i+1:]...)
			if fails(c) {
				h, again = c, true
				break
			}
		}
		for _, key := range faultKeys {
			for i, f := range h.faults[key] {
				if f == "" {
					continue
				}
				c := h
				c.faults = map[string][]string{}
				for k, fs := range h.faults {
					c.faults[k] = append([]string(nil), fs...)
				}
				c.faults[key][i] = ""
				if fails(c) {
					h, again = c, true
				}
			}
		}
	}
	return h
}

package control

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestPause(t *testing.T) {
	const give = `{"error":"invalid request: give one of account and route"}`
	tests := []struct {
		name, target, body string
		code               int
		want               string
		line               string // in the audit trail
	}{
		{"an account", "/admin/pause", `{"account":"shop","reason":"stocktaking"}`, 200, `{"atHand":2,"projects":["shop"]}`, "account shop 1 done"},
		{"a route", "/admin/pause", `{"route":"up","reason":"stocktaking"}`, 200, `{"atHand":2,"route":"up"}`, "route up 1 done"},
		{"one that nobody knows", "/admin/pause", `{"account":"x","reason":"y"}`, 404, `{"error":"not found: no account is named so"}`, " 0 refused"},
		{"nothing", "/admin/pause", `{"reason":"y"}`, 400, give, " 0 refused"},
		{"both", "/admin/pause", `{"account":"shop","route":"up","reason":"y"}`, 400, give, " 0 refused"},
		{"without a reason", "/admin/pause", `{"account":"shop","reason":" "}`, 400,
			`{"error":"invalid request: give a reason, for those who will see that it is paused"}`, " 0 refused"},
		{"a reason of two lines", "/admin/pause", `{"account":"shop","reason":"a\nb"}`, 400, `{"error":"invalid request: a reason is one line of text"}`, " 0 refused"},
		{"a long reason", "/admin/pause", `{"account":"shop","reason":"` + strings.Repeat("ä", 201) + `"}`, 400,
			`{"error":"invalid request: a reason has 200 characters at most"}`, " 0 refused"},
		{"in the name of another", "/admin/pause", `{"account":"shop","reason":"y","By":"boss"}`, 400,
			`{"error":"invalid request: want {\"account\":\"…\"} or {\"route\":\"…\"}, and to pause a \"reason\": json: unknown field \"By\""}`, " 0 refused"},
		{"resume", "/admin/resume", `{"route":"up"}`, 200, `{"atHand":0,"route":"up"}`, "route up 1 done"},
		{"resume with a reason", "/admin/resume", `{"route":"up","reason":"y"}`, 400, `{"error":"invalid request: only a pause has a reason"}`, " 0 refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, kept, st := full(), &trail{}, stoppers{map[string]string{}}
			o.Audit, o.Tokens, o.Pauses = kept, tokens("ann-token"), st
			w := askAs(newServer(t, o), "ann-token", "POST", tt.target, tt.body)
			if w.Code != tt.code || flat(t, w) != tt.want {
				t.Errorf("got %d %s\nwant %d %s", w.Code, flat(t, w), tt.code, tt.want)
			}
			if a := kept.acts[0]; strings.Join([]string{a.On, map[int]string{0: "0", 1: "1"}[a.Count], a.Outcome}, " ") != tt.line {
				t.Errorf("noted %+v", a)
			}
			for name, why := range st.paused {
				if why != "stocktaking by ann" {
					t.Errorf("%s is paused: %s", name, why)
				}
			}
		})
	}
}

// A pause is told wherever a hold is; a route's holds no account.
func TestAPauseIsTold(t *testing.T) {
	o := full()
	held := []Held{{Account: "all", Project: "*", Route: "up", Since: time.Unix(0, 0).UTC(), Why: "paused: stocktaking by ann"}}
	o.Held = func() []Held { return held }
	o.Status = func(context.Context) (Status, error) { return Status{Held: held}, nil }
	s := newServer(t, o)
	const told = `{"account":"all","project":"*","route":"up","since":"1970-01-01T00:00:00Z","why":"paused: stocktaking by ann"}`
	for target, want := range map[string]string{
		"/readyz":          `{"held":[` + told + `],"ready":true}`,
		"/admin/status":    `"held":[` + told + `]`,
		"/actuator/health": `"route:up":{"details":{"reason":"paused: stocktaking by ann","since":"1970-01-01T00:00:00Z"},"status":"OUT_OF_SERVICE"}`,
	} {
		if w := ask(s, "GET", target, ""); w.Code != 200 || !strings.Contains(flat(t, w), want) {
			t.Errorf("%s: %d %s", target, w.Code, flat(t, w))
		}
	}
	if w := ask(s, "GET", "/metrics", ""); !strings.Contains(w.Body.String(), `ct2fluent_held{project="shop"} 0`) || strings.Contains(w.Body.String(), `project="*"`) {
		t.Errorf("metrics: %s", w.Body)
	}
}

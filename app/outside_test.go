package app

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
)

// A service of the configuration is asked as it says, with a header from a file
// that is read again.
func TestAServiceOfTheConfiguration(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var qs []struct {
			Seq      uint64 `json:"seq"`
			Resource string `json:"resource"`
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &qs); err != nil {
			t.Error(err)
		}
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Authorization")+" "+r.Header.Get("User-Agent"))
		var answers []string
		for _, q := range qs {
			answers = append(answers, fmt.Sprintf(`{"seq":%d,"outcome":"skip","reason":"of-%s"}`, q.Seq, q.Resource))
		}
		fmt.Fprint(w, "["+strings.Join(answers, ",")+"]")
	}))
	defer server.Close()
	secret := filepath.Join(t.TempDir(), "crm")
	write := func(text string) {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Bearer one\n")
	c, err := parseConfig("a.yml", []byte(whole(fmt.Sprintf(
		"handlers:\n  - name: Crm\n    http: { url: \"%s/push\", batch-size: 5, headers: [{ name: authorization, value: \"${file:%s}\" }] }\n", server.URL, secret))),
		LoadOptions{LookupEnv: testOptions(nil).LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	types, err := outsiders(c, "1.2.3", slog.New(slog.DiscardHandler))
	if err != nil || len(types) != 1 || types[0].Name != "Crm" {
		t.Fatalf("%+v, %v", types, err)
	}
	h, err := types[0].New(Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.(io.Closer).Close()
	for _, token := range []string{"one", "two"} {
		write("Bearer " + token)
		errs := h.Handle(t.Context(), []ct2fluent.Notification{
			{Seq: 1, Ref: ct2fluent.Ref{TypeID: "customer", ID: "a"}}, {Seq: 2, Ref: ct2fluent.Ref{TypeID: "customer", ID: "b"}},
		})
		for i, want := range []string{"of-a", "of-b"} {
			if o, reason, _ := ct2fluent.OutcomeOf(errs[i]); o != ct2fluent.Skipped || reason != want {
				t.Errorf("%d: %v", i, errs[i])
			}
		}
	}
	if got := strings.Join(asked, "; "); got != "/push Bearer one ct2fluent/1.2.3; /push Bearer two ct2fluent/1.2.3" {
		t.Errorf("asked %s", got)
	}
}

// Two handlers of one name stop the start, wherever they are from.
func TestAHandlerOfTheConfigurationTakesNoNameOfThisBinary(t *testing.T) {
	c, err := parseConfig("a.yml", []byte(whole("handlers:\n  - name: FluentCustomerUpsert\n    exec: { command: [sh] }\n")), testOptions(nil))
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{setup: &Setup{Handlers: []HandlerType{{Name: "FluentCustomerUpsert"}}}, config: c, observe: newObserver("1", c)}
	if _, err := p.explainer(); err == nil || !strings.Contains(err.Error(), "FluentCustomerUpsert") {
		t.Errorf("got %v", err)
	}
}

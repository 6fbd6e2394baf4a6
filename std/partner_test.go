package std_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// A partner's module outside of this one builds, and its source, handler and
// step of the mapping work.
func TestPartner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "partner")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "../examples/partner"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ct, err := sandbox.NewCommerceTools(sandbox.CTOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fl, err := sandbox.NewFluent(sandbox.FluentOptions{ClientID: "client"})
	if err != nil {
		t.Fatal(err)
	}
	ctServer, err := sandbox.Start(ctx, "", ct)
	if err != nil {
		t.Fatal(err)
	}
	defer ctServer.Close()
	flServer, err := sandbox.Start(ctx, "", fl)
	if err != nil {
		t.Fatal(err)
	}
	defer flServer.Close()
	doc, err := ct.Create(map[string]any{"email": "jane@example.com", "customerNumber": "G-7", "locale": "de-DE"})
	if err != nil {
		t.Fatal(err)
	}

	spool, welcome := filepath.Join(dir, "spool"), filepath.Join(dir, "welcome.txt")
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	about := fmt.Sprintf(`"projectKey":"sandbox","resource":{"typeId":"customer","id":%q}`, doc["id"])
	for kind, more := range map[string]string{
		"Message":         `"id":"m1","type":"CustomerCreated","version":1,"sequenceNumber":1,"resourceVersion":1`,
		"ResourceCreated": `"version":1`,
	} {
		body := []byte(fmt.Sprintf(`{"notificationType":%q,%s,%s}`, kind, about, more))
		// Complete before the source can see it.
		if err := os.WriteFile(filepath.Join(dir, kind), body, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, kind), filepath.Join(spool, kind+".json")); err != nil {
			t.Fatal(err)
		}
	}

	env := append(os.Environ(), "SPOOL_DIR="+spool, "WELCOME_FILE="+welcome, "CT_URL="+ctServer.URL, "FLUENT_URL="+flServer.URL, "STORE="+filepath.Join(dir, "data"))
	check := exec.Command(binary, "check", "--offline", "--config", "../examples/partner/application-connector.yml")
	check.Env = env
	if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "type: spool") {
		t.Errorf("check: %v\n%s", err, out)
	}
	var said strings.Builder
	run := exec.Command(binary, "run", "--config", "../examples/partner/application-connector.yml")
	run.Env, run.Stderr = env, &said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%v de-DE\n", doc["id"])
	deadline := time.Now().Add(30 * time.Second)
	for {
		line, _ := os.ReadFile(welcome)
		left, _ := os.ReadDir(spool)
		f, ok := fl.Customer("1_jane@example.com")
		if ok && string(line) == want && len(left) == 0 {
			if text, _ := json.Marshal(f); !strings.Contains(string(text), `"loyaltyTier"`) || !strings.Contains(string(text), `"gold"`) {
				t.Errorf("Fluent has %s, without the partner's attribute", text)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("in Fluent: %v, welcomed %q, %d files left", ok, line, len(left))
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = run.Process.Signal(os.Interrupt)
	if err := run.Wait(); err != nil {
		t.Errorf("stopped with %v, want exit 0; it said:\n%s", err, said.String())
	}
}

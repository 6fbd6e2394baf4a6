//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// population is how many customers the commercetools from npm has.
const population = 2000

// A shop is ct2fluent between the commercetools from npm and Fluent's stand-in.
type shop struct {
	*side
	dir, binary string
	fluent      *sandbox.Fluent
}

func newShop(t *testing.T, base string) *shop {
	t.Helper()
	s := &shop{side: newSide(t, base), dir: t.TempDir()}
	s.binary = filepath.Join(s.dir, "ct2fluent")
	if out, err := exec.Command("go", "build", "-o", s.binary, "../cmd/ct2fluent").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s.fluent = must(sandbox.NewFluent(sandbox.FluentOptions{Account: "ACME", ClientID: "client"}))(t)
	server := must(sandbox.Start(context.Background(), "", s.fluent))(t)
	t.Cleanup(server.Close)
	yml := fmt.Sprintf(`
fluent-connect: { listeners: { push: { type: webhook, address: "127.0.0.1:0", token: token } } }
accounts:
  - commercetools: { project-key: shop, api-url: %q, auth-url: %q, client-id: client, client-secret: secret }
    fluent: { base-url: %q, account: ACME, retailer-id: "1", client-id: client, client-secret: secret, username: user, password: password }
control: { address: "127.0.0.1:0" }
`, base, base, server.URL)
	if err := os.WriteFile(filepath.Join(s.dir, "application-connector.yml"), []byte(yml), 0o600); err != nil {
		t.Fatal(err)
	}
	log := must(os.Create(filepath.Join(s.dir, "run.log")))(t)
	run := exec.Command(s.binary, "run")
	run.Dir, run.Stderr = s.dir, log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Signal(os.Interrupt)
		if err := run.Wait(); err != nil {
			t.Errorf("stopped with %v", err)
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the process said:\n%s", text[max(0, len(text)-4000):])
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, code := s.verb("status"); code == 0 {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal("the process does not start")
		}
	}
}

// verb runs a verb to its end, and gives what it says and its exit code.
func (s *shop) verb(args ...string) (string, int) {
	s.t.Helper()
	cmd := exec.Command(s.binary, args...)
	cmd.Dir = s.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out.String(), exit.ExitCode()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return out.String(), 0
}

// says runs a verb, whose exit code and last line have to be these.
func (s *shop) says(code int, want string, args ...string) string {
	s.t.Helper()
	out, got := s.verb(args...)
	if got != code || !regexp.MustCompile(want+`\s*$`).MatchString(out) {
		s.t.Fatalf("%v: exit code %d, want %d and %q:\n%s", args, got, code, want, out[max(0, len(out)-2000):])
	}
	return out
}

// firstNames are those of Fluent, by commercetools' ids.
func (s *shop) firstNames() map[string]string {
	names := map[string]string{}
	s.fluent.Each(func(doc map[string]any) { names[attribute(doc, "commercetoolsId")] = fmt.Sprint(doc["firstName"]) })
	return names
}

// The commercetools from npm is the other side of a bulk run and of sync, as
// long as its order of insertion is that of the ids: it filters by id > "…",
// and its HTTP side leaves sort out.
func TestBulkFromTheMock(t *testing.T) {
	s := newShop(t, mock(t, fmt.Sprint(population)))
	s.says(0, `done: 2000 read: 2000 to create, 0 to update, 0 equal, 0 skipped, 0 dead\n(?s:.*)`, "bulk", "customers", "--dry-run")
	s.says(0, `done: 2000 read: 2000 written, 0 unchanged, 0 skipped, 0 dead`, "bulk", "customers")
	names := s.firstNames()
	for i := range population {
		if id := fmt.Sprintf("00000000-0000-4000-8000-%012d", i); names[id] != fmt.Sprint("First", i) {
			t.Fatalf("customer %d is %q in Fluent", i, names[id])
		}
	}
	s.says(0, `done: 2000 read: 0 written, 0 unchanged, 2000 skipped, 0 dead`, "bulk", "customers")

	id := "00000000-0000-4000-8000-000000001234"
	s.do("POST", "customers/"+id, `{"version":1,"actions":[{"action":"setFirstName","firstName":"Jane"}]}`, "")
	s.says(0, id+` written, version 2`, "sync", id)
	if got := s.firstNames()[id]; got != "Jane" {
		t.Errorf("after sync the first name is %q", got)
	}
	s.says(0, `done: 2000 read: 0 written, 0 unchanged, 2000 skipped, 0 dead`, "bulk", "customers")
}

// Ids that are made at random lie in no order: pages by id > "…" would lose
// customers. The run notices before it puts any, and says what it means; sync,
// which reads by id, brings them all the same.
func TestBulkFromTheMockThatDoesNotSort(t *testing.T) {
	s := newShop(t, mock(t))
	var ids []string
	for i := range population {
		s.do("POST", "customers", fmt.Sprintf(`{"email":"c%d@example.com","password":"p","firstName":"First%d"}`, i, i), "one")
		ids = append(ids, s.is["one"])
	}
	out := s.says(1, `(?s:.*)`, "bulk", "customers")
	if !strings.Contains(out, "bulk-1 failed") || !strings.Contains(out, "does not sort") || !strings.Contains(out, "api-url") {
		t.Errorf("it says %q", out)
	}
	if n := len(s.firstNames()); n != 0 {
		t.Errorf("%d customers were put", n)
	}
	for _, some := range [][]string{ids[:population/2], ids[population/2:]} {
		out := s.says(0, `written, version \d+`, append([]string{"sync"}, some...)...)
		if n := strings.Count(out, " written, version "); n != len(some) {
			t.Errorf("sync says of %d of %d customers that they are written", n, len(some))
		}
	}
	names := s.firstNames()
	for i, id := range ids {
		if names[id] != fmt.Sprint("First", i) {
			t.Fatalf("customer %d is %q in Fluent", i, names[id])
		}
	}
}

package ct2fluent_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The floors of the house: a package imports lower floors only, and two of one
// floor do not know each other.
var floors = map[string]int{
	"api": 0, "keypair": 0,
	"": 1, "commercetools": 1, "fluent": 1, "store": 1, "store/storetest": 1,
	"inbox": 2, "job": 2, "inbox/sqs": 2, "inbox/webhook": 2, "inbox/poll": 2, "inbox/sourcetest": 2, "inbox/sendertest": 2,
	"queue": 2, "queue/queuetest": 2, "ledger": 2, "ledger/ledgertest": 2, "route": 2, "customer": 2, "control": 2, "outside": 2, "sandbox": 2,
	"app": 3, "proof/model": 3, "std": 4, "cmd/ct2fluent": 5, "bench": 5,
	"proof/check": 5, "proof": 6,
}

const module = "github.com/ct2fluent/ct2fluent"

func TestFloors(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (name == "examples" || name == "e2e" || name == "bench/rival" || d.Name() == "testdata" || name != "." && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		name = filepath.ToSlash(name)
		dir := path.Dir(name)
		if dir == "." {
			dir = ""
		}
		floor, ok := floors[dir]
		if !ok {
			t.Errorf("%s stands on no floor: give its folder one", name)
			return nil
		}
		seen[dir] = true
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			if p != module && !strings.HasPrefix(p, module+"/") {
				continue
			}
			other := strings.TrimPrefix(strings.TrimPrefix(p, module), "/")
			if under, ok := floors[other]; !ok || under >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", name, floor, p, under)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range floors {
		if !seen[dir] {
			t.Errorf("floor of %q, which is not there", dir)
		}
	}
}

package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the file holds, it loads or is refused with a place; what loads is
// printed as a file that says the same; no secret of the environment shows.
func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		files, err := filepath.Glob("testdata/config/" + dir + "/*.yml")
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add([]byte(complete(text)))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig("a.yml", text, testOptions(nil))
		if err != nil {
			var ce *ConfigError
			if !errors.As(err, &ce) || len(ce.Problems) == 0 {
				t.Fatalf("got %v", err)
			}
			for _, p := range ce.Problems {
				if p.Where.File != "a.yml" || p.Where.Line < 1 || p.What == "" {
					t.Errorf("no place or no text: %+v", p)
				}
			}
			if strings.Contains(err.Error(), "hush") && !strings.Contains(string(text), "hush") {
				t.Errorf("a secret is in %v", err)
			}
			return
		}
		first := printed(t, c)
		if strings.Contains(first, "${") {
			return // a literal ${ is printed as it is
		}
		again, err := parseConfig("b.yml", []byte(first), testOptions(nil))
		if err != nil {
			t.Fatalf("printed\n%s\nwhich is refused: %v", first, err)
		}
		if second := printed(t, again); second != first {
			t.Errorf("printed\n%s\nand again\n%s", first, second)
		}
	})
}

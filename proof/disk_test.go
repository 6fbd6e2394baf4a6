package main

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// x is a text as strace -xx writes it.
func x(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		b.WriteString(`\x` + hex.EncodeToString([]byte{c}))
	}
	return b.String()
}

// at is a descriptor with its path as strace -y -xx writes it.
func at(n int, path string) string { return fmt.Sprintf("%d<%s>", n, x(path)) }

const made = "O_RDWR|O_CREAT|O_CLOEXEC, 0600"

func opens(n int, path, flags string) string {
	return fmt.Sprintf(`7 openat(AT_FDCWD<%s>, "%s", %s) = %s`, x("/"), x(path), flags, at(n, path))
}

func writes(n int, path, text string) string {
	return fmt.Sprintf(`7 write(%s, "%s", %d) = %d`, at(n, path), x(text), len(text), len(text))
}

func syncs(n int, path string) string { return fmt.Sprintf(`7 fsync(%s) = 0`, at(n, path)) }

// What a loss of power after a trace leaves when all that is not certain is
// lost.
func TestLeave(t *testing.T) {
	const f, g = "/s/f", "/s/g"
	begun := fmt.Sprintf(`8 fsync(%s <unfinished ...>`, at(3, f))
	tests := []struct {
		name  string
		trace []string
		want  map[string]string
	}{
		{"what was synced", []string{opens(3, f, made), writes(3, f, "ab"), syncs(3, f)}, map[string]string{"f": "ab"}},
		{"what was not", []string{opens(3, f, made), writes(3, f, "ab")}, map[string]string{}},
		{"what was written after the sync", []string{opens(3, f, made), writes(3, f, "ab"), syncs(3, f), writes(3, f, "cd")}, map[string]string{"f": "ab"}},
		{"what was written while it synced", []string{opens(3, f, made), writes(3, f, "ab"), begun, writes(3, f, "cd"), "8 <... fsync resumed>) = 0"}, map[string]string{"f": "ab"}},
		{"a sync that has not returned", []string{opens(3, f, made), writes(3, f, "ab"), begun}, map[string]string{}},
		{"a sync that failed", []string{opens(3, f, made), writes(3, f, "ab"), fmt.Sprintf(`7 fsync(%s) = -1 EIO (Input/output error)`, at(3, f))}, map[string]string{}},
		{"another file's sync makes the name certain, not what is in it",
			[]string{opens(3, f, made), writes(3, f, "ab"), opens(4, g, made), syncs(4, g)}, map[string]string{"f": "", "g": ""}},
		{"a sync of all", []string{opens(3, f, made), writes(3, f, "ab"), fmt.Sprintf(`7 syncfs(%s) = 0`, at(9, "/s"))}, map[string]string{"f": "ab"}},
		{"a file that syncs by itself", []string{opens(3, f, "O_RDWR|O_CREAT|O_SYNC, 0600"), opens(4, g, made), syncs(4, g), writes(3, f, "ab")}, map[string]string{"f": "ab", "g": ""}},
		{"in the middle of a file", []string{opens(3, f, made), writes(3, f, "abcd"), fmt.Sprintf(`7 pwrite64(%s, "%s", 1, 1) = 1`, at(3, f), x("X")), syncs(3, f)},
			map[string]string{"f": "aXcd"}},
		{"where it was sought", []string{opens(3, f, made), writes(3, f, "abcd"), fmt.Sprintf(`7 lseek(%s, 2, SEEK_SET) = 2`, at(3, f)), writes(3, f, "X"), syncs(3, f)},
			map[string]string{"f": "abXd"}},
		{"at the end", []string{opens(3, f, made), writes(3, f, "ab"), opens(4, f, "O_WRONLY|O_APPEND|O_CLOEXEC"), writes(4, f, "cd"), syncs(4, f)}, map[string]string{"f": "abcd"}},
		{"in parts", []string{opens(3, f, made), fmt.Sprintf(`7 writev(%s, [{iov_base="%s", iov_len=2}, {iov_base="%s", iov_len=1}], 2) = 3`, at(3, f), x("ab"), x("c")), syncs(3, f)},
			map[string]string{"f": "abc"}},
		{"cut shorter", []string{opens(3, f, made), writes(3, f, "abcd"), fmt.Sprintf(`7 ftruncate(%s, 1) = 0`, at(3, f)), syncs(3, f)}, map[string]string{"f": "a"}},
		{"put in the place of another, and not synced before", []string{
			opens(3, f, made), writes(3, f, "old"), syncs(3, f), opens(4, g, made), writes(4, g, "new"),
			fmt.Sprintf(`7 renameat(AT_FDCWD<%s>, "%s", AT_FDCWD<%s>, "%s") = 0`, x("/"), x(g), x("/"), x(f)), syncs(3, f)}, map[string]string{"f": ""}},
		{"put in the place of another in order", []string{
			opens(3, f, made), writes(3, f, "old"), syncs(3, f), opens(4, g, made), writes(4, g, "new"), syncs(4, g),
			fmt.Sprintf(`7 renameat(AT_FDCWD<%s>, "%s", AT_FDCWD<%s>, "%s") = 0`, x("/"), x(g), x("/"), x(f))}, map[string]string{"f": "old", "g": "new"}},
		{"removed", []string{opens(3, f, made), opens(4, g, made), fmt.Sprintf(`7 unlinkat(AT_FDCWD<%s>, "%s", 0) = 0`, x("/"), x(f)), syncs(4, g)}, map[string]string{"g": ""}},
		{"opened while its number was given back", []string{opens(3, g, made),
			strings.TrimSuffix(strings.Replace(opens(3, f, made), "7 ", "8 ", 1), ") = "+at(3, f)) + " <unfinished ...>",
			fmt.Sprintf(`7 close(%s) = 0`, at(3, g)), "8 <... openat resumed>) = " + at(3, f), writes(3, f, "ab"), syncs(3, f)},
			map[string]string{"f": "ab", "g": ""}},
		{"elsewhere", []string{opens(3, "/elsewhere", made), writes(3, "/elsewhere", "ab"), syncs(3, "/elsewhere")}, map[string]string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := traced(t, test.trace)
			got := left(t, d, len(test.trace)+1, nil)
			if !maps.Equal(got, test.want) {
				t.Errorf("left %q, want %q", got, test.want)
			}
		})
	}
}

func traced(t *testing.T, trace []string) *disk {
	t.Helper()
	calls, err := parseTrace(strings.NewReader(strings.Join(trace, "\n") + "\n7 +++ exited with 0 +++\n"))
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk("/s")
	for _, c := range calls {
		if err := d.do(c); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func left(t *testing.T, d *disk, cut int, rng *rand.Rand) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := d.leave(cut, rng, dir); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name()] = string(text)
	}
	return got
}

// At random, all of what is certain is there, and of the rest now this and now
// that.
func TestLeaveAtRandom(t *testing.T) {
	const f = "/s/f"
	long := strings.Repeat("y", 3*sector)
	d := traced(t, []string{opens(3, f, made), writes(3, f, "certain"), syncs(3, f), writes(3, f, long)})
	seen := map[int]bool{}
	for seed := range uint64(100) {
		got := left(t, d, 5, rand.New(rand.NewPCG(seed, 1)))["f"]
		if !strings.HasPrefix(got, "certain") {
			t.Fatalf("left %q", got)
		}
		seen[len(got)] = true
	}
	if len(seen) < 3 || !seen[7] || !seen[7+len(long)] {
		t.Errorf("lengths left: %v", seen)
	}
}

// What a trace does not show must not be taken for what did not happen.
func TestDiskRefuses(t *testing.T) {
	const f = "/s/f"
	for _, line := range []string{
		fmt.Sprintf(`7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, %s, 0) = 0x7f00`, at(3, f)),
		fmt.Sprintf(`7 fallocate(%s, 0, 0, 4096) = 0`, at(3, f)),
		fmt.Sprintf(`7 write(%s, "%s", 1) = 1`, at(5, f), x("a")),
	} {
		calls, err := parseTrace(strings.NewReader(opens(3, f, made) + "\n" + line + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		d := newDisk("/s")
		if err := d.do(calls[0]); err != nil {
			t.Fatal(err)
		}
		if err := d.do(calls[1]); err == nil {
			t.Errorf("%s was followed", line)
		}
	}
}

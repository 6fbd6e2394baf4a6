package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A disk is what a traced process did to the files of a directory, so that it
// can be told what of it a loss of power would leave.
//
// What is certain is only what a sync that has returned covered: of a file the
// writes that had returned when it began; of the names (made, renamed, removed)
// those before any sync of any file, in their order, as every journal has it.
// Anything else may be there, or not, or in part.
type disk struct {
	root  string
	files []*file
	names []naming
	syncs []syncing
	open  map[int]*opened
	at    map[string]*file // as the process sees it
}

type file struct {
	n      int
	writes []writing
	size   int64
}

// A writing is a write, or where data is nil a change of the size to off.
type writing struct {
	begin, end int
	off        int64
	data       []byte
	durable    bool // by itself: the file was opened so
}

// A naming makes, renames or removes a name.
type naming struct {
	begin, end int
	what       string // file, dir, rename, remove
	path, to   string
	file       *file
}

// A syncing covers a file, or all where it is nil.
type syncing struct {
	begin, end int
	file       *file
}

type opened struct {
	file   *file
	pos    int64
	append bool
	sync   bool
}

func newDisk(root string) *disk {
	return &disk{root: root, open: map[int]*opened{}, at: map[string]*file{}}
}

// in tells whether a path is in the directory.
func (d *disk) in(path string) bool {
	return path == d.root || strings.HasPrefix(path, d.root+"/")
}

// do follows one call. It is an error if it cannot be followed.
func (d *disk) do(c *sysCall) error {
	n, path := fd(c.arg(0))
	switch c.name {
	case "openat", "open", "creat":
		if c.result >= 0 {
			d.opens(c)
		}
		return nil
	case "close":
		delete(d.open, n)
		return nil
	case "mkdirat", "mkdir":
		if path := d.pathArg(c, 0); d.in(path) && c.result == 0 {
			d.names = append(d.names, naming{c.begin, c.end, "dir", path, "", nil})
		}
		return nil
	case "renameat", "renameat2", "rename":
		from, to := d.pathArg(c, 0), d.pathArg(c, 1)
		if d.in(from) && c.result == 0 {
			d.names = append(d.names, naming{c.begin, c.end, "rename", from, to, nil})
			rename(d.at, from, to)
		}
		return nil
	case "unlinkat", "unlink", "rmdir":
		if path := d.pathArg(c, 0); d.in(path) && c.result == 0 {
			d.names = append(d.names, naming{c.begin, c.end, "remove", path, "", nil})
			delete(d.at, path)
		}
		return nil
	case "syncfs", "sync":
		if c.result == 0 {
			d.syncs = append(d.syncs, syncing{c.begin, c.end, nil})
		}
		return nil
	case "mmap":
		if _, path := fd(c.arg(4)); d.in(path) && strings.Contains(c.arg(3), "MAP_SHARED") && strings.Contains(c.arg(2), "PROT_WRITE") {
			return fmt.Errorf("%s is written through memory, which a trace does not see", path)
		}
		return nil
	}
	if !d.in(path) {
		return nil
	}
	o := d.open[n]
	if o == nil {
		return fmt.Errorf("%s of a descriptor of %s that nobody opened", c.name, path)
	}
	switch c.name {
	case "lseek":
		o.pos = c.result
	case "read", "readv":
		o.pos += max(0, c.result)
	case "pread64":
	case "write", "writev", "pwrite64", "pwritev", "pwritev2":
		text := c.bytes()
		if c.result >= 0 {
			text = text[:min(len(text), int(c.result))]
		}
		off := o.pos
		if strings.HasPrefix(c.name, "p") {
			off = c.number(len(c.args) - 1)
		} else if o.append {
			off = o.file.size
		}
		o.file.writes = append(o.file.writes, writing{c.begin, c.end, off, []byte(text), o.sync})
		o.file.size = max(o.file.size, off+int64(len(text)))
		if !strings.HasPrefix(c.name, "p") {
			o.pos = off + int64(len(text))
		}
	case "ftruncate":
		o.file.truncate(c, c.number(1))
	case "fsync", "fdatasync":
		if c.result == 0 {
			d.syncs = append(d.syncs, syncing{c.begin, c.end, o.file})
		}
	default:
		return fmt.Errorf("%s of %s, which cannot be followed", c.name, path)
	}
	return nil
}

func (f *file) truncate(c *sysCall, size int64) {
	f.writes = append(f.writes, writing{begin: c.begin, end: c.end, off: size})
	f.size = size
}

// pathArg is the i-th path of a call, which may stand behind a descriptor.
func (d *disk) pathArg(c *sysCall, i int) string {
	at := i
	if strings.HasSuffix(c.name, "at") || strings.HasSuffix(c.name, "at2") {
		at = 2*i + 1
		if path := data(c.arg(at)); !filepath.IsAbs(path) {
			_, dir := fd(c.arg(at - 1))
			return filepath.Join(dir, path)
		}
	}
	return filepath.Clean(data(c.arg(at)))
}

func (d *disk) opens(c *sysCall) {
	path := c.path
	if !d.in(path) {
		delete(d.open, int(c.result))
		return
	}
	flags := strings.Join(c.args, " ")
	f := d.at[path]
	if strings.Contains(flags, "O_DIRECTORY") {
		f = &file{} // only ever synced
	}
	if f == nil {
		f = &file{n: len(d.files)}
		d.files = append(d.files, f)
		// A directory that is opened without saying so makes no name.
		if strings.Contains(flags, "O_CREAT") {
			d.at[path] = f
			d.names = append(d.names, naming{c.begin, c.end, "file", path, "", f})
		}
	}
	if strings.Contains(flags, "O_TRUNC") && f.size > 0 {
		f.truncate(c, 0)
	}
	d.open[int(c.result)] = &opened{file: f, append: strings.Contains(flags, "O_APPEND"), sync: strings.Contains(flags, "SYNC")}
}

func rename[T any](at map[string]T, from, to string) {
	for path, v := range at {
		if path == from || strings.HasPrefix(path, from+"/") {
			delete(at, path)
			at[to+strings.TrimPrefix(path, from)] = v
		}
	}
}

// covered tells whether a sync that had returned before cut covers what was
// done by end.
func (d *disk) covered(f *file, end, cut int) bool {
	return slices.ContainsFunc(d.syncs, func(s syncing) bool {
		return s.begin > end && s.end < cut && (f == nil || s.file == nil || s.file == f)
	})
}

const sector = 512

// leave writes into a directory what a loss of power at a line of the trace
// leaves. Without rng all that is not certain is lost; with it, each thing
// may be there, or in part.
func (d *disk) leave(cut int, rng *rand.Rand, dir string) error {
	at, dirs := map[string]*file{}, map[string]bool{}
	extra := 0 // names that are there without being certain
	if rng != nil {
		extra = rng.IntN(8)
	}
	for _, n := range d.names {
		if n.begin >= cut {
			continue
		}
		if !d.covered(nil, n.end, cut) {
			if extra--; extra < 0 {
				break
			}
		}
		switch n.what {
		case "dir":
			dirs[n.path] = true
		case "file":
			at[n.path] = n.file
		case "rename":
			delete(at, n.to)
			rename(at, n.path, n.to)
			rename(dirs, n.path, n.to)
		case "remove":
			delete(at, n.path)
			delete(dirs, n.path)
		}
	}
	to := func(path string) string { return filepath.Join(dir, strings.TrimPrefix(path, d.root)) }
	for path := range dirs {
		if err := os.MkdirAll(to(path), 0o700); err != nil {
			return err
		}
	}
	for path, f := range at {
		if err := os.MkdirAll(filepath.Dir(to(path)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(to(path), d.content(f, cut, rng), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) content(f *file, cut int, rng *rand.Rand) []byte {
	var content []byte
	for _, w := range f.writes {
		if w.begin >= cut {
			break
		}
		data, off := w.data, w.off
		if !(w.durable && w.end < cut) && !d.covered(f, w.end, cut) {
			if rng == nil || rng.IntN(2) == 0 {
				continue
			}
			// Sectors are written one by one, the last ones perhaps not.
			if len(data) > 0 && rng.IntN(2) == 0 {
				end := (off+int64(rng.IntN(len(data))))/sector*sector - off
				data = data[:max(0, end)]
			}
		}
		if w.data == nil {
			content = resize(content, off)
			continue
		}
		if need := off + int64(len(data)); need > int64(len(content)) {
			content = resize(content, need)
		}
		copy(content[off:], data)
	}
	return content
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b[:n]
	}
	return append(b, make([]byte, n-int64(len(b)))...)
}

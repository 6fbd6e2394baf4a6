// Command proof proves the promises with real processes on a real disk, between
// the stand-ins of both sides, against whatever goes wrong.
//
//	go run ./proof              the short form, a few minutes
//	go run ./proof -long        the long form, an hour and more
//	go run ./proof -only kill,power
//	go run ./proof -only soak -soak 1h
//
// Each proof makes changes in commercetools' stand-in, lets something happen,
// and has package check decide from everything that is known whether a promise
// was broken. One that was broken is told on standard error, what belongs to it
// is left where that says, and the exit code is 1. A proof that this machine
// cannot run (it needs root, or a program that is not there) is skipped and
// says why; with -strict that is a failure, too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// A proof is one of those below.
type proof struct {
	name  string
	about string
	run   func(ctx context.Context, p *prover) error
}

var proofs = []proof{
	{"kill", "kill -9 at every moment", kill},
	{"power", "what a loss of power leaves", power},
	{"wire", "faults on the wire", wire},
	{"poll", "no queue at all: commercetools is asked, and kill -9", poll},
	{"disorder", "notifications, reads and answers in disorder", disorder},
	{"bulk", "a run over all customers, killed on its way", bulk},
	{"soak", "an hour of load and faults: what a process takes stays flat", soak},
	{"subscription", "a subscription that stops, and delivers again", subscription},
	{"drift", "faults planted in Fluent: found, mended, found no more", drift},
	{"resources", "too little of everything, or too much", resources},
}

// errSkipped says that a proof cannot run here.
var errSkipped = errors.New("skipped")

func skip(why string) error { return fmt.Errorf("%w: %s", errSkipped, why) }

// A prover is what a proof has at hand.
type prover struct {
	dir    string // for what it writes
	binary string
	long   bool
	device bool
	strict bool
	seed   uint64
	out    io.Writer
	// soakFor is how long the soak takes; 0: as the form has it.
	soakFor time.Duration
	// customers are those of bulk; 0: as the form has it.
	customers int

	mu    sync.Mutex
	notes []string
	keep  bool
}

// kept leaves what lies in dir for a person: it belongs to a violation.
func (p *prover) kept() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = true
}

// note adds a figure to the table.
func (p *prover) note(format string, v ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notes = append(p.notes, fmt.Sprintf(format, v...))
}

// say tells a person how it goes.
func (p *prover) say(format string, v ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "  "+format+"\n", v...)
}

// pick is short or long.
func pick[T any](p *prover, short, long T) T {
	if p.long {
		return long
	}
	return short
}

// abreast does something for each of a list, a few at once, and tells all that
// failed.
func abreast[T any](atOnce int, list []T, do func(T) error) error {
	errs := make([]error, len(list))
	places := make(chan struct{}, atOnce)
	var doing sync.WaitGroup
	for i, v := range list {
		places <- struct{}{}
		doing.Go(func() {
			errs[i] = do(v)
			<-places
		})
	}
	doing.Wait()
	return errors.Join(errs...)
}

func main() {
	var names []string
	for _, p := range proofs {
		names = append(names, p.name)
	}
	only := flag.String("only", "", "the proofs to run, with commas: "+strings.Join(names, ", "))
	long := flag.Bool("long", false, "the long form")
	flag.Bool("short", true, "the short form; the default")
	device := flag.Bool("device", false, "power: on a file system of its own as well; needs root")
	strict := flag.Bool("strict", os.Getenv("CI") != "", "a proof that cannot run here is a failure; the default where CI is set")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of everything that is random here; when processes run is not")
	soakFor := flag.Duration("soak", 0, "how long the soak takes; default 40s, an hour with -long")
	customers := flag.Int("customers", 0, "how many customers bulk has; default 6,000, 100,000 with -long")
	binary := flag.String("binary", "", "the ct2fluent to be proved; default: built from this tree")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	code, err := run(ctx, options{*only, *long, *device, *strict, *seed, *soakFor, *customers, *binary})
	if err != nil {
		fmt.Fprintln(os.Stderr, "proof:", err)
	}
	cancel()
	os.Exit(code)
}

type options struct {
	only                 string
	long, device, strict bool
	seed                 uint64
	soakFor              time.Duration
	customers            int
	binary               string
}

func run(ctx context.Context, o options) (code int, err error) {
	chosen, err := choose(o.only)
	if err != nil {
		return 2, err
	}
	// Everything is on loopback, also what a name server of ours gives a name.
	if err := os.Setenv("NO_PROXY", "*"); err != nil {
		return 3, err
	}
	dir, err := os.MkdirTemp("", "ct2fluent-proof-*")
	if err != nil {
		return 3, err
	}
	keep := false
	defer func() {
		if !keep {
			_ = os.RemoveAll(dir)
		}
	}()
	if o.binary == "" {
		o.binary = filepath.Join(dir, "ct2fluent")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/ct2fluent/ct2fluent/cmd/ct2fluent")
		if out, err := build.CombinedOutput(); err != nil {
			return 3, fmt.Errorf("build ct2fluent: %w\n%s", err, out)
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROOF\tRESULT\tTOOK\tOF WHAT")
	fmt.Printf("seed %d\n", o.seed)
	for _, one := range chosen {
		fmt.Printf("%s: %s\n", one.name, one.about)
		p := &prover{
			binary: o.binary, long: o.long, device: o.device, strict: o.strict, seed: o.seed, soakFor: o.soakFor, customers: o.customers, out: os.Stdout,
		}
		if p.dir, err = os.MkdirTemp(dir, one.name+"-*"); err != nil {
			return 3, err
		}
		begin := time.Now()
		err := one.run(ctx, p)
		if ctx.Err() != nil {
			return 1, errors.New("interrupted")
		}
		result := "holds"
		switch {
		case errors.Is(err, errSkipped):
			result = "skipped"
			p.note("%v", err)
			if o.strict {
				code = 1
			}
		case err != nil:
			result, code = "BROKEN", 1
			fmt.Fprintf(os.Stderr, "%s: %v\n", one.name, err)
		}
		keep = keep || p.keep
		if !p.keep {
			_ = os.RemoveAll(p.dir)
		}
		fmt.Fprintf(table, "%s\t%s\t%v\t%s\n", one.name, result, time.Since(begin).Round(time.Second), strings.Join(p.notes, "; "))
	}
	return code, table.Flush()
}

// choose finds the proofs of a list of names; an empty one is of all.
func choose(names string) ([]proof, error) {
	if names == "" {
		return proofs, nil
	}
	var chosen []proof
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(proofs, func(p proof) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no proof %q", name)
		}
		chosen = append(chosen, proofs[i])
	}
	return chosen, nil
}

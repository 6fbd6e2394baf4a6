// Command bench measures ct2fluent beside a rival and shows what each costs.
//
// Every run has fresh stand-ins of both APIs in a process of their own, a
// backlog that is on disk before the contender starts, and a contender in a
// process of its own: the stock binary, the rival (bench/rival), the plain
// pattern, or the bare loop, which sends the product's calls without queue or
// ledger. Runs of one case are interleaved; the table has medians and ranges.
//
// The files: main.go is the command line, cases.go and a file for each of the
// larger cases say what is run, product.go, rival.go, plain.go and bare.go are
// the contenders, standins.go, meter.go and verdict.go the other process,
// stats.go, report.go and table.go what comes out.
//
// No speed decides the exit code. A wrong result of the product does:
// customers missing, twice, stale or unequal, or a ledger that does not add up.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are those of the command line.
type options struct {
	cases []string
	runs  int
	short bool
	long  bool
	plain bool
	rival bool
	json  string
	// profile is a directory for CPU profiles of the product; empty: none.
	profile string
}

// A bench is one run of the command.
type bench struct {
	options
	tmp     string // for all that is built and written
	stock   string // the product's binary
	rivals  string // the rival's binary; empty: there is none
	started int    // directories given out
	report  *Report
	say     io.Writer
}

func run(ctx context.Context, args []string, out, say io.Writer) error {
	if len(args) == 1 && children()[args[0]] != nil {
		return children()[args[0]](ctx, json.NewDecoder(os.Stdin))
	}
	b := &bench{say: say}
	if err := b.parse(args, say); err != nil {
		return err
	}
	var err error
	if b.tmp, err = os.MkdirTemp("", "ct2fluent-bench-"); err != nil {
		return err
	}
	where := b.json
	if where == "" {
		// It outlives the directory of the run.
		where = filepath.Join(os.TempDir(), "bench.json")
	}
	defer os.RemoveAll(b.tmp)
	if err := b.build(ctx); err != nil {
		return err
	}
	b.report = newReport(b.options)
	for _, c := range cases() {
		if !slices.ContainsFunc(c.names, func(n string) bool { return slices.Contains(b.cases, n) }) {
			continue
		}
		if ctx.Err() != nil {
			break // what there is is printed
		}
		began := time.Now()
		b.told("== %s", strings.Join(c.names, ", "))
		if err := c.run(b, ctx); err != nil {
			b.report.wrong("case %s did not end: %v", c.names[0], err)
		}
		b.told("   %.0f s", time.Since(began).Seconds())
	}
	text, err := json.MarshalIndent(b.report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(where, append(text, '\n'), 0o600); err != nil {
		return err
	}
	if err := b.report.print(out); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nas JSON: %s\n", where)
	if n := len(b.report.Wrong); n > 0 {
		return fmt.Errorf("%d wrong results", n)
	}
	return nil
}

func (b *bench) parse(args []string, say io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(say)
	var names []string
	for _, c := range cases() {
		names = append(names, c.names...)
	}
	only := f.String("case", "", "run only these, by commas: "+strings.Join(names, ", "))
	f.IntVar(&b.runs, "runs", 3, "runs of each contender")
	f.BoolVar(&b.short, "short", false, "small numbers and one run: for the results, not the speed")
	f.BoolVar(&b.long, "long", false, "with a million customers where a case has it")
	f.BoolVar(&b.plain, "plain", false, "the plain pattern in full")
	f.BoolVar(&b.rival, "rival", true, "run the rival")
	f.StringVar(&b.profile, "profile", "", "directory for CPU profiles of the product at its backlogs; they cost some speed")
	f.StringVar(&b.json, "json", "", "file for the figures (default bench.json in the system's directory for temporary files)")
	if err := f.Parse(args); err != nil {
		return err
	}
	b.cases = names
	if *only != "" {
		b.cases = strings.Split(*only, ",")
	}
	for _, n := range b.cases {
		if !slices.Contains(names, n) {
			return fmt.Errorf("no case %q; there are %s", n, strings.Join(names, ", "))
		}
	}
	if b.runs < 1 || f.NArg() > 0 {
		return errors.New("-runs must be at least 1, and there are no arguments but flags")
	}
	if b.short {
		b.runs = 1
	}
	return nil
}

func (b *bench) told(format string, args ...any) { fmt.Fprintf(b.say, format+"\n", args...) }

// of chooses a number: of the short bench, or the usual one.
func (b *bench) of(short, usual int) int {
	if b.short {
		return short
	}
	return usual
}

// dir makes a new directory below that of the run.
func (b *bench) dir() (string, error) {
	b.started++
	d := filepath.Join(b.tmp, fmt.Sprintf("run%d", b.started))
	return d, os.Mkdir(d, 0o700)
}

// children are the modes in which the bench starts itself. What they are to do
// is the first JSON value of their input.
func children() map[string]func(context.Context, *json.Decoder) error {
	return map[string]func(context.Context, *json.Decoder) error{
		"standins": standinsChild, "plain": plainChild, "bare": bareChild, "idle": idleChild,
	}
}

// A machine is where the figures were made.
type machine struct {
	OS, Arch, Go string
	CPUs         int
}

func thisMachine() machine {
	return machine{runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU()}
}

// Command rival does the work of ct2fluent as a pipeline on Benthos core, for
// bench to compare with: see README.md. It lives in a module of its own, so
// that nothing of it is a dependency of the product.
//
//	rival fill --store DIR < notifications.jsonl
//	rival run --store DIR --commercetools URL … --threads 64 --merge 0
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
	"syscall"
	"time"
)

func main() {
	// SIGTERM ends a run in order; a second one ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := command(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rival:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: rival fill|run --store DIR …")

// A report is what run prints.
type report struct {
	Notifications uint64  `json:"notifications"`
	Settled       uint64  `json:"settled"` // acknowledged, the dead included
	Dead          uint64  `json:"dead"`
	Seconds       float64 `json:"seconds"` // first fetch to last acknowledgement on disk
	CPUSeconds    float64 `json:"cpu_seconds"`
	MaxRSS        int64   `json:"max_rss_bytes"`
}

func command(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	if len(args) == 0 {
		return errUsage
	}
	var o options
	f := flag.NewFlagSet("rival "+args[0], flag.ContinueOnError)
	f.StringVar(&o.store, "store", "", "directory of the streams")
	if args[0] == "run" {
		o.flags(f)
	}
	if err := f.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.store == "" || f.NArg() > 0 {
		return errUsage
	}
	switch args[0] {
	case "fill":
		return fill(ctx, o.store, in)
	case "run":
		r, err := run(ctx, o)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(r)
	}
	return errUsage
}

// options are the flags of run.
type options struct {
	store                  string
	commercetools, auth    string // base URLs
	project                string
	fluent                 string // base URL
	account, retailer      string
	clientID, clientSecret string // of both sides
	username, password     string
	threads, merge         int
	ca                     string
	stay                   bool
	ackWait                time.Duration
}

func (o *options) flags(f *flag.FlagSet) {
	f.StringVar(&o.commercetools, "commercetools", "", "base URL of the API")
	f.StringVar(&o.auth, "commercetools-auth", "", "base URL of its tokens")
	f.StringVar(&o.project, "project", "", "project key")
	f.StringVar(&o.fluent, "fluent", "", "base URL of the account")
	f.StringVar(&o.account, "account", "", "Fluent account")
	f.StringVar(&o.retailer, "retailer", "1", "Fluent retailer id")
	f.StringVar(&o.clientID, "client-id", "", "of both sides")
	f.StringVar(&o.clientSecret, "client-secret", "", "of both sides")
	f.StringVar(&o.username, "username", "", "of the Fluent API user")
	f.StringVar(&o.password, "password", "", "of the Fluent API user")
	f.IntVar(&o.threads, "threads", 64, "customers worked at once")
	f.IntVar(&o.merge, "merge", 0, "notifications among which the newest of each customer is kept; 0: each is worked")
	f.StringVar(&o.ca, "ca", "", "PEM file of a further authority to trust")
	f.DurationVar(&o.ackWait, "ack-wait", 2*time.Minute, "after which what is not acknowledged is worked again")
	f.BoolVar(&o.stay, "stay", false, "go on when the backlog is empty, until SIGTERM")
}

package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/customer"
	"github.com/ct2fluent/ct2fluent/fluent"
	"github.com/ct2fluent/ct2fluent/ledger"
)

// A Setup is what a binary can do: which listeners it has, which handlers
// routes may name, and what is done to the mapping. std.Setup fills in what
// the stock binary has; a partner's main adds to it.
type Setup struct {
	// Version of the binary; default: that of its module.
	Version  string
	Sources  map[string]SourceType // by the listener's type
	Handlers []HandlerType
	// WrapMapping is applied to the mapping of the file. Nil leaves it as it
	// is. See [customer.Mapping.Wrap].
	WrapMapping func(m *customer.Mapping) *customer.Mapping
}

// A SourceType makes the sources of one type of listener.
type SourceType struct {
	// Options makes a pointer to the struct of the listener's options with
	// their defaults; the file is decoded into it. See [LoadOptions].
	Options func() any
	// New makes a source from what Options made. It reads files that the
	// configuration names, and does no other I/O: an error is one of the
	// configuration, and one that has a method Key() string is shown with the
	// line of that key. What a source has besides Run is used where it is there:
	//
	//	Listen() (net.Addr, error)     takes its address at the start
	//	Check(context.Context) error   asks its service, for ct2fluent check
	//	Warnings() [][2]string         what is right and deserves a thought, and what to do about it
	//	Examine(ctx, running) ([][3]string, error)
	//	                               for check: ok, warning or failed, what there is, and what to do about it
	//	Overlaps(address string) bool  cannot listen beside the HTTP side's address
	New func(options any, env SourceEnv) (ct2fluent.Source, error)
	// Join, if set, connects a source with those of its type that stand before
	// it in the file, such as ones that share an address. An error is one of
	// the configuration.
	Join func(s ct2fluent.Source, earlier []ct2fluent.Source) error
}

// A SourceEnv is what a source may use.
type SourceEnv struct {
	Name string // of the listener
	Log  *slog.Logger
	// Observe counts what a source does, by a word of its own.
	Observe func(event string, n int)
	// Reached tells up to when a source that works through the past has come:
	// the metric of its lag counts from there.
	Reached func(upTo time.Time)
	// Accounts have the clients that the handlers use, too: one limiter holds
	// for all.
	Accounts []Account
	// Marks keep small texts for all sources of the listener's type.
	Marks Marks
}

// Marks keep small texts on disk, by names: up to where a source has read. They
// are there from the start of Run on, and safe for concurrent use.
type Marks interface {
	// Mark reads a text; empty where there is none.
	Mark(ctx context.Context, name string) (string, error)
	// SetMark writes one. nil says that it is on disk.
	SetMark(ctx context.Context, name, value string) error
}

// A HandlerType makes a handler that routes may name.
type HandlerType struct {
	Name        string
	Priority    int    // of two with one name the higher works
	Description string // one line
	// New makes the handler. One that has a method Run(ctx) error as well is
	// run beside the queue until the process stops. One that has Close() error
	// is closed then, when no call is at hand any more.
	New func(env Env) (ct2fluent.Handler, error)
}

// An Env is what a handler may use: the clients and mappings of the accounts,
// and the ledger. All of it is safe for concurrent use.
type Env struct {
	Accounts []Account
	Ledger   *ledger.Ledger
	Deletes  customer.Deletes
	Observe  customer.Observe
	Log      *slog.Logger
}

// An Account is a commercetools project and the Fluent retailer it goes to,
// with a client of each that all handlers share.
type Account struct {
	Project       string
	Name          string // Fluent's account
	RetailerID    string
	Mapping       *customer.Mapping // of its customers
	Commercetools *commercetools.Client
	Fluent        *fluent.Client
}

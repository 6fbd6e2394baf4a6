package customer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A scan answers in place of a Writer's Scan.
type scan func(after string, first int) (fluent.Page, error)

type scanned struct {
	*om
	scan scan
}

func (s scanned) Scan(_ context.Context, after string, first int, _ bool) (fluent.Page, error) {
	return s.scan(after, first)
}

// emptyWorld has an empty ledger, and Fluent answers scans by f.
func emptyWorld(t *testing.T, f func(w *world) scan, options ...func(*Options)) (*world, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	var w *world
	w = newWorld(t, append(options, func(o *Options) {
		o.Accounts[0].To = scanned{o.Accounts[0].To.(*om), func(after string, first int) (fluent.Page, error) { return f(w)(after, first) }}
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})...)
	delete(w.ledger.marks, "fill/shop")
	return w, &log
}

// pages is the plain scan, a few customers a page.
func pages(n int) func(*world) scan {
	return func(w *world) scan {
		return func(after string, first int) (fluent.Page, error) {
			return w.om.Scan(context.Background(), after, min(n, first), false)
		}
	}
}

// run starts Run, and stops it when the test ends. It is called in a synctest
// bubble.
func (w *world) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() { cancel(); running.Wait() }
}

// A lost ledger cannot make second customers, also when emails have changed.
func TestEmptyLedgerIsFilledFromFluent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := emptyWorld(t, func(w *world) scan {
			return func(after string, first int) (fluent.Page, error) {
				if m := w.ledger.marks["fill/shop"]; m != markFrom+after {
					t.Errorf("a crash after this page would go on at %q, not at %q", m, after)
				}
				return pages(2)(w)(after, first)
			}
		})
		for i := range 5 {
			id := fmt.Sprintf("c%d", i)
			w.om.customers["1_old"+id] = existing("1_old"+id, id, "1")
		}
		w.om.customers["1_plain"] = existing("1_plain", "", "1")
		ns := w.crowd(1)
		w.shop.set(person("c3", 1))
		ns = append(ns, updated("c3", 1))
		if got := w.handle(t, ns...); got[0] != "held" || got[1] != "held" {
			t.Error("before the fill:", got)
		}
		stop := w.run(t)
		synctest.Wait()
		if got := w.handle(t, ns...); got[0] != "written" || got[1] != "written" {
			t.Error("after the fill:", got)
		}
		stop()
		if w.om.id("1_oldc3") != "c3" || w.om.id("1_c3@x") != "nobody" {
			t.Error("a second customer was made")
		}
		if w.ledger.marks["fill/shop"] != markDone {
			t.Error(w.ledger.marks)
		}
		if !strings.Contains(log.String(), "customers=6 with_id=5 twins=0") || strings.Contains(log.String(), "@") {
			t.Error(log.String())
		}
	})
}

func TestLedgerThatIsNotFilled(t *testing.T) {
	tests := []struct {
		name  string
		given func(w *world)
		scans int
		want  string
	}{
		{"one that remembers is not filled", func(w *world) { w.ledger.memories[ref("jane")] = ct2fluent.Memory{Floor: 1} }, 0, "written"},
		{"one that was filled and found nothing is not filled again", func(w *world) { w.ledger.marks["fill/shop"] = markDone }, 0, "written"},
		{"a stopped fill goes on, though the ledger is not empty any more", func(w *world) {
			w.ledger.memories[ref("c0")] = ct2fluent.Memory{Username: "1_a"}
			w.ledger.marks["fill/shop"] = markFrom + "1_a"
		}, 1, "written"},
		{"one that was stopped before its first page starts", func(w *world) { w.ledger.marks["fill/shop"] = markFrom }, 2, "written"},
		{"one that cannot be asked", func(w *world) { w.ledger.err = errors.New("disk gone") }, 0, "held"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				scans := 0
				w, _ := emptyWorld(t, func(w *world) scan {
					return func(after string, first int) (fluent.Page, error) { scans++; return pages(2)(w)(after, first) }
				})
				for _, u := range []string{"1_a", "1_b", "1_c"} {
					w.om.customers[u] = existing(u, "id"+u, "1")
				}
				tt.given(w)
				stop := w.run(t)
				synctest.Wait()
				w.shop.set(person("jane", 2))
				if got := w.handle(t, updated("jane", 2)); got[0] != tt.want {
					t.Error(got)
				}
				stop()
				if scans != tt.scans {
					t.Errorf("%d scans, want %d", scans, tt.scans)
				}
			})
		})
	}
}

// A fill that fails goes on when it can, says so once, and asks for smaller
// pages; those who wait are told why.
func TestFillIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []int
		var mended atomic.Bool
		w, log := emptyWorld(t, func(w *world) scan {
			return func(after string, first int) (fluent.Page, error) {
				asked = append(asked, first)
				if !mended.Load() {
					return fluent.Page{}, &fluent.Error{Operation: "scan", Kind: fluent.Down, Status: 503}
				}
				return w.om.Scan(t.Context(), after, first, false)
			}
		})
		w.om.customers["1_a"] = existing("1_a", "a", "1")
		w.shop.set(person("jane", 1))
		stop := w.run(t)
		defer stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(asked) < 10 || len(asked) > 20 || asked[0] != maxPage || asked[len(asked)-1] != minPage {
			t.Error("asked for", asked)
		}
		if n := strings.Count(log.String(), "cannot go on"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		got := w.Handle(t.Context(), []ct2fluent.Notification{updated("jane", 1)})
		if said(got[0]) != "held" || !strings.Contains(got[0].Error(), "503") {
			t.Error(got)
		}
		mended.Store(true)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := w.handle(t, updated("jane", 1)); got[0] != "written" {
			t.Error(got)
		}
	})
}

// A page that is read again after a crash meets its own usernames; only
// another username is a twin.
func TestTwinsKeepTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		twins := 0
		w, _ := emptyWorld(t, pages(2), func(o *Options) { o.Observe.Twin = func(string) { twins++ } })
		for _, u := range []string{"1_a", "1_b", "1_c", "1_d"} {
			w.om.customers[u] = existing(u, "jane", "1")
		}
		w.ledger.memories[ref("jane")] = ct2fluent.Memory{Username: "1_a"}
		w.ledger.marks["fill/shop"] = markFrom
		stop := w.run(t)
		synctest.Wait()
		stop()
		if twins != 3 || w.ledger.of("jane").Username != "1_a" {
			t.Errorf("%d twins, %+v", twins, w.ledger.of("jane"))
		}
	})
}

// The customers of another retailer carry the same ids where the project goes
// to it, too. They are not adopted, and not written.
func TestFillLeavesOtherRetailersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := emptyWorld(t, pages(2))
		w.om.customers["2_jane@x"] = existing("2_jane@x", "jane", "2")
		w.om.customers["1_joe@x"] = existing("1_joe@x", "joe", "1")
		w.om.customers["1_ann@x"] = existing("1_ann@x", "ann", "") // whose is not told
		w.shop.set(person("jane", 1))
		stop := w.run(t)
		synctest.Wait()
		stop()
		if got := w.ledger.of("jane").Username + " " + w.ledger.of("joe").Username + " " + w.ledger.of("ann").Username; got != " 1_joe@x 1_ann@x" {
			t.Errorf("filled %q", got)
		}
		if !strings.Contains(log.String(), "with_id=2 twins=0 other_retailers=1") {
			t.Error(log.String())
		}
		if got := w.handle(t, updated("jane", 1)); got[0] != "written" || w.om.id("1_jane@x") != "jane" {
			t.Error(got)
		}
		for _, one := range w.om.writes {
			if one.Username == "2_jane@x" {
				t.Error("another retailer's was written")
			}
		}
	})
}

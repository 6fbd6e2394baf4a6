package customer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// A crowd is the customers of a project in commercetools' order of ids, which
// is not that of texts.
type crowd struct {
	mu      sync.Mutex
	people  []commercetools.Customer
	fail    func(operation string) error
	pages   int
	ordered int
}

func newCrowd(n int) *crowd {
	c := &crowd{}
	for i := range n {
		p := person(fmt.Sprintf("c%d", i*7919%100003), int64(i%3+1))
		p.CreatedAt = fmt.Sprintf("2026-01-01T00:00:00.%03dZ", i%1000)
		p.LastModifiedAt = time.Date(2026, 1, 2, 0, 0, i, 0, time.UTC).Format(timeShape)
		c.people = append(c.people, p)
	}
	return c
}

func (c *crowd) failing(operation string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail == nil {
		return nil
	}
	return c.fail(operation)
}

func within(s commercetools.Selection, p *commercetools.Customer) bool {
	return (s.From == "" || p.CreatedAt >= s.From) && (s.To == "" || p.CreatedAt < s.To) && (s.Where == "" || strings.Contains(s.Where, p.ID))
}

func (c *crowd) pageOf(all []*commercetools.Customer, limit int) *commercetools.Page {
	p := &commercetools.Page{Last: len(all) < limit}
	for _, one := range all[:min(limit, len(all))] {
		body, _ := json.Marshal(one) // it is made of texts
		p.Customers, p.Bodies = append(p.Customers, *one), append(p.Bodies, body)
	}
	return p
}

func (c *crowd) Page(_ context.Context, s commercetools.Selection, after string, limit int) (*commercetools.Page, error) {
	if err := c.failing("page"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages++
	from := 0
	if after != "" {
		from = 1 + slices.IndexFunc(c.people, func(p commercetools.Customer) bool { return p.ID == after })
	}
	var all []*commercetools.Customer
	for i := from; i < len(c.people) && len(all) < limit; i++ {
		if within(s, &c.people[i]) {
			all = append(all, &c.people[i])
		}
	}
	return c.pageOf(all, limit), nil
}

func (c *crowd) Changes(_ context.Context, s commercetools.Selection, after commercetools.Mark, until string, limit int) (*commercetools.Page, error) {
	if err := c.failing("changes"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages++
	var all []*commercetools.Customer
	for i := range c.people {
		p := &c.people[i]
		if p.LastModifiedAt > after.At || p.LastModifiedAt == after.At && (after.ID == "" || p.ID > after.ID) {
			if p.LastModifiedAt <= until && within(s, p) {
				all = append(all, p)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *commercetools.Customer) int { return strings.Compare(a.LastModifiedAt, b.LastModifiedAt) })
	return c.pageOf(all, limit), nil
}

func (c *crowd) Count(_ context.Context, s commercetools.Selection) (n int, capped bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.people {
		if p := &c.people[i]; within(commercetools.Selection{From: s.From, To: s.To}, p) {
			n++
		}
	}
	return n, false, nil
}

func (c *crowd) Ranges(_ context.Context, s commercetools.Selection, n int) ([]commercetools.Selection, error) {
	var parts []commercetools.Selection
	from := s.From
	for i := 1; i < n; i++ {
		to := fmt.Sprintf("2026-01-01T00:00:00.%03dZ", i*1000/n)
		parts = append(parts, commercetools.Selection{Where: s.Where, From: from, To: to})
		from = to
	}
	return append(parts, commercetools.Selection{Where: s.Where, From: from, To: s.To}), nil
}

func (c *crowd) Ordered(context.Context, *commercetools.Page) error {
	c.mu.Lock()
	c.ordered++
	c.mu.Unlock()
	return c.failing("ordered")
}

// A table is queue, ledger and carrier of runs: what it holds outlives a kill.
type table struct {
	mu         sync.Mutex
	queue      []ct2fluent.Notification
	put        int // notifications, ever
	most       int // that waited at once
	confirming sync.Mutex
	counts     map[string]Counts
	counted    map[string]map[string]bool
	notes      map[string]string
	told       BulkProgress
	tells      int
	held       string
	names      map[string]string // usernames
	full       bool
	confirmed  []string
	ended      map[string]int64 // the newest version that has an outcome
	filtered   bool             // and is not remembered
	onConfirm  func(at string)

	steps int    // durable ones
	kill  int    // at which of these; 0: never
	late  bool   // after it was done, not before
	die   func() // ends the process
	dead  bool
}

func newTable() *table {
	return &table{counts: map[string]Counts{}, counted: map[string]map[string]bool{}, notes: map[string]string{}, names: map[string]string{}, ended: map[string]int64{}}
}

var errKilled = errors.New("killed")

// durable does something that outlives the process, unless that is killed
// before.
func (b *table) durable(do func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead {
		return errKilled
	}
	b.steps++
	if b.steps == b.kill {
		b.dead = true
		if b.late {
			do()
		}
		b.die()
		return errKilled
	}
	do()
	return nil
}

func (b *table) Put(_ context.Context, ns ...ct2fluent.Notification) error {
	b.mu.Lock()
	full := b.full
	b.mu.Unlock()
	if full {
		return ct2fluent.ErrFull
	}
	return b.durable(func() {
		b.queue = append(b.queue, ns...)
		b.put += len(ns)
		b.most = max(b.most, len(b.queue))
	})
}

// settle ends the first n that wait.
func (b *table) settle(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.queue[:min(n, len(b.queue))] {
		b.ended[one.Ref.ID] = max(b.ended[one.Ref.ID], one.Version)
		of := b.counted[one.Run]
		if one.Run == "" || of[one.Ref.ID] {
			continue
		}
		if of == nil {
			of = map[string]bool{}
			b.counted[one.Run] = of
		}
		of[one.Ref.ID] = true
		c := b.counts[one.Run]
		switch len(of) % 5 {
		case 0:
			c.Dead++
		case 1:
			c.Skipped++
		case 2:
			c.Unchanged++
		default:
			c.Written++
		}
		b.counts[one.Run] = c
	}
	b.queue = b.queue[min(n, len(b.queue)):]
}

func (b *table) Counts(run string) Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[run]
}

func (b *table) Counted(_ context.Context, run string, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[ct2fluent.Ref]bool{}
	for _, ref := range refs {
		if b.counted[run][ref.ID] {
			found[ref] = true
		}
	}
	return found, nil
}

func (b *table) EndRun(_ context.Context, run string) error {
	return b.durable(func() { delete(b.counts, run) })
}

func (b *table) Recall(_ context.Context, refs ...ct2fluent.Ref) (map[ct2fluent.Ref]ct2fluent.Memory, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ms := map[ct2fluent.Ref]ct2fluent.Memory{}
	for _, ref := range refs {
		if v := b.ended[ref.ID]; v > 0 && !b.filtered {
			ms[ref] = ct2fluent.Memory{Version: v}
		}
		if u := b.names[ref.ID]; u != "" {
			ms[ref] = ct2fluent.Memory{Username: u, Version: 1}
		}
	}
	return ms, nil
}

func (b *table) Mark(_ context.Context, name string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.notes[name], nil
}

func (b *table) SetMark(_ context.Context, name, value string) error {
	return b.durable(func() {
		b.notes[name] = value
		if name == confirmedName("shop") {
			b.confirmed = append(b.confirmed, value)
			if b.onConfirm != nil {
				b.onConfirm(value)
			}
		}
	})
}

func (b *table) Checkpoint(ctx context.Context, part string) (string, error) {
	return b.Mark(ctx, "job/"+part)
}

func (b *table) SetCheckpoint(ctx context.Context, part, value string) error {
	return b.SetMark(ctx, "job/"+part, value)
}

func (b *table) Tell(p any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = p.(BulkProgress)
	b.tells++
}

func (b *table) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (b *table) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

// work settles so many every so often, until the end of the test.
func (b *table) work(n int, every time.Duration) (stop func()) {
	done, ended := make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(every):
				b.settle(n)
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (b *table) bulk(c *crowd) *Bulk {
	m, err := CompileMapping(MappingConfig{})
	if err != nil {
		panic(err)
	}
	return &Bulk{
		Account: Account{Project: "shop", RetailerID: "1", Mapping: m, To: &om{customers: map[string]*fluent.Customer{}}},
		From:    c, Put: b.Put, Ledger: b,
		Waits: func() string { b.mu.Lock(); defer b.mu.Unlock(); return b.held },
		Idle:  func() bool { return b.waiting() == 0 }, Confirming: &b.confirming,
	}
}

// run runs until the end or until the process is killed.
func (b *table) run(t *testing.T, c *crowd, spec BulkSpec) error {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.mu.Lock()
	b.die, b.dead = cancel, false
	b.mu.Unlock()
	return b.bulk(c).Run(ctx, "bulk-1", spec, b)
}

// wantAll checks that a run has ended over n customers, and adds up.
func (b *table) wantAll(t *testing.T, n int) {
	t.Helper()
	p := b.told
	if p.Phase != phaseDone || p.Read != n || p.Total != n || p.settled() != n || p.Outstanding != 0 {
		t.Errorf("told %+v, want all of %d", p, n)
	}
	if len(b.counted["bulk-1"]) != n {
		t.Errorf("%d customers were put, want %d", len(b.counted["bulk-1"]), n)
	}
	if _, there := b.counts["bulk-1"]; there {
		t.Error("the ledger still has the run's counts")
	}
}

func TestBulkReadsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newTable(), newCrowd(40_210)
		defer b.work(3000, time.Second)()
		if err := b.run(t, c, BulkSpec{}); err != nil {
			t.Fatal(err)
		}
		b.wantAll(t, 40_210)
		if b.most > maxOutstanding {
			t.Errorf("%d waited at once", b.most)
		}
		// One read for each 500, and what is left over of each of the 16 ranges.
		if c.pages > 40_210/500+16 || c.ordered != 16 {
			t.Errorf("%d pages were read, and %d times was asked whether they are sorted", c.pages, c.ordered)
		}
		if b.put != 40_210 {
			t.Errorf("%d notifications were put", b.put)
		}
	})
}

// Whatever the step of disk or queue at which the process is killed, before it
// or after it, and if it is killed at the next as well: the run ends with the
// exact count.
func TestBulkAddsUpAfterKill(t *testing.T) {
	for spec, n := range map[BulkSpec]int{{}: 5100, {ChangedSince: "2026-01-01T00:00:00Z"}: 2100} {
		c := newCrowd(n)
		steps := 0
		for kill := 1; kill == 1 || kill <= steps; kill += 1 + kill/8 {
			for _, late := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(time.Until(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)))
					b := newTable()
					defer b.work(900, 100*time.Millisecond)()
					b.kill, b.late = kill, late
					killed := 0
					for b.told.Phase != phaseDone || len(b.counts) > 0 {
						if err := b.run(t, c, spec); err == nil {
							break
						} else if !errors.Is(err, context.Canceled) {
							t.Fatal(err)
						}
						if killed++; killed < 3 {
							b.kill = b.steps + killed*2 // soon after the next start
						}
					}
					steps = max(steps, b.steps)
					b.wantAll(t, n)
					if over := b.put - n; over > 3*4*pageSize {
						t.Errorf("%d were put twice", over)
					}
					if t.Failed() {
						t.Fatalf("killed at step %d, after it: %v, spec %+v", kill, late, spec)
					}
				})
			}
		}
		if steps < 12 {
			t.Errorf("only %d steps: nothing was killed", steps)
		}
	}
}

// What is put carries the read, but for what may have been put before.
func TestBulkCarriesTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newTable(), newCrowd(700)
		if p, err := c.Page(t.Context(), commercetools.Selection{}, "", 1); err != nil || len(p.Bodies) != 1 {
			t.Fatal(err)
		}
		b.kill, b.late = 7, true // the plan, the page's checkpoint, the page in five puts
		if err := b.run(t, c, BulkSpec{Force: true}); err == nil {
			t.Fatal("not killed")
		}
		if b.waiting() != 500 {
			t.Fatalf("%d were put", b.waiting())
		}
		for i, n := range b.queue {
			var read commercetools.Customer
			if err := json.Unmarshal(n.Body, &read); err != nil || read.ID != n.Ref.ID || read.Version != n.Version {
				t.Fatalf("notification %d carries %s, %v", i, n.Body, err)
			}
			if !n.Own || !n.Bulk || !n.Force || n.Run != "bulk-1" || n.Received.IsZero() {
				t.Fatalf("notification %d is %+v", i, n)
			}
		}
		b.settle(100)
		b.kill = 0
		stop := b.work(500, time.Second)
		defer stop()
		if err := b.run(t, c, BulkSpec{Force: true}); err != nil {
			t.Fatal(err)
		}
		b.wantAll(t, 700)
		if b.put != 500+400+200 {
			t.Errorf("%d were put: of the page before the kill just those that were not counted are put again", b.put)
		}
	})
}

func TestBulkWaits(t *testing.T) {
	tests := []struct {
		name   string
		hinder func(b *table, on bool)
		why    string
	}{
		{"while the account is held", func(b *table, on bool) { b.held = map[bool]string{true: "the account is held: 503"}[on] }, "the account is held: 503"},
		{"while the queue is full", func(b *table, on bool) { b.full = on }, "queue is full"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := newTable(), newCrowd(1200)
				defer b.work(500, time.Second)()
				tt.hinder(b, true)
				ended := make(chan error)
				go func() { ended <- b.run(t, c, BulkSpec{}) }()
				time.Sleep(time.Hour)
				b.mu.Lock()
				if b.put != 0 || b.told.Why != tt.why || b.told.Phase != phaseReading {
					t.Errorf("%d were put, told %+v", b.put, b.told)
				}
				tt.hinder(b, false)
				b.mu.Unlock()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				b.wantAll(t, 1200)
				if b.told.Why != "" {
					t.Errorf("it still waits: %s", b.told.Why)
				}
			})
		})
	}
}

// One that waits for its last customers alone says so, too.
func TestBulkWaitsForTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newTable(), newCrowd(300)
		ended := make(chan error)
		go func() { ended <- b.run(t, c, BulkSpec{}) }()
		time.Sleep(time.Minute)
		b.mu.Lock()
		b.held = "the route is paused"
		b.mu.Unlock()
		time.Sleep(time.Minute)
		b.mu.Lock()
		if b.told.Why != b.held || b.told.Phase != phaseSettling || b.told.Outstanding != 300 {
			t.Errorf("told %+v", b.told)
		}
		b.held = ""
		b.mu.Unlock()
		defer b.work(500, time.Second)()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		b.wantAll(t, 300)
		if b.told.Why != "" {
			t.Errorf("it still waits: %s", b.told.Why)
		}
	})
}

func TestBulkTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newTable(), newCrowd(1200)
		defer b.work(500, time.Second)()
		down := time.Now().Add(10 * time.Minute)
		c.fail = func(string) error {
			if time.Now().Before(down) {
				return ctDown
			}
			return nil
		}
		if err := b.run(t, c, BulkSpec{}); err != nil {
			t.Fatal(err)
		}
		b.wantAll(t, 1200)
	})
}

// What trying again will not mend ends the run, with a word on what it means.
func TestBulkFails(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"pages are not sorted", &commercetools.Error{Operation: "ordered", Kind: commercetools.Stopped, Code: "unordered"}, "does not sort"},
		{"the query is refused", ctRefused, "correct --where"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, c := newTable(), newCrowd(1200)
				c.fail = func(string) error { return tt.err }
				err := b.run(t, c, BulkSpec{})
				if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		})
	}
}

func TestBulkKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newTable(), newCrowd(3000)
		defer b.work(1000, 100*time.Millisecond)()
		begin := time.Now()
		if err := b.run(t, c, BulkSpec{Rate: 50}); err != nil {
			t.Fatal(err)
		}
		b.wantAll(t, 3000)
		if took := time.Since(begin); took < 58*time.Second || took > 65*time.Second {
			t.Errorf("3000 at 50 a second took %v", took)
		}
		if b.most > 50*2 {
			t.Errorf("%d were put at once", b.most)
		}
	})
}

// A run that waits for what is nowhere ends.
func TestBulkDoesNotWaitForWhatIsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newTable(), newCrowd(1200)
		c.people = append(c.people, c.people[0]) // comes twice, in another page
		defer b.work(500, time.Second)()
		if err := b.run(t, c, BulkSpec{}); err != nil {
			t.Fatal(err)
		}
		b.wantAll(t, 1200)
	})
}

// The confirmed moment moves past what is settled, and no further.
func TestBulkConfirms(t *testing.T) {
	day := func(hour int) string { return time.Date(2026, 1, 2, hour, 0, 0, 0, time.UTC).Format(timeShape) }
	tests := []struct {
		name   string
		before string // the confirmed moment
		spec   BulkSpec
		read   int
		fails  error
		want   string // the confirmed moment afterwards; "until": a minute before the run
	}{
		{name: "since a moment, and none is confirmed: what was before is not known", spec: BulkSpec{ChangedSince: day(0)}, read: 9000},
		{name: "since the last time", before: day(1), spec: BulkSpec{ChangedSince: "last"}, read: 5400, want: "until"},
		{name: "since the last time, and there is none", spec: BulkSpec{ChangedSince: "last"}, fails: ErrNoMoment},
		{name: "since a moment after the last time: what was between is not known", before: day(1), spec: BulkSpec{ChangedSince: day(2)}, read: 1800, want: day(1)},
		{name: "since a moment before the last time", before: day(1), spec: BulkSpec{ChangedSince: day(0)}, read: 9000, want: "until"},
		{name: "some of the customers", before: day(1), spec: BulkSpec{ChangedSince: day(0), Where: "c0"}, read: 1, want: day(1)},
		{name: "a dry run", before: day(1), spec: BulkSpec{ChangedSince: day(0), DryRun: true}, read: 9000, want: day(1)},
		{name: "all customers", spec: BulkSpec{}, read: 9000, want: "until"},
		{name: "all customers of late", spec: BulkSpec{Since: "2026-01-01T00:00:00.500Z"}, read: 4500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)))
				b, c := newTable(), newCrowd(9000)
				defer b.work(700, time.Second)()
				if tt.before != "" {
					b.notes[confirmedName("shop")] = tt.before
				}
				until := time.Now().UTC().Add(-time.Minute).Format(timeShape)
				if err := b.run(t, c, tt.spec); !errors.Is(err, tt.fails) {
					t.Fatal(err)
				}
				if tt.fails == nil && b.told.Read != tt.read {
					t.Errorf("read %d, want %d", b.told.Read, tt.read)
				}
				if tt.want == "until" {
					tt.want = until
				}
				if got := b.notes[confirmedName("shop")]; got != tt.want {
					t.Errorf("confirmed is %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// At no moment is anything confirmed that still waits.
func TestBulkConfirmsWhatIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)))
		b, c := newTable(), newCrowd(9000)
		changed := map[string]string{}
		for _, p := range c.people {
			changed[p.ID] = p.LastModifiedAt
		}
		b.notes[confirmedName("shop")] = "2026-01-01T00:00:00.000Z"
		ended := make(chan error)
		go func() { ended <- b.run(t, c, BulkSpec{ChangedSince: "2026-01-01T00:00:00Z"}) }()
		for range 200 {
			time.Sleep(time.Second)
			// The newest first, so that what is confirmed lags.
			b.mu.Lock()
			slices.Reverse(b.queue)
			b.mu.Unlock()
			b.settle(97)
			synctest.Wait()
			b.mu.Lock()
			at := b.notes[confirmedName("shop")]
			for _, n := range b.queue {
				if changed[n.Ref.ID] < at && !t.Failed() {
					t.Errorf("%s is confirmed, and %s of %s waits", at, n.Ref.ID, changed[n.Ref.ID])
				}
			}
			b.mu.Unlock()
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := len(b.confirmed); n < 3 || !slices.IsSorted(b.confirmed) {
			t.Errorf("confirmed %q", b.confirmed)
		}
	})
}

func TestBulkDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := newTable(), newCrowd(1300)
		bulk := b.bulk(c)
		fl := bulk.Account.To.(*om)
		id := func(i int) string { return c.people[i].ID }
		name := func(i int) string { return "1_" + c.people[i].Email }
		has := func(i int, change func(*fluent.Customer)) {
			w := bulk.Account.Mapping.create(mustMap(t, bulk.Account, &c.people[i]), id(i), name(i), "1")
			one := asFluentHas(w)
			if change != nil {
				change(&one)
			}
			fl.customers[one.Username] = &one
		}
		other := "other"
		has(0, nil)
		for i := 1; i < 8; i++ {
			has(i, func(f *fluent.Customer) { f.LastName = &other })
		}
		has(8, func(f *fluent.Customer) { f.Attributes = nil }) // to be adopted
		has(9, func(f *fluent.Customer) {                       // found by the ledger
			f.Username = "1_old@x"
			f.PrimaryEmail = &other
		})
		b.names[id(9)] = "1_old@x"
		c.people[10].Email = "" // cannot be mapped
		has(11, func(f *fluent.Customer) { f.Attributes[0].Value = json.RawMessage(`"joe"`) })
		before := fl.requests

		if err := bulk.Run(t.Context(), "bulk-1", BulkSpec{DryRun: true}, b); err != nil {
			t.Fatal(err)
		}
		p := b.told
		if b.put != 0 || fl.requests != before || p.Phase != phaseDone || p.Read != 1300 || p.Total != 1300 {
			t.Errorf("put %d, wrote %d, told %+v", b.put, fl.requests-before, p)
		}
		d := p.Differs
		if d.Equal != 1 || d.Update != 9 || d.Adopt != 1 || d.Dead["no-email"] != 1 || d.Create != 1289 {
			t.Errorf("compared %+v", d)
		}
		last := d.Fields["lastName"]
		if last.Customers != 7 || len(last.Examples) != 5 || d.Fields["primaryEmail"].Customers != 1 || d.Fields["attributes.commercetoolsId"].Examples[0] != id(8) {
			t.Errorf("fields %+v", d.Fields)
		}
		if got := d.FieldNames()[0]; got != "lastName" {
			t.Errorf("the first field is %s", got)
		}
		// Promise 7: what is told holds no value.
		if doc, err := json.Marshal(p); err != nil || strings.Contains(string(doc), "@x") || strings.Contains(string(doc), other) {
			t.Errorf("told %s, %v", doc, err)
		}
	})
}

func mustMap(t *testing.T, a Account, c *commercetools.Customer) Mapped {
	t.Helper()
	m, err := a.Mapping.Apply(t.Context(), c, a.Project, a.RetailerID)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// asFluentHas is the customer that a create makes.
func asFluentHas(w fluent.Write) fluent.Customer {
	c := fluent.Customer{Username: w.Username, Attributes: slices.Clone(w.Attributes)}
	text := func(name string) *string {
		if s, ok := w.Fields[name].(string); ok {
			return &s
		}
		return nil
	}
	c.Title, c.FirstName, c.LastName, c.PrimaryEmail = text("title"), text("firstName"), text("lastName"), text("primaryEmail")
	c.PrimaryPhone, c.Country, c.Timezone = text("primaryPhone"), text("country"), text("timezone")
	return c
}

// Times are asked for as commercetools writes them, so that they can be compared
// as texts.
func TestParseBulkSpecWritesTimesInOneWay(t *testing.T) {
	s, err := ParseBulkSpec([]byte(`{"since":"2026-01-31T01:00:00+01:00","changedSince":"2026-01-31T00:00:00Z"}`))
	if want := "2026-01-31T00:00:00.000Z"; err != nil || s.Since != want || s.ChangedSince != want {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestParseBulkSpec(t *testing.T) {
	tests := []struct{ doc, want string }{
		{``, ""},
		{`{"where":"firstName = \"Jane\"","store":"de","since":"2026-01-01T00:00:00Z","rate":5.5,"ranges":8,"force":true}`, ""},
		{`{"changedSince":"last"}`, ""},
		{`{"changedSince":"yesterday"}`, "yesterday"},
		{`{"since":"last"}`, "last"},
		{`{"rate":-1}`, "rate: -1"},
		{`{"rate":0.001}`, ""},
		{`{"rate":0.0009}`, "rate: 0.0009"},
		{`{"rate":1e-300}`, "rate: 1e-300"},
		{`{"rate":1e300}`, ""},
		{`{"ranges":99}`, "ranges"},
		{`{"where":"(a"}`, "where"},
		{`{"wear":"a"}`, "wear"},
		{`{} {}`, "more than one"},
		{`{"dryRun":true,"force":true}`, "force"},
	}
	for _, tt := range tests {
		_, err := ParseBulkSpec([]byte(tt.doc))
		if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v, want %q", tt.doc, err, tt.want)
		}
	}
}

func TestBulkSpecCheckNew(t *testing.T) {
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	tests := []struct{ doc, want string }{
		{`{}`, ""},
		{`{"changedSince":"last"}`, ""},
		{`{"since":"2026-01-31T00:00:00Z","changedSince":"2026-01-31T01:00:00+01:00"}`, ""},
		{`{"since":"2026-01-31T00:00:01Z"}`, "since: 2026-01-31T00:00:01.000Z lies in the future"},
		{`{"changedSince":"2026-01-31T00:00:00-01:00"}`, "changedSince: 2026-01-31T01:00:00.000Z lies in the future"},
	}
	for _, tt := range tests {
		s, err := ParseBulkSpec([]byte(tt.doc))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckNew(now); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%s: %v, want %q", tt.doc, err, tt.want)
		}
	}
}

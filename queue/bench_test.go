package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

func openAt(t testing.TB, dir string, o Options) *Queue {
	t.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	o.Store = s
	q, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close(); s.Close() })
	return q
}

func BenchmarkPut1(b *testing.B)   { benchmarkPut(b, 1) }
func BenchmarkPut8(b *testing.B)   { benchmarkPut(b, 8) }
func BenchmarkPut64(b *testing.B)  { benchmarkPut(b, 64) }
func BenchmarkPut256(b *testing.B) { benchmarkPut(b, 256) }

func benchmarkPut(b *testing.B, callers int) {
	q := openAt(b, b.TempDir(), Options{Projects: []string{"p"}})
	body := make([]byte, 1024)
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := q.Put(context.Background(), ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(i)}, Body: body}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

func BenchmarkLatency(b *testing.B) {
	q := openAt(b, b.TempDir(), Options{Projects: []string{"p"}})
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan time.Time, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		q.Work(ctx, ct2fluent.HandlerFunc(func(ctx context.Context, ns []ct2fluent.Notification) []error {
			got <- time.Now()
			return make([]error, len(ns))
		}))
	})
	var sum time.Duration
	b.ResetTimer()
	for i := range b.N {
		if err := q.Put(ctx, ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(i)}}); err != nil {
			b.Fatal(err)
		}
		back := time.Now()
		sum += (<-got).Sub(back)
	}
	b.ReportMetric(float64(sum.Nanoseconds())/float64(b.N), "ns-after-put")
	cancel()
	wg.Wait()
}

func BenchmarkWorkDrain(b *testing.B) {
	q := openAt(b, b.TempDir(), Options{Projects: []string{"p"}})
	ctx, cancel := context.WithCancel(context.Background())
	body := make([]byte, 1024)
	for i := 0; i < b.N; i += 1000 {
		ns := make([]ct2fluent.Notification, min(1000, b.N-i))
		for j := range ns {
			ns[j] = ct2fluent.Notification{Ref: ct2fluent.Ref{Project: "p", TypeID: "customer", ID: fmt.Sprint(i + j)}, Body: body}
		}
		if err := q.Put(ctx, ns...); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64
	b.ResetTimer()
	q.Work(ctx, ct2fluent.HandlerFunc(func(ctx context.Context, ns []ct2fluent.Notification) []error {
		if n.Add(int64(len(ns))) == int64(b.N) {
			cancel()
		}
		return make([]error, len(ns))
	}))
	cancel()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
}

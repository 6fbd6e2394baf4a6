package ledger

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/store"
)

// BenchmarkSettle settles batches by eight workers, each resource's third
// notification on average; one op is one notification.
func BenchmarkSettle(b *testing.B) {
	for _, size := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("batches of %d", size), func(b *testing.B) {
			s, err := store.Open(b.Context(), store.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			l, err := Open(b.Context(), Options{Store: s})
			if err != nil {
				b.Fatal(err)
			}
			h := ct2fluent.HandlerFunc(func(ctx context.Context, batch []ct2fluent.Notification) []error {
				for _, n := range batch {
					l.Remember(ctx, n.Ref, ct2fluent.Memory{
						Floor: n.Version, Version: n.Version, Username: "1_" + n.Ref.ID + "@example.com",
						Hash: "0123456789abcdef0123456789abcdef", Mapping: "0123456789abcdef",
					})
				}
				return make([]error, len(batch))
			})
			const workers = 8
			var worker, next atomic.Uint64
			b.SetParallelism(workers)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				me := worker.Add(1)
				for more := true; more; {
					var batch []ct2fluent.Notification
					for len(batch) < size && more {
						if more = pb.Next(); more {
							seq := next.Add(1)
							ref := ct2fluent.Ref{Project: "fluent-ct-dev", TypeID: "customer", ID: fmt.Sprintf("14a4ef54-%d-%d", me, seq%uint64(b.N/3+size))}
							batch = append(batch, of(ref, note(seq, int64(seq))))
						}
					}
					for _, err := range l.Settle(h).Handle(b.Context(), batch) {
						if err != nil {
							b.Error(err)
						}
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
		})
	}
}

package sandbox_test

import (
	"cmp"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// A page of 500, compressed, from the middle of a population that is counted
// in CT2FLUENT_POPULATION (default 20,000): in the order of ids, in a range of
// creation, in the order of changes. cpu-ms/page is that of the whole process;
// MB is what it has resident, and should be at most 1500 for a million.
func BenchmarkPage(b *testing.B) {
	n, _ := strconv.Atoi(cmp.Or(os.Getenv("CT2FLUENT_POPULATION"), "20000"))
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := sandbox.NewCommerceTools(sandbox.CTOptions{Now: func() time.Time { clock = clock.Add(time.Millisecond); return clock }})
	if err != nil {
		b.Fatal(err)
	}
	if err := sandbox.NewPopulation(1).Fill(s, n); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d customers, %d MB resident", n, resident(b))
	r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader("grant_type=client_credentials"))
	r.SetBasicAuth("client", "secret")
	token := askToken(b, s.ServeHTTP, r)
	ids := s.IDs()
	at := func(part int) string {
		return `"` + time.Date(2026, 1, 1, 0, 0, 0, part*n/8*int(time.Millisecond), time.UTC).Format("2006-01-02T15:04:05.000Z") + `"`
	}
	after := `id > "` + ids[n/2] + `"`
	tests := []struct{ name, where, sort string }{
		{"all", after, "id asc"},
		{"range", "createdAt >= " + at(2) + " and createdAt < " + at(3) + " and " + after, "id asc"},
		{"changes", "(lastModifiedAt > " + at(2) + " or (lastModifiedAt = " + at(2) + " and " + after + ")) and lastModifiedAt <= " + at(9), "lastModifiedAt asc,id asc"},
	}
	for _, test := range tests {
		b.Run(test.name, func(b *testing.B) {
			q := url.Values{"where": {test.where}, "sort": strings.Split(test.sort, ","), "limit": {"500"}, "withTotal": {"false"}}
			before := spent(b)
			for b.Loop() {
				r := httptest.NewRequest("GET", "/sandbox/customers?"+q.Encode(), nil)
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Accept-Encoding", "gzip")
				w := httptest.NewRecorder()
				if s.ServeHTTP(w, r); w.Code != 200 || w.Body.Len() < 500*50 {
					b.Fatal(w.Code, w.Body.Len())
				}
			}
			b.ReportMetric(float64((spent(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/page")
		})
	}
	runtime.KeepAlive(s)
}

// spent is the CPU time of this process, resident its memory in MB.

func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resident(b *testing.B) int {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return int(u.Maxrss / 1024) // the most it ever was
}

package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/sandbox"
)

// The cost of a customer in the stand-in of commercetools: time to make one,
// bytes to keep one.
func BenchmarkFill(b *testing.B) {
	s, err := sandbox.NewCommerceTools(sandbox.CTOptions{})
	if err != nil {
		b.Fatal(err)
	}
	before := heap()
	b.ResetTimer()
	if err := sandbox.NewPopulation(1).Fill(s, b.N); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B/customer")
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// One query for two hundred customers by their ids.
func BenchmarkQueryByIDs(b *testing.B) {
	s, err := sandbox.NewCommerceTools(sandbox.CTOptions{Knobs: sandbox.CTKnobs{Plain: true}})
	if err != nil {
		b.Fatal(err)
	}
	if err := sandbox.NewPopulation(1).Fill(s, 10_000); err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader("grant_type=client_credentials"))
	r.SetBasicAuth("client", "secret")
	token := askToken(b, s.ServeHTTP, r)
	where := `id in ("` + strings.Join(s.IDs()[:200], `","`) + `")`
	target := "/sandbox/customers?" + url.Values{"where": {where}, "limit": {"200"}, "withTotal": {"false"}}.Encode()
	for b.Loop() {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != 200 || w.Body.Len() < 200*200 {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// One request of two hundred creates, aliased, as a batch of writes is sent.
func BenchmarkMutations(b *testing.B) {
	s, err := sandbox.NewFluent(sandbox.FluentOptions{})
	if err != nil {
		b.Fatal(err)
	}
	token := askToken(b, s.ServeHTTP, httptest.NewRequest("POST", "/oauth/token", strings.NewReader(passwordForm)))
	var params, fields strings.Builder
	for i := range 200 {
		fmt.Fprintf(&params, "$i%d: CreateCustomerInput ", i)
		fmt.Fprintf(&fields, "a%d: createCustomer(input: $i%d) { id username } ", i, i)
	}
	query := "mutation(" + params.String() + ") { " + fields.String() + "}"
	before, n := heap(), 0
	for b.Loop() {
		vars := map[string]any{}
		for i := range 200 {
			n++
			vars[fmt.Sprintf("i%d", i)] = map[string]any{
				"username": fmt.Sprintf("1_customer.%d@example.com", n), "primaryEmail": "customer@example.com", "promotionOptIn": false,
				"firstName": "Małgorzata", "lastName": "Großmann", "country": "DE", "timezone": "UTC", "retailer": map[string]any{"id": "1"},
				"attributes": []any{map[string]any{"name": "commercetoolsId", "type": "STRING", "value": "00000000-0000-0000-0000-000000000000"}},
			}
		}
		body, err := json.Marshal(map[string]any{"query": query, "variables": vars})
		if err != nil {
			b.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/graphql", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != 200 || strings.Contains(w.Body.String(), "errors") {
			b.Fatal(w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(heap()-before)/float64(n), "B/customer")
	runtime.KeepAlive(s)
}

func askToken(b *testing.B, serve func(w http.ResponseWriter, r *http.Request), r *http.Request) string {
	b.Helper()
	w := httptest.NewRecorder()
	serve(w, r)
	var doc struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Token == "" {
		b.Fatalf("token: %d %s", w.Code, w.Body)
	}
	return doc.Token
}

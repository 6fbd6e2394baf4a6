package customer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// BenchmarkCustomers works batches of 200 new customers through the real
// clients, against servers whose answers cost next to nothing: what is counted
// is what a customer costs here, and the HTTP of both sides.
func BenchmarkCustomers(b *testing.B) {
	const size = 200
	var results, written []string
	var ns []ct2fluent.Notification
	for i := range size {
		id := fmt.Sprintf("14a4ef54-3a35-4bcd-a0b5-%012d", i)
		results = append(results, fmt.Sprintf(`{"id":%q,"version":1,"createdAt":"2026-01-01T00:00:00.000Z","lastModifiedAt":"2026-01-01T00:00:00.000Z",`+
			`"email":"jane.doe.%d@example.com","firstName":"Jane","lastName":"Doe","title":"Dr.","dateOfBirth":"1980-02-29","isEmailVerified":true,`+
			`"addresses":[{"id":"a1","streetName":"Street","streetNumber":"1","postalCode":"12345","city":"Berlin","country":"DE","mobile":"+49 170 1234567"},`+
			`{"id":"a2","streetName":"Road","streetNumber":"22","postalCode":"54321","city":"Paris","country":"FR"}],`+
			`"defaultShippingAddressId":"a1","shippingAddressIds":["a1"],"billingAddressIds":["a2"],"customerGroup":{"typeId":"customer-group","id":"g"},`+
			`"custom":{"type":{"typeId":"type","id":"t"},"fields":{"newsletter":true,"points":120,"tags":["a","b"]}},"stores":[],"authenticationMode":"Password"}`, id, i))
		written = append(written, fmt.Sprintf(`"w%d":{"username":"x"}`, i))
		n := updated(id, 1)
		ns = append(ns, n)
	}
	serve := func(answer func(path string, body []byte) string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/json")
			if strings.HasSuffix(r.URL.Path, "/oauth/token") {
				_, _ = io.WriteString(w, `{"access_token":"t","token_type":"bearer","expires_in":86400}`)
				return
			}
			_, _ = io.WriteString(w, answer(r.URL.Path, body))
		}))
		b.Cleanup(s.Close)
		return s.URL
	}
	page, done := `{"limit":200,"results":[`+strings.Join(results, ",")+`]}`, `{"data":{`+strings.Join(written, ",")+`}}`
	shop := serve(func(string, []byte) string { return page })
	om := serve(func(_ string, body []byte) string {
		if bytes.Contains(body, []byte("mutation")) {
			return done
		}
		return `{"data":{"customers":{"edges":[],"pageInfo":{"hasNextPage":false}}}}`
	})
	secret := func() (string, error) { return "secret", nil }
	from, err := commercetools.New(commercetools.Options{ProjectKey: "shop", APIURL: shop, AuthURL: shop, ClientID: "c", ClientSecret: secret})
	if err != nil {
		b.Fatal(err)
	}
	to, err := fluent.New(fluent.Options{BaseURL: om, Account: "ACME", ClientID: "c", ClientSecret: secret, Username: "u", Password: secret})
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(b, func(o *Options) { o.Accounts[0].From, o.Accounts[0].To = from, to })
	if !json.Valid([]byte(page)) {
		b.Fatal("the page is no JSON")
	}
	b.ReportAllocs()
	customers := 0
	for b.Loop() {
		clear(w.ledger.memories)
		for i, err := range w.Handle(b.Context(), ns) {
			if err != nil {
				b.Fatalf("%d: %v", i, err)
			}
		}
		customers += size
	}
	b.ReportMetric(float64(customers)/b.Elapsed().Seconds(), "customers/s")
}

package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

type obj = map[string]any

// A world is a commercetools and a Fluent of the few calls that are needed.
type world struct {
	t      *testing.T
	server *httptest.Server

	mu        sync.Mutex
	customers map[string]obj // commercetools', by id
	fluent    map[string]obj // Fluent's, by username
	reads     int            // of customers
	faults    int            // requests yet to be answered 503
	tokens    int            // given out; only the last is good
	expired   bool           // the token is good no more
	onRead    func()         // may be nil
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, customers: map[string]obj{}, fluent: map[string]obj{}}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/oauth/token") {
		w.tokens, w.expired = w.tokens+1, false
		_ = json.NewEncoder(rw).Encode(obj{"access_token": fmt.Sprint("t", w.tokens), "expires_in": 3600})
		return
	}
	switch id, found := strings.CutPrefix(r.URL.Path, "/shop/customers/"); {
	case w.expired || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer t"):
		rw.WriteHeader(http.StatusUnauthorized)
	case w.faults > 0:
		w.faults--
		http.Error(rw, "<html>", http.StatusServiceUnavailable)
	case found && w.customers[id] == nil:
		rw.WriteHeader(http.StatusNotFound)
	case found:
		w.reads++
		if w.onRead != nil {
			w.onRead()
		}
		_ = json.NewEncoder(rw).Encode(w.customers[id])
	default:
		_ = json.NewEncoder(rw).Encode(w.graphql(r.Body))
	}
}

func (w *world) graphql(body io.Reader) obj {
	var q struct {
		Query     string
		Variables struct {
			Ref   string
			Input obj
		}
	}
	if err := json.NewDecoder(body).Decode(&q); err != nil {
		w.t.Error(err)
	}
	refuse := func(code string) obj {
		return obj{"data": obj{"it": nil}, "errors": []any{obj{"extensions": obj{"code": code}, "path": []any{"it"}}}}
	}
	in := q.Variables.Input
	name, _ := in["username"].(string)
	switch has := w.fluent[name]; {
	case strings.Contains(q.Query, "customer(ref:"):
		if c := w.fluent[q.Variables.Ref]; c != nil {
			return obj{"data": obj{"it": c}}
		}
		return obj{"data": obj{"it": nil}}
	case strings.Contains(q.Query, "createCustomer("):
		if has != nil {
			return refuse("C0121E")
		}
		w.fluent[name] = in
	case has == nil:
		return refuse("C0120E")
	default:
		for field, v := range in {
			has[field] = v
			if v == nil {
				delete(has, field)
			}
		}
	}
	return obj{"data": obj{"it": obj{"username": name}}}
}

func (w *world) options(dir string, merge int) options {
	return options{store: dir, commercetools: w.server.URL, auth: w.server.URL, project: "shop", fluent: w.server.URL,
		account: "A", retailer: "1", threads: 16, merge: merge, ackWait: time.Minute}
}

// work fills a store with the notifications and works it until it is empty.
func (w *world) work(dir string, merge int, notifications ...string) report {
	w.t.Helper()
	if err := fill(context.Background(), dir, strings.NewReader(strings.Join(notifications, "\n"))); err != nil {
		w.t.Fatal(err)
	}
	r, err := run(context.Background(), w.options(dir, merge))
	if err != nil {
		w.t.Fatal(err)
	}
	return *r
}

func notification(kind, typeID, id string, version int) string {
	return fmt.Sprintf(`{"notificationType":%q,"projectKey":"shop","resource":{"typeId":%q,"id":%q},"version":%d}`, kind, typeID, id, version)
}

func attributes(id string) []any {
	return []any{obj{"name": "commercetoolsId", "type": "STRING", "value": id}}
}

// Two hundred customers, each told of three times by as many wrappings.
func TestRun(t *testing.T) {
	for _, merge := range []int{0, 1000} {
		t.Run(fmt.Sprintf("merge %d", merge), func(t *testing.T) {
			w, want := newWorld(t), map[string]obj{}
			var told []string
			for i := range 200 {
				id, email := fmt.Sprintf("id-%d", i), fmt.Sprintf("%d%%@example.com", i)
				w.customers[id] = obj{"id": id, "version": 10, "email": email, "lastName": "Żółć"}
				want["1_"+email] = obj{"username": "1_" + email, "primaryEmail": email, "lastName": "Żółć", "attributes": attributes(id)}
				bare := notification("ResourceCreated", "customer", id, 9)
				told = append(told, bare, `{"detail-type":"x","detail":`+bare+`}`, `{"specversion":"1.0","data":`+notification("ResourceUpdated", "customer", id, 10)+`}`)
			}
			told = append(told,
				notification("ResourceDeleted", "customer", "id-1", 11),
				notification("ResourceCreated", "subscription", "id-1", 11),
				notification("ResourceCreated", "customer", "gone", 1),
				`no notification`,
			)
			dir := t.TempDir()
			r := w.work(dir, merge, told...)
			if r.Notifications != 604 || r.Settled != 604 || r.Dead != 1 || r.Seconds <= 0 || r.CPUSeconds <= 0 || r.MaxRSS < 1<<20 {
				t.Errorf("report %+v", r)
			}
			for _, c := range w.fluent {
				for _, onCreate := range []string{"firstName", "timezone", "promotionOptIn", "retailer"} {
					delete(c, onCreate)
				}
			}
			if !reflect.DeepEqual(w.fluent, want) {
				t.Errorf("Fluent holds %d customers, not the %d of commercetools", len(w.fluent), len(want))
			}
			if merge == 0 && w.reads != 600 || merge > 0 && w.reads > 300 {
				t.Errorf("%d reads of 200 customers told of three times", w.reads)
			}
			if again := w.work(dir, merge); again.Notifications != 0 || again.Settled != 0 || w.reads > 600 {
				t.Errorf("acknowledged, and worked again: %+v", again)
			}
		})
	}
}

func TestMapping(t *testing.T) {
	long := strings.Repeat("Ł", 50)
	address := func(id, country, mobile, phone string) obj {
		return obj{"id": id, "country": country, "mobile": mobile, "phone": phone}
	}
	tests := []struct {
		name string
		from obj // besides id, version and email e
		has  obj // in Fluent before, under 1_e
		as   string
		want obj // nil: a dead letter
	}{
		{name: "the least", from: obj{},
			want: obj{"firstName": "-", "timezone": "UTC", "promotionOptIn": false, "retailer": obj{"id": "1"}}},
		{name: "names", from: obj{"title": "Dr.", "salutation": "Frau", "firstName": "Zoé", "lastName": "Noël"},
			want: obj{"title": "Dr.", "firstName": "Zoé", "lastName": "Noël", "timezone": "UTC", "promotionOptIn": false, "retailer": obj{"id": "1"}}},
		{name: "salutation for a title, blank is absent", from: obj{"salutation": "Frau", "firstName": "F", "lastName": "  "},
			want: obj{"title": "Frau", "firstName": "F", "timezone": "UTC", "promotionOptIn": false, "retailer": obj{"id": "1"}}},
		{name: "default shipping address, then billing, then the others",
			from: obj{"firstName": "F", "defaultShippingAddressId": "s", "defaultBillingAddressId": "b", "addresses": []any{
				address("o", "FR", "1", ""), address("b", "DE", "", "2"), address("s", "PL", "", "")}},
			want: obj{"firstName": "F", "country": "PL", "primaryPhone": "2", "timezone": "UTC", "promotionOptIn": false, "retailer": obj{"id": "1"}}},
		{name: "mobile before phone", from: obj{"firstName": "F", "addresses": []any{address("o", "FR", "1", "2")}},
			want: obj{"firstName": "F", "country": "FR", "primaryPhone": "1", "timezone": "UTC", "promotionOptIn": false, "retailer": obj{"id": "1"}}},
		{name: "fifty characters of two bytes", from: obj{"firstName": long},
			want: obj{"firstName": long, "timezone": "UTC", "promotionOptIn": false, "retailer": obj{"id": "1"}}},
		{name: "one too long", from: obj{"firstName": long + "x"}},
		{name: "no email", from: obj{"email": nil}},
		{name: "an update clears what is gone and leaves the rest",
			from: obj{"lastName": "New"}, has: obj{"firstName": "Old", "title": "Dr.", "timezone": "CET", "promotionOptIn": true, "attributes": attributes("c")},
			want: obj{"lastName": "New", "timezone": "CET", "promotionOptIn": true}},
		{name: "adopted, carrying no id", from: obj{"lastName": "N"}, has: obj{"retailer": obj{"id": "1"}},
			want: obj{"lastName": "N", "retailer": obj{"id": "1"}}},
		{name: "the username is another customer's", from: obj{"lastName": "N"}, has: obj{"attributes": attributes("other")}, as: "1_c",
			want: obj{"firstName": "-", "lastName": "N", "timezone": "UTC", "promotionOptIn": false, "retailer": obj{"id": "1"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.customers["c"] = obj{"id": "c", "version": 2, "email": "e"}
			maps.Copy(w.customers["c"], tt.from)
			as := "1_e"
			if tt.has != nil {
				tt.has["username"] = as
				w.fluent[as] = tt.has
			}
			if tt.as != "" {
				as = tt.as
			}
			r := w.work(t.TempDir(), 0, notification("ResourceUpdated", "customer", "c", 2))
			if tt.want == nil {
				if r.Dead != 1 || len(w.fluent) != 0 {
					t.Errorf("report %+v, Fluent %v", r, w.fluent)
				}
				return
			}
			maps.Copy(tt.want, obj{"username": as, "primaryEmail": "e", "attributes": attributes("c")})
			if r.Dead != 0 || !reflect.DeepEqual(w.fluent[as], tt.want) {
				t.Errorf("dead %d, Fluent has\n%v, want\n%v", r.Dead, w.fluent[as], tt.want)
			}
		})
	}
}

// Of each customer in a batch the newest version goes on, alone in a batch; what
// has no id goes on as it is.
func TestNewest(t *testing.T) {
	message := func(id string, version int) *service.Message {
		m := service.NewMessage(fmt.Append(nil, id, "/", version))
		if id != "" {
			m.MetaSetMut("id", id)
			m.MetaSetMut("version", version)
		}
		return m
	}
	kept, err := newest{}.ProcessBatch(context.Background(), service.MessageBatch{
		message("a", 9), message("", 0), message("b", 3), message("a", 10), message("", 0), message("b", 2), message("a", 10), message("a", 8),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, batch := range kept {
		for _, m := range batch {
			doc, _ := m.AsBytes()
			got = append(got, string(doc))
		}
	}
	if want := []string{"a/10", "/0", "b/3", "/0"}; !slices.Equal(got, want) || len(kept) != len(want) {
		t.Errorf("kept %q in %d batches, want %q", got, len(kept), want)
	}
}

// What fails for a while is done all the same; what a token's end met, too.
func TestRunAgainstFaults(t *testing.T) {
	w := newWorld(t)
	var told []string
	for i := range 20 {
		id := fmt.Sprint("id-", i)
		w.customers[id] = obj{"id": id, "version": 1, "email": id}
		told = append(told, notification("ResourceCreated", "customer", id, 1))
	}
	w.faults = 15
	w.onRead = func() { w.expired = w.reads == 10 }
	if r := w.work(t.TempDir(), 0, told...); r.Dead != 0 || r.Settled != 20 || len(w.fluent) != 20 {
		t.Errorf("report %+v, %d customers", r, len(w.fluent))
	}
}

// An authority of one's own is trusted when it is named.
func TestAuthority(t *testing.T) {
	w := newWorld(t)
	w.server.Close()
	w.server = httptest.NewTLSServer(w)
	t.Cleanup(w.server.Close)
	w.customers["c"] = obj{"id": "c", "version": 1, "email": "e"}
	dir := t.TempDir()
	if err := fill(context.Background(), dir, strings.NewReader(notification("ResourceCreated", "customer", "c", 1))); err != nil {
		t.Fatal(err)
	}
	o := w.options(dir, 0)
	o.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(o.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := run(context.Background(), o); err != nil || r.Dead != 0 || w.fluent["1_e"] == nil {
		t.Errorf("report %+v, error %v, Fluent %v", r, err, w.fluent)
	}
}

// Asked to stay, it ends in order when told to, and goes on where it was.
func TestStay(t *testing.T) {
	w := newWorld(t)
	var told []string
	for i := range 300 {
		id := fmt.Sprint("id-", i)
		w.customers[id] = obj{"id": id, "version": 1, "email": id}
		told = append(told, notification("ResourceCreated", "customer", id, 1))
	}
	dir := t.TempDir()
	if err := fill(context.Background(), dir, strings.NewReader(strings.Join(told, "\n"))); err != nil {
		t.Fatal(err)
	}
	o := w.options(dir, 0)
	o.stay, o.ackWait = true, time.Second
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.onRead = func() {
		if w.reads == 50 {
			cancel()
		}
	}
	first, err := run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if first.Notifications != 300 || first.Settled < 30 || first.Settled == 300 {
		t.Errorf("stopped at 50 of 300, it says %+v", *first)
	}
	o.stay = false
	second, err := run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if first.Settled+second.Settled != 300 || len(w.fluent) != 300 {
		t.Errorf("then %+v, and then %+v; %d customers", *first, *second, len(w.fluent))
	}
}

// A read older than what was announced is not believed.
func TestStaleRead(t *testing.T) {
	w := newWorld(t)
	w.customers["c"] = obj{"id": "c", "version": 1, "email": "e"}
	if r := w.work(t.TempDir(), 0, notification("ResourceUpdated", "customer", "c", 2)); r.Dead != 1 || len(w.fluent) != 0 || w.reads != 8 {
		t.Errorf("report %+v, Fluent %v, %d reads", r, w.fluent, w.reads)
	}
}

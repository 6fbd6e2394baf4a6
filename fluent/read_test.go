package fluent

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// people answers lookups as Fluent does: filters know wildcards, ref does not.
func people(names ...string) graph {
	match := func(pattern, name string) bool {
		before, after, wild := strings.Cut(pattern, "%")
		if !wild {
			return strings.EqualFold(pattern, name)
		}
		return strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
	}
	one := func(name string) map[string]any { return map[string]any{"id": "i-" + name, "username": name} }
	return func(w http.ResponseWriter, r asked) {
		data := map[string]any{}
		for _, alias := range r.aliases() {
			if alias != "customers" {
				data[alias] = nil
				if slices.Contains(names, r.vars[alias].(string)) {
					data[alias] = one(r.vars[alias].(string))
				}
				continue
			}
			var edges []any
			first := int(r.vars["first"].(float64))
			total := 0
			for _, n := range names {
				for _, u := range r.vars["usernames"].([]any) {
					if match(u.(string), n) {
						if total++; total <= first {
							edges = append(edges, map[string]any{"node": one(n)})
						}
						break
					}
				}
			}
			data["customers"] = map[string]any{"edges": edges, "pageInfo": map[string]any{"hasNextPage": total > first}}
		}
		json.NewEncoder(w).Encode(map[string]any{"data": data})
	}
}

func TestLookup(t *testing.T) {
	twins := numbered(30) // "jane" in thirty ways of writing it
	for i := range twins {
		b := []byte("janejanejane")
		for j := range 5 {
			if i>>j&1 == 1 {
				b[j] -= 'a' - 'A'
			}
		}
		twins[i] = string(b)
	}
	tests := []struct {
		name string
		o    Options
		have []string
		ask  []string
		want []string
		sent int
	}{
		{name: "nothing", sent: 0},
		{name: "one request for many", have: []string{"a", "b", "c"}, ask: []string{"a", "b", "x", "a", ""}, want: []string{"a", "b"}, sent: 1},
		{name: "written exactly so", have: []string{"Jane"}, ask: []string{"jane"}, sent: 1},
		{name: "a wildcard widens nothing", have: []string{"a", "b", "%"}, ask: []string{"%", "1_%@x", "b"}, want: []string{"%", "b"}, sent: 1},
		{name: "what a full page leaves out is asked for alone", have: twins, ask: twins[20:21], want: twins[20:21], sent: 2},
		{name: "in parts", o: Options{MaxBatch: 2}, have: []string{"a", "b", "c"}, ask: []string{"a", "b", "c"}, want: []string{"a", "b", "c"}, sent: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, log := account(t, tt.o, people(tt.have...))
			found, err := c.Lookup(t.Context(), tt.ask, true)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.Sorted(maps.Keys(found))
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) || len(log()) != tt.sent {
				t.Errorf("found %q in %d requests, want %q in %d", got, len(log()), tt.want, tt.sent)
			}
			for name, one := range found {
				if one.Username != name || one.ID != "i-"+name {
					t.Errorf("%s is %+v", name, one)
				}
			}
		})
	}
}

func TestLookupSelects(t *testing.T) {
	node := `{"id":"7","username":"u","retailer":{"id":"1"},"attributes":[{"name":"n","type":"JSON","value":{"big":12345678901234567890}}],` +
		`"title":null,"country":"DE","promotionOptIn":false}`
	c, log := account(t, Options{}, says(200, `{"data":{"customers":{"edges":[null,{"node":null},{"node":`+node+`}],"pageInfo":null}}}`))
	found, err := c.Lookup(t.Context(), []string{"u"}, true)
	if err != nil {
		t.Fatal(err)
	}
	u := found["u"]
	if u.ID != "7" || u.Retailer.ID != "1" || u.Title != nil || *u.Country != "DE" || *u.PromotionOptIn ||
		string(u.Attributes[0].Value) != `{"big":12345678901234567890}` {
		t.Errorf("%+v", u)
	}
	if _, err := c.Lookup(t.Context(), []string{"u"}, false); err != nil {
		t.Fatal(err)
	}
	full, short := log()[0].query, log()[1].query
	if !strings.Contains(full, "primaryPhone") || strings.Contains(short, "primaryPhone") || !strings.Contains(short, "attributes") {
		t.Errorf("full: %s\nelse: %s", full, short)
	}
}

// Usernames are unique for each account, as far as is known. Were they so for
// each retailer alone, the account's own customer is the one found.
func TestLookupPrefersTheRetailer(t *testing.T) {
	node := func(retailer string) string {
		return `{"node":{"id":"` + retailer + `","username":"u","retailer":{"id":"` + retailer + `"},"attributes":[]}}`
	}
	for _, edges := range []string{node("1") + "," + node("2"), node("2") + "," + node("1")} {
		for _, retailer := range []string{"1", "2"} {
			c, _ := account(t, Options{RetailerID: retailer}, says(200, `{"data":{"customers":{"edges":[`+edges+`],"pageInfo":null}}}`))
			if found, err := c.Lookup(t.Context(), []string{"u"}, false); err != nil || found["u"].ID != retailer {
				t.Errorf("retailer %s: found %+v, %v", retailer, found, err)
			}
		}
	}
}

func TestReadOfAWrongType(t *testing.T) {
	c, _ := account(t, Options{}, says(200, `{"data":{"customers":{"edges":[{"node":{"username":{"jane":1}}}]}}}`))
	_, err := c.Lookup(t.Context(), []string{"u"}, false)
	if kind(t, err) != Failed {
		t.Errorf("err = %v", err)
	}
}

func TestScan(t *testing.T) {
	names := numbered(7)
	c, log := account(t, Options{}, func(w http.ResponseWriter, r asked) {
		from, first := 0, int(r.vars["first"].(float64))
		if after, ok := r.vars["after"]; ok {
			fmt.Sscanf(after.(string), "c%d", &from)
		}
		to := min(from+first, len(names))
		var edges []string
		for i := from; i < to; i++ {
			edges = append(edges, fmt.Sprintf(`{"cursor":"c%d","node":{"username":%q}}`, i+1, names[i]))
		}
		fmt.Fprintf(w, `{"data":{"customers":{"edges":[%s],"pageInfo":{"hasNextPage":%v}}}}`, strings.Join(edges, ","), to < len(names))
	})
	var got []string
	for after := ""; ; {
		page, err := c.Scan(t.Context(), after, 3, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range page.Customers {
			got = append(got, one.Username)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(got, names) || len(log()) != 3 {
		t.Errorf("%q in %d pages", got, len(log()))
	}
	for ask, want := range map[int]int{0: 1000, 9999: 5000} {
		if _, err := c.Scan(t.Context(), "", ask, false); err != nil {
			t.Fatal(err)
		}
		if first := log()[len(log())-1].vars["first"]; first != float64(want) {
			t.Errorf("first %d asks for %v", ask, first)
		}
	}
}

// A scan that cannot go on must neither end early nor go round.
func TestScanThatGoesNowhere(t *testing.T) {
	for _, edges := range []string{`[]`, `[null]`, `[{"cursor":"","node":{}}]`, `[{"cursor":"here","node":{}}]`} {
		c, _ := account(t, Options{}, says(200, `{"data":{"customers":{"edges":`+edges+`,"pageInfo":{"hasNextPage":true}}}}`))
		if _, err := c.Scan(t.Context(), "here", 10, false); kind(t, err) != Failed {
			t.Errorf("%s: %v", edges, err)
		}
	}
}

// A page that is too large is asked for in parts; a full one has all fields.
func TestScanOfTooLargePages(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"too large to read": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "999999999") },
		"too complex":       func(w http.ResponseWriter) { io.WriteString(w, `{"data":null,"errors":[`+fault("C0001E")+`]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			c, log := account(t, Options{}, func(w http.ResponseWriter, r asked) {
				if r.vars["first"].(float64) > 1250 {
					answer(w)
					return
				}
				io.WriteString(w, `{"data":{"customers":{"edges":[{"cursor":"c","node":{"username":"a"}}],"pageInfo":{"hasNextPage":false}}}}`)
			})
			page, err := c.Scan(t.Context(), "", 5000, true)
			if err != nil || len(page.Customers) != 1 || len(log()) != 3 {
				t.Errorf("%+v, %v after %d requests", page, err, len(log()))
			}
			if !strings.Contains(log()[0].query, "primaryPhone") {
				t.Errorf("not full: %s", log()[0].query)
			}
		})
	}
	c, log := account(t, Options{}, says(200, `{"data":null,"errors":[`+fault("C0001E")+`]}`))
	if _, err := c.Scan(t.Context(), "", 4, false); kind(t, err) != TooBig || len(log()) != 3 {
		t.Errorf("%v after %d requests", err, len(log()))
	}
}

func TestByID(t *testing.T) {
	c, log := account(t, Options{MaxBatch: 2}, func(w http.ResponseWriter, r asked) {
		var parts []string
		for _, alias := range r.aliases() {
			doc := "null"
			if id := r.vars[alias]; id != "9" {
				doc = fmt.Sprintf(`{"id":%q,"username":"u%s"}`, id, id)
			}
			parts = append(parts, fmt.Sprintf("%q:%s", alias, doc))
		}
		fmt.Fprintf(w, `{"data":{%s}}`, strings.Join(parts, ","))
	})
	found, err := c.ByID(t.Context(), []string{"1", "9", "2"}, false)
	if err != nil || len(found) != 2 || found["1"].Username != "u1" || found["2"].Username != "u2" || len(log()) != 2 {
		t.Errorf("%v, %v after %d requests", found, err, len(log()))
	}
	for _, data := range []string{`{}`, `{"c0":{"id":"2"}}`, `{"c0":7}`} {
		c, _ := account(t, Options{}, says(200, `{"data":`+data+`}`))
		if _, err := c.ByID(t.Context(), []string{"1"}, false); kind(t, err) != Failed {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// Promise 4: taken for an account without customers, null would end the filling
// of a lost ledger early, and lead to second customers.
func TestNullIsNoPage(t *testing.T) {
	for _, data := range []string{`null`, `{}`, `{"customers":null}`, `{"customers":{"edges":null}}`} {
		c, _ := account(t, Options{}, says(200, `{"data":`+data+`}`))
		if _, err := c.Scan(t.Context(), "", 10, false); kind(t, err) != Failed {
			t.Errorf("scan, %s: %v", data, err)
		}
		if _, err := c.Lookup(t.Context(), []string{"u"}, false); kind(t, err) != Failed {
			t.Errorf("lookup, %s: %v", data, err)
		}
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name, retailer, body string
		want                 Kind
	}{
		{name: "all is well", retailer: "1", body: `{"data":{"customers":{"edges":[]},"retailerById":{"id":"1"}}}`},
		{name: "no retailer asked for", body: `{"data":{"customers":{"edges":[]}}}`},
		{name: "no such retailer", retailer: "9", body: `{"data":{"customers":{"edges":[]},"retailerById":null}}`, want: Stopped},
		{name: "no permission", retailer: "1", body: `{"data":null,"errors":[` + fault("C0020E") + `]}`, want: Stopped},
		{name: "down", retailer: "1", body: html, want: Down},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := account(t, Options{}, says(200, tt.body))
			if got := kind(t, c.Check(t.Context(), tt.retailer)); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestReadsAreRepeatedOnceAfterUnauthorized(t *testing.T) {
	n := 0
	c, log := account(t, Options{}, func(w http.ResponseWriter, r asked) {
		if n++; n == 1 {
			w.WriteHeader(401)
			io.WriteString(w, html)
			return
		}
		people("a")(w, r)
	})
	found, err := c.Lookup(t.Context(), []string{"a"}, false)
	if err != nil || len(found) != 1 || len(log()) != 2 {
		t.Errorf("%v, %v after %d requests", found, err, len(log()))
	}
}

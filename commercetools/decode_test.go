package commercetools

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent/api"
)

func TestCustomNumbers(t *testing.T) {
	tests := map[string]any{
		"0": 0, "-0": 0, "1": 1, "-7": -7, "1.0": 1, "1e3": 1000, "0.5e1": 5, "100E-2": 1,
		"0.1": 0.1, "-12.34": -12.34, "1.50": 1.5, "1e-7": 1e-7,
		"9007199254740993":       9007199254740993,
		"9223372036854775807":    math.MaxInt64,
		"9223372036854775808":    json.Number("9223372036854775808"),
		"12345678901234567890":   json.Number("12345678901234567890"),
		"0.12345678901234566":    0.12345678901234566,
		"0.12345678901234567":    json.Number("0.12345678901234567"),
		"0.123456789012345678":   json.Number("0.123456789012345678"),
		"9007199254740993.0":     json.Number("9007199254740993.0"),
		"1e21":                   1e21,
		"1e400":                  json.Number("1e400"),
		"1e-400":                 json.Number("1e-400"),
		"0e999999999999999999":   0,
		"1e99999999999999999999": json.Number("1e99999999999999999999"),
	}
	for in, want := range tests {
		var c Custom
		doc := `{"type":{"typeId":"type","id":"t"},"fields":{"plain":` + in + `,"deep":[{"x":` + in + `}]}}`
		if err := json.Unmarshal([]byte(doc), &c); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		deep := c.Fields["deep"].([]any)[0].(map[string]any)["x"]
		if !reflect.DeepEqual(c.Fields["plain"], want) || !reflect.DeepEqual(deep, want) || c.Type.ID != "t" {
			t.Errorf("%s: %T %v, want %T %v", in, c.Fields["plain"], c.Fields["plain"], want, want)
		}
	}
}

func TestCustomerRoundTrip(t *testing.T) {
	doc := `{"id":"c1","version":3,"email":"a@b.c","addresses":[{"id":"a1","country":"DE","custom":{"type":{"typeId":"type","id":"t"},"fields":{"n":1}}}],` +
		`"isEmailVerified":true,"customerGroup":{"typeId":"customer-group","id":"g"},"stores":[{"typeId":"store","key":"s"}]}`
	c, bad := decodeCustomer([]byte(doc))
	if bad != nil {
		t.Fatal(bad)
	}
	again, err := json.Marshal(c)
	if err != nil || string(again) != doc {
		t.Errorf("%s, %v", again, err)
	}
}

// Nobody's answer can cause a panic, and what is read of it makes sense.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"id":"c1","version":3,"email":"a@b","custom":{"type":{"id":"t"},"fields":{"n":1.5,"d":[{"x":1e400}]}}}`,
		`{"results":[{"id":"c1","version":3},{"id":"c2","version":"x"},7,null]}`,
		`{"statusCode":400,"message":"m","errors":[{"code":"InvalidInput"}]}`,
		`{"error":"invalid_token"}`, `{"id":"c","version":1,"custom":{"fields":[]}}`, `<html>`, ``, `null`, `[]`, `[[[[`,
		`{"id":"c","version":1,"custom":{"fields":{"n":1e-99999999999}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, bad := decodeCustomer(data); bad == nil && (c.ID == "" || c.Version <= 0) {
			t.Errorf("a customer without identity")
		} else if bad != nil && bad.Kind != Refused && bad.Kind != Down {
			t.Errorf("kind %v", bad.Kind)
		}
		total, bad := decodePage(data, func(r []byte) *Error {
			if stub := decodeStub(r); stub != nil && (stub.ID == "" || stub.Version <= 0) {
				t.Errorf("a stub without identity")
			}
			return nil
		})
		if bad == nil && (total < -1 || !json.Valid(data[:bytes.LastIndexByte(data, '}')+1])) {
			t.Errorf("a page that is none, or a total of %d", total)
		}
		if s, bad := decodeSubscription(data); bad == nil && (s.ID == "" || s.Version <= 0) {
			t.Errorf("a subscription without identity")
		}
		for _, status := range []int{200, 400, 404, 500} {
			e := fromAnswer("customer", &api.Answer{Status: status, Body: data})
			if e.Kind == 0 || len(e.Code) > 130 {
				t.Errorf("%+v", e)
			}
		}
	})
}

// A number that is changed has lost nothing.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "1.0", "-1e3", "0.1", "9007199254740993", "1e-7", "123456789012345678901234567890"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 40 || strings.Contains(s, "_") || !json.Valid([]byte(s)) || strings.ContainsAny(s, "\"[{tfn \t\r\n") {
			return
		}
		got := number(json.Number(s))
		if _, kept := got.(json.Number); kept {
			return
		}
		back, _ := json.Marshal(got)
		a, ok := new(big.Rat).SetString(s)
		b, _ := new(big.Rat).SetString(string(back))
		if !ok {
			return // an exponent too large for big.Rat
		}
		if a.Cmp(b) != 0 {
			t.Errorf("%s became %s", s, back)
		}
	})
}

package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
)

// All that is remembered of a type of a project comes, over several pages, and
// of each resource the last that comes is what Recall gives.
func TestEachMemory(t *testing.T) {
	r := newRig(t)
	want := map[ct2fluent.Ref]ct2fluent.Memory{}
	for i := range pageMessages + 50 {
		ref := ct2fluent.Ref{Project: "a shop", TypeID: "customer", ID: fmt.Sprintf("c.%d", i)}
		want[ref] = ct2fluent.Memory{Username: fmt.Sprintf("1_%d@x", i)}
	}
	other := map[ct2fluent.Ref]ct2fluent.Memory{
		{Project: "shop", TypeID: "customer", ID: "c"}:                         {Username: "other"},
		{Project: "a shop", TypeID: "order", ID: "c"}:                          {Username: "other"},
		{Project: "a shop", TypeID: "customer", ID: strings.Repeat("x.", 200)}: {Username: "longer than any id"},
	}
	for _, ms := range []map[ct2fluent.Ref]ct2fluent.Memory{want, other} {
		if err := r.ledger.Adopt(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
	}
	changed := ct2fluent.Ref{Project: "a shop", TypeID: "customer", ID: "c.7"}
	want[changed] = ct2fluent.Memory{Floor: 3, Version: 3, Username: "1_7@x"}
	r.settle(r.remembering(want[changed], nil), of(changed, note(1, 3)))

	got := map[ct2fluent.Ref]ct2fluent.Memory{}
	err := r.ledger.EachMemory(t.Context(), "a shop", "customer", func(ref ct2fluent.Ref, m ct2fluent.Memory) error {
		got[ref] = m
		return nil
	})
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d of %d came, %v", len(got), len(want), err)
	}
	for ref, m := range want {
		if !sameMemory(got[ref], m) {
			t.Errorf("%s: %+v, want %+v", ref, got[ref], m)
		}
	}
	enough := errors.New("enough")
	if err := r.ledger.EachMemory(t.Context(), "a shop", "customer", func(ct2fluent.Ref, ct2fluent.Memory) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
}

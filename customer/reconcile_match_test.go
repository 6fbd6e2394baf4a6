package customer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
)

// Which Fluent customer is jane, whose mapping gives 1_jane@x, and 1_jane where
// that is another's.
func TestMatched(t *testing.T) {
	const mapped, alternative = "1_jane@x", "1_jane"
	wrote := ct2fluent.Memory{Floor: 2, Version: 2, Username: "1_old@x"}
	intends := ct2fluent.Memory{Username: "1_old@x"}
	tests := []struct {
		name   string
		memory ct2fluent.Memory
		fluent string // username=ours|unclaimed|foreign, those that are ours in the order in which they were made
		want   match
	}{
		{name: "nobody knows her", want: match{kind: Missing}},
		{name: "she carries her id under the username mapped", fluent: "1_jane@x=ours", want: match{username: mapped, learn: true}},
		{name: "or under any other", fluent: "1_before@x=ours", want: match{username: "1_before@x", learn: true}},
		{name: "one without an id is hers by the username mapped", fluent: "1_jane@x=unclaimed", want: match{username: mapped}},
		{name: "the id goes before the username mapped", fluent: "1_jane@x=unclaimed 1_before@x=ours", want: match{username: "1_before@x", learn: true}},
		{name: "the username mapped is another's: the alternative", fluent: "1_jane@x=foreign 1_jane=unclaimed", want: match{username: alternative}},
		{name: "the username mapped is another's, and there is no alternative yet", fluent: "1_jane@x=foreign", want: match{kind: Missing}},
		{name: "both are others'", fluent: "1_jane@x=foreign 1_jane=foreign", want: match{kind: Ambiguous, why: whyUsername}},

		{name: "remembered", memory: wrote, fluent: "1_old@x=ours", want: match{username: "1_old@x"}},
		{name: "remembered, and its id is gone", memory: wrote, fluent: "1_old@x=unclaimed", want: match{username: "1_old@x"}},
		{name: "remembered, and it carries another id", memory: wrote, fluent: "1_old@x=foreign", want: match{username: "1_old@x", foreign: true}},
		{name: "remembered goes before the username mapped", memory: wrote, fluent: "1_old@x=ours 1_jane@x=unclaimed", want: match{username: "1_old@x"}},
		{name: "remembered, and gone from Fluent", memory: wrote, fluent: "1_jane@x=unclaimed", want: match{kind: Missing}},
		{name: "remembered and gone, while another carries her id", memory: wrote, fluent: "1_jane@x=ours",
			want: match{kind: Ambiguous, why: whyElsewhere, username: mapped}},
		{name: "merely intended, and made", memory: intends, fluent: "1_old@x=ours", want: match{username: "1_old@x"}},
		{name: "merely intended, and there without an id", memory: intends, fluent: "1_old@x=unclaimed", want: match{username: "1_old@x"}},
		{name: "merely intended, and another's by now", memory: intends, fluent: "1_old@x=foreign", want: match{kind: Missing}},
		{name: "merely intended, while another carries her id", memory: intends, fluent: "1_jane@x=ours",
			want: match{kind: Ambiguous, why: whyElsewhere, username: mapped}},

		{name: "two carry her id: the remembered stays", memory: wrote, fluent: "1_a@x=ours 1_jane@x=ours 1_old@x=ours",
			want: match{kind: Ambiguous, why: whyTwins, username: "1_old@x", others: []string{"1_a@x", "1_jane@x"}}},
		{name: "the remembered stays, also without the id", memory: wrote, fluent: "1_a@x=ours 1_old@x=unclaimed",
			want: match{kind: Ambiguous, why: whyTwins, username: "1_old@x", others: []string{"1_a@x"}}},
		{name: "the intended stays", memory: intends, fluent: "1_jane@x=ours 1_old@x=ours",
			want: match{kind: Ambiguous, why: whyTwins, username: "1_old@x", others: []string{"1_jane@x"}}},
		{name: "else the mapped", fluent: "1_a@x=ours 1_jane@x=ours 1_jane=ours",
			want: match{kind: Ambiguous, why: whyTwins, username: mapped, others: []string{"1_a@x", "1_jane"}, learn: true}},
		{name: "else the alternative", fluent: "1_a@x=ours 1_jane=ours",
			want: match{kind: Ambiguous, why: whyTwins, username: alternative, others: []string{"1_a@x"}, learn: true}},
		{name: "else the one that was made first", fluent: "1_b@x=ours 1_a@x=ours",
			want: match{kind: Ambiguous, why: whyTwins, username: "1_b@x", others: []string{"1_a@x"}, learn: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			places := map[string]place{}
			var carrying []string
			for _, one := range strings.Fields(tt.fluent) {
				name, is, _ := strings.Cut(one, "=")
				places[name] = map[string]place{"ours": ours, "unclaimed": unclaimed, "foreign": foreign}[is]
				if is == "ours" {
					carrying = append(carrying, name)
				}
			}
			got := matched(tt.memory, mapped, alternative, func(username string) place {
				if p, there := places[username]; there {
					return p
				}
				return vacant
			}, carrying)
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

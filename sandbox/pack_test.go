package sandbox

import (
	"testing"
)

// What is packed is smaller and comes back as it was, odd texts included.
func TestPack(t *testing.T) {
	s, err := NewCommerceTools(CTOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := NewPopulation(1).Fill(s, 200); err != nil {
		t.Fatal(err)
	}
	p := s.packer
	var plain, packed int
	for _, c := range s.all() {
		doc := encode(s.document(c))
		small := p.pack(doc)
		if got := string(p.unpack([]byte("x"), small)); got != "x"+string(doc) {
			t.Fatalf("%s\ncame back as\n%s", doc, got)
		}
		plain, packed = plain+len(doc), packed+len(small)
	}
	if packed*10 > plain*6 {
		t.Errorf("%d bytes in %d", plain, packed)
	}
	for _, odd := range []string{"", "\x00\x01\x1f", "\xff\xfe", `"id":"`, "😀 \u2028 <&>"} {
		doc := encode(map[string]any{odd: odd})
		if got := p.unpack(nil, p.pack(doc)); string(got) != string(doc) {
			t.Errorf("%q came back as %q", doc, got)
		}
	}
	codes := map[string]bool{}
	for c, w := range p.words {
		if codes[w] && w != "" || w != "" && c >= 0x20 && c < 0xc0 {
			t.Errorf("%q has two codes, or a code of JSON", w)
		}
		codes[w] = true
	}
}

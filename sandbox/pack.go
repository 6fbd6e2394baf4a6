package sandbox

import (
	"slices"
	"strings"
)

// A packer keeps JSON in about half its size: words that most documents share
// stand as single bytes that no JSON of valid UTF-8 has in it.
type packer struct {
	codes *strings.Replacer
	words [256]string
}

func newPacker() *packer {
	words := []string{
		`isEmailVerified":false,"lastModifiedAt":"`, `authenticationMode":"Password","billingAddressIds":[`,
		`customerGroupAssignments":[],"custom`, `{"addresses":[`, `],"createdAt":"`, `erNumber":"`, `custom":{"fields":{"`,
		`newsletter":`, `,"points":`, `loyaltyId":`, `,"sizes":["M","42"]`, `},"type":{"id":"`, `","typeId":"type"}},"`,
		`defaultBillingAddressId":"`, `defaultShippingAddressId":"`, `shippingAddressIds":[`, `],"stores":[]`, `,"version":1}`,
		`email":"`, `@example.com","`, `","dateOfBirth":"`, `companyName":"`, `locale":"`, `salutation":"`, `title":"`, `country":"`,
		`firstName":"`, `lastName":"`, `mobile":"`, `phone":"`, `postalCode":"`, `streetName":"`, `streetNumber":"`,
		`additionalStreetInfo":"`, `{"city":"`, `"},{"city":"`, `"}],"`, `id":"`, `key":"`, `","`, `"],"`, `],"`, `false`, `true`,
	}
	var codes []byte
	for c := byte(0); c < 0x20; c++ { // JSON has them escaped
		codes = append(codes, c)
	}
	codes = append(codes, 0xc0, 0xc1, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff)
	p := &packer{}
	var pairs []string
	for i, w := range words {
		p.words[codes[i]] = w
		pairs = append(pairs, w, string(codes[i:i+1]))
	}
	p.codes = strings.NewReplacer(pairs...)
	return p
}

func (p *packer) pack(doc []byte) string { return strings.Clone(p.codes.Replace(string(doc))) }

// unpack appends the JSON of a packed document to dst.
func (p *packer) unpack(dst []byte, packed string) []byte {
	dst = slices.Grow(dst, 3*len(packed))
	start := 0
	for i := 0; i < len(packed); i++ {
		if w := p.words[packed[i]]; w != "" {
			dst = append(append(dst, packed[start:i]...), w...)
			start = i + 1
		}
	}
	return append(dst, packed[start:]...)
}

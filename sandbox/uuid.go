package sandbox

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// A uuid is an id of commercetools.
type uuid [16]byte

func newUUID(rng *rand.Rand) (u uuid) {
	for i := range u {
		u[i] = byte(rng.Uint32())
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

func parseUUID(s string) (u uuid, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	_, err := hex.Decode(u[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return u, err == nil && s == u.String() // lower case only
}

func (u uuid) String() string {
	var s [36]byte
	hex.Encode(s[:8], u[:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:], u[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// compare is commercetools' own order, which is not that of the text: as
// databases have it that keep a UUID as two little-endian numbers.
func (u uuid) compare(v uuid) int {
	le := binary.LittleEndian
	return cmp.Or(
		cmp.Compare(le.Uint64(u[:8]), le.Uint64(v[:8])),
		cmp.Compare(le.Uint64(u[8:]), le.Uint64(v[8:])),
	)
}

package customer

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"iter"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/fluent"
)

// An index is what a reconciliation keeps of all Fluent customers at once: of
// each its username, the commercetools id that it carries, a digest for each
// field, and what became of it. A million take about 120 MB; nothing of it
// outlives the run.
type index struct {
	columns     *columns
	idAttribute string
	markedBy    string // the attribute of deleted ones; empty: there are none
	retailerID  string

	n       int
	rows    [][]row
	digests [][]uint32
	names   arena
	byName  rowTable
	byID    rowTable
	strange map[int]string // ids that are no UUIDs

	// apart holds what the ledger remembers of customers whose id is not
	// carried by the Fluent customer that it remembers.
	apart map[string]ct2fluent.Memory
}

// A row is one Fluent customer. It holds no pointer: the garbage collector need
// not look at a million of them.
type row struct {
	id    [16]byte
	name  uint32
	flags flags
}

type flags uint16

const (
	carries    flags = 1 << iota // a commercetools id
	own                          // is of the account's retailer
	unreadable                   // its id is no text
	marked                       // as deleted in commercetools
	seen                         // commercetools has the customer whose id it carries
	taken                        // a commercetools customer was found to be this one
	remembered                   // the ledger remembers its username as that of its id
	another                      // the ledger remembers its username as another's
	worked                       // remembered, and commercetools had the customer when it was read
	doubtful                     // to be looked at at the end, with all of its id
)

// chunk is how many rows are made at once.
const chunk = 8192

func newIndex(c *columns, m *Mapping, markedBy, retailerID string) *index {
	x := &index{columns: c, idAttribute: m.config.IDAttribute, markedBy: markedBy, retailerID: retailerID, strange: map[int]string{}, apart: map[string]ct2fluent.Memory{}}
	seed := maphash.MakeSeed()
	x.byName = rowTable{hash: func(i int) uint64 { return maphash.Bytes(seed, x.names.at(x.row(i).name)) }}
	x.byID = rowTable{hash: func(i int) uint64 { return maphash.Bytes(seed, x.row(i).id[:]) }}
	x.byName.key = func(s string) uint64 { return maphash.String(seed, s) }
	x.byID.key = func(id string) uint64 { key, _ := packed(id); return maphash.Bytes(seed, key[:]) }
	return x
}

func (x *index) row(i int) *row { return &x.rows[i/chunk][i%chunk] }

func (x *index) digestsOf(i int) []uint32 {
	n := len(x.columns.names)
	at := i % chunk * n
	return x.digests[i/chunk][at : at+n : at+n]
}

func (x *index) name(i int) string { return string(x.names.at(x.row(i).name)) }

// id is the commercetools id that a row carries.
func (x *index) id(i int) string {
	if id, is := x.strange[i]; is {
		return id
	}
	return unpacked(x.row(i).id)
}

// add keeps a customer, in place of what was kept of its username: a page may
// repeat what the one before had.
func (x *index) add(c *fluent.Customer) {
	i, there := x.named(c.Username)
	if there && x.row(i).flags&own != 0 && elsewhere(c, x.retailerID) {
		return // should usernames be unique for each retailer alone
	}
	if !there {
		if i = x.n; i%chunk == 0 {
			x.rows = append(x.rows, make([]row, chunk))
			x.digests = append(x.digests, make([]uint32, chunk*len(x.columns.names)))
		}
		x.n++
		x.row(i).name = x.names.add(c.Username)
		x.byName.put(i)
	}
	r := x.row(i)
	before := *r
	r.flags = 0
	if !elsewhere(c, x.retailerID) {
		r.flags |= own
	}
	delete(x.strange, i)
	id, readable := attributeText(c.Attributes, x.idAttribute)
	switch {
	case !readable:
		r.flags |= unreadable
	case id != "":
		r.flags |= carries
		var exact bool
		if r.id, exact = packed(id); !exact {
			x.strange[i] = id
		}
		if before.flags&carries == 0 || before.id != r.id {
			x.byID.put(i)
		}
	}
	if markedBy(c, x.markedBy) {
		r.flags |= marked
	}
	x.columns.of(c, x.digestsOf(i))
}

// markedBy tells whether an attribute says that a customer was deleted: the
// empty text says that it is there. Without a name none does.
func markedBy(c *fluent.Customer, attribute string) bool {
	text, readable := attributeText(c.Attributes, attribute)
	return attribute != "" && (text != "" || !readable)
}

func (x *index) named(username string) (i int, there bool) {
	for i := range x.byName.find(username) {
		if string(x.names.at(x.row(i).name)) == username {
			return i, true
		}
	}
	return 0, false
}

// carrying gives the rows of the account's retailer that carry an id, in the
// order of the scan. Others' are not its customers, whatever they carry.
func (x *index) carrying(id string) (rows []int) {
	key, exact := packed(id)
	for i := range x.byID.find(id) {
		r := x.row(i)
		if r.flags&(carries|own) != carries|own || r.id != key || !exact && x.strange[i] != id {
			continue
		}
		at := len(rows)
		for at > 0 && rows[at-1] > i {
			at--
		}
		if at > 0 && rows[at-1] == i {
			continue
		}
		rows = append(rows[:at], append([]int{i}, rows[at:]...)...)
	}
	return rows
}

// placed says of a username what placeOf does, for a customer.
func (x *index) placed(username, customerID string) place {
	i, there := x.named(username)
	if !there {
		return vacant
	}
	r := x.row(i)
	switch {
	case r.flags&own == 0:
		return foreign
	case r.flags&carries != 0 && x.id(i) == customerID:
		return ours
	case r.flags&(carries|unreadable) != 0:
		return foreign
	}
	return unclaimed
}

// remember keeps what the ledger remembers of a customer. Nearly all of it says
// what the index says already; of one customer the last holds.
func (x *index) remember(id string, m ct2fluent.Memory) {
	for _, i := range x.carrying(id) {
		x.row(i).flags &^= remembered | worked
	}
	delete(x.apart, id)
	switch i, there := x.named(m.Username); {
	case m.Username == "":
	case there && x.row(i).flags&(carries|own) == carries|own && x.id(i) == id:
		x.row(i).flags |= remembered
		if m.Floor > 0 || m.Version > 0 { // what was filled in from Fluent has neither
			x.row(i).flags |= worked
		}
	default:
		x.apart[id] = m
	}
}

// rememberedAll ends what remember began.
func (x *index) rememberedAll() {
	for _, m := range x.apart {
		x.flag(m.Username, another)
	}
}

// memory is what the ledger remembers of a customer, as far as it matters for
// matching: of a customer whose id is carried by the one that is remembered, it
// does not whether anything was written for certain.
func (x *index) memory(id string, carrying []int) ct2fluent.Memory {
	for _, i := range carrying {
		if x.row(i).flags&remembered != 0 {
			return ct2fluent.Memory{Username: x.name(i), Version: 1}
		}
	}
	return x.apart[id]
}

// flag notes something of the row of a username, and gives what was noted.
func (x *index) flag(username string, f flags) (before flags) {
	i, there := x.named(username)
	if !there {
		return 0
	}
	r := x.row(i)
	before = r.flags
	r.flags |= f
	return before
}

// packed makes 16 bytes of an id: those of the UUID that it is, or of a digest.
func packed(id string) (key [16]byte, exact bool) {
	if len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' {
		var digits [32]byte
		copy(digits[:], id[:8])
		copy(digits[8:], id[9:13])
		copy(digits[12:], id[14:18])
		copy(digits[16:], id[19:23])
		copy(digits[20:], id[24:])
		if _, err := hex.Decode(key[:], digits[:]); err == nil && unpacked(key) == id {
			return key, true
		}
	}
	sum := sha256.Sum256([]byte(id))
	copy(key[:], sum[:])
	return key, false
}

func unpacked(key [16]byte) string {
	var id [36]byte
	hex.Encode(id[:8], key[:4])
	hex.Encode(id[9:13], key[4:6])
	hex.Encode(id[14:18], key[6:8])
	hex.Encode(id[19:23], key[8:10])
	hex.Encode(id[24:], key[10:])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	return string(id[:])
}

// An arena keeps texts one behind the other, in blocks that are never moved.
type arena struct {
	blocks [][]byte
}

const block = 1 << 20

// add keeps a text of up to 65,535 bytes, the longer ones cut: no username has
// so many.
func (a *arena) add(s string) uint32 {
	s = s[:min(len(s), 1<<16-1)]
	last := len(a.blocks) - 1
	if last < 0 || len(a.blocks[last])+2+len(s) > block {
		a.blocks = append(a.blocks, make([]byte, 0, block))
		last++
	}
	at := len(a.blocks[last])
	a.blocks[last] = append(append(a.blocks[last], byte(len(s)), byte(len(s)>>8)), s...)
	return uint32(last*block + at)
}

func (a *arena) at(ref uint32) []byte {
	b := a.blocks[ref/block][ref%block:]
	n := int(b[0]) | int(b[1])<<8
	return b[2 : 2+n]
}

// A rowTable finds rows by what they are hashed by: open addressing over the
// numbers of the rows, 4 bytes each.
type rowTable struct {
	hash  func(i int) uint64
	key   func(s string) uint64
	slots []uint32 // the row plus 1; 0 is free
	n     int
}

func (t *rowTable) put(i int) {
	if 3*(t.n+1) > 2*len(t.slots) {
		old := t.slots
		t.slots = make([]uint32, max(1024, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				t.place(int(s - 1))
			}
		}
	}
	t.n++
	t.place(i)
}

func (t *rowTable) place(i int) {
	mask := uint64(len(t.slots) - 1)
	at := t.hash(i) & mask
	for t.slots[at] != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = uint32(i + 1)
}

// find gives the rows that may be those of a key, and all that are.
func (t *rowTable) find(key string) iter.Seq[int] {
	return func(yield func(int) bool) {
		if len(t.slots) == 0 {
			return
		}
		mask := uint64(len(t.slots) - 1)
		for at := t.key(key) & mask; t.slots[at] != 0; at = (at + 1) & mask {
			if !yield(int(t.slots[at] - 1)) {
				return
			}
		}
	}
}

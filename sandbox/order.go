package sandbox

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// An order keeps values sorted: blocks of some hundred, so that putting one
// among a million moves little.
type order[T any] struct {
	compare func(a, b T) int
	blocks  [][]T
	n       int
}

const blockSize = 512

// find returns the block in which v is or belongs, and where.
func (o *order[T]) find(v T) (block, at int, found bool) {
	block = sort.Search(len(o.blocks), func(i int) bool {
		b := o.blocks[i]
		return o.compare(b[len(b)-1], v) >= 0
	})
	if block == len(o.blocks) {
		return block, 0, false
	}
	at, found = slices.BinarySearchFunc(o.blocks[block], v, o.compare)
	return block, at, found
}

func (o *order[T]) len() int { return o.n }

func (o *order[T]) insert(v T) {
	o.n++
	if len(o.blocks) == 0 {
		o.blocks = [][]T{{v}}
		return
	}
	i, at, _ := o.find(v)
	if i == len(o.blocks) {
		i--
		at = len(o.blocks[i])
	}
	b := slices.Insert(o.blocks[i], at, v)
	o.blocks[i] = b
	if len(b) <= blockSize {
		return
	}
	// What grows at its end is left full, what grows in its middle is halved.
	cut := len(b) / 2
	if i == len(o.blocks)-1 && at == len(b)-1 {
		cut = len(b) - 1
	}
	o.blocks[i] = b[:cut:cut]
	rest := append(make([]T, 0, blockSize+1), b[cut:]...)
	o.blocks = slices.Insert(o.blocks, i+1, rest)
}

func (o *order[T]) remove(v T) {
	i, at, found := o.find(v)
	if !found {
		return
	}
	o.n--
	if o.blocks[i] = slices.Delete(o.blocks[i], at, at+1); len(o.blocks[i]) == 0 {
		o.blocks = slices.Delete(o.blocks, i, i+1)
	}
}

// from yields what is not before v, in order.
func (o *order[T]) from(v T) iter.Seq[T] {
	return func(yield func(T) bool) {
		i, at, _ := o.find(v)
		for ; i < len(o.blocks); i, at = i+1, 0 {
			for _, v := range o.blocks[i][at:] {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// between counts what lies from low to high.
func (o *order[T]) between(low, high T) int {
	first, from, _ := o.find(low)
	last, to, found := o.find(high)
	if found {
		to++
	}
	n := to - from
	for i := first; i < last; i++ {
		n += len(o.blocks[i])
	}
	return max(0, n)
}

// By these customers are sorted; the id parts those of one time.

func byID(a, b *customer) int { return a.id.compare(b.id) }

func byModified(a, b *customer) int {
	return cmp.Or(cmp.Compare(a.modified, b.modified), byID(a, b))
}

func byCreated(a, b *customer) int {
	return cmp.Or(cmp.Compare(a.created, b.created), byID(a, b))
}

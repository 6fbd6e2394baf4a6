package queue

import "container/heap"

// A pile keeps resources sorted by their key: the lowest is at the top. A
// resource lies in one pile at most.
type pile struct{ rs []*resource }

func (p *pile) Len() int           { return len(p.rs) }
func (p *pile) Less(i, j int) bool { return p.rs[i].key < p.rs[j].key }
func (p *pile) Swap(i, j int) {
	p.rs[i], p.rs[j] = p.rs[j], p.rs[i]
	p.rs[i].at, p.rs[j].at = i, j
}

// Push and Pop are heap.Interface's; put and take are what to call.
func (p *pile) Push(x any) {
	r := x.(*resource)
	r.at = len(p.rs)
	p.rs = append(p.rs, r)
}

func (p *pile) Pop() any {
	last := len(p.rs) - 1
	r := p.rs[last]
	p.rs[last] = nil
	p.rs = p.rs[:last]
	return r
}

func (p *pile) top() *resource {
	if len(p.rs) == 0 {
		return nil
	}
	return p.rs[0]
}

func (p *pile) put(r *resource, key int64) {
	r.key, r.pile = key, p
	heap.Push(p, r)
}

// lift takes r out of the pile it lies in, if it lies in one.
func (r *resource) lift() {
	if r.pile != nil {
		heap.Remove(r.pile, r.at)
		r.pile = nil
	}
}

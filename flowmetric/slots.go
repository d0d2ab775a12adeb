package flowmetric

import (
	"cmp"
	"math"
	"slices"
)

// slots decides which combinations keep their tags. Each of these has a slot; all others are summed in one. A combination
// keeps its slot as long as possible, so that two combinations of about the same size do not alternate:
//
//   - The weight of a combination is its amount in this interval (bytes, or queries and answers). If half of its weight in
//     the previous interval is more, it is that.
//   - If there are more combinations than slots, those with the highest rank get one. The rank is the weight or, for a
//     combination that has a slot already, twice the weight. So a new combination needs more than twice the weight to
//     replace an old one.
//   - A combination that is idle for so long that its weight is 0 loses its slot.
type slots struct {
	weights map[string]uint64 // weight by key
}

// candidate is a combination that may get a slot.
type candidate struct {
	key    string
	amount uint64 // in this interval
	index  int    // for the caller

	weight, rank  uint64
	hasSlot, idle bool
}

// assign assigns n slots. It returns the indices of the candidates with a slot and of the rest. A combination that is
// idle in this interval may keep its slot.
func (p *slots) assign(candidates []candidate, n int) (placed, rest []int) {
	slotted := 0
	for i := range candidates {
		c := &candidates[i]
		before, hasSlot := p.weights[c.key]
		c.hasSlot, c.weight = hasSlot, max(c.amount, before/2)
		c.rank = c.weight
		if hasSlot {
			slotted++
			c.rank = double(c.weight)
		}
	}
	if slotted < len(p.weights) {
		candidates = p.appendIdle(candidates)
	}
	if len(candidates) > n {
		slices.SortFunc(candidates, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(b.rank, a.rank), compareBool(b.hasSlot, a.hasSlot), cmp.Compare(a.key, b.key))
		})
	}
	clear(p.weights)
	for i, c := range candidates {
		switch {
		case i < n:
			p.weights[c.key] = c.weight
			if !c.idle {
				placed = append(placed, c.index)
			}
		case !c.idle:
			rest = append(rest, c.index)
		}
	}
	return placed, rest
}

// appendIdle appends the combinations that have a slot, are idle in this interval, and still have weight.
func (p *slots) appendIdle(candidates []candidate) []candidate {
	active := make(map[string]bool, len(p.weights))
	for i := range candidates {
		if candidates[i].hasSlot {
			active[candidates[i].key] = true
		}
	}
	for key, before := range p.weights {
		if weight := before / 2; weight > 0 && !active[key] {
			candidates = append(candidates, candidate{key: key, weight: weight, rank: double(weight), hasSlot: true, idle: true})
		}
	}
	return candidates
}

func double(n uint64) uint64 {
	if n > math.MaxUint64/2 {
		return math.MaxUint64
	}
	return 2 * n
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

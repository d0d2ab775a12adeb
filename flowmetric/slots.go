package flowmetric

import (
	"cmp"
	"math"
	"slices"
)

// places remembers which combinations keep their tags, so that those of about the same size do not
// take turns:
//
//   - A combination weighs what it did in this interval (bytes, or queries and answers), or half of what it weighed in the interval
//     before, whichever is more.
//   - Where more combinations want a place than there are, the heaviest get one. One that has a place
//     counts double, so that a newcomer takes it over only with more than twice the weight.
//   - A combination that has done nothing for so long that it weighs nothing gives its place up.
type slots struct {
	weights map[string]uint64 // weight by key
}

// claim is a combination of this interval that wants a place.
type candidate struct {
	key    string
	amount uint64 // what it weighs by itself
	index  int    // the caller's

	weight, rank  uint64
	hasSlot, idle bool
}

// assign gives n places away and returns the indices of the claims that got one, and of those that
// did not. Whoever holds a place and claims none now may still keep it.
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

// appendIdle appends the holders that claim nothing in this interval and still have weight.
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

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
type places struct {
	held map[string]uint64 // weight by key
}

// claim is a combination of this interval that wants a place.
type claim struct {
	key    string
	amount uint64 // what it weighs by itself
	index  int    // the caller's

	weight, rank uint64
	holds, idle  bool
}

// assign gives n places away and returns the indices of the claims that got one, and of those that
// did not. Whoever holds a place and claims none now may still keep it.
func (p *places) assign(claims []claim, n int) (placed, rest []int) {
	claiming := 0
	for i := range claims {
		c := &claims[i]
		before, holds := p.held[c.key]
		c.holds, c.weight = holds, max(c.amount, before/2)
		c.rank = c.weight
		if holds {
			claiming++
			c.rank = double(c.weight)
		}
	}
	if claiming < len(p.held) {
		claims = p.appendIdle(claims)
	}
	if len(claims) > n {
		slices.SortFunc(claims, func(a, b claim) int {
			return cmp.Or(cmp.Compare(b.rank, a.rank), compareBool(b.holds, a.holds), cmp.Compare(a.key, b.key))
		})
	}
	clear(p.held)
	for i, c := range claims {
		switch {
		case i < n:
			p.held[c.key] = c.weight
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
func (p *places) appendIdle(claims []claim) []claim {
	active := make(map[string]bool, len(p.held))
	for i := range claims {
		if claims[i].holds {
			active[claims[i].key] = true
		}
	}
	for key, before := range p.held {
		if weight := before / 2; weight > 0 && !active[key] {
			claims = append(claims, claim{key: key, weight: weight, rank: double(weight), holds: true, idle: true})
		}
	}
	return claims
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

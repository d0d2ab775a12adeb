package dns

import (
	"net/netip"
	"time"
)

// minTTL keeps a name long enough for the connection that was asked for to be seen.
const minTTL = 5 * time.Minute

// maxTTL bounds what an answer can claim.
const maxTTL = 24 * time.Hour

// names remembers which name an address was the answer for, at most size of them in each of two
// maps: when the younger is full, the older is dropped.
type names struct {
	size           int
	younger, older map[netip.Addr]named
}

type named struct {
	name  string
	until uint64
}

func newNames(size int) *names {
	return &names{size: size, younger: make(map[netip.Addr]named)}
}

func (n *names) put(a netip.Addr, name string, ttl time.Duration, now uint64) {
	if len(n.younger) >= n.size {
		n.younger, n.older = make(map[netip.Addr]named), n.younger
	}
	ttl = min(max(ttl, minTTL), maxTTL)
	n.younger[a] = named{name, now + uint64(ttl)}
}

func (n *names) get(a netip.Addr, now uint64) string {
	found, ok := n.younger[a]
	if !ok {
		found = n.older[a]
	}
	if found.until < now {
		return ""
	}
	return found.name
}

package dns

import (
	"net/netip"
	"time"

	"socktally/internal/lru"
)

// minTTL keeps a name long enough for the connection that was asked for to be seen.
const minTTL = 5 * time.Minute

// maxTTL bounds what an answer can claim.
const maxTTL = 24 * time.Hour

// names remembers which name an address was the answer for.
type names struct{ byAddr *lru.Cache[netip.Addr, named] }

type named struct {
	name  string
	until uint64
}

// newNames remembers size names at least.
func newNames(size int) names { return names{lru.New[netip.Addr, named](size)} }

func (n names) put(a netip.Addr, name string, ttl time.Duration, now uint64) {
	ttl = min(max(ttl, minTTL), maxTTL)
	n.byAddr.Put(a, named{name, now + uint64(ttl)})
}

func (n names) get(a netip.Addr, now uint64) string {
	found, _ := n.byAddr.Get(a)
	if found.until < now {
		return ""
	}
	return found.name
}

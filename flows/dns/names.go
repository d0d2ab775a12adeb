package dns

import (
	"net/netip"
	"time"

	"socktally/internal/lru"
)

// minTTL is how long a name is kept at least. A client that asked for it needs some time to connect.
const minTTL = 5 * time.Minute

// maxTTL is how long a name is kept at most, whatever the answer says.
const maxTTL = 24 * time.Hour

// names maps an address to the name that it was last an answer for.
type names struct{ byAddr *lru.Cache[netip.Addr, named] }

type named struct {
	name  string
	until uint64
}

// newNames returns names that keeps size addresses at least.
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

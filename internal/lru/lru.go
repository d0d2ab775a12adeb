// Package lru has a cache of bounded size that keeps the entries that were used last.
package lru

// Cache keeps at least the last size entries that were used, and at most twice as many. It has two maps. An entry that is
// used goes to the younger map. When that is full, the older map is dropped, and the younger one becomes the older. It is not
// safe for concurrent use.
type Cache[K comparable, V any] struct {
	size           int
	younger, older map[K]V
}

// New returns a Cache of at least size entries.
func New[K comparable, V any](size int) *Cache[K, V] {
	return &Cache[K, V]{size: size, younger: make(map[K]V)}
}

// Get returns the value of k, and whether there is one. k is then the most recently used entry.
func (c *Cache[K, V]) Get(k K) (V, bool) {
	if v, ok := c.younger[k]; ok {
		return v, true
	}
	v, ok := c.older[k]
	if ok {
		c.Put(k, v)
	}
	return v, ok
}

// Put sets the value of k.
func (c *Cache[K, V]) Put(k K, v V) {
	if len(c.younger) >= c.size {
		c.younger, c.older = make(map[K]V), c.younger
	}
	c.younger[k] = v
}

// Len is the number of entries. An entry in both maps counts twice.
func (c *Cache[K, V]) Len() int { return len(c.younger) + len(c.older) }

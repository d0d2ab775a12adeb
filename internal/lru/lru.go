// Package lru remembers what was used last, in bounded memory.
package lru

// Cache remembers at least the last size entries that were used, and at most twice as many. It is
// two maps: what is used moves to the younger, and when that is full the older is dropped.
type Cache[K comparable, V any] struct {
	size           int
	younger, older map[K]V
}

// New returns a Cache of at least size entries.
func New[K comparable, V any](size int) *Cache[K, V] {
	return &Cache[K, V]{size: size, younger: make(map[K]V)}
}

// Get returns what is remembered of k, and whether anything is. It is then used last.
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

// Put remembers v of k.
func (c *Cache[K, V]) Put(k K, v V) {
	if len(c.younger) >= c.size {
		c.younger, c.older = make(map[K]V), c.younger
	}
	c.younger[k] = v
}

// Len is how many entries are held. One that is in both maps counts twice.
func (c *Cache[K, V]) Len() int { return len(c.younger) + len(c.older) }

package flows

// cache remembers at least the last size entries that were used, and at most twice as many. It is
// two maps: what is used moves to the younger, and when that is full the older is dropped.
type cache[K comparable, V any] struct {
	size           int
	younger, older map[K]V
}

func newCache[K comparable, V any](size int) *cache[K, V] {
	return &cache[K, V]{size: size, younger: make(map[K]V)}
}

func (c *cache[K, V]) get(k K) (V, bool) {
	if v, ok := c.younger[k]; ok {
		return v, true
	}
	v, ok := c.older[k]
	if ok {
		c.put(k, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	if len(c.younger) >= c.size {
		c.younger, c.older = make(map[K]V), c.younger
	}
	c.younger[k] = v
}

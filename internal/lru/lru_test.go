package lru

import "testing"

func TestCacheIsBounded(t *testing.T) {
	c := New[int, int](10)
	for i := range 1000 {
		c.Put(i, i)
		if _, ok := c.Get(0); !ok {
			t.Fatal("what is used is forgotten")
		}
		if n := len(c.younger) + len(c.older); n > 20 {
			t.Fatalf("%d entries", n)
		}
	}
	if _, ok := c.Get(5); ok {
		t.Error("what is not used is kept")
	}
}

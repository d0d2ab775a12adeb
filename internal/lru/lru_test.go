package lru

import "testing"

func TestCacheIsBounded(t *testing.T) {
	c := New[int, int](10)
	for i := range 1000 {
		c.Put(i, i)
		if _, ok := c.Get(0); !ok {
			t.Fatal("what is used is forgotten")
		}
		if n := c.Len(); n > 20 {
			t.Fatalf("%d entries", n)
		}
	}
	if _, ok := c.Get(5); ok {
		t.Error("what is not used is kept")
	}
}

// TestLastPutCounts checks that the last value counts, also if the previous one is still in the older map.
func TestLastPutCounts(t *testing.T) {
	c := New[string, int](2)
	c.Put("a", 1)
	c.Put("b", 2)
	c.Put("c", 3) // a and b are in the older map now
	c.Put("a", 4)
	if v, ok := c.Get("a"); !ok || v != 4 {
		t.Errorf("got %d, %v", v, ok)
	}
	if _, ok := c.Get("d"); ok {
		t.Error("what was never put is found")
	}
}

// TestLeastSize checks that the last entries are all there, whatever came before them.
func TestLeastSize(t *testing.T) {
	const size = 7
	for before := range 3 * size {
		c := New[int, int](size)
		for i := range before + size {
			c.Put(i, i)
		}
		for i := before; i < before+size; i++ {
			if v, ok := c.Get(i); !ok || v != i {
				t.Errorf("%d entries before: %d of the last %d is %d, %v", before, i-before, size, v, ok)
			}
		}
	}
}

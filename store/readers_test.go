package store_test

import (
	"sync"
	"testing"
	"time"

	"socktally/store"
)

// TestReadersBesideTheWriter: at each moment a reader sees every bucket that was added before, once
// and whole, wherever it is: open, waiting or in the file.
func TestReadersBesideTheWriter(t *testing.T) {
	for _, path := range []string{newPath(t), ""} {
		s := open(t, store.Options{Path: path})
		const buckets, records = 11, 1200 // within the hour that memory keeps
		var mu sync.Mutex
		added := 0
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				for n := 0; n < buckets; {
					mu.Lock()
					n = added
					mu.Unlock()
					got := whole(t, s)
					for i := range n {
						if start := noon.Add(time.Duration(i) * bucket).Unix(); got[start] != records {
							t.Errorf("bucket %d of %d has %d records", i, n, got[start])
							return
						}
					}
					s.Stats()
				}
			})
		}
		for i := range buckets {
			at := noon.Add(time.Duration(i) * bucket)
			add(t, s, at, numbered(at, records))
			mu.Lock()
			added++
			mu.Unlock()
		}
		readers.Wait()
	}
}

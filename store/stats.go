package store

import (
	"context"
	"time"
)

// Stats are a store's state, and what it gave up since it was opened. What went because it was older
// than the retention is not counted.
type Stats struct {
	FileBytes   int64     // of the file, its log and that one's index
	MemoryBytes int64     // of finished buckets that are not in the file
	Oldest      time.Time // start of the oldest bucket; zero if there is none
	// WaitingBuckets are in memory because the file cannot be written.
	WaitingBuckets int
	// DroppedBuckets and DroppedRecords went because of MaxBytes, or waited too long.
	DroppedBuckets, DroppedRecords uint64
	// FoldedRecords found no room of their own in their bucket: the sum of all such is one record.
	FoldedRecords uint64
	// DamagedChunks were skipped by a reader: up to 1000 records each time one was met.
	DamagedChunks uint64
	// DamagedFiles were moved aside.
	DamagedFiles uint64
	// Err is why the file is not written; nil if it is.
	Err error
}

func (s *Stats) drop(l loss) {
	s.DroppedBuckets += l.buckets
	s.DroppedRecords += l.records
}

// Stats may be called at any time.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	stats, f := s.stats, s.file
	oldest, some := int64(0), false
	if s.open != nil && !s.open.empty() {
		oldest, some = s.open.start, true
	}
	for _, chunks := range s.waiting {
		if !some || chunks[0].start < oldest {
			oldest, some = chunks[0].start, true
		}
		for _, c := range chunks {
			stats.MemoryBytes += int64(len(c.payload))
		}
	}
	if s.options.Path != "" {
		stats.WaitingBuckets = len(s.waiting)
	}
	s.mu.Unlock()
	if f != nil {
		stats.FileBytes = f.bytes()
		if from, _, any, err := f.span(context.Background(), f.reader); err == nil && any && (!some || from < oldest) {
			oldest, some = from, true
		}
	}
	if some {
		stats.Oldest = time.Unix(oldest, 0)
	}
	return stats
}

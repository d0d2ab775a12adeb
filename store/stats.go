package store

import (
	"context"
	"time"
)

// Stats are the state of a store, and the records that it lost since it was opened. Records that were deleted because
// they were older than the retention do not count as lost.
type Stats struct {
	FileBytes   int64     // of the file, its write-ahead log and the index of the log
	MemoryBytes int64     // of finished buckets that are not in the file
	Oldest      time.Time // start of the oldest bucket; zero if there is none
	// WaitingBuckets are in memory because the file cannot be written.
	WaitingBuckets int
	// DroppedBuckets and DroppedRecords were deleted because of MaxBytes, or because too much waited in memory.
	DroppedBuckets, DroppedRecords uint64
	// FoldedRecords came when their bucket was full. They are added up without their endpoints.
	FoldedRecords uint64
	// DamagedChunks were skipped by a reader. A chunk has up to 1000 records, and counts each time it is read.
	DamagedChunks uint64
	// DamagedFiles were renamed, and new ones begun.
	DamagedFiles uint64
	// Err is the reason why the file cannot be written, nil if it can.
	Err error
}

func (s *Stats) drop(l loss) {
	s.DroppedBuckets += l.buckets
	s.DroppedRecords += l.records
}

// Stats may be called at any time, also while records are added or read.
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

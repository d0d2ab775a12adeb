package record

import (
	"maps"
	"math"
	"slices"
	"time"
)

// accuracy is the largest relative error of a percentile.
const accuracy = 0.01

// logGamma is the logarithm of gamma, the ratio of the upper bounds of two adjacent buckets.
var logGamma = math.Log((1 + accuracy) / (1 - accuracy))

// Latency is a histogram of durations in whole microseconds. Its percentiles have an error of one percent at most. Two
// histograms can be merged without loss. The zero value is empty.
//
// As in DDSketch, each bucket is larger than the one before by the same factor. One second is in bucket 691, so durations up
// to any usual timeout need less than a thousand buckets. Only buckets in use take memory.
type Latency struct {
	buckets map[uint16]uint64
	count   uint64
	max     uint64
}

// Add adds one duration.
func (l *Latency) Add(d time.Duration) {
	us := uint64(max(d.Microseconds(), 1))
	if l.buckets == nil {
		l.buckets = make(map[uint16]uint64)
	}
	l.buckets[uint16(math.Ceil(math.Log(float64(us))/logGamma))]++
	l.count++
	l.max = max(l.max, us)
}

// Count is how many durations were added.
func (l *Latency) Count() uint64 { return l.count }

// Merge adds the durations of other, which is not changed.
func (l *Latency) Merge(other *Latency) {
	if other.count == 0 {
		return
	}
	if l.buckets == nil {
		l.buckets = make(map[uint16]uint64, len(other.buckets))
	}
	for i, n := range other.buckets {
		l.buckets[i] += n
	}
	l.count += other.count
	l.max = max(l.max, other.max)
}

// Percentile returns the duration, in microseconds, that p percent of the durations do not exceed, for p from 0 to 100. It
// is 0 if the histogram is empty.
func (l *Latency) Percentile(p float64) uint64 {
	if l.count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(p / 100 * float64(l.count)))
	if rank >= l.count {
		return l.max
	}
	var below uint64
	for _, i := range slices.Sorted(maps.Keys(l.buckets)) {
		if below += l.buckets[i]; below >= max(rank, 1) {
			// The value with the same relative distance to both bounds of the bucket.
			return min(uint64(math.Round(2*math.Exp(float64(i)*logGamma)/(1+math.Exp(logGamma)))), l.max)
		}
	}
	return l.max
}

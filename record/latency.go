package record

import (
	"maps"
	"math"
	"slices"
	"time"
)

// accuracy is how far a percentile may be from the true one, as a part of it.
const accuracy = 0.01

// logGamma is the logarithm of how much each bucket's upper bound is above the one before.
var logGamma = math.Log((1 + accuracy) / (1 - accuracy))

// Latency is a histogram of durations in whole microseconds, from which percentiles come within one
// percent of their value. Two of them merge without loss. The zero value is empty.
//
// Its buckets grow by one factor, as those of DDSketch do; a second is in bucket 691, so that what
// any one timeout allows is below a thousand buckets, of which only those in use are held.
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

// Merge adds all that other holds.
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

// Percentile returns, in microseconds, what p percent of the durations do not exceed, for p from 0
// to 100; 0 where there are none.
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
			// In the middle of the bucket's bounds: equally far, as a part, from both.
			return min(uint64(math.Round(2*math.Exp(float64(i)*logGamma)/(1+math.Exp(logGamma)))), l.max)
		}
	}
	return l.max
}

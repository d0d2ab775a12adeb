package forward

import (
	"slices"
	"strings"
	"sync"
	"time"

	"socktally/metric"
)

// ledger sums the counts about socktally itself between two batches of one sink. Every sink has its own ledger. If a sink
// loses a batch, the counts in it go into the sink's next batch, and no other sink sends them twice.
type ledger struct {
	mu    sync.Mutex
	since time.Duration // monotonic time of the last batch
	sums  map[string]metric.Sample
}

func newLedger(since time.Duration) *ledger {
	return &ledger{since: since, sums: map[string]metric.Sample{}}
}

func (l *ledger) add(name string, n float64, tags ...string) {
	if n == 0 {
		return
	}
	key := name + "|" + strings.Join(tags, ",")
	l.mu.Lock()
	defer l.mu.Unlock()
	s, found := l.sums[key]
	if !found {
		s = metric.Sample{Name: name, Kind: metric.Count, Tags: tags}
	}
	s.Value += n
	l.sums[key] = s
}

// take returns the counts since the last take, with the time now. at is the monotonic time of now.
func (l *ledger) take(now time.Time, at time.Duration) []metric.Sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	samples := make([]metric.Sample, 0, len(l.sums))
	for _, s := range l.sums {
		s.Time, s.Interval = now, at-l.since
		samples = append(samples, s)
	}
	l.since = at
	clear(l.sums)
	slices.SortFunc(samples, func(a, b metric.Sample) int {
		return strings.Compare(a.Name+strings.Join(a.Tags, ","), b.Name+strings.Join(b.Tags, ","))
	})
	return samples
}

// putBack adds the counts about socktally itself in lost samples to the ledger again. Other counts are lost: they belong to
// their interval, and there may be many in each interval.
func (l *ledger) putBack(lost []metric.Sample) {
	for _, s := range lost {
		if d, _ := metric.Lookup(s.Name); s.Kind == metric.Count && d.Scope == metric.Process {
			l.add(s.Name, s.Value, s.Tags...)
		}
	}
}

package forward

import (
	"slices"
	"strings"
	"sync"
	"time"

	"socktally/metric"
)

// ledger adds up socktally's own counts between two batches of one sink. Every sink has its own, so
// that counts which one sink loses are told by its next batch, and by no other sink twice.
type ledger struct {
	mu    sync.Mutex
	since time.Duration // of monotonic time, when the last batch was made
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

// take returns the counts since the last take, stamped with now, and begins anew at a monotonic time.
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

// putBack returns socktally's own counts among lost samples to the ledger. Others are lost: they are of
// their interval, and there may be as many again with each.
func (l *ledger) putBack(lost []metric.Sample) {
	for _, s := range lost {
		if d, _ := metric.Lookup(s.Name); s.Kind == metric.Count && d.Scope == metric.Process {
			l.add(s.Name, s.Value, s.Tags...)
		}
	}
}

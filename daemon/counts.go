package daemon

import (
	"time"

	"socktally/metric"
)

// counts turns what the kernel counted since it began to count into what it counted since the reading before.
type counts struct {
	last map[string]total // by the name of the metric
}

// total is what was counted when it was last read.
type total struct {
	value float64
	at    time.Duration // of monotonic time
}

// since returns the samples of a reading at a monotonic time, with a count in the place of each cumulative value. What
// is read for the first time has no count, nor has what fell back, which began anew.
func (c *counts) since(samples []metric.Sample, at time.Duration) []metric.Sample {
	if c.last == nil {
		c.last = map[string]total{}
	}
	counted := samples[:0]
	for _, s := range samples {
		if s.Kind == metric.Cumulative {
			now := total{s.Value, at}
			last, found := c.last[s.Name]
			c.last[s.Name] = now
			if !found || now.value < last.value {
				continue
			}
			s.Kind, s.Value, s.Interval = metric.Count, now.value-last.value, max(0, at-last.at)
		}
		counted = append(counted, s)
	}
	return counted
}

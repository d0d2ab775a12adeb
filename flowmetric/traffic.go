package flowmetric

import (
	"socktally/metric"
	"socktally/record"
)

// counts are the counters of flows that have a metric.
var counts = withMetric(record.Fields(), metric.FlowPrefix)

// counter is one counter and the name of its metric.
type counter[C any] struct {
	name string
	of   func(*C) *uint64
}

func withMetric[C any](fields []record.Field[C], prefix string) []counter[C] {
	var all []counter[C]
	for _, f := range fields {
		if f.Metric != "" {
			all = append(all, counter[C]{prefix + f.Metric, f.Of})
		}
	}
	return all
}

// traffic is the sum of the flows of one combination, from the point of view of the local end. The client in the
// counters is the local end, also where that is really the server.
type traffic struct{ record.Counters }

// weight is the bytes.
func (t *traffic) weight() uint64 { return t.BytesSentByClient + t.BytesSentByServer }

func (t *traffic) add(r *record.Flow) {
	if r.Direction != record.Incoming {
		t.Add(&r.Counters)
		return
	}
	reversed := r.Reversed()
	t.Add(&reversed)
}

func (t *traffic) merge(other *traffic) { t.Add(&other.Counters) }

func (t *traffic) appendSamples(all []metric.Sample, to template) []metric.Sample {
	for _, c := range counts {
		if n := *c.of(&t.Counters); n > 0 {
			all = append(all, to.count(c.name, n))
		}
	}
	if t.RTTSamples > 0 {
		const perSecond = 1e6
		all = append(all, to.gauge(metric.FlowRTT, float64(t.RTTSum)/float64(t.RTTSamples)/perSecond))
	}
	return all
}

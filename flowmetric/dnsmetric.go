package flowmetric

import (
	"socktally/metric"
	"socktally/record"
)

// dnsCounts are the counters of DNS queries that have a metric.
var dnsCounts = withMetric(record.DNSFields(), metric.DNSPrefix)

// queries are the DNS queries of one combination.
type queries struct{ record.DNSCounts }

func (q *queries) merge(other *queries) { q.Add(&other.DNSCounts) }

// weight is the number of queries and results. The result of a query may be in a later interval than the query.
func (q *queries) weight() uint64 { return q.Requests + q.Successes + q.Failures() }

func (q *queries) appendSamples(all []metric.Sample, to template) []metric.Sample {
	for _, c := range dnsCounts {
		if n := *c.of(&q.DNSCounts); n > 0 {
			all = append(all, to.count(c.name, n))
		}
	}
	if n := q.FailedResponses(); n > 0 {
		all = append(all, to.count(metric.DNSFailedResponses, n))
	}
	if n := q.Failures(); n > 0 {
		all = append(all, to.count(metric.DNSFailures, n))
	}
	all = appendLatency(all, to, metric.DNSSuccessLatency, &q.SuccessLatency)
	return appendLatency(all, to, metric.DNSFailureLatency, &q.FailureLatency)
}

func appendLatency(all []metric.Sample, to template, name string, l *record.Latency) []metric.Sample {
	if l.Count() == 0 {
		return all
	}
	for _, p := range metric.DNSPercentiles() {
		const perSecond = 1e6
		all = append(all, to.gauge(name+"."+p.Name, float64(l.Percentile(p.Percent))/perSecond))
	}
	return all
}

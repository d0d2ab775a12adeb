package api

import (
	"encoding/json"
	"slices"

	"socktally/api/answer"
	"socktally/query"
	"socktally/record"
)

// latencyPercentile is the percentile in the two latency metrics of DNS. Each metric has room for only one.
const latencyPercentile = 95

// dnsQueries returns the endpoint for DNS queries.
func dnsQueries(table []record.Field[record.DNSCounts]) *endpoint[record.DNS, record.DNSCounts] {
	shown := dnsColumns(table)
	return &endpoint[record.DNS, record.DNSCounts]{
		path:       DNSPath,
		vocabulary: vocabulary{kind: query.DNS, serverSide: "network.dns_query"},
		records:    Source.DNS,
		set:        (*query.Row).SetDNS,
		add:        func(sum *record.DNSCounts, r *record.DNS) { sum.Add(&r.DNSCounts) },
		size:       func(sum *record.DNSCounts) uint64 { return sum.Requests },
		rowType:    answer.TypeDNS,
		separator:  ",",
		appendAttributes: func(b []byte, fields []query.Field, values [][]string, sum *record.DNSCounts) ([]byte, error) {
			attributes := answer.DNSAttributes{GroupBys: []answer.GroupBy{}}
			for i, of := range values {
				for _, value := range of {
					attributes.GroupBys = append(attributes.GroupBys, answer.GroupBy{Key: fields[i].Name, Value: value})
				}
			}
			for _, c := range shown {
				if n, known := c.of(sum); known {
					attributes.Metrics = append(attributes.Metrics, answer.DNSMetric{Key: c.name, Value: count(n)})
				}
			}
			text, err := json.Marshal(attributes)
			return append(b, text...), err
		},
	}
}

// dnsColumns returns the columns: first those of Datadog's documentation, in its order, then the others, then the
// latencies.
func dnsColumns(table []record.Field[record.DNSCounts]) []column[record.DNSCounts] {
	all := columns(table, func(*record.DNSCounts, record.Known) bool { return true })
	all = append(all, derived(answer.DNSFailures, (*record.DNSCounts).Failures), derived(answer.DNSFailedResponses, (*record.DNSCounts).FailedResponses))
	order := []string{
		answer.DNSTotalRequests, answer.DNSFailures, answer.DNSSuccessfulResponses, answer.DNSFailedResponses,
		answer.DNSTimeouts, answer.DNSNXDomain, answer.DNSServFail, answer.DNSOtherFailures,
	}
	rank := func(c column[record.DNSCounts]) int {
		if i := slices.Index(order, c.name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(all, func(a, b column[record.DNSCounts]) int { return rank(a) - rank(b) })
	return append(all,
		latencyColumn(answer.DNSSuccessLatency, func(sum *record.DNSCounts) *record.Latency { return &sum.SuccessLatency }),
		latencyColumn(answer.DNSFailureLatency, func(sum *record.DNSCounts) *record.Latency { return &sum.FailureLatency }))
}

// latencyColumn returns the column of a latency. It is unknown in a group without any answer.
func latencyColumn(name string, of func(*record.DNSCounts) *record.Latency) column[record.DNSCounts] {
	return column[record.DNSCounts]{name, func(sum *record.DNSCounts) (uint64, bool) {
		l := of(sum)
		return l.Percentile(latencyPercentile), l.Count() > 0
	}}
}

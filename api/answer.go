package api

import (
	"math"

	"socktally/api/answer"
	"socktally/dns"
	"socktally/flows"
)

// latencyPercentile is the one percentile that the two latency metrics of DNS have room for.
const latencyPercentile = 95

// count is a sum as the answers have it, which know no more than int64.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// countOf is a sum that not every kernel knows.
func countOf(n *uint64) *int64 {
	if n == nil {
		return nil
	}
	c := count(*n)
	return &c
}

// connectionAnswer makes the response of the largest groups.
func connectionAnswer(g *grouping[flows.Counters], limit int) answer.Connections {
	response := answer.Connections{Data: []answer.Connection{}}
	for _, group := range g.largest(limit, func(c *flows.Counters) uint64 { return c.BytesSentByClient + c.BytesSentByServer }) {
		values := groupValues(group.key, len(g.fields))
		groupBys := make(map[string][]string, len(values))
		for i, of := range values {
			groupBys[g.fields[i].name] = of
		}
		s := &group.sum
		response.Data = append(response.Data, answer.Connection{
			Attributes: answer.ConnectionAttributes{
				BytesSentByClient:         count(s.BytesSentByClient),
				BytesSentByServer:         count(s.BytesSentByServer),
				GroupBys:                  groupBys,
				PacketsSentByClient:       count(s.PacketsSentByClient),
				PacketsSentByServer:       count(s.PacketsSentByServer),
				RTTMicroSeconds:           count(s.RTTMicroSeconds()),
				TCPClosedConnections:      count(s.Closed),
				TCPDeliveredCE:            count(s.DeliveredCE),
				TCPEstablishedConnections: count(s.Established),
				TCPRcvOOOPack:             count(s.RcvOOOPack),
				TCPRecoveryCount:          countOf(s.RecoveryCount),
				TCPRefusals:               count(s.Refusals),
				TCPReordSeen:              count(s.ReordSeen),
				TCPResets:                 count(s.Resets),
				TCPRetransmits:            count(s.Retransmits),
				TCPRTOCount:               countOf(s.RTOCount),
				TCPTimeouts:               count(s.Timeouts),
			},
			ID:   id(g.fields, values, ", "),
			Type: answer.TypeConnection,
		})
	}
	return response
}

// dnsAnswer makes the response of the largest groups.
func dnsAnswer(g *grouping[dns.Counts], limit int) answer.DNS {
	response := answer.DNS{Data: []answer.DNSRow{}}
	for _, group := range g.largest(limit, func(c *dns.Counts) uint64 { return c.Requests }) {
		values := groupValues(group.key, len(g.fields))
		groupBys := []answer.GroupBy{}
		for i, of := range values {
			for _, value := range of {
				groupBys = append(groupBys, answer.GroupBy{Key: g.fields[i].name, Value: value})
			}
		}
		response.Data = append(response.Data, answer.DNSRow{
			Attributes: answer.DNSAttributes{GroupBys: groupBys, Metrics: dnsMetrics(&group.sum)},
			ID:         id(g.fields, values, ","),
			Type:       answer.TypeDNS,
		})
	}
	return response
}

func dnsMetrics(c *dns.Counts) []answer.DNSMetric {
	metrics := []answer.DNSMetric{
		{Key: answer.DNSTotalRequests, Value: count(c.Requests)},
		{Key: answer.DNSFailures, Value: count(c.Failures())},
		{Key: answer.DNSSuccessfulResponses, Value: count(c.Successes)},
		{Key: answer.DNSFailedResponses, Value: count(c.FailedResponses())},
		{Key: answer.DNSTimeouts, Value: count(c.Timeouts)},
		{Key: answer.DNSNXDomain, Value: count(c.NXDomain)},
		{Key: answer.DNSServFail, Value: count(c.ServFail)},
		{Key: answer.DNSOtherFailures, Value: count(c.OtherFailures)},
	}
	// Of a group in which nothing was answered, no latency is known.
	if c.SuccessLatency.Count() > 0 {
		metrics = append(metrics, answer.DNSMetric{Key: answer.DNSSuccessLatency, Value: count(c.SuccessLatency.Percentile(latencyPercentile))})
	}
	if c.FailureLatency.Count() > 0 {
		metrics = append(metrics, answer.DNSMetric{Key: answer.DNSFailureLatency, Value: count(c.FailureLatency.Percentile(latencyPercentile))})
	}
	return metrics
}

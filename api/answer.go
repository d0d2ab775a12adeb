package api

import (
	"math"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"

	"socktally/dns"
	"socktally/flows"
)

// latencyPercentile is the one percentile that the two latency metrics of DNS have room for.
const latencyPercentile = 95

// count is a sum as the models have it, which knows no more than int64.
func count(n uint64) *int64 { return datadog.PtrInt64(int64(min(n, math.MaxInt64))) }

// connectionAnswer makes the response of the largest groups.
func connectionAnswer(g *grouping[flows.Counters], limit int) datadogV2.SingleAggregatedConnectionResponseArray {
	answer := datadogV2.SingleAggregatedConnectionResponseArray{Data: []datadogV2.SingleAggregatedConnectionResponseData{}}
	for _, group := range g.largest(limit, func(c *flows.Counters) uint64 { return c.BytesSentByClient + c.BytesSentByServer }) {
		values := groupValues(group.key, len(g.fields))
		groupBys := make(map[string][]string, len(values))
		for i, of := range values {
			groupBys[g.fields[i].name] = of
		}
		s := &group.sum
		attributes := &datadogV2.SingleAggregatedConnectionResponseDataAttributes{
			BytesSentByClient:         count(s.BytesSentByClient),
			BytesSentByServer:         count(s.BytesSentByServer),
			GroupBys:                  groupBys,
			PacketsSentByClient:       count(s.PacketsSentByClient),
			PacketsSentByServer:       count(s.PacketsSentByServer),
			RttMicroSeconds:           count(s.RTTMicroSeconds()),
			TcpClosedConnections:      count(s.Closed),
			TcpDeliveredCe:            count(s.DeliveredCE),
			TcpEstablishedConnections: count(s.Established),
			TcpRcvOooPack:             count(s.RcvOOOPack),
			TcpRefusals:               count(s.Refusals),
			TcpReordSeen:              count(s.ReordSeen),
			TcpResets:                 count(s.Resets),
			TcpRetransmits:            count(s.Retransmits),
			TcpTimeouts:               count(s.Timeouts),
		}
		if s.RTOCount != nil {
			attributes.TcpRtoCount = count(*s.RTOCount)
		}
		if s.RecoveryCount != nil {
			attributes.TcpRecoveryCount = count(*s.RecoveryCount)
		}
		answer.Data = append(answer.Data, datadogV2.SingleAggregatedConnectionResponseData{
			Attributes: attributes,
			Id:         datadog.PtrString(id(g.fields, values, ", ")),
			Type:       datadogV2.SINGLEAGGREGATEDCONNECTIONRESPONSEDATATYPE_AGGREGATED_CONNECTION.Ptr(),
		})
	}
	return answer
}

// dnsAnswer makes the response of the largest groups.
func dnsAnswer(g *grouping[dns.Counts], limit int) datadogV2.SingleAggregatedDnsResponseArray {
	answer := datadogV2.SingleAggregatedDnsResponseArray{Data: []datadogV2.SingleAggregatedDnsResponseData{}}
	for _, group := range g.largest(limit, func(c *dns.Counts) uint64 { return c.Requests }) {
		values := groupValues(group.key, len(g.fields))
		groupBys := []datadogV2.SingleAggregatedDnsResponseDataAttributesGroupByItems{}
		for i, of := range values {
			for _, value := range of {
				groupBys = append(groupBys, datadogV2.SingleAggregatedDnsResponseDataAttributesGroupByItems{
					Key: datadog.PtrString(g.fields[i].name), Value: datadog.PtrString(value),
				})
			}
		}
		answer.Data = append(answer.Data, datadogV2.SingleAggregatedDnsResponseData{
			Attributes: &datadogV2.SingleAggregatedDnsResponseDataAttributes{GroupBys: groupBys, Metrics: dnsMetrics(&group.sum)},
			Id:         datadog.PtrString(id(g.fields, values, ",")),
			Type:       datadogV2.SINGLEAGGREGATEDDNSRESPONSEDATATYPE_AGGREGATED_DNS.Ptr(),
		})
	}
	return answer
}

func dnsMetrics(c *dns.Counts) []datadogV2.SingleAggregatedDnsResponseDataAttributesMetricsItems {
	var metrics []datadogV2.SingleAggregatedDnsResponseDataAttributesMetricsItems
	add := func(key datadogV2.DnsMetricKey, n uint64) {
		metrics = append(metrics, datadogV2.SingleAggregatedDnsResponseDataAttributesMetricsItems{Key: key.Ptr(), Value: count(n)})
	}
	add(datadogV2.DNSMETRICKEY_DNS_TOTAL_REQUESTS, c.Requests)
	add(datadogV2.DNSMETRICKEY_DNS_FAILURES, c.Failures())
	add(datadogV2.DNSMETRICKEY_DNS_SUCCESSFUL_RESPONSES, c.Successes)
	add(datadogV2.DNSMETRICKEY_DNS_FAILED_RESPONSES, c.FailedResponses())
	add(datadogV2.DNSMETRICKEY_DNS_TIMEOUTS, c.Timeouts)
	add(datadogV2.DNSMETRICKEY_DNS_RESPONSES_NXDOMAIN, c.NXDomain)
	add(datadogV2.DNSMETRICKEY_DNS_RESPONSES_SERVFAIL, c.ServFail)
	add(datadogV2.DNSMETRICKEY_DNS_RESPONSES_OTHER, c.OtherFailures)
	// Of a group in which nothing was answered, no latency is known.
	if c.SuccessLatency.Count() > 0 {
		add(datadogV2.DNSMETRICKEY_DNS_SUCCESS_LATENCY_PERCENTILE, c.SuccessLatency.Percentile(latencyPercentile))
	}
	if c.FailureLatency.Count() > 0 {
		add(datadogV2.DNSMETRICKEY_DNS_FAILURE_LATENCY_PERCENTILE, c.FailureLatency.Percentile(latencyPercentile))
	}
	return metrics
}

package store

import (
	"socktally/dns"
	"socktally/flows"
)

// counterFields are all counters that are always known, in the order in which chunks have them.
func counterFields(c *flows.Counters) [16]*uint64 {
	return [...]*uint64{
		&c.BytesSentByClient, &c.BytesSentByServer, &c.PacketsSentByClient, &c.PacketsSentByServer,
		&c.RTTSum, &c.RTTSamples, &c.Retransmits, &c.Established, &c.Closed,
		&c.Refusals, &c.Timeouts, &c.Unreachables, &c.Resets,
		&c.DeliveredCE, &c.ReordSeen, &c.RcvOOOPack,
	}
}

// countFields are all counts of DNS but the latencies, in the order in which chunks have them.
func countFields(c *dns.Counts) [6]*uint64 {
	return [...]*uint64{&c.Requests, &c.Successes, &c.NXDomain, &c.ServFail, &c.OtherFailures, &c.Timeouts}
}

func addCounters(sum, c *flows.Counters) {
	from := counterFields(c)
	for i, to := range counterFields(sum) {
		*to += *from[i]
	}
	sum.RTOCount = addKnown(sum.RTOCount, c.RTOCount)
	sum.RecoveryCount = addKnown(sum.RecoveryCount, c.RecoveryCount)
}

// addKnown adds n to sum; nil is a count that is not known.
func addKnown(sum, n *uint64) *uint64 {
	if n == nil {
		return sum
	}
	if sum == nil {
		sum = new(uint64)
	}
	*sum += *n
	return sum
}

func addCounts(sum, c *dns.Counts) {
	from := countFields(c)
	for i, to := range countFields(sum) {
		*to += *from[i]
	}
	if c.SuccessLatency.Count() > 0 {
		sum.SuccessLatency.Merge(&c.SuccessLatency)
	}
	if c.FailureLatency.Count() > 0 {
		sum.FailureLatency.Merge(&c.FailureLatency)
	}
}

package store

import "socktally/record"

// counterFields are all counters that are always known, in the order in which chunks have them.
func counterFields(c *record.Counters) [16]*uint64 {
	return [...]*uint64{
		&c.BytesSentByClient, &c.BytesSentByServer, &c.PacketsSentByClient, &c.PacketsSentByServer,
		&c.RTTSum, &c.RTTSamples, &c.Retransmits, &c.Established, &c.Closed,
		&c.Refusals, &c.Timeouts, &c.Unreachables, &c.Resets,
		&c.DeliveredCE, &c.ReordSeen, &c.RcvOOOPack,
	}
}

// countFields are all counts of DNS but the latencies, in the order in which chunks have them.
func countFields(c *record.DNSCounts) [6]*uint64 {
	return [...]*uint64{&c.Requests, &c.Successes, &c.NXDomain, &c.ServFail, &c.OtherFailures, &c.Timeouts}
}

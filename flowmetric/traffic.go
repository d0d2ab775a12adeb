package flowmetric

import (
	"socktally/metric"
	"socktally/record"
)

// The counts of a combination.
const (
	bytesSent = iota
	bytesReceived
	packetsSent
	packetsReceived
	retransmits
	established
	closed
	refused
	reset
	timeout
	unreachable
	countKinds
)

var countNames = [countKinds]string{
	bytesSent:       metric.FlowBytesSent,
	bytesReceived:   metric.FlowBytesReceived,
	packetsSent:     metric.FlowPacketsSent,
	packetsReceived: metric.FlowPacketsReceived,
	retransmits:     metric.FlowRetransmits,
	established:     metric.FlowEstablished,
	closed:          metric.FlowClosed,
	refused:         metric.FlowRefused,
	reset:           metric.FlowReset,
	timeout:         metric.FlowTimeout,
	unreachable:     metric.FlowUnreachable,
}

// traffic is what the flows of one combination did in an interval.
type traffic struct {
	counts [countKinds]uint64
	// rtt is the sum of the round trip times of so many sockets.
	rtt, rttSamples uint64
}

// weight is the bytes.
func (c *traffic) weight() uint64 { return c.counts[bytesSent] + c.counts[bytesReceived] }

// add counts a record as the end on this host sees it.
func (c *traffic) add(r *record.Flow) {
	sent, received := r.BytesSentByClient, r.BytesSentByServer
	packetsOut, packetsIn := r.PacketsSentByClient, r.PacketsSentByServer
	if r.Direction == record.Incoming {
		sent, received = received, sent
		packetsOut, packetsIn = packetsIn, packetsOut
	}
	for i, n := range [countKinds]uint64{
		bytesSent:       sent,
		bytesReceived:   received,
		packetsSent:     packetsOut,
		packetsReceived: packetsIn,
		retransmits:     r.Retransmits,
		established:     r.Established,
		closed:          r.Closed,
		refused:         r.Refusals,
		reset:           r.Resets,
		timeout:         r.Timeouts,
		unreachable:     r.Unreachables,
	} {
		c.counts[i] += n
	}
	c.rtt += r.RTTSum
	c.rttSamples += r.RTTSamples
}

func (c *traffic) merge(other *traffic) {
	for i, n := range other.counts {
		c.counts[i] += n
	}
	c.rtt += other.rtt
	c.rttSamples += other.rttSamples
}

func (c *traffic) appendSamples(all []metric.Sample, to template) []metric.Sample {
	for i, n := range c.counts {
		if n > 0 {
			all = append(all, to.count(countNames[i], n))
		}
	}
	if c.rttSamples > 0 {
		const perSecond = 1e6
		all = append(all, to.gauge(metric.FlowRTT, float64(c.rtt)/float64(c.rttSamples)/perSecond))
	}
	return all
}

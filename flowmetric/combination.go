package flowmetric

import (
	"strings"
	"time"

	"socktally/flows"
	"socktally/metric"
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

// combination is what the flows with the same tags did in an interval.
type combination struct {
	key    string
	counts [countKinds]uint64
	// rtt is the sum of the round trip times of so many sockets.
	rtt, rttSamples uint64
}

func (c *combination) bytes() uint64 { return c.counts[bytesSent] + c.counts[bytesReceived] }

// add counts a record as the end on this host sees it.
func (c *combination) add(v *view) {
	r := v.record
	sent, received := r.BytesSentByClient, r.BytesSentByServer
	packetsOut, packetsIn := r.PacketsSentByClient, r.PacketsSentByServer
	if r.Direction == flows.Incoming {
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

func (c *combination) merge(other *combination) {
	for i, n := range other.counts {
		c.counts[i] += n
	}
	c.rtt += other.rtt
	c.rttSamples += other.rttSamples
}

// appendSamples appends a sample for each count that is not zero, and the round trip time where it
// is known.
func (c *combination) appendSamples(all []metric.Sample, now time.Time, interval time.Duration) []metric.Sample {
	var tags []string
	if c.key != "" {
		tags = strings.Split(c.key, ",")
	}
	for i, n := range c.counts {
		if n > 0 {
			all = append(all, metric.Sample{Name: countNames[i], Kind: metric.Count, Value: float64(n), Time: now, Interval: interval, Tags: tags})
		}
	}
	if c.rttSamples > 0 {
		const perSecond = 1e6
		all = append(all, metric.Sample{Name: metric.FlowRTT, Kind: metric.Gauge, Value: float64(c.rtt) / float64(c.rttSamples) / perSecond, Time: now, Tags: tags})
	}
	return all
}

package record

// Counters are what a flow did in one interval. Bytes are the application's: no retransmitted ones,
// no SYN, no FIN, no header. Packets are TCP segments of any kind, retransmitted ones included, or
// UDP datagrams. UDP has none of the others. What is added here has its line in Fields.
type Counters struct {
	BytesSentByClient   uint64
	BytesSentByServer   uint64
	PacketsSentByClient uint64
	PacketsSentByServer uint64
	// RTTSum is the sum of the smoothed round trip times, in microseconds, of the RTTSamples sockets
	// that had traffic.
	RTTSum     uint64
	RTTSamples uint64
	// Retransmits counts segments that this host sent again, SYNs included.
	Retransmits uint64
	// Established and Closed count connections. An attempt that failed is in neither.
	Established uint64
	Closed      uint64
	// Refusals, Timeouts and Unreachables count connections, and attempts at one, that ended by
	// ECONNREFUSED, ETIMEDOUT and EHOSTUNREACH, ENETUNREACH or the like.
	Refusals     uint64
	Timeouts     uint64
	Unreachables uint64
	// Resets counts connections that ended because an end on this host received a reset.
	Resets      uint64
	DeliveredCE uint64
	ReordSeen   uint64
	RcvOOOPack  uint64
	// RTOCount and RecoveryCount are there only where Known says so.
	RTOCount      uint64
	RecoveryCount uint64
	// Known says which of the counters are known that not every kernel has.
	Known Known
}

// Known is a set of counters that not every kernel has.
type Known uint8

const (
	KnowsRTOCount      Known = 1 << iota // from Linux 6.7 on
	KnowsRecoveryCount                   // from Linux 6.7 on
)

// RTTMicroSeconds is the smoothed round trip time, averaged over the sockets that had traffic; 0 where
// it is not known.
func (c Counters) RTTMicroSeconds() uint64 {
	if c.RTTSamples == 0 {
		return 0
	}
	return c.RTTSum / c.RTTSamples
}

// Reversed is the same as the other end counts it: what the client sent is what the server sent, and the reverse.
func (c Counters) Reversed() Counters {
	c.BytesSentByClient, c.BytesSentByServer = c.BytesSentByServer, c.BytesSentByClient
	c.PacketsSentByClient, c.PacketsSentByServer = c.PacketsSentByServer, c.PacketsSentByClient
	return c
}

// Add adds what other holds, and leaves that as it is. A counter that neither knows stays unknown.
func (c *Counters) Add(other *Counters) {
	for i := range fields {
		*fields[i].Of(c) += *fields[i].Of(other)
	}
	c.Known |= other.Known
}

package record

// Counters are the counters of a flow in one interval. Bytes are those of the application: no retransmitted bytes, no SYN,
// no FIN, no headers. Packets are TCP segments of any kind, also retransmitted ones, or UDP datagrams. UDP has only bytes and
// packets. Each counter here also needs a line in Fields.
type Counters struct {
	BytesSentByClient   uint64
	BytesSentByServer   uint64
	PacketsSentByClient uint64
	PacketsSentByServer uint64
	// RTTSum is the sum of smoothed round trip times, in microseconds. RTTSamples is how many were summed: one for each
	// socket with traffic.
	RTTSum     uint64
	RTTSamples uint64
	// Retransmits counts segments that this host sent again, SYNs included.
	Retransmits uint64
	// Established and Closed count connections. A failed attempt is in neither.
	Established uint64
	Closed      uint64
	// Refusals count connections and attempts that ended with ECONNREFUSED, Timeouts those with ETIMEDOUT, and
	// Unreachables those with EHOSTUNREACH, ENETUNREACH and similar errors.
	Refusals     uint64
	Timeouts     uint64
	Unreachables uint64
	// Resets counts connections that ended because an end on this host received a reset.
	Resets      uint64
	DeliveredCE uint64
	ReordSeen   uint64
	RcvOOOPack  uint64
	// RTOCount and RecoveryCount are valid only if they are in Known.
	RTOCount      uint64
	RecoveryCount uint64
	// Known says which of the optional counters this kernel has.
	Known Known
}

// Known is a set of optional counters: those that not every kernel has.
type Known uint8

const (
	KnowsRTOCount      Known = 1 << iota // from Linux 6.7 on
	KnowsRecoveryCount                   // from Linux 6.7 on
)

// RTTMicroSeconds is the mean of the smoothed round trip times of sockets with traffic. It is 0 if that is not known.
func (c Counters) RTTMicroSeconds() uint64 {
	if c.RTTSamples == 0 {
		return 0
	}
	return c.RTTSum / c.RTTSamples
}

// Reversed returns the counters with client and server exchanged.
func (c Counters) Reversed() Counters {
	c.BytesSentByClient, c.BytesSentByServer = c.BytesSentByServer, c.BytesSentByClient
	c.PacketsSentByClient, c.PacketsSentByServer = c.PacketsSentByServer, c.PacketsSentByClient
	return c
}

// Add adds the counters of other, which is not changed. An optional counter is known if one of the two knows it.
func (c *Counters) Add(other *Counters) {
	for i := range fields {
		*fields[i].Of(c) += *fields[i].Of(other)
	}
	c.Known |= other.Known
}

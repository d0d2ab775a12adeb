package record

import "slices"

// Unit is the unit of a counter, by Datadog's name.
type Unit string

const (
	Byte        Unit = "byte"
	Packet      Unit = "packet"
	Microsecond Unit = "microsecond"
	Connection  Unit = "connection"
	Segment     Unit = "segment"
	Query       Unit = "query"
	None        Unit = ""
)

// Field is one of the counters of a record.
type Field[C any] struct {
	// Name is Cloud Network Monitoring's, by which JSON, the store and the API know it. A name that is changed is
	// another counter to the store: it loses what was kept under the old one.
	Name string
	Unit Unit
	// TCPOnly says that UDP has no such counter.
	TCPOnly bool
	// Metric is the last part of the name of the counter's metric, after socktally.flow. or socktally.dns. It is "" if
	// there is no metric. In a metric, the client is the end on this host, and the server is the other one.
	Metric string
	// Part says that the counter is only a part of what is shown.
	Part bool
	// NotInAPI says that Cloud Network Monitoring has no such counter, so that the API's answers, which have its
	// shape, leave it out.
	NotInAPI bool
	// Optional is set where not every kernel has the counter: then Counters.Known says whether it is known.
	Optional Known
	// Of is where the counter is in C.
	Of func(*C) *uint64
}

var fields = []Field[Counters]{
	{Name: "bytes_sent_by_client", Unit: Byte, Metric: "bytes_sent", Of: func(c *Counters) *uint64 { return &c.BytesSentByClient }},
	{Name: "bytes_sent_by_server", Unit: Byte, Metric: "bytes_received", Of: func(c *Counters) *uint64 { return &c.BytesSentByServer }},
	{Name: "packets_sent_by_client", Unit: Packet, Metric: "packets_sent", Of: func(c *Counters) *uint64 { return &c.PacketsSentByClient }},
	{Name: "packets_sent_by_server", Unit: Packet, Metric: "packets_received", Of: func(c *Counters) *uint64 { return &c.PacketsSentByServer }},
	{Name: "rtt_sum", Unit: Microsecond, TCPOnly: true, Part: true, Of: func(c *Counters) *uint64 { return &c.RTTSum }},
	{Name: "rtt_samples", Unit: None, TCPOnly: true, Part: true, Of: func(c *Counters) *uint64 { return &c.RTTSamples }},
	{Name: "tcp_retransmits", Unit: Segment, Metric: "retransmits", TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.Retransmits }},
	{Name: "tcp_established_connections", Unit: Connection, Metric: "established", TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.Established }},
	{Name: "tcp_closed_connections", Unit: Connection, Metric: "closed", TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.Closed }},
	{Name: "tcp_refusals", Unit: Connection, Metric: "refused", TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.Refusals }},
	{Name: "tcp_resets", Unit: Connection, Metric: "reset", TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.Resets }},
	{Name: "tcp_timeouts", Unit: Connection, Metric: "timeout", TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.Timeouts }},
	{Name: "tcp_unreachables", Unit: Connection, Metric: "unreachable", TCPOnly: true, NotInAPI: true, Of: func(c *Counters) *uint64 { return &c.Unreachables }},
	{Name: "tcp_rto_count", Unit: None, TCPOnly: true, Optional: KnowsRTOCount, Of: func(c *Counters) *uint64 { return &c.RTOCount }},
	{Name: "tcp_recovery_count", Unit: None, TCPOnly: true, Optional: KnowsRecoveryCount, Of: func(c *Counters) *uint64 { return &c.RecoveryCount }},
	{Name: "tcp_delivered_ce", Unit: Segment, TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.DeliveredCE }},
	{Name: "tcp_reord_seen", Unit: None, TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.ReordSeen }},
	{Name: "tcp_rcv_ooo_pack", Unit: Segment, TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.RcvOOOPack }},
}

// Fields returns all counters of a flow. The caller may change the slice.
func Fields() []Field[Counters] { return slices.Clone(fields) }

var dnsFields = []Field[DNSCounts]{
	{Name: "dns_total_requests", Unit: Query, Metric: "total_requests", Of: func(c *DNSCounts) *uint64 { return &c.Requests }},
	{Name: "dns_successful_responses", Unit: Query, Metric: "successful_responses", Of: func(c *DNSCounts) *uint64 { return &c.Successes }},
	{Name: "dns_responses.nxdomain", Unit: Query, Metric: "responses.nxdomain", Of: func(c *DNSCounts) *uint64 { return &c.NXDomain }},
	{Name: "dns_responses.servfail", Unit: Query, Metric: "responses.servfail", Of: func(c *DNSCounts) *uint64 { return &c.ServFail }},
	{Name: "dns_responses.other", Unit: Query, Metric: "responses.other", Of: func(c *DNSCounts) *uint64 { return &c.OtherFailures }},
	{Name: "dns_timeouts", Unit: Query, Metric: "timeouts", Of: func(c *DNSCounts) *uint64 { return &c.Timeouts }},
}

// DNSFields returns all counters of DNS queries. Latencies are not among them: they are histograms. The caller may change the
// slice.
func DNSFields() []Field[DNSCounts] { return slices.Clone(dnsFields) }

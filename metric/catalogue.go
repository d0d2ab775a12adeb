package metric

import "sync"

// Scope says what a metric counts. In a container, a Host metric has the value of the whole kernel, so every container would
// report the same value.
type Scope string

const (
	// Host metrics are counted for the whole kernel.
	Host Scope = "host"
	// NetNS metrics are counted for one network namespace.
	NetNS Scope = "netns"
	// Process metrics are about socktally itself.
	Process Scope = "process"
	// Setting metrics are counted for all network namespaces or for one: SOCKTALLY_SCOPE decides.
	Setting Scope = "setting"
)

// Datadog's names of units. Datadog has no unit for sockets and ports, so these have None.
const (
	None       = ""
	Byte       = "byte"
	Kibibyte   = "kibibyte"
	Fraction   = "fraction"
	Second     = "second"
	Samples    = "sample"
	Packet     = "packet"
	Segment    = "segment"
	Connection = "connection"
	Request    = "request"
	Response   = "response"
)

// The names of the metrics about socktally itself, which several packages emit. The names of other metrics are written where
// they are read.
const (
	Readings        = "socktally.readings"
	ReadingsFailed  = "socktally.readings.failed"
	ReadingsSkipped = "socktally.readings.skipped"
	ReadingDuration = "socktally.reading.duration"
	SamplesSent     = "socktally.samples.sent"
	SamplesDropped  = "socktally.samples.dropped"
	SamplesSpooled  = "socktally.samples.spooled"
	SamplesReplayed = "socktally.samples.replayed"
	SpoolBytes      = "socktally.spool.bytes"
	LastSuccess     = "socktally.last_success"
	StoreRecords    = "socktally.store.records"
	StoreLosses     = "socktally.store.losses"
	StoreBytes      = "socktally.store.bytes"
	StoreWaiting    = "socktally.store.waiting"
)

// Definition describes one metric.
type Definition struct {
	Name  string
	Kind  Kind
	Unit  string
	Scope Scope
	// Orientation is 1 where higher is better, -1 where lower is better, 0 otherwise.
	Orientation int
	// ShortName is a few words for the legend of a graph.
	ShortName string
	// Description is one sentence. It names the kernel's field or setting.
	Description string
}

// Catalogue returns every metric that socktally can emit, in the order of the documentation. The
// caller may keep and change the slice.
func Catalogue() []Definition {
	return append([]Definition(nil), catalogue...)
}

// Lookup returns the definition of name. It is safe for concurrent use.
func Lookup(name string) (Definition, bool) {
	d, ok := byName()[name]
	return d, ok
}

var byName = sync.OnceValue(func() map[string]Definition {
	m := make(map[string]Definition, len(catalogue))
	for _, d := range catalogue {
		m[d.Name] = d
	}
	return m
})

var catalogue = []Definition{
	{"sockstat.sockets.used", Gauge, None, NetNS, 0, "sockets used", "Sockets of every family that are open (sockstat: sockets used)."},

	{"sockstat.tcp.inuse", Gauge, None, NetNS, 0, "tcp inuse", "IPv4 TCP sockets that listen or have a peer, in any state but TIME_WAIT (sockstat: TCP inuse)."},
	{"sockstat.tcp.orphan", Gauge, None, Host, -1, "tcp orphan", "TCP sockets that no process holds any more and that the kernel still closes (sockstat: TCP orphan)."},
	{"sockstat.tcp.tw", Gauge, None, NetNS, 0, "tcp tw", "TCP sockets in TIME_WAIT (sockstat: TCP tw)."},
	{"sockstat.tcp.alloc", Gauge, None, Host, 0, "tcp alloc", "TCP sockets that are allocated, in any state, IPv4 and IPv6 (sockstat: TCP alloc)."},
	{"sockstat.tcp.mem", Gauge, Kibibyte, Host, -1, "tcp mem", "Memory that TCP buffers hold, converted from pages (sockstat: TCP mem)."},
	{"sockstat.tcp.mem_pressure", Gauge, Kibibyte, Host, 0, "tcp mem pressure", "Memory above which TCP begins to save (tcp_mem, second value)."},
	{"sockstat.tcp.mem_limit", Gauge, Kibibyte, Host, 0, "tcp mem limit", "Memory above which TCP drops data and refuses buffers (tcp_mem, third value)."},
	{"sockstat.tcp.mem_ratio", Gauge, Fraction, Host, -1, "tcp mem ratio", "TCP memory as a fraction of its limit."},
	{"sockstat.tcp.orphan_limit", Gauge, None, Host, 0, "tcp orphan limit", "Orphans above which the kernel resets them (tcp_max_orphans)."},
	{"sockstat.tcp.orphan_ratio", Gauge, Fraction, Host, -1, "tcp orphan ratio", "Orphans as a fraction of their limit."},
	{"sockstat.tcp.tw_limit", Gauge, None, NetNS, 0, "tcp tw limit", "TIME_WAIT sockets above which the kernel destroys them at once (tcp_max_tw_buckets)."},
	{"sockstat.tcp.tw_ratio", Gauge, Fraction, NetNS, -1, "tcp tw ratio", "TIME_WAIT sockets as a fraction of their limit."},

	{"sockstat.udp.inuse", Gauge, None, NetNS, 0, "udp inuse", "IPv4 UDP sockets that are bound to a port (sockstat: UDP inuse)."},
	{"sockstat.udp.mem", Gauge, Kibibyte, Host, -1, "udp mem", "Memory that UDP buffers hold, converted from pages (sockstat: UDP mem)."},
	{"sockstat.udp.mem_limit", Gauge, Kibibyte, Host, 0, "udp mem limit", "Memory above which UDP drops datagrams (udp_mem, third value)."},
	{"sockstat.udp.mem_ratio", Gauge, Fraction, Host, -1, "udp mem ratio", "UDP memory as a fraction of its limit."},

	{"sockstat.udplite.inuse", Gauge, None, NetNS, 0, "udplite inuse", "IPv4 UDP-Lite sockets (sockstat: UDPLITE inuse)."},
	{"sockstat.raw.inuse", Gauge, None, NetNS, 0, "raw inuse", "IPv4 raw sockets (sockstat: RAW inuse)."},
	{"sockstat.frag.inuse", Gauge, None, NetNS, 0, "frag inuse", "IPv4 datagrams that are being put together from fragments (sockstat: FRAG inuse)."},
	{"sockstat.frag.memory", Gauge, Byte, NetNS, -1, "frag memory", "Memory that IPv4 fragments hold (sockstat: FRAG memory)."},

	{"sockstat.tcp6.inuse", Gauge, None, NetNS, 0, "tcp6 inuse", "IPv6 TCP sockets that listen or have a peer, in any state but TIME_WAIT (sockstat6: TCP6 inuse)."},
	{"sockstat.udp6.inuse", Gauge, None, NetNS, 0, "udp6 inuse", "IPv6 UDP sockets that are bound to a port (sockstat6: UDP6 inuse)."},
	{"sockstat.udplite6.inuse", Gauge, None, NetNS, 0, "udplite6 inuse", "IPv6 UDP-Lite sockets (sockstat6: UDPLITE6 inuse)."},
	{"sockstat.raw6.inuse", Gauge, None, NetNS, 0, "raw6 inuse", "IPv6 raw sockets (sockstat6: RAW6 inuse)."},
	{"sockstat.frag6.inuse", Gauge, None, NetNS, 0, "frag6 inuse", "IPv6 datagrams that are being put together from fragments (sockstat6: FRAG6 inuse)."},
	{"sockstat.frag6.memory", Gauge, Byte, NetNS, -1, "frag6 memory", "Memory that IPv6 fragments hold (sockstat6: FRAG6 memory)."},

	{"sockstat.ports.range", Gauge, None, NetNS, 1, "port range", "Ports that the kernel may give to outgoing connections (ip_local_port_range less ip_local_reserved_ports)."},

	{"sockstat.tcp.retrans_segs", Count, Segment, NetNS, -1, "tcp retransmits", "TCP segments that were sent again (snmp: Tcp RetransSegs)."},
	{"sockstat.tcp.listen_overflows", Count, None, NetNS, -1, "tcp listen overflows", "Connections that came while the accept queue of their listener was full (netstat: TcpExt ListenOverflows)."},
	{"sockstat.tcp.listen_drops", Count, None, NetNS, -1, "tcp listen drops", "Connections that a listener dropped for any reason, a full accept queue included (netstat: TcpExt ListenDrops)."},
	{"sockstat.tcp.syncookies_sent", Count, None, NetNS, -1, "tcp syncookies", "SYNs that were answered with a cookie because the queue of half-open connections was full (netstat: TcpExt SyncookiesSent)."},
	{"sockstat.tcp.memory_pressures", Count, None, NetNS, -1, "tcp memory pressures", "Times that TCP began to save memory, counted where a socket here made it begin (netstat: TcpExt TCPMemoryPressures)."},
	{"sockstat.tcp.abort_on_memory", Count, Connection, NetNS, -1, "tcp aborts on memory", "Connections that were reset for want of memory, or for too many orphans (netstat: TcpExt TCPAbortOnMemory)."},
	{"sockstat.udp.rcvbuf_errors", Count, Packet, NetNS, -1, "udp receive buffer errors", "IPv4 UDP datagrams that were dropped because the receive buffer of their socket was full (snmp: Udp RcvbufErrors)."},
	{"sockstat.udp.sndbuf_errors", Count, Packet, NetNS, -1, "udp send buffer errors", "IPv4 UDP datagrams that were not sent because a buffer was full (snmp: Udp SndbufErrors)."},
	{"sockstat.udp.no_ports", Count, Packet, NetNS, -1, "udp no ports", "IPv4 UDP datagrams that came for a port on which nobody listens (snmp: Udp NoPorts)."},
	{"sockstat.tcp.pressure", Gauge, None, Host, -1, "tcp pressure", "1 while TCP saves memory, 0 otherwise (protocols: TCP press)."},
	{"sockstat.conntrack.count", Gauge, None, NetNS, 0, "conntrack count", "Connections that are tracked, where the module is loaded (nf_conntrack_count)."},
	{"sockstat.conntrack.limit", Gauge, None, NetNS, 0, "conntrack limit", "Tracked connections above which packets of new ones are dropped (nf_conntrack_max)."},
	{"sockstat.conntrack.ratio", Gauge, Fraction, NetNS, -1, "conntrack ratio", "Tracked connections as a fraction of their limit."},

	{FlowBytesSent, Count, Byte, Setting, 0, "flow bytes sent", "Bytes that applications at this host's end sent, each once however often it was retransmitted."},
	{FlowBytesReceived, Count, Byte, Setting, 0, "flow bytes received", "Bytes that came in for applications at this host's end."},
	{FlowPacketsSent, Count, Packet, Setting, 0, "flow packets sent", "Packets that this host's end sent, for TCP segments of any kind (segs_out)."},
	{FlowPacketsReceived, Count, Packet, Setting, 0, "flow packets received", "Packets that came in at this host's end, for TCP segments of any kind (segs_in)."},
	{FlowRetransmits, Count, Segment, Setting, -1, "flow retransmits", "TCP segments that this host sent again, SYNs included (total_retrans)."},
	{FlowEstablished, Count, Connection, Setting, 0, "flow established", "TCP connections that were established."},
	{FlowClosed, Count, Connection, Setting, 0, "flow closed", "TCP connections, once established, that were closed."},
	{FlowRefused, Count, Connection, Setting, -1, "flow refused", "TCP connections and attempts that ended with ECONNREFUSED."},
	{FlowReset, Count, Connection, Setting, -1, "flow reset", "TCP connections that ended because an end on this host received a reset."},
	{FlowTimeout, Count, Connection, Setting, -1, "flow timeout", "TCP connections and attempts that ended with ETIMEDOUT."},
	{FlowUnreachable, Count, Connection, Setting, -1, "flow unreachable", "TCP connections and attempts that ended with EHOSTUNREACH, ENETUNREACH or the like."},
	{FlowRTT, Gauge, Second, Setting, -1, "flow rtt", "Smoothed TCP round trip time (srtt_us), the mean over the sockets that had traffic in the interval."},

	{DNSTotalRequests, Count, Request, Setting, 0, "dns requests", "DNS queries, each once however often it was sent again while it waited."},
	{DNSSuccessfulResponses, Count, Response, Setting, 0, "dns successes", "Answers with the code NOERROR, whether they hold a record or not."},
	{DNSFailedResponses, Count, Response, Setting, -1, "dns failed responses", "Answers with any other code: the sum of those that follow."},
	{DNSNXDomain, Count, Response, Setting, -1, "dns nxdomain", "Answers with the code NXDOMAIN: there is no such name."},
	{DNSServFail, Count, Response, Setting, -1, "dns servfail", "Answers with the code SERVFAIL."},
	{DNSOtherFailures, Count, Response, Setting, -1, "dns other failures", "Answers with any code but NOERROR, NXDOMAIN and SERVFAIL."},
	{DNSTimeouts, Count, Request, Setting, -1, "dns timeouts", "Queries that had no answer in time (15 s)."},
	{DNSFailures, Count, Request, Setting, -1, "dns failures", "Failed answers and timeouts."},
	{DNSSuccessLatency + ".p50", Gauge, Second, Setting, -1, "dns latency p50", "Time from query to answer that half of the successful answers of the interval did not exceed."},
	{DNSSuccessLatency + ".p95", Gauge, Second, Setting, -1, "dns latency p95", "The same for 95 % of them."},
	{DNSSuccessLatency + ".p99", Gauge, Second, Setting, -1, "dns latency p99", "The same for 99 % of them."},
	{DNSSuccessLatency + ".max", Gauge, Second, Setting, -1, "dns latency max", "The longest time from query to successful answer."},
	{DNSFailureLatency + ".p50", Gauge, Second, Setting, -1, "dns failure latency p50", "Time from query to answer that half of the failed answers of the interval did not exceed. A timeout is not in it."},
	{DNSFailureLatency + ".p95", Gauge, Second, Setting, -1, "dns failure latency p95", "The same for 95 % of them."},
	{DNSFailureLatency + ".p99", Gauge, Second, Setting, -1, "dns failure latency p99", "The same for 99 % of them."},
	{DNSFailureLatency + ".max", Gauge, Second, Setting, -1, "dns failure latency max", "The longest time from query to failed answer."},

	{FlowTallies, Count, None, Process, 0, "flow tallies", "Tallies of the flows, failed ones included."},
	{FlowTalliesFailed, Count, None, Process, -1, "flow tallies failed", "Tallies of the flows that failed; the next one has what they could not read."},
	{FlowTalliesSkipped, Count, None, Process, -1, "flow tallies skipped", "Tallies of the flows that did not take place because the one before was still running."},
	{FlowTallyDuration, Gauge, Second, Process, -1, "flow tally duration", "Time that this tally of the flows took."},
	{FlowCombinationsSent, Gauge, None, Process, 0, "flow contexts", "Combinations of tags that this tally sent, at most SOCKTALLY_FLOW_MAX_CONTEXTS."},
	{FlowCombinations, Gauge, None, Process, 0, "flow combinations", "Combinations of tags that this tally would have sent without a budget."},
	{DNSCombinationsSent, Gauge, None, Process, 0, "dns contexts", "The same for DNS: combinations of tags that this tally sent."},
	{DNSCombinations, Gauge, None, Process, 0, "dns combinations", "The same for DNS: combinations of tags that there were."},
	{FlowLosses, Count, None, Process, -1, "flow losses", "What could not be counted, or not under its own flow, by reason."},

	{Readings, Count, None, Process, 0, "readings", "Readings of the socket counters, failed ones included."},
	{ReadingsFailed, Count, None, Process, -1, "readings failed", "Readings of which a file could not be read or understood; what could be read was sent."},
	{ReadingsSkipped, Count, None, Process, -1, "readings skipped", "Readings that did not take place because the one before was still running."},
	{ReadingDuration, Gauge, Second, Process, -1, "reading duration", "Time that this reading took."},
	{SamplesSent, Count, Samples, Process, 0, "samples sent", "Samples that were handed to a receiver, by sink."},
	{SamplesDropped, Count, Samples, Process, -1, "samples dropped", "Samples that were given up, by sink and reason."},
	{SamplesSpooled, Count, Samples, Process, -1, "samples spooled", "Samples that were put on disk until the receiver takes them, by sink."},
	{SamplesReplayed, Count, Samples, Process, 0, "samples replayed", "Samples that came from disk, among those that were sent, by sink."},
	{SpoolBytes, Gauge, Byte, Process, -1, "spool bytes", "Size of the samples on disk that wait for the receiver, by sink."},
	{LastSuccess, Gauge, Second, Process, 0, "last success", "When a batch last reached the receiver whole, by sink, in Unix seconds."},
	{StoreRecords, Count, None, Process, 0, "store records", "Records of connections and DNS that the store of the API was given, each of one tally."},
	{StoreLosses, Count, None, Process, -1, "store losses", "Records that the store let go before their time, or summed with others, by reason."},
	{StoreBytes, Gauge, Byte, Process, -1, "store bytes", "Size of the file of the store, and of its log; 0 for one in memory."},
	{StoreWaiting, Gauge, None, Process, -1, "store waiting", "Buckets of five minutes that wait in memory because the file of the store cannot be written."},
}

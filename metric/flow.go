package metric

import (
	"slices"
	"strings"
)

// FlowPrefix and DNSPrefix begin the names of the metrics of flows and of DNS queries. Each counter of package record
// that is sent ends one.
const (
	FlowPrefix = "socktally.flow."
	DNSPrefix  = "socktally.dns."
)

// The names of the metrics of flows. Sent and received are as the end on this host sees it; where
// both are here, as the client does.
const (
	FlowBytesSent       = FlowPrefix + "bytes_sent"
	FlowBytesReceived   = FlowPrefix + "bytes_received"
	FlowPacketsSent     = FlowPrefix + "packets_sent"
	FlowPacketsReceived = FlowPrefix + "packets_received"
	FlowRetransmits     = FlowPrefix + "retransmits"
	FlowEstablished     = FlowPrefix + "established"
	FlowClosed          = FlowPrefix + "closed"
	FlowRefused         = FlowPrefix + "refused"
	FlowReset           = FlowPrefix + "reset"
	FlowTimeout         = FlowPrefix + "timeout"
	FlowUnreachable     = FlowPrefix + "unreachable"
	FlowRTT             = FlowPrefix + "rtt"
)

// The names of the metrics of DNS queries, each of one client. A query is counted when it is sent, its
// answer or timeout when that comes.
const (
	DNSTotalRequests       = DNSPrefix + "total_requests"
	DNSSuccessfulResponses = DNSPrefix + "successful_responses"
	DNSFailedResponses     = DNSPrefix + "failed_responses"
	DNSTimeouts            = DNSPrefix + "timeouts"
	DNSFailures            = DNSPrefix + "failures"
	DNSNXDomain            = DNSPrefix + "responses.nxdomain"
	DNSServFail            = DNSPrefix + "responses.servfail"
	DNSOtherFailures       = DNSPrefix + "responses.other"
	// A latency is several metrics: see DNSPercentiles.
	DNSSuccessLatency = DNSPrefix + "success_latency"
	DNSFailureLatency = DNSPrefix + "failure_latency"
)

// DNSPercentile is a percentile of a latency. Its name, after a period, ends that of the metric.
type DNSPercentile struct {
	Name    string
	Percent float64
}

// DNSPercentiles are those of each latency.
func DNSPercentiles() []DNSPercentile {
	return []DNSPercentile{{"p50", 50}, {"p95", 95}, {"p99", 99}, {"max", 100}}
}

// ofFlows says whether a metric is about flows or DNS queries of any process, and not about socktally.
func isFlowMetric(name string) bool {
	return strings.HasPrefix(name, FlowPrefix) || strings.HasPrefix(name, DNSPrefix)
}

// The names of the metrics about the counting of flows.
const (
	FlowTallies          = "socktally.flows.tallies"
	FlowTalliesFailed    = "socktally.flows.tallies.failed"
	FlowTalliesSkipped   = "socktally.flows.tallies.skipped"
	FlowTallyDuration    = "socktally.flows.tally.duration"
	FlowCombinationsSent = "socktally.flows.contexts"
	FlowCombinations     = "socktally.flows.combinations"
	FlowLosses           = "socktally.flows.losses"
	DNSCombinationsSent  = "socktally.flows.dns.contexts"
	DNSCombinations      = "socktally.flows.dns.combinations"
)

// FlowTag describes a tag that the metrics of flows can be split by.
type FlowTag struct{ Name, Description string }

// ProcessTagPrefix, before a key, makes a tag of what the process's own DD_TAGS say under that key.
const ProcessTagPrefix = "tag."

// NetworksTag stands for all tags that the table of networks has for the remote end.
const NetworksTag = "networks"

var flowTags = []FlowTag{
	{"direction", "outgoing: the client is here; incoming: the server is here; local: both are"},
	{"protocol", "tcp or udp"},
	{"family", "ipv4 or ipv6"},
	{"source", "how the flow was counted: ebpf, or sockdiag, which misses connections that open and close between two looks"},
	{"service", "`DD_SERVICE` of the process at this host's end, else its name"},
	{"env", "its `DD_ENV`"},
	{"version", "its `DD_VERSION`"},
	{"process", "its name, as the kernel has it (15 characters)"},
	{"pid", "its process id; another one after each restart"},
	{"container_id", "the container that it runs in, by the 64 digits of its id"},
	{"pod_uid", "the pod of Kubernetes that it runs in, by its UID"},
	{"remote", "the other end: its `name` in the table of networks, else the name that DNS gave for it, else its address"},
	{"remote_ip", "the other end's address"},
	{"remote_class", "what kind of address that is: loopback, link_local, private, multicast or public"},
	{"remote_service", "the service at the other end, where that is on this host too"},
	{NetworksTag, "every tag that the table of networks has for the other end, except `name`"},
	{"client_ip", "the address of the end that opened the connection"},
	{"client_service", "the service there, where that is on this host"},
	{"server_ip", "the address of the end that was connected to"},
	{"server_port", "its port"},
	{"server_service", "the service there, where that is on this host"},
	{"server_domain", "the name by which DNS last gave its address to a process of this host; flows only"},
	{"dns_query", "the name that is asked for; DNS only"},
	{"dns_qtype", "the type that is asked for, such as a or aaaa; DNS only"},
}

// FlowTags returns every name that a flow's metrics can be split by, in the order of the
// documentation, except those that begin with ProcessTagPrefix. The caller may keep the slice.
func FlowTags() []FlowTag { return slices.Clone(flowTags) }

// KnownFlowTag says whether flows can be split by name.
func KnownFlowTag(name string) bool {
	if key, ok := strings.CutPrefix(name, ProcessTagPrefix); ok {
		return key != "" && CheckTag(key) == nil && !strings.Contains(key, ":") && strings.ToLower(key) == key && !ReservedTag(key)
	}
	return slices.ContainsFunc(flowTags, func(t FlowTag) bool { return t.Name == name })
}

// ReservedTag says whether a tag with this key has a meaning of its own, so that neither a process nor
// a table of networks may set it.
func ReservedTag(key string) bool {
	return key == "host" || slices.ContainsFunc(flowTags, func(t FlowTag) bool { return t.Name == key })
}

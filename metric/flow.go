package metric

import (
	"slices"
	"strings"
)

// FlowPrefix and DNSPrefix are the first parts of the names of the metrics of flows and of DNS queries. The last part is the
// Metric of a record.Field.
const (
	FlowPrefix = "socktally.flow."
	DNSPrefix  = "socktally.dns."
)

// The names of the metrics of flows. Sent and received are from the point of view of the end on this host. If both ends are
// on this host, it is that of the client.
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

// The names of the metrics of DNS queries. A query is counted when it is sent, and its answer or timeout when that comes.
const (
	DNSTotalRequests       = DNSPrefix + "total_requests"
	DNSSuccessfulResponses = DNSPrefix + "successful_responses"
	DNSFailedResponses     = DNSPrefix + "failed_responses"
	DNSTimeouts            = DNSPrefix + "timeouts"
	DNSFailures            = DNSPrefix + "failures"
	DNSNXDomain            = DNSPrefix + "responses.nxdomain"
	DNSServFail            = DNSPrefix + "responses.servfail"
	DNSOtherFailures       = DNSPrefix + "responses.other"
	// Each latency has several metrics: see DNSPercentiles.
	DNSSuccessLatency = DNSPrefix + "success_latency"
	DNSFailureLatency = DNSPrefix + "failure_latency"
)

// DNSPercentile is a percentile of a latency. A period and Name are the end of the name of its metric.
type DNSPercentile struct {
	Name    string
	Percent float64
}

// DNSPercentiles returns the percentiles of each latency.
func DNSPercentiles() []DNSPercentile {
	return []DNSPercentile{{"p50", 50}, {"p95", 95}, {"p99", 99}, {"max", 100}}
}

// isFlowMetric says whether a metric is about flows or DNS queries, and not about socktally itself.
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

// FlowTag describes a tag that metrics of flows can have.
type FlowTag struct{ Name, Description string }

// ProcessTagPrefix and a key are the name of a tag whose value is that of the key in DD_TAGS of the process.
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

// FlowTags returns all tags that metrics of flows can have, in the order of the documentation, except those that begin with
// ProcessTagPrefix. The caller may change the slice.
func FlowTags() []FlowTag { return slices.Clone(flowTags) }

// KnownFlowTag says whether metrics of flows can have the tag name.
func KnownFlowTag(name string) bool {
	if key, ok := strings.CutPrefix(name, ProcessTagPrefix); ok {
		return key != "" && CheckTag(key) == nil && !strings.Contains(key, ":") && strings.ToLower(key) == key && !ReservedTag(key)
	}
	return slices.ContainsFunc(flowTags, func(t FlowTag) bool { return t.Name == name })
}

// ReservedTag says whether socktally itself sets the tag with this key. Then neither a process nor a table of networks may
// set it.
func ReservedTag(key string) bool {
	return key == "host" || slices.ContainsFunc(flowTags, func(t FlowTag) bool { return t.Name == key })
}
